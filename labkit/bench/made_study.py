"""A whole study without training: photographs, and the run folders that train.ipynb would have left, for the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from PIL import Image

from labkit import audit
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.models import build, describe
from labkit.models.build import start_in_words
from labkit.params import RunParams
from labkit.runs.files import write_csv, write_json, write_text
from labkit.runs.fingerprint import data_fingerprint, run_inputs
from labkit.runs.folder import cache_root, open_run, reports_root, resolve_weights
from labkit.studies.file import load_study
from labkit.training.checkpoint import save_weights

STUDY = "course/class-weights"  # eight runs, and four of them again with patients kept apart
SMALL = {"image_size": 64, "crop_size": 56}  # what is timed is the report: of pixels it reads few
GRADES = (0.734, 0.069, 0.154, 0.025, 0.018)  # of EyePACS


def photographs(folder: Path, train: int, test: int, size: int = 64) -> Path:
    """Pictures of two eyes a patient in the course's layout, no look of a retina to them but its share of grades."""
    if (folder / "test_label.csv").is_file():
        return folder
    (folder / "images").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    grades = generator.choice(len(GRADES), train + test, p=GRADES)
    names = [f"{number // 2 + 1}_{('left', 'right')[number % 2]}" for number in range(train + test)]
    for name, grade in zip(names, grades, strict=True):
        coarse = generator.integers(20, 120, (8, 8, 3)) + 25 * grade
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"{name}.jpeg", quality=90)
    # Both parts have patients of their own and share some, as the course's do.
    in_test = np.zeros(train + test, bool)
    in_test[generator.permutation(train + test)[:test]] = True
    for part, chosen in (("train", ~in_test), ("test", in_test)):
        rows = np.flatnonzero(chosen)
        write_text(folder / f"{part}_img.csv", "".join(f"{names[row]}\n" for row in rows))
        write_text(folder / f"{part}_label.csv", "".join(f"{grades[row]}\n" for row in rows))
    return folder


@contextmanager
def reports_in(root: Path) -> Iterator[None]:
    """Runs and caches under ``root`` instead of the project's own; for kernels that are started meanwhile, too."""
    places = {"LABKIT_REPORTS": str(root / "reports"), "LABKIT_CACHE": str(root / "cache")}
    with mock.patch.dict("os.environ", places):
        yield


def made_runs(data: Path, study: str = STUDY) -> int:
    """Finished folders of all runs of the study on that data, their answers drawn; returns how many there are."""
    planned = {}
    table = load_study(study).run_params({"data": str(data)} | SMALL)
    for number, params in enumerate(table):
        params = resolve_weights(params)
        planned[f"{params.run}-seed{params.seed}"] = _made_run(params, skill=1.0 + 0.1 * number, number=number)
    write_json(reports_root() / study / "report.json", {"runs": planned})
    return len(table)


def _made_run(params: RunParams, skill: float, number: int) -> str:
    images, hashes = open_data(params.dataset, params.data, cache_root())
    inputs = run_inputs(params, data_fingerprint(images.table, hashes))
    run = open_run(params, inputs)
    if run.finished:
        return run.fingerprint
    classes = list(images.facts.classes)
    table = assign_splits(images.table, hashes=hashes, **params.split_rule)
    write_csv(run.path("predictions.csv"), _answers(table, len(classes), skill, number))
    known = pd.DataFrame({"sha256": [], "group": []}, dtype="string")
    write_csv(run.path("learnt_from.csv"), audit.learnt_from(table, hashes, images.facts.title, known))
    epochs = np.arange(1, params.epochs + 1)
    rising = {f"{part}_{name}": 0.4 + 0.4 * (1 - 0.8**epochs) for part in ("train", "val", "test") for name in SCORES}
    write_csv(run.path("history.csv"), pd.DataFrame({"epoch": epochs} | rising))
    design = {"deviation": params.deviation, "image_size": params.input_size}
    model = build.build_model(params.arch, params.outputs(len(classes)), seed=params.seed, **design)
    save_weights(run.path("model.safetensors"), model.state_dict(), params.arch)
    labels = {str(split): part["label"].to_numpy(np.int64) for split, part in table.groupby("split")}
    train = np.bincount(labels["train"], minlength=len(classes)).tolist()
    findings = audit.audit(table, hashes, classes, images.facts.group_name)
    run.finish(
        classes=classes, score=images.facts.score, source=images.facts.title, start=start_in_words(params),
        n_images={split: len(of) for split, of in labels.items()}, train_counts=train, drawn_counts=train,
        class_weights=None, best_epoch=params.epochs, epoch_seconds=[60.0] * params.epochs, test_predictions=1,
        device="cpu", precision="fp32", threads=1, unreadable=0, audit=findings.facts(),
        parameters=describe.parameters(model), flops=describe.flops(model, params.input_size), milliseconds=5.0,
        stamps=audit.stamps(findings, params.select_on),
    )  # fmt: skip
    return run.fingerprint


SCORES = ("loss", "accuracy", "qwk")


def _answers(table: pd.DataFrame, n_classes: int, skill: float, number: int) -> pd.DataFrame:
    """Predictions of the rows that are not learnt from: noise, and so much knowledge of the label."""
    rows = table.loc[table["split"] != "train", ["image_id", "group", "side", "split", "label"]]
    noise = np.random.default_rng((1, number)).normal(size=(len(rows), n_classes))
    logits = noise + skill * np.eye(n_classes)[rows["label"].to_numpy(np.int64)] + np.log(GRADES[:n_classes])
    return rows.assign(**{f"logit_{k}": logits[:, k] for k in range(n_classes)})
