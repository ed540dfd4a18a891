"""A study's runs as plain rows, failed ones too: for ``runs.csv``, the compare page and the report's failures."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.data.catalog import facts_of
from labkit.evaluation.decide import decide
from labkit.evaluation.metrics import METRICS, evaluate
from labkit.params import RunParams, parent_of
from labkit.runs.files import read_csv
from labkit.runs.fingerprint import fingerprint_of
from labkit.runs.folder import damage, read_manifest, read_params, read_predictions
from labkit.studies.file import Study
from labkit.studies.find import current_runs, read_stamps, run_folders

FIRST = ("run", "seed", "status", "error")
OF_THE_RUN = (
    "best_epoch",
    "epochs_done",
    "seconds",
    "test_set",
    "test_images",
    "val_images",
    "notebook",
    "fingerprint",
)
OF_THE_RUN += ("git_commit",)
PARAMETERS = tuple(name for name in RunParams.model_fields if name not in ("study", "run", "seed", "parent"))
TEST, VAL = "test_", "val_"  # before the names of scores
LINES = 20
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def runs_table(study: str, failed: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row a run and seed that the study's last call planned, sources and honest runs among them.

    Columns: ``run, seed, status`` (finished, damaged, failed, interrupted, running, out of date, not run), ``error``;
    the scores on test (``test_accuracy`` …, from ``predictions.csv``) and that of the chosen epoch on validation
    (``val_qwk``: the metric that chooses, or the data set's score where runs differ in it); ``best_epoch, epochs_done,
    seconds`` (summed over attempts), ``test_set`` (1, 2, …: runs of one number have the same test images and labels),
    ``test_images, val_images``, ``notebook`` (relative to the study's folder), ``fingerprint, git_commit``; then every
    parameter (``none`` where it is None). What is not known is missing.
    ``failed``: name-seed -> why it was refused before it had a folder, or is out of date (`StudyRunner`).
    """
    planned = read_stamps(study).get("runs") or {}
    there = current_runs(study)[["folder", "state"]].to_numpy().tolist()
    mine = [(folder, state) for folder, state in there if not planned or folder.name in planned]
    rows = [_row(folder, state, _metric([folder for folder, _ in mine])) for folder, state in mine]
    for row in rows:
        row["error"] = row["error"] or (failed or {}).get(f"{row['run']}-seed{row['seed']}", "")
    have = {f"{row['run']}-seed{row['seed']}" for row in rows}
    for name in [name for name in planned if name not in have]:
        run, _, seed = name.rpartition("-seed")
        rows.append({"run": run, "seed": int(seed), "status": "not run", "error": (failed or {}).get(name, "")})
    order = {name: place for place, name in enumerate(planned)}
    rows.sort(key=lambda row: order.get(f"{row['run']}-seed{row['seed']}", len(order)))
    tested = [row["test_set"] for row in rows if "test_set" in row]
    sets = sorted(dict.fromkeys(tested), key=tested.count, reverse=True)  # that of most runs is the first
    rows = [row | ({"test_set": sets.index(row["test_set"]) + 1} if "test_set" in row else {}) for row in rows]
    found = {name for row in rows for name in row}
    scores = [f"{part}{name}" for part in (TEST, VAL) for name in METRICS if f"{part}{name}" in found]
    return pd.DataFrame(rows, columns=pd.Index([*FIRST, *scores, *OF_THE_RUN, *PARAMETERS]))


def validation_curves(study: str) -> dict[str, list[float]]:
    """The metric that epochs are chosen by, on validation, by epoch, by ``name-seed``; runs without it are left out."""
    planned = read_stamps(study).get("runs") or {}
    # Others are left from another version of the study, or of labkit.
    mine = [folder for folder in run_folders(study)["folder"] if not planned or folder.name in planned]
    curves = {folder.name: _validation(folder, _metric(mine)) for folder in mine}
    return {name: values for name, values in curves.items() if values}


def _row(folder: Path, state: str, metric: str) -> dict[str, Any]:
    manifest = read_manifest(folder)
    row = {"run": manifest["run"], "seed": manifest["seed"], "status": state}
    row["error"] = damage(folder) or manifest.get("error") or ""
    row |= {name: manifest[name] for name in ("best_epoch", "seconds", "fingerprint", "git_commit") if name in manifest}
    row["epochs_done"] = len(manifest.get("epoch_seconds", [])) or None
    row["notebook"] = f"runs/{folder.name}/train.html" if (folder / "train.html").is_file() else None
    row |= _parameters(folder, manifest)
    if "best_epoch" in row and (validation := _validation(folder, metric)):
        row[VAL + metric] = validation[row["best_epoch"] - 1]
    if state == "finished":
        row |= _test_scores(folder, manifest) | {"val_images": manifest.get("n_images", {}).get("val")}
    return row


def _parameters(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """As the run resolved them; what it starts from by its run's name, whatever the machine's folders are called."""
    if (folder / "params.yaml").is_file():
        values = read_params(folder).model_dump()
    else:  # it failed before it wrote more than a manifest, whose `data` is a hash
        values = {name: value for name, value in manifest.get("inputs", {}).items() if name != "data"}
    if values.get("parent"):
        values["weights"] = f"run:{Path(values['weights']).parent.name}" if values.get("weights") else None
    return {name: "none" if values[name] is None else values[name] for name in PARAMETERS if name in values}


def _test_scores(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The scores that are one number; {} without a labelled test image."""
    decided = decide(read_predictions(folder), len(manifest["classes"]))
    test = decided.loc[decided["split"] == "test"]
    if test.empty or test["label"].isna().any():
        return {}
    scores = evaluate(test, manifest["classes"], facts_of(read_params(folder)).task)
    numbers = {TEST + name: scores[name] for name in METRICS if isinstance(scores.get(name), float)}
    tested = test[["image_id", "label"]].astype(str).sort_values("image_id")
    return numbers | {"test_images": scores["n"], "test_set": fingerprint_of(tested.to_numpy().tolist())}


def _metric(folders: list[Path]) -> str:
    """What epochs are chosen by: the runs' metric if it is the same in all of them, else the data set's score."""
    runs = [read_params(folder) for folder in folders if (folder / "params.yaml").is_file()]
    scores = [facts_of(run).score for run in runs]
    named = {run.chosen_by(score).partition("_")[2] for run, score in zip(runs, scores, strict=True)}
    return named.pop() if len(named) == 1 else next(iter(scores), "")


def _validation(folder: Path, metric: str) -> list[float]:
    history = folder / "history.csv"
    table = read_csv(history) if history.is_file() else pd.DataFrame()
    return table[VAL + metric].tolist() if VAL + metric in table else []


def unfinished(study: Study, folders: pd.DataFrame) -> pd.DataFrame:
    """Columns run, state, error, log: of the compared runs and of those they start from, in the study's order.

    ``folders``: as `current_runs`. A run that was not begun because of what it starts from says so; ``log`` is
    empty where nothing was printed.
    """
    states = folders.set_index("run")["state"].groupby(level=0).agg(list).to_dict()
    rows = []
    for name, keys in study.table().items():
        parent = parent_of(keys.get("weights"))
        waits = f"starts from {parent}, which is not finished" if parent in study.table() else ""
        waits = waits if "finished" not in states.get(parent, []) else ""
        mine = folders.loc[folders["run"] == name, ["folder", "name", "state"]]
        if mine.empty:
            rows.append({"run": name, "state": "not run", "error": waits, "log": ""})
        for folder, folder_name, state in mine.loc[mine["state"] != "finished"].itertuples(index=False):
            error = damage(folder) or read_manifest(folder).get("error") or waits
            log = log_end(folder / "train.ipynb") if state in ("failed", "interrupted") else ""
            rows.append({"run": folder_name, "state": state, "error": error, "log": log})
    return pd.DataFrame(rows, columns=["run", "state", "error", "log"])


def log_end(notebook: Path, lines: int = LINES) -> str:
    """The last lines that an executed notebook printed, as a terminal shows them; '' where it says nothing."""
    # Takes two seconds (a grammar of URIs in what nbformat imports), in every notebook: only where a run has failed.
    from labkit.reporting.page.cells import RenderError, collapse, read_executed

    try:
        cells = read_executed(notebook, allow_errors=True).cells
    except RenderError:  # it is not there, or the disk was full when it was saved
        return ""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = "\n".join(output.text for output in outputs if output.output_type == "stream")
    said = [line.rstrip() for line in collapse(_ANSI.sub("", printed)).splitlines() if line.strip()]
    return "\n".join(said[-lines:])
