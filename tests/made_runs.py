"""Finished runs without training: the folders train.ipynb leaves, of answers a test chooses or of a network."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from labkit import audit
from labkit.data.loaders import make_loaders
from labkit.data.readers.read import ImageData
from labkit.data.source import open_data, submissions
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation.decide import decide
from labkit.models import build, describe
from labkit.params import RunParams
from labkit.runs.files import read_json, write_csv, write_json, write_text
from labkit.runs.fingerprint import data_fingerprint, run_inputs
from labkit.runs.folder import Run, cache_root, open_run
from labkit.training.checkpoint import save_weights
from labkit.training.device import machine_facts, set_up
from labkit.training.predict import predict, predictions_table

CLASSES = ["a", "b", "c"]
NO_PARENT = pd.DataFrame({"sha256": [], "group": []}, dtype="string")  # whose images were learnt from
EYEPACS = (0.734, 0.069, 0.154, 0.025, 0.018)  # shares of the grades


def labels() -> np.ndarray:
    return np.array([0] * 40 + [1] * 12 + [2] * 8)


def make_run(
    name: str, answers: np.ndarray, stamps=(), ids="i", split_name="test", start="from scratch", val=None, **changes
) -> None:
    """A finished run of the study 's' that answers so on sixty test images of thirty patients.

    `val`: what it answers on sixty validation images; without it there are none.
    """
    params = RunParams(study="s", run=name, **changes)
    run = open_run(params, {"name": name, "stamps": list(stamps)} | changes)
    run.record(status="running")  # the same run may be made again, with other answers
    table = pd.DataFrame({"image_id": [f"{ids}{k:02d}" for k in range(60)], "group": [f"g{k // 2}" for k in range(60)]})
    table["side"], table["split"], table["label"] = "left", split_name, labels()
    logits = 3.0 * np.eye(3)[answers if val is None else np.concatenate([answers, val])]
    if val is not None:
        table = pd.concat([table, table.assign(image_id="v" + table["image_id"], split="val")], ignore_index=True)
    table = table.assign(**{f"logit_{k}": logits[:, k] for k in range(3)})
    write_csv(run.path("predictions.csv"), table)
    history = {"epoch": [1, 2], "train_accuracy": [0.5, 0.6], "val_accuracy": [0.5, 0.7], "val_qwk": [0.1, 0.3]}
    write_csv(run.path("history.csv"), pd.DataFrame(history))
    write_text(run.path("model.safetensors"), "weights")
    write_csv(run.path("learnt_from.csv"), pd.DataFrame({"sha256": [], "group": []}))
    run.finish(
        classes=CLASSES, score="qwk", n_images={"train": 100, "val": 20, "test": 60}, train_counts=[70, 20, 10],
        drawn_counts=[70, 20, 10], class_weights=None, milliseconds=1.0,
        best_epoch=2, epoch_seconds=[1.0, 2.0], start=start, source="synthetic", parameters=10, flops=20, device="cpu",
        stamps=list(stamps),
    )  # fmt: skip


def without_sums(folder: Path) -> Path:
    """The run's predictions.csv, for a test that writes others: as one of before SHA-256 was kept, it is believed."""
    manifest = read_json(folder / "run.json")
    manifest.pop("sha256", None)
    write_json(folder / "run.json", manifest)
    return folder / "predictions.csv"


def opened(params: RunParams) -> tuple[ImageData, pd.Series, Run]:
    """The data, its hashes, and the run's folder."""
    images, hashes = open_data(params, cache_root())
    return images, hashes, open_run(params, run_inputs(params, data_fingerprint(images, hashes)))


def trained_run(data: Path, **changes) -> Path:
    """The folder of a run 'a' of the study 'tiny' as train.ipynb leaves it, its network untrained."""
    values = {"study": "tiny", "run": "a", "data": str(data), "image_size": 32, "threads": 1} | changes
    params = RunParams.of(values)
    images, hashes, run = opened(params)
    classes = list(images.facts.classes)
    store = build_store(images.table, hashes, params.image_size, cache_root())
    table = assign_splits(store.keep_readable(images.table), hashes=hashes, **params.split_rule)
    accelerator = set_up(params)
    model = build.build_model("resnet18", params.outputs(len(classes)), seed=0)
    save_weights(run.path("model.safetensors"), model.state_dict(), "resnet18")
    model = accelerator.prepare_model(model.to(memory_format=torch.channels_last))
    parts = {split: part for split, part in table.groupby("split") if split != "train"}
    loaders = make_loaders(table, store, params)
    predictions = predictions_table(parts, {split: predict(model, loaders[split], params.normalize) for split in parts})
    write_csv(run.path("predictions.csv"), predictions)
    write_csv(run.path("learnt_from.csv"), audit.learnt_from(table, hashes, images.facts.title, NO_PARENT))
    decided = decide(predictions, len(classes)).set_index("image_id")
    handed_in = submissions(images, decided["prediction"])
    for name, rows in handed_in.items():
        write_csv(run.path(f"submission-{name}"), rows)
    history = {"epoch": [1], "train_qwk": [0.0]} | ({"val_qwk": [0.0]} if "val" in parts else {})
    write_csv(run.path("history.csv"), pd.DataFrame(history))
    n_images = table["split"].value_counts().to_dict()
    run.finish(
        **machine_facts(accelerator), classes=classes, n_images=n_images, start="untrained", score="qwk", stamps=[],
        test_predictions=1, best_epoch=1, submissions=[f"submission-{name}" for name in handed_in],
    )  # fmt: skip
    return run.folder


def drawn_photographs(folder: Path, train: int, test: int, size: int = 64) -> Path:
    """Pictures of two eyes a patient in the course's layout: noise, with EyePACS' share of grades."""
    if (folder / "test_label.csv").is_file():
        return folder
    (folder / "images").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    grades = generator.choice(len(EYEPACS), train + test, p=EYEPACS)
    names = [f"{number // 2 + 1}_{('left', 'right')[number % 2]}" for number in range(train + test)]
    for name, grade in zip(names, grades, strict=True):
        coarse = generator.integers(20, 120, (8, 8, 3)) + 25 * grade
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"{name}.jpeg", quality=90)
    drawn = generator.permutation(train + test)  # both parts share patients, as the course's do
    for part, chosen in (("train", np.sort(drawn[test:])), ("test", np.sort(drawn[:test]))):
        write_text(folder / f"{part}_img.csv", "".join(f"{names[number]}\n" for number in chosen))
        write_text(folder / f"{part}_label.csv", "".join(f"{grades[number]}\n" for number in chosen))
    return folder


def drawn_run(params: RunParams, number: int) -> str:
    """The fingerprint of a finished run: noise, and more knowledge of the label the higher its number."""
    images, hashes, run = opened(params)
    if run.finished:
        return run.fingerprint
    classes = list(images.facts.classes)
    table = assign_splits(images.table, hashes=hashes, **params.split_rule)
    asked = table.loc[table["split"] != "train", ["image_id", "group", "side", "split", "label"]]
    logits = np.random.default_rng((1, number)).normal(size=(len(asked), len(classes))) + np.log(EYEPACS)
    logits += (1.0 + 0.1 * number) * np.eye(len(classes))[asked["label"].to_numpy(np.int64)]
    write_csv(run.path("predictions.csv"), asked.assign(**{f"logit_{k}": column for k, column in enumerate(logits.T)}))
    write_csv(run.path("learnt_from.csv"), audit.learnt_from(table, hashes, images.facts.title, NO_PARENT))
    epochs, columns = np.arange(1, params.epochs + 1), ("loss", "accuracy", "qwk")
    rising = {f"{part}_{name}": 0.8 - 0.4 * 0.8**epochs for part in ("train", "val", "test") for name in columns}
    write_csv(run.path("history.csv"), pd.DataFrame({"epoch": epochs} | rising))
    design = {"deviation": params.deviation, "image_size": params.input_size}
    model = build.build_model(params.arch, params.outputs(len(classes)), seed=params.seed, **design)
    save_weights(run.path("model.safetensors"), model.state_dict(), params.arch)
    train = np.bincount(table.loc[table["split"] == "train", "label"].astype(int), minlength=len(classes)).tolist()
    findings = audit.audit(table, hashes, classes, images.facts.group_name)
    run.finish(
        classes=classes, score=images.facts.score, source=images.facts.title, start=f"weights {params.weights}",
        n_images=table["split"].value_counts().to_dict(), train_counts=train, drawn_counts=train,
        class_weights=None, best_epoch=params.epochs, epoch_seconds=[60.0] * params.epochs, test_predictions=1,
        device="cpu", precision="fp32", threads=1, unreadable=0, audit=findings.facts(),
        parameters=describe.parameters(model), flops=describe.flops(model, params.input_size), milliseconds=5.0,
        stamps=audit.stamps(findings, params.select_on),
    )  # fmt: skip
    return run.fingerprint
