"""Rows of what a report costs beside its training: the analysis of many runs, and the demo as a whole."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from measuring import Bench, Row, row
from PIL import Image

from labkit import audit
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.models import build, describe
from labkit.params import PROJECT, RunParams
from labkit.runs.files import read_json, write_csv, write_json, write_text
from labkit.runs.fingerprint import data_fingerprint, run_inputs
from labkit.runs.folder import cache_root, open_run, reports_root, resolve_weights
from labkit.studies.file import load_study
from labkit.studies.notebook import NOTEBOOKS, execute
from labkit.training.checkpoint import save_weights

STUDY = "course/class-weights"  # eight runs, and four of them again with patients kept apart
SMALL = {"image_size": 64, "crop_size": 56}  # the report is what is timed, and it reads few pixels
GRADES = (0.734, 0.069, 0.154, 0.025, 0.018)  # shares of EyePACS


def rows(bench: Bench) -> Iterator[Row]:
    """The analysis of twelve made runs, and `labkit report` on the demo: first and second call."""
    yield from analysis_rows(bench)
    yield from demo_rows(bench)


def reports_in(root: Path):
    """Runs and caches under ``root`` instead of the project's own; for kernels that are started meanwhile, too."""
    return mock.patch.dict("os.environ", LABKIT_REPORTS=str(root / "reports"), LABKIT_CACHE=str(root / "cache"))


def analysis_rows(bench: Bench) -> Iterator[Row]:
    """analysis.ipynb over twelve finished runs of 7,026 test images; its pictures are decoded before."""
    test = bench.size(7_026, 300)
    root = bench.folder / f"made-{test}"
    data = made_photographs(root / "data", bench.size(10_000, 600), test)
    with reports_in(root):
        count = made_runs(data)
        source, errors = NOTEBOOKS / "analysis.ipynb", list[str | None]()
        once = {"": lambda: errors.append(execute(source, reports_root() / STUDY / source.name, {"study": STUDY}))}
        seconds = bench.times(f"analysis of {count} runs", once)[""]["wall"]
    if any(errors):
        raise RuntimeError(f"analysis.ipynb: {errors}")
    setting = f"{count} runs, {test:,} test images × 5 classes, 64 px"
    told = {"goal": "≤ 60 s", "rounds": bench.rounds, "note": "metrics, bootstrap, figures"}
    yield row("analysis notebook", setting, "s", float(np.median(seconds)), **told)


def demo_rows(bench: Bench) -> Iterator[Row]:
    """`labkit report demo` into an empty folder, once, and again; `--quick` takes the study tiny."""
    study, root, seconds = ("tiny" if bench.quick else "demo"), bench.folder / "demo", []
    shutil.rmtree(root, ignore_errors=True)
    for call in ("first", "second"):
        bench.tell(f"the {call} labkit report {study} …")
        with reports_in(root):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "labkit.cli", "report", study], cwd=PROJECT, check=True)
            seconds.append(time.perf_counter() - start)
    manifests = (root / "reports" / study / "runs").glob("*/run.json")
    training = sum(sum(read_json(path)["epoch_seconds"]) for path in manifests)
    note = f"of which {training:.0f} s in the epochs of its runs; drawing the images included"
    yield row("report, first call", study, "s", seconds[0], goal="≤ 240 s", note=note)
    yield row("report, second call", study, "s", seconds[1], goal="≤ 8 s")


def made_photographs(folder: Path, train: int, test: int, size: int = 64) -> Path:
    """Pictures of two eyes a patient in the course's layout: noise, with EyePACS' share of grades."""
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
    drawn = generator.permutation(train + test)  # both parts share patients, as the course's do
    for part, chosen in (("train", np.sort(drawn[test:])), ("test", np.sort(drawn[:test]))):
        write_text(folder / f"{part}_img.csv", "".join(f"{names[number]}\n" for number in chosen))
        write_text(folder / f"{part}_label.csv", "".join(f"{grades[number]}\n" for number in chosen))
    return folder


def made_runs(data: Path) -> int:
    """Folders of all runs of the study as train.ipynb leaves them, their predictions drawn; returns their number."""
    planned = {}
    table = load_study(STUDY).run_params({"data": str(data)} | SMALL)
    for number, params in enumerate(map(resolve_weights, table)):
        planned[f"{params.run}-seed{params.seed}"] = made_run(params, number)
    write_json(reports_root() / STUDY / "report.json", {"runs": planned})
    return len(table)


def made_run(params: RunParams, number: int) -> str:
    """The fingerprint of a finished run: noise, and more knowledge of the label the higher its number."""
    images, hashes = open_data(params, cache_root())
    run = open_run(params, run_inputs(params, data_fingerprint(images, hashes)))
    if run.finished:
        return run.fingerprint
    classes = list(images.facts.classes)
    table = assign_splits(images.table, hashes=hashes, **params.split_rule)
    asked = table.loc[table["split"] != "train", ["image_id", "group", "side", "split", "label"]]
    logits = np.random.default_rng((1, number)).normal(size=(len(asked), len(classes))) + np.log(GRADES)
    logits += (1.0 + 0.1 * number) * np.eye(len(classes))[asked["label"].to_numpy(np.int64)]
    write_csv(run.path("predictions.csv"), asked.assign(**{f"logit_{k}": column for k, column in enumerate(logits.T)}))
    known = pd.DataFrame({"sha256": [], "group": []}, dtype="string")
    write_csv(run.path("learnt_from.csv"), audit.learnt_from(table, hashes, images.facts.title, known))
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
