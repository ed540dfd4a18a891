"""``labkit verify``: re-run a finished run in a scratch folder and compare its files byte for byte."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import pandas as pd

from labkit.params import ParameterError
from labkit.runs import folder as runs
from labkit.runs.files import sha256
from labkit.studies.find import find_run
from labkit.studies.notebook import NOTEBOOKS, execute, print_line

EXAMPLE = "labkit verify resnet18-scratch --study demo"

# What must be the same, in the order in which a difference arises.
FILES = ("history.csv", "model.safetensors", "predictions.csv", "metrics.json")
# Equality is promised only if these are the same: another machine or version may give other bytes.
PROMISED_FOR = ("versions", "machine", "processor", "instructions", "device", "precision", "threads", "data", "code")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", help="a run's name or folder")
    parser.add_argument("--study", help="study of the run (default: the last one that has this run)")


def main(arguments: argparse.Namespace) -> int:
    """1 if a file differs; else the re-run is removed. ParameterError where the run cannot be made again."""
    folder = find_run(arguments.study, arguments.run)
    params, started = runs.read_params(folder), time.monotonic()
    name = folder.name.partition("@")[0]  # of a kept run
    repeated = runs.reports_root() / ".verify" / params.study / "runs" / name
    if folder.resolve() == repeated.resolve():
        raise ParameterError(f"{folder} is itself a re-run by labkit verify; name the run that it repeats")
    shutil.rmtree(repeated, ignore_errors=True)
    # Where the kernel writes; the decoded images stay where they are.
    os.environ |= {"LABKIT_CACHE": str(runs.cache_root()), "LABKIT_REPORTS": str(runs.reports_root() / ".verify")}
    # A run started by hand is named after its fingerprint, which newer code would change.
    named = params.model_copy(update={"run": params.run or name.removesuffix(f"-seed{params.seed}")}).model_dump()
    error = execute(NOTEBOOKS / "train.ipynb", repeated / "train.ipynb", named, lambda line: print_line(f"    {line}"))
    if error is not None:
        raise ParameterError(f"{folder.name} cannot be re-run: {error}")
    said, same = compare(folder, repeated, time.monotonic() - started)
    if same:
        shutil.rmtree(repeated)
    print(said, file=sys.stdout if same else sys.stderr)
    return 0 if same else 1


def compare(folder: Path, repeated: Path, seconds: float) -> tuple[str, bool]:
    """What differs between the files of a run and of its re-run, with possible causes; and whether nothing does."""
    differing = {name: where for name in FILES if (where := _difference(folder / name, repeated / name))}
    if not differing:
        return f"{folder.name}: re-run in {seconds:.0f} s, the same bytes ({', '.join(FILES)})", True
    lines = [f"{folder.name}: MISMATCH: files differ; the re-run is in {repeated}"]
    lines += [f"  {file}: {where}" for file, where in differing.items()]
    manifests = [runs.read_manifest(path) for path in (folder, repeated)]
    for name in PROMISED_FOR:
        then, now = (m.get("inputs", {}).get(name) if name in ("data", "code") else m.get(name) for m in manifests)
        if then != now:
            lines.append(f"  possible cause: {name} was {then}, is {now}")
    return "\n".join(lines), False


def _difference(kept: Path, made: Path) -> str:
    """Where two files differ; empty where they do not."""
    if not kept.is_file() or not made.is_file():
        return "" if kept.is_file() == made.is_file() else f"only {kept if kept.is_file() else made} exists"
    if kept.read_bytes() == made.read_bytes():
        return ""
    if kept.suffix == ".csv":
        return _difference_of_tables(pd.read_csv(kept), pd.read_csv(made))
    return f"SHA-256 was {sha256(kept)[:12]}, is {sha256(made)[:12]}"


def _difference_of_tables(kept: pd.DataFrame, made: pd.DataFrame) -> str:
    if list(kept) != list(made) or len(kept) != len(made):
        return f"was {len(kept)} rows of {', '.join(kept)}, is {len(made)} rows of {', '.join(made)}"
    changed = kept.compare(made)  # rows and columns that differ, each with a column self and other
    if changed.empty:
        return "the same values, formatted differently"
    (column, _), row = changed.iloc[0].first_valid_index(), changed.index[0]
    cell = f"{column} was {kept.loc[row, column]}, is {made.loc[row, column]}"
    return f"{len(changed)} of {len(kept)} rows differ, first row {row + 1} ({cell})"
