"""The run folders of a study, and which of them somebody means."""

from pathlib import Path

import pandas as pd

from labkit.params import ParameterError, as_typed
from labkit.runs.files import read_csv, read_json
from labkit.runs.folder import reports_root, state
from labkit.studies.file import load_study, study_file


def run_folders(study: str) -> pd.DataFrame:
    """One row a run folder of a study, failed ones too: ``run, seed, name, folder, state``."""
    rows = []
    for folder in sorted((reports_root() / study / "runs").glob("*")):
        manifest = read_json(folder / "run.json")
        if manifest.keys() >= {"run", "seed"}:
            rows.append(
                {
                    "run": manifest["run"],
                    "seed": manifest["seed"],
                    "name": folder.name,
                    "folder": folder,
                    "state": state(folder),
                }
            )
    return pd.DataFrame(rows, columns=["run", "seed", "name", "folder", "state"])


def latest_study() -> str:
    """The study with the run that was finished last; raises ParameterError if nothing has been run yet."""
    manifests = sorted(reports_root().rglob("runs/*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for manifest in map(read_json, manifests):
        if manifest.get("status") == "finished" and study_file(manifest["study"]).is_file():
            return manifest["study"]
    raise ParameterError(f"study: none has been run yet in {reports_root()}; first: make report (or STUDY=…)")


def current_runs(study: str) -> pd.DataFrame:
    """``run_folders`` as the study's last call planned them: what was made from other parameters is ``out of date``.

    A study that was never called as a whole (its runs were started by hand) is taken as it lies there.
    """
    folders = run_folders(study)
    planned = read_json(reports_root() / study / "report.json").get("runs")
    if planned is not None:
        made = [read_json(folder / "run.json").get("fingerprint") for folder in folders["folder"]]
        wanted = [planned.get(name) for name in folders["name"]]
        stale = [is_made != is_wanted for is_made, is_wanted in zip(made, wanted, strict=True)]
        folders.loc[pd.Series(stale, dtype=bool) & (folders["state"] == "finished"), "state"] = "out of date"
    return folders


def best_on_validation(study: str) -> Path:
    """Folder of the compared run whose chosen epoch scores best on validation; the test score plays no part."""
    folders = current_runs(study)
    best: tuple[float, Path] | None = None
    chosen = (folders["state"] == "finished") & folders["run"].isin(load_study(study).runs)
    for folder in folders.loc[chosen, "folder"].tolist():
        manifest, history = read_json(folder / "run.json"), read_csv(folder / "history.csv")
        column = f"val_{manifest['score']}"
        reached = max(history[column].tolist()) if column in history else None
        if reached is not None and (best is None or reached > best[0]):
            best = reached, folder
    if best is None and len(folders[chosen]):  # select_on: test or last
        names = ", ".join(folders.loc[chosen, "name"])
        raise ParameterError(f"run: no run of {study!r} was judged on validation images; name one of {names}")
    if best is None:
        raise ParameterError(f"study: got {study!r}, but no run of it is finished; first: make report STUDY={study}")
    return best[1]


def find_run(study: str | None = None, run: str | None = None) -> Path:
    """Folder of a finished run: by its path, its folder's name or, where that has one seed alone, the run's name.

    Without a run: the study's best on validation. Without a study: the last one run (that has a run of this name).
    Raises ParameterError where there is none, or where it is not finished.
    """
    if run is None and study and not study_file(study).is_file() and len(run_folders(study)):  # started by hand
        names = ", ".join(run_folders(study)["name"])
        raise ParameterError(
            f"run: {study!r} has no file in params/ that says what to choose from; name one of {names}"
        )
    if run is None:
        return best_on_validation(study or latest_study())
    if (as_typed(run) / "run.json").is_file():
        return _finished(as_typed(run).resolve())
    names = []
    for of in [study] if study else _studies():
        table = run_folders(of)
        found = table.loc[(table["name"] == run) | (table["run"] == run)]
        if len(found) > 1:
            raise ParameterError(f"run: got {run!r}, which has several seeds: {', '.join(found['name'])}; name one")
        if len(found):
            return _finished(found["folder"].iloc[0])
        names += [name if study else f"{name} (study {of})" for name in table["name"]]
    where = reports_root() / (study or "")
    raise ParameterError(f"run: got {run!r}, which is not in {where}; there are: {', '.join(names) or 'none'}")


def _studies() -> list[str]:
    """Names of all studies with a run folder; first the one whose run was written last."""
    root = reports_root()
    files = sorted(root.rglob("runs/*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    names = dict.fromkeys(path.parents[2].relative_to(root).as_posix() for path in files)
    return [name for name in names if not name.startswith(".")]


def _finished(folder: Path) -> Path:
    if (found := state(folder)) != "finished":
        raise ParameterError(f"{folder}: this run is {found}, not finished; start it again, or name another one")
    return folder
