"""The run folders of a study, and the one that a name or path refers to."""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
from pydantic import BaseModel

from labkit.params import ParameterError, as_typed
from labkit.runs.files import read_csv, read_json
from labkit.runs.folder import DAMAGED, read_manifest, read_params, refuse_damaged, reports_root, state
from labkit.studies.file import Study, load_study, study_file


class Stamps(BaseModel, strict=True):
    """What is read of ``report.json``."""

    file: str = ""  # the study's, as messages name it
    runs: dict[str, str | None] | None = None  # name-seed -> planned fingerprint, None where it cannot be planned
    stale: dict[str, str] | None = None  # name-seed of a finished run that is shown -> why it is out of date


def read_stamps(study: str) -> dict[str, Any]:
    """``report.json``: what the study's last call planned, and what each file of its report was made from."""
    return read_json(reports_root() / study / "report.json", Stamps)


def run_folders(study: str, kept: bool = False) -> pd.DataFrame:
    """``run, seed, name, folder, state`` of each run folder of a study; ``kept``: also of those that were set aside."""
    rows = []
    for folder in sorted((reports_root() / study / "runs").glob("*")):
        if (kept or "@" not in folder.name) and (manifest := read_manifest(folder)):
            rows.append((manifest["run"], manifest["seed"], folder.name, folder, state(folder)))
    return pd.DataFrame(rows, columns=["run", "seed", "name", "folder", "state"])


def studies_run() -> list[str]:
    """The studies that have a run folder, if only a kept one; the last run first; ``adhoc``: runs started by hand."""
    root = reports_root()
    return list(dict.fromkeys(path.parents[2].relative_to(root).as_posix() for path in _latest_first(kept=True)))


def latest_study() -> str:
    """The study of `_latest_run`."""
    return read_manifest(_latest_run())["study"]


def _latest_run() -> Path:
    """The run that finished last; raises ParameterError if nothing has been run yet."""
    for path in _latest_first():
        if read_manifest(path.parent).get("status") == "finished":
            return path.parent
    raise ParameterError(f"study: none has been run yet in {reports_root()}; first: make report (or STUDY=…)")


def study_of_runs(study: str) -> Study:
    """The study as its file says; without a file (its runs were started by hand) one of its finished runs."""
    table = run_folders(study)
    if study_file(study).is_file() or not len(done := table.loc[table["state"] == "finished"]):
        return load_study(study)
    params = {run: read_params(folder) for run, folder in zip(done["run"], done["folder"], strict=True)}
    rows = {run: one.model_dump(exclude={"study", "run", "seed"}) for run, one in params.items()}
    return Study(name=study, title=f"Runs of {study}, started by hand", question="Which run is best?", runs=rows)


def out_of_date(study: str) -> list[str]:
    """A stamp for each reason for which finished runs that are shown are out of date (`StudyRunner.plan_only`)."""
    reasons: dict[str, list[str]] = {}
    for name, reason in (read_stamps(study).get("stale") or {}).items():
        reasons.setdefault(reason, []).append(name)
    return [f"out of date and not trained again: {', '.join(names)} ({why})" for why, names in reasons.items()]


def current_runs(study: str) -> pd.DataFrame:
    """``run_folders``; ``out of date`` where the study's last call planned another fingerprint, not if run by hand."""
    folders = run_folders(study)
    if (planned := read_stamps(study).get("runs")) is not None:
        fingerprints = [read_manifest(folder).get("fingerprint") for folder in folders["folder"]]
        stale = pd.Series(fingerprints, dtype=object) != folders["name"].map(planned.get)
        folders.loc[stale & (folders["state"] == "finished"), "state"] = "out of date"
    return folders


def best_on_validation(study: str) -> Path:
    """The best run on validation of the variant with the best mean over its seeds; of equal ones the first."""
    # Scores on other images are no better or worse: where runs are tested on several sets, the first one counts.
    folders, variants = current_runs(study), next(iter(load_study(study).test_sets().values()))
    mine = folders.loc[folders["run"].isin(variants)]
    for folder in mine.loc[mine["state"] == DAMAGED, "folder"]:  # it may be the best
        refuse_damaged(folder)
    chosen = mine.loc[mine["state"] == "finished"]
    if chosen.empty:
        raise ParameterError(f"study: got {study!r}, but no run of it is finished; first: make report STUDY={study}")
    reached: dict[str, dict[Path, float]] = {name: {} for name in variants}
    for run, folder in zip(chosen["run"], chosen["folder"], strict=True):
        manifest, history = read_manifest(folder), read_csv(folder / "history.csv")
        kept = history.loc[history["epoch"] == manifest["best_epoch"]]
        if (column := f"val_{manifest['score']}") in kept:
            reached[run][folder] = kept[column].item()
    if not any(reached.values()):  # no validation images
        names = ", ".join(chosen["name"])
        raise ParameterError(f"run: no run of {study!r} was evaluated on validation images; name one of {names}")
    best = max(filter(None, reached.values()), key=lambda scores: mean(scores.values()))
    return max(best, key=best.__getitem__)


def find_run(study: str | None = None, run: str | None = None) -> Path:
    """Folder of a finished run, given its path, its folder's name or, if it has one seed only, the run's name.

    Without a run: the study's best on validation, by default of the last study; ParameterError if none or several fit.
    """
    if run is None:
        names = run_folders(of := study or latest_study())["name"]
        if study_file(of).is_file() or names.empty:
            return best_on_validation(of)
        if study is None:
            return _latest_run()
        listed = ", ".join(names)
        raise ParameterError(f"run: {study!r} has no file in params/ with runs to choose from; name one of {listed}")
    if (as_typed(run) / "run.json").is_file():
        return _finished(as_typed(run).resolve())
    studies = [study] if study else studies_run() or ["adhoc"]
    tables = pd.concat([run_folders(of, kept=True).assign(study=of) for of in studies])
    current = ~tables["name"].str.contains("@").astype(bool)
    found = tables.loc[(tables["name"] == run) | (current & (tables["run"] == run))]
    if len(of := found["study"].unique()) > 1:
        raise ParameterError(f"run: got {run!r}, which is in several studies: {', '.join(of)}; name one with study")
    if len(found) > 1:
        raise ParameterError(f"run: got {run!r}, which has several seeds: {', '.join(found['name'])}; name one")
    if len(found):
        return _finished(found["folder"].iloc[0])
    shown = tables.loc[current]
    names = shown["name"] if study else shown["name"] + " (study " + shown["study"] + ")"
    where = reports_root() / (study or "")
    raise ParameterError(f"run: got {run!r}, which is not in {where}; there are: {', '.join(names) or 'none'}")


def _latest_first(kept: bool = False) -> Iterator[Path]:
    """Every ``run.json`` of the reports but those of hidden folders (tests, `labkit verify`); of kept runs if asked."""
    root = reports_root()
    files = sorted(root.rglob("runs/*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    shown = (path for path in files if "/." not in f"/{path.relative_to(root)}")
    return (path for path in shown if kept or "@" not in path.parent.name)


def _finished(folder: Path) -> Path:
    refuse_damaged(folder)
    if (found := state(folder)) != "finished":
        raise ParameterError(f"{folder}: this run is {found}, not finished; run it again, or name another one")
    return folder
