"""Repeating a finished run from its own `params.yaml`, elsewhere, and comparing what both left behind byte by byte."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.params import ParameterError
from labkit.runs import folder as runs
from labkit.runs.files import read_json, sha256
from labkit.studies.notebook import NOTEBOOKS, execute

# What a run promises to be the same, in the order in which a difference arises.
FILES = ("history.csv", "model.safetensors", "predictions.csv", "metrics.json")
# What equality is promised for: where one of these is another, another result is no fault of the run.
PROMISED_FOR = ("versions", "machine", "device", "precision", "threads")


@dataclass(frozen=True)
class Repeat:
    """A run beside its repetition: files that differ, with where; and what else was not the same (then, now)."""

    name: str
    folder: Path  # of the repetition, kept where something differs
    differing: dict[str, str]
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def same(self) -> bool:
        """Whether every file has the same bytes."""
        return not self.differing

    def __str__(self) -> str:
        if self.same:
            return f"{self.name}: repeated in {self.seconds:.0f} s, the same bytes ({', '.join(FILES)})"
        lines = [f"{self.name}: NOT the same; the repetition lies in {self.folder}"]
        lines += [f"  {file}: {where}" for file, where in self.differing.items()]
        lines += [f"  what may be why: {name} was {then}, is {now}" for name, (then, now) in self.changed.items()]
        return "\n".join(lines)


def verify(folder: Path) -> Repeat:
    """Run the notebook again with the run's own parameters and compare; removes the repetition where all is the same.

    Raises ParameterError where the run is not finished or cannot be repeated (data or weights that are gone).
    """
    if (state := runs.state(folder)) != "finished":
        raise ParameterError(f"{folder}: this run is {state}, and only a finished one can be verified")
    params, started = runs.read_params(folder), time.monotonic()
    with _elsewhere() as root:
        repeated = root / params.study / "runs" / folder.name
        shutil.rmtree(repeated, ignore_errors=True)
        # A run started by hand has its folder's name from its fingerprint, which newer code would change.
        named = params.model_copy(update={"run": params.run or folder.name.removesuffix(f"-seed{params.seed}")})
        error = execute(NOTEBOOKS / "train.ipynb", repeated / "train.ipynb", named.model_dump(), _say)
    if error is not None:
        raise ParameterError(f"{folder.name} cannot be repeated: {error}")
    found = compare(folder, repeated, time.monotonic() - started)
    if found.same:
        shutil.rmtree(repeated)
    return found


def compare(folder: Path, repeated: Path, seconds: float = 0.0) -> Repeat:
    """Two run folders, file by file; in words where a file first differs."""
    differing = {name: _difference(folder / name, repeated / name) for name in FILES}
    then, now = (read_json(path / "run.json") for path in (folder, repeated))
    changed = {name: (then.get(name), now.get(name)) for name in PROMISED_FOR if then.get(name) != now.get(name)}
    made_of = [manifest.get("inputs", {}) for manifest in (then, now)]
    for name in ("data", "code"):
        if made_of[0].get(name) != made_of[1].get(name):
            changed[name] = (made_of[0].get(name), made_of[1].get(name))
    return Repeat(folder.name, repeated, {name: where for name, where in differing.items() if where}, changed, seconds)


def _difference(kept: Path, made: Path) -> str:
    """Where two files differ; empty where they do not."""
    if not kept.is_file() or not made.is_file():
        return "" if kept.is_file() == made.is_file() else f"only {kept if kept.is_file() else made} is there"
    if kept.read_bytes() == made.read_bytes():
        return ""
    if kept.suffix == ".csv":
        return _difference_of_tables(pd.read_csv(kept), pd.read_csv(made))
    return f"SHA-256 {sha256(kept)[:12]} was kept, {sha256(made)[:12]} was made"


def _difference_of_tables(kept: pd.DataFrame, made: pd.DataFrame) -> str:
    if list(kept) != list(made) or len(kept) != len(made):
        return f"{kept.shape[0]} rows of {', '.join(kept)} were kept, {made.shape[0]} of {', '.join(made)} were made"
    other = ~((kept == made) | (kept.isna() & made.isna())).to_numpy()
    if not other.any():
        return "the same values, written otherwise"
    row, column = (int(found[0]) for found in np.nonzero(other))
    values = [table.iloc[row, column] for table in (kept, made)]
    cell = f"{kept.columns[column]} was {values[0]}, is {values[1]}"
    return f"{other.any(axis=1).sum()} of {len(kept)} rows differ, first row {row + 1} ({cell})"


def _say(line: str) -> None:
    print(f"    {line}", flush=True)


@contextmanager
def _elsewhere() -> Iterator[Path]:
    """Reports of the kernel go to ``reports/.verify``; the decoded images stay where they are."""
    root, cache = runs.reports_root() / ".verify", runs.cache_root()
    before = {name: os.environ.get(name) for name in ("LABKIT_REPORTS", "LABKIT_CACHE")}
    os.environ |= {"LABKIT_REPORTS": str(root), "LABKIT_CACHE": str(cache)}
    try:
        yield root
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
