"""A run's folder (no torch here): ``run.json`` says whether it is finished, and it alone has a clock, host or path."""

import errno
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from filelock import AcquireReturnProxy, FileLock, Timeout
from pydantic import BaseModel

from labkit.params import PROJECT, ParameterError, RunParams, parent_of, refuse_url
from labkit.runs import files
from labkit.runs.files import read_csv, read_json, write_json
from labkit.runs.fingerprint import LEFT_OPEN, fingerprint_of, resolved

PACKAGES = ["torch", "torchvision", "accelerate", "timm", "numpy", "pandas"]
PACKAGES += ["scikit-learn", "pillow", "papermill", "nbconvert"]
LEFT = ("params.yaml", "history.csv", "learnt_from.csv", "predictions.csv", "metrics.json", "model.safetensors")
PASSING = {"status", "error", "seconds", "test_predictions", "sha256"}  # of run.json: they may change afterwards
RANGE_TEST = "range_test.csv"  # of a run with find_learning_rate
CHANGED, DAMAGED = "changed since it was run", "damaged"  # how reasons to train a finished run again begin
TRAINED = "finished, but"  # and those to execute its notebook again, without training
NOT_BEGUN = {".lock", "train.ipynb"}  # what a run folder has before there is a run: Papermill writes the latter first
# What labkit writes to a run folder, with the `submissions` of run.json. All else is a person's, and is never deleted.
WRITTEN = {*LEFT, *NOT_BEGUN, "run.json", "checkpoint.pt", RANGE_TEST, "train.html"}


def reports_root() -> Path:
    """The folder of all studies' results: ``LABKIT_REPORTS``, or ``reports/`` of the project."""
    return _place("LABKIT_REPORTS", "reports")


def cache_root() -> Path:
    """Decoded images and built-in phantoms, shared by all studies: ``LABKIT_CACHE``, or ``reports/.cache``."""
    return _place("LABKIT_CACHE", "reports/.cache")


def _place(variable: str, default: str) -> Path:
    if not (given := refuse_url(os.environ.get(variable, ""), variable)):
        needs_checkout()
    return (PROJECT / Path(given or default).expanduser()).resolve()


def places_of_caller() -> None:
    """Makes places absolute that a command's caller gave relative to the current folder: kernels start in another."""
    needs_checkout()
    for variable in ("LABKIT_REPORTS", "LABKIT_CACHE"):
        if given := refuse_url(os.environ.get(variable, ""), variable):
            os.environ[variable] = str(Path(given).expanduser().absolute())


def needs_checkout() -> None:
    """Raises ParameterError where labkit was installed without the folders that it works in."""
    if not (PROJECT / "notebooks").is_dir():
        told = f"labkit is installed in {PROJECT} without its notebooks/ and params/"
        raise ParameterError(f"{told}; get a checkout of the project and install it there with: pip install -e .")


class Manifest(BaseModel, strict=True):
    """What is read of ``run.json``; it holds more (`Run.finish`)."""

    study: str
    run: str
    seed: int
    fingerprint: str
    inputs: dict[str, Any]
    status: Literal["running", "finished", "failed"]
    error: str | None = None
    seconds: float = 0.0
    epoch_seconds: list[float] = []
    attempts: int = 0
    test_predictions: int = 0
    best_epoch: int = 0
    sha256: dict[str, str] = {}
    submissions: list[str] = []


def read_manifest(folder: Path) -> dict[str, Any]:
    """``run.json``, {} where there is none; where it is damaged what the folder's name says, and that status."""
    try:
        return read_json(folder / "run.json", Manifest)
    except ValueError:
        run, _, seed = folder.name.partition("@")[0].rpartition("-seed")
        return {"run": run or folder.name, "seed": int(seed) if seed.isdecimal() else 0, "status": DAMAGED}


def why_run(folder: Path, inputs: dict[str, Any], find_learning_rate: bool = False) -> str | None:
    """Why a run has to be (re-)run, in words; None if its folder is up to date with these inputs (`is_of`)."""
    if not (manifest := read_manifest(folder)):
        return "not run yet"
    if found := damage(folder):
        return found
    if not is_of(folder, inputs):
        before = manifest["inputs"]
        inputs = resolved(inputs, before)
        changed = sorted(key for key in before.keys() | inputs.keys() if before.get(key) != inputs.get(key))
        told = [f"{key} (it was {before[key]})" if key in LEFT_OPEN and key in before else key for key in changed]
        return f"{CHANGED}: " + ", ".join(told)
    if manifest["status"] != "finished":
        epochs = len(manifest.get("epoch_seconds", []))
        return f"{state(folder)} " + (f"after {epochs} full epochs" if epochs else "in its first epoch")
    if not notebook_complete(folder / "train.ipynb"):
        return f"{TRAINED} its notebook was cut short"
    if find_learning_rate and not (folder / RANGE_TEST).is_file():
        return f"{TRAINED} without the learning-rate range test"
    return None


def is_of(folder: Path, inputs: dict[str, Any]) -> bool:
    """Whether the folder's run has these inputs and no damage; what they leave open is taken as the run used it."""
    manifest = read_manifest(folder)
    same = manifest.get("fingerprint") == fingerprint_of(resolved(inputs, manifest.get("inputs", {})))
    return same and not damage(folder)


def sums(folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of what a finished run left (LEFT) and of its manifest's facts; remembered, so asked again it is free."""
    there = [name for name in LEFT if (folder / name).is_file()]
    hashed = files.remembered_sha256([str(folder / name) for name in there], cache_root() / "run-hashes.csv")
    facts = {name: value for name, value in manifest.items() if name not in PASSING}
    return dict(zip(there, hashed, strict=True)) | {"run.json": fingerprint_of(json.loads(json.dumps(facts)))}


def damage(folder: Path) -> str:
    """What a finished run left and is not as it wrote it, in words; '' without damage or where no SHA-256 was kept."""
    manifest = read_manifest(folder)
    if manifest.get("status") not in ("finished", DAMAGED):
        return ""
    then = manifest.get("sha256", {}) if manifest["status"] == "finished" else {"run.json": "another"}
    now = sums(folder, manifest)
    changed = [name for name in then if now.get(name) != then[name]]
    told = [f"{name} is {'not what the run wrote' if name in now else 'missing'}" for name in changed]
    return f"{DAMAGED}: {', '.join(told)}" if told else ""


def refuse_damaged(folder: Path) -> None:
    """Raises ParameterError that names the files of a finished run that are not as it wrote them, and the cure."""
    if found := damage(folder):
        raise ParameterError(f"{folder}: {found}; put back the files, or let labkit report make the run again")


def kept_runs(folder: Path) -> list[Path]:
    """The runs that were set aside when others needed the folder: ``<run>-seed<k>@<fingerprint8>`` beside it."""
    return sorted(folder.parent.glob(f"{folder.name}@*"))


def kept_run(folder: Path, inputs: dict[str, Any]) -> Path | None:
    """The one of `kept_runs` that has these inputs."""
    return next((kept for kept in kept_runs(folder) if is_of(kept, inputs)), None)


def written_by_labkit(folder: Path) -> list[Path]:
    """The files of a run folder that labkit wrote, by their names; what else is there is a person's."""
    names = WRITTEN | set(read_manifest(folder).get("submissions", []))
    for sidecar in folder.glob("external-*.json"):  # of an external test set, beside its predictions
        predictions = sidecar.name.replace("external-", "predictions-", 1).replace(".json", ".csv")
        names |= {sidecar.name, predictions} if (folder / predictions).is_file() else set()
    written = (path for path in folder.iterdir() if re.sub(r"^\.(.+)\.\d+-\d+\.tmp$", r"\1", path.name) in names)
    return sorted(path for path in written if path.is_file())


def make_way(folder: Path, inputs: dict[str, Any], patience: float = 5.0) -> None:
    """Set aside what is in the folder and no run of these inputs; take back one that is. ParameterError if locked."""
    with _locked(folder, patience):
        _swap(folder, inputs)


def _swap(folder: Path, inputs: dict[str, Any]) -> bool:
    """`make_way` for the process that has locked the folder; whether it was renamed, with its lock."""
    kept, there = kept_run(folder, inputs), list(folder.iterdir())
    begun = any(path.name not in NOT_BEGUN for path in there)
    if is_of(folder, inputs) or not (kept or begun):
        return False
    if begun or folder.is_symlink():
        name = f"{folder.name}@{read_manifest(folder).get('fingerprint', 'unknown')[:8]}"
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        folder.rename(next(path for path in map(folder.with_name, names) if not path.exists()))
    else:  # new, or what a call that was killed here has left
        for path in there:
            path.unlink()
        folder.rmdir()
    if kept:
        kept.rename(folder)
    return True


def notebook_complete(path: Path, with_errors: bool = False) -> bool:
    """True if every code cell was executed (not by a killed kernel), and but for ``with_errors`` without an error."""
    try:
        cells = [cell for cell in read_json(path)["cells"] if cell["cell_type"] == "code"]
        code = [cell for cell in cells if "".join(cell["source"]).strip()]
        failed = any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
        executed = bool(code) and all(cell["execution_count"] is not None for cell in code)
    except (ValueError, TypeError, LookupError):  # it is none
        return False
    return executed and (with_errors or not failed)


def run_folder(params: RunParams, fingerprint: str) -> Path:
    """``reports/<study>/runs/<run>-seed<k>``; a run without a name is named after architecture and fingerprint."""
    name = params.run or f"{params.arch}-{fingerprint[:8]}"
    return reports_root() / params.study / "runs" / f"{name}-seed{params.seed}"


def resolve_weights(params: RunParams, taken: Mapping[str, Path] | None = None) -> RunParams:
    """Turn ``weights: run:<name>-seed<k>`` into that run's weights file and its fingerprint, ``parent``.

    ``run:<name>`` alone means the same seed, or else seed 0; a path is relative to the project. ``taken``: kept runs
    that will be taken back, by folder name. ParameterError if no such run is finished, or if its parent is another.
    """
    if params.weights is None or params.weights.startswith("IMAGENET1K_"):
        return params
    if params.parent is not None:
        folder, wanted = Path(params.weights).parent, {"fingerprint": params.parent}
        folders = [folder, *kept_runs(folder)]
        refused = f"parent: got {params.parent}, but {params.weights} comes from another run; re-run it"
        if not (folder / "run.json").is_file():
            refused = f"weights: got {params.weights}, which does not exist any more; run the study again"
    elif params.weights.startswith("run:"):
        name, study, wanted = params.weights.removeprefix("run:"), reports_root() / params.study, {"status": "finished"}
        names = [name] if name != parent_of(params.weights) else [f"{name}-seed{seed}" for seed in (params.seed, 0)]
        folders = [(taken or {}).get(name, study / "runs" / name) for name in names]
        refused = f"weights: got {params.weights}, but {study} has no finished run of it"
    else:
        return params.model_copy(update={"weights": str(PROJECT / Path(params.weights).expanduser())})
    for folder in folders:
        if wanted.items() <= (manifest := read_manifest(folder)).items():
            refuse_damaged(folder)
            found = {"weights": str(folder / "model.safetensors"), "parent": manifest["fingerprint"]}
            return params.model_copy(update=found)
    raise ParameterError(refused)


@dataclass
class Run:
    """An open run folder; the process holds its lock. Made by :func:`open_run`."""

    folder: Path
    params: RunParams
    manifest: dict[str, Any]

    def __post_init__(self) -> None:
        self.fingerprint, self.seconds_before = self.manifest["fingerprint"], self.manifest.get("seconds", 0.0)
        self.started = time.monotonic()

    @property
    def finished(self) -> bool:
        """As its manifest says."""
        return self.manifest["status"] == "finished"

    def path(self, name: str) -> Path:
        """A file of the run folder."""
        return self.folder / name

    def record(self, **facts: Any) -> None:
        """Write facts to ``run.json``, with the seconds spent so far, summed over attempts."""
        seconds = self.seconds_before + time.monotonic() - self.started
        self.manifest |= facts | {"seconds": round(seconds, 1)}
        write_json(self.path("run.json"), self.manifest)

    def count_test_prediction(self) -> None:
        """Call this before predicting test, so that a crash cannot hide a look at the test set."""
        self.record(test_predictions=self.manifest.get("test_predictions", 0) + 1)

    def finish(self, **facts: Any) -> None:
        """Mark the run as finished, with the SHA-256 of what it left; once more, metrics.json alone may be another."""
        if not self.finished:
            self.path("checkpoint.pt").unlink(missing_ok=True)
            facts |= {"status": "finished", "finished_at": datetime.now(UTC).isoformat(timespec="seconds")}
            self.record(**facts, error=None, sha256=sums(self.folder, self.manifest | facts))
        elif (kept := self.manifest.get("sha256")) and (now := sums(self.folder, self.manifest)) != kept:
            self.record(sha256=kept | {name: new for name, new in now.items() if name == "metrics.json"})


_open: dict[Path, FileLock] = {}


def open_run(params: RunParams, inputs: dict[str, Any], used: Mapping[str, Any] | None = None) -> Run:
    """Lock the run's folder, set aside a run of another fingerprint, and start or go on; a finished one is only opened.

    ``used``: what this machine takes where the inputs leave it open. ParameterError if another process has locked the
    folder, or if the run was begun on another kind of device.
    """
    here = resolved(inputs, used or {})
    folder = run_folder(params, fingerprint_of(here))
    _lock(folder)
    if _swap(folder, inputs):
        _open.pop(folder).release()  # it went with the folder
        _lock(folder)
    manifest = read_manifest(folder)
    inputs = resolved(inputs, manifest.get("inputs", {}))
    if "auto" in (inputs.get("device"), inputs.get("precision")):  # it is new, or failed before it took one
        inputs = here
    if manifest.get("fingerprint") != fingerprint_of(inputs):
        manifest = _new_manifest(folder, params, here)
    elif manifest.get("status") != "finished":
        for name in ("device", "precision"):  # not threads: `fit` takes those of the beginning
            if inputs.get(name) != here.get(name):
                begun = f"got auto, here {here[name]}, but {folder} was begun with {inputs[name]}"
                cure = f"continue it where that is available, or set {name} to {here[name]} to begin anew"
                raise ParameterError(f"{name}: {begun}; {cure}")
    run = Run(folder, params, manifest)
    if manifest.get("status") != "finished":
        run.record(status="running", attempts=manifest.get("attempts", 0) + 1, error=None, **environment())
        text = yaml.safe_dump(params.model_dump(), sort_keys=False, allow_unicode=True)
        files.write_text(folder / "params.yaml", text)
    return run


def _new_manifest(folder: Path, params: RunParams, inputs: dict[str, Any]) -> dict[str, Any]:
    run = {"study": params.study, "run": folder.name.removesuffix(f"-seed{params.seed}"), "seed": params.seed}
    return run | {"fingerprint": fingerprint_of(inputs), "inputs": inputs}


def _lock(folder: Path) -> None:
    """Each kernel locks one run folder: a cell that is run again keeps its lock, another run's lock is released."""
    for other in [path for path in _open if path != folder]:
        _open.pop(other).release()
    if folder not in _open:
        _open[folder] = _locked(folder).lock


def _locked(folder: Path, patience: float = 5.0) -> AcquireReturnProxy[Any]:
    """The default ``patience`` is for a kernel that lives on for a second or two after Papermill was killed."""
    busy = ParameterError(f"{folder} is locked by another process; wait for it or stop it")
    return files.alone(folder / ".lock", busy, patience)


def mark_failed(folder: Path, params: RunParams, inputs: dict[str, Any], error: str) -> None:
    """Write to the manifest that a run failed, and why; not if the folder is locked, or holds a run of other inputs."""
    manifest = read_manifest(folder) or _new_manifest(folder, params, inputs)
    mine = fingerprint_of(resolved(inputs, manifest.get("inputs", {})))
    if state(folder) == "running" or manifest.get("fingerprint") != mine:  # code or data changed after the plan
        return
    # Whatever fails in a finished run's notebook afterwards: a plot must not cost an epoch.
    status = "finished" if manifest.get("status") == "finished" else "failed"
    write_json(folder / "run.json", manifest | {"status": status, "error": error})


def state(folder: Path) -> str:
    """``finished``, ``damaged`` (see `damage`), ``failed``, ``interrupted``, ``running`` or ``not run``."""
    if (status := read_manifest(folder).get("status", "not run")) != "running":
        return DAMAGED if damage(folder) else status
    try:
        FileLock(folder / ".lock").acquire(timeout=0).lock.release()
    except Timeout:
        return "running"
    except OSError as error:
        if error.errno != errno.EROFS:  # on a read-only disk nobody can be running
            raise
    return "interrupted"


def environment() -> dict[str, Any]:
    """Versions, machine and git commit (``+changes`` if files differ from it), for the manifest."""
    versions, commit = {"python": platform.python_version()} | dict.fromkeys(PACKAGES, "not installed"), None
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):  # no repository
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    return {"versions": versions, "machine": f"{platform.system()} {platform.machine()}", "git_commit": commit}


def learnt_before(params: RunParams) -> pd.DataFrame:
    """The training images of the parent run (``learnt_from.csv``: sha256, group); no rows without a parent."""
    path = Path(str(params.weights)).parent / "learnt_from.csv"
    if params.parent is None or not path.is_file():
        return pd.DataFrame({"sha256": [], "group": []}, dtype="string")
    return read_csv(path, dtype="string")


def read_predictions(folder: Path, name: str = "predictions.csv") -> pd.DataFrame:
    """A predictions table with its column types: ids, groups and sides are text, labels are nullable integers."""
    types: dict[Hashable, str] = dict.fromkeys(("image_id", "group", "side", "split"), "string")
    return read_csv(folder / name, dtype=types | {"label": "Int64"})


def read_params(folder: Path) -> RunParams:
    """The parameters in ``params.yaml``; raises ParameterError if it is damaged or has an unknown parameter."""
    path, cure = folder / "params.yaml", "; remove the folder and re-run it"
    values = files.parse_yaml(path.read_bytes(), f"{path}", cure, loader=yaml.SafeLoader)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError(f"{path}: damaged, it holds no parameters{cure}")
    return RunParams.of(values, f"{path}")
