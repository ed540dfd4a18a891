"""What one run leaves behind: a folder with its parameters, manifest, history, predictions and weights (no torch here).

Files appear whole or not at all. ``run.json`` decides whether a run is finished; an executed notebook does not, because
one whose kernel was killed looks complete. No clock, host or path enters history, predictions, metrics or weights, so
that the same run gives the same bytes; timings live in ``run.json``.
"""

import errno
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout

from labkit.params import PROJECT, ParameterError, RunParams, parent_of, refuse_url
from labkit.runs.files import read_csv, read_json, sweep, write_json, write_text, yaml_mistake
from labkit.runs.fingerprint import fingerprint_of

PACKAGES = (
    "torch",
    "torchvision",
    "accelerate",
    "timm",
    "numpy",
    "pandas",
    "scikit-learn",
    "pillow",
    "papermill",
    "nbconvert",
)
RANGE_TEST = "range_test.csv"  # of a run with find_learning_rate; see training.range_test


def reports_root() -> Path:
    """Where everything that was run is kept: ``LABKIT_REPORTS`` or ``reports/`` of the project."""
    return Path(refuse_url(os.environ.get("LABKIT_REPORTS", ""), "LABKIT_REPORTS") or PROJECT / "reports").resolve()


def cache_root() -> Path:
    """Decoded images and built-in phantoms, shared by all studies: ``LABKIT_CACHE`` or ``reports/.cache``."""
    return Path(refuse_url(os.environ.get("LABKIT_CACHE", ""), "LABKIT_CACHE") or PROJECT / "reports/.cache").resolve()


def why_run(folder: Path, inputs: dict[str, Any], find_learning_rate: bool = False) -> str | None:
    """Why a run has to be made (again), in words; None if its folder holds just what these inputs give.

    A range test that is asked for and not there is a reason to execute a finished run's notebook, not to train again.
    """
    manifest = read_json(folder / "run.json")
    if not manifest:
        return "not run yet"
    if not manifest.keys() >= {"fingerprint", "status"}:
        return "its run.json does not say what it was made from"
    if manifest["fingerprint"] != fingerprint_of(inputs):
        before = manifest.get("inputs", {})
        changed = sorted(key for key in before.keys() | inputs.keys() if before.get(key) != inputs.get(key))
        return "changed since it was run: " + ", ".join(changed)
    if manifest["status"] != "finished":
        epochs = len(manifest.get("epoch_seconds", []))
        return f"{state(folder)} after {epochs} full epochs" if epochs else f"{state(folder)} in its first epoch"
    if not notebook_complete(folder / "train.ipynb"):
        return "finished, but its notebook was cut short"
    if find_learning_rate and not (folder / RANGE_TEST).is_file():
        return "finished, but without the learning-rate range test"
    return None


def notebook_complete(path: Path) -> bool:
    """True if every code cell was executed without an error: Papermill saves a dead kernel's notebook as if it were."""
    if not path.is_file():
        return False
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except ValueError:
        return False
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    errors = [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    return bool(code) and not errors and all(cell["execution_count"] is not None for cell in code)


# --- the run folder ---------------------------------------------------------------------------------------------------


def run_folder(params: RunParams, fingerprint: str) -> Path:
    """``reports/<study>/runs/<run>-seed<k>``; a run started by hand is named after its architecture and fingerprint."""
    name = params.run or f"{params.arch}-{fingerprint[:8]}"
    return reports_root() / params.study / "runs" / f"{name}-seed{params.seed}"


def resolve_weights(params: RunParams) -> RunParams:
    """Turn ``weights: run:<name>-seed<k>`` into that run's weights file and its fingerprint.

    ``run:<name>`` alone means the same seed or, by hand, seed 0. A weights file of one's own is taken relative to the
    project, wherever the kernel was started. Raises ParameterError where no such run is finished, or where a run's
    weights are no longer the ones that ``parent`` speaks of.
    """
    if params.weights is None or params.weights.startswith("IMAGENET1K_"):
        return params
    if params.parent is not None:
        manifest = read_json(Path(params.weights).parent / "run.json")
        if not manifest:
            raise ParameterError(f"weights: got {params.weights}, which is not there any more; run the study again")
        if manifest.get("fingerprint") != params.parent:
            raise ParameterError(
                f"parent: got {params.parent}, but {params.weights} comes from another run; run it again"
            )
        return params
    if not params.weights.startswith("run:"):
        return params.model_copy(update={"weights": str(PROJECT / Path(params.weights).expanduser())})
    name, parent = params.weights.removeprefix("run:"), str(parent_of(params.weights))
    folders = [name] if name != parent else [f"{name}-seed{seed}" for seed in dict.fromkeys((params.seed, 0))]
    for folder in (reports_root() / params.study / "runs" / folder for folder in folders):
        if (manifest := read_json(folder / "run.json")).get("status") == "finished":
            changes = {"weights": str(folder / "model.safetensors"), "parent": manifest["fingerprint"]}
            return params.model_copy(update=changes)
    raise ParameterError(
        f"weights: got {params.weights}, but {reports_root() / params.study} holds no finished run of it"
    )


@dataclass
class Run:
    """An open run folder; the process holds its lock. Made by :func:`open_run`."""

    folder: Path
    params: RunParams
    fingerprint: str
    lock: FileLock
    manifest: dict[str, Any]
    seconds_before: float
    started: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        """Whether the predictions are there and final, as the manifest says."""
        return self.manifest["status"] == "finished"

    def path(self, name: str) -> Path:
        """A file of the run folder."""
        return self.folder / name

    def record(self, **facts: Any) -> None:
        """Write facts into ``run.json``, with the seconds spent so far, summed over attempts."""
        seconds = self.seconds_before + time.monotonic() - self.started
        self.manifest |= facts | {"seconds": round(seconds, 1)}
        write_json(self.path("run.json"), self.manifest)

    def count_test_prediction(self) -> None:
        """Looking at the test set is written down before it happens, so that a crash cannot hide it."""
        self.record(test_predictions=self.manifest.get("test_predictions", 0) + 1)

    def finish(self, **facts: Any) -> None:
        """The last word on a run; replaying a finished run changes nothing."""
        if not self.finished:
            self.path("checkpoint.pt").unlink(missing_ok=True)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.record(status="finished", finished_at=now, error=None, **facts)


_open: dict[Path, FileLock] = {}


def open_run(params: RunParams, inputs: dict[str, Any]) -> Run:
    """Lock the run's folder and start, continue or replay it.

    A folder with the same fingerprint is continued from its checkpoint, or replayed if it is finished; one with another
    fingerprint is stale and is emptied first. Raises ParameterError if another process is working in it.
    """
    fingerprint = fingerprint_of(inputs)
    folder = run_folder(params, fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder)
    sweep(folder)
    manifest = read_json(folder / "run.json")
    if manifest.get("fingerprint") != fingerprint:
        _empty(folder)
        name = folder.name.removesuffix(f"-seed{params.seed}")
        manifest = {"study": params.study, "run": name, "seed": params.seed}
        manifest |= {"fingerprint": fingerprint, "inputs": inputs}
    run = Run(folder, params, fingerprint, _open[folder], manifest, manifest.get("seconds", 0.0))
    if manifest.get("status") != "finished":
        run.record(status="running", attempts=manifest.get("attempts", 0) + 1, error=None, **environment())
        write_text(folder / "params.yaml", yaml.safe_dump(params.model_dump(), sort_keys=False, allow_unicode=True))
    return run


def _lock(folder: Path) -> None:
    """One run folder a kernel: a cell that is run again takes the lock it has, another run's lock is given back."""
    for other in [path for path in _open if path != folder]:
        _open.pop(other).release()
    if folder not in _open:
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=5)  # a kernel outlives a killed Papermill by a second or two
        except Timeout:
            raise ParameterError(f"{folder} is being worked in by another process; wait for it or stop it") from None
        _open[folder] = lock


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in {".lock", "train.ipynb"}:  # Papermill is writing the notebook that this runs in
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def mark_failed(folder: Path, params: RunParams, inputs: dict[str, Any], error: str) -> None:
    """Write down that a run failed, and why; its checkpoint stays, so that a mended run goes on from there.

    A run whose predictions are finished stays finished, whatever its notebook met afterwards: a plot that fails must
    not cost an epoch. A folder that another process works in is left alone.
    """
    if state(folder) == "running":
        return
    manifest = read_json(folder / "run.json")
    if manifest.get("fingerprint") != fingerprint_of(inputs):
        manifest = {"study": params.study, "run": params.run, "seed": params.seed}
        manifest |= {"fingerprint": fingerprint_of(inputs), "inputs": inputs}
    status = "finished" if manifest.get("status") == "finished" else "failed"
    write_json(folder / "run.json", manifest | {"status": status, "error": error})


def state(folder: Path, patience: float = 0.0) -> str:
    """``finished``, ``failed``, ``interrupted``, ``running`` or ``not run``.

    ``patience``: seconds to wait for whoever works in it, who may be about to end.
    """
    status = read_json(folder / "run.json").get("status", "not run")
    if status != "running":
        return status
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return "running"
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return "interrupted"  # of reports on a medium that nobody can write to
    lock.release()
    return "interrupted"


def environment() -> dict[str, Any]:
    """Versions, machine and commit, for the manifest."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """Commit of the project, ``+changes`` where the work tree differs, None outside a repository."""
    try:
        command = [
            "git",
            "-C",
            str(PROJECT),
            "describe",
            "--always",
            "--dirty=+changes",
            "--abbrev=12",
            "--exclude=*",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def learnt_before(params: RunParams) -> pd.DataFrame:
    """What the run that the weights come from had learnt from (``learnt_from.csv``: sha256, group); else no row."""
    path = Path(str(params.weights)).parent / "learnt_from.csv"
    if params.parent is None or not path.is_file():
        return pd.DataFrame({"sha256": [], "group": []}, dtype="string")
    return read_csv(path, dtype="string")


def read_predictions(folder: Path) -> pd.DataFrame:
    """``predictions.csv`` with its column types: ids, groups and sides are text, labels are nullable integers."""
    types: dict[Hashable, str] = dict.fromkeys(("image_id", "group", "side", "split"), "string")
    types["label"] = "Int64"
    return read_csv(folder / "predictions.csv", dtype=types)


def read_params(folder: Path) -> RunParams:
    """The parameters of ``params.yaml``; raises ParameterError where this version does not know one of them, or where
    the file is damaged."""
    path = folder / "params.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = yaml_mistake(error) if isinstance(error, yaml.YAMLError) else ": not a text in UTF-8"
        raise ParameterError(f"{path}{why}; remove the folder and run it again") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError(f"{path}: damaged, it holds no parameters; remove the folder and run it again")
    return RunParams.of(values, f"{path}")
