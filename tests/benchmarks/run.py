"""The benchmark: labkit's speed beside that of what people would use instead, measured in turn. `make bench` calls it.

`python tests/benchmarks/run.py [--only 'input*'] [--device cuda] [--rounds 5] [--quick]` from the project's root prints
the table and writes it to reports/bench/. Exit code 1: a group of rows stopped with an error; 2: wrong use.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pandas as pd
import rows_data
import rows_evaluation
import rows_input
import rows_report
import rows_training
import torch
from measuring import Bench, Row, row
from tasks import in_one_line

from labkit.params import PROJECT
from labkit.runs.files import write_csv
from labkit.runs.folder import cache_root, environment, reports_root
from labkit.training.device import processor, reuse_memory

GROUPS: dict[str, Sequence[Callable[[Bench], Iterable[Row]]]] = {
    "input": [rows_input.rows],
    "input-rotated": [rows_input.rotated_rows],
    "epoch": [rows_training.epoch_rows],
    "step": [rows_training.step_rows],
    "evaluation": [rows_evaluation.rows],
    "frozen": [rows_training.frozen_rows],
    "device": [rows_training.device_rows],
    "data": [rows_data.prepare_rows, rows_data.store_rows, rows_data.loader_rows],
    "growth": [rows_data.growth_rows],
    "report": [rows_report.analysis_rows, rows_report.demo_rows],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for, print the table and write it."""
    parser = argparse.ArgumentParser(description="labkit's speed beside that of what people would use instead")
    parser.add_argument("--only", default="*", help="groups of rows, such as 'input*' (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (default: 5)")
    devices = ["cpu", *["cuda"] * torch.cuda.is_available()]
    parser.add_argument("--device", choices=devices, default="cpu", help="where networks run (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to test it: its figures mean nothing")
    asked = parser.parse_args(argv)
    chosen = [name for name in GROUPS if fnmatchcase(name, asked.only)]
    if not chosen:
        parser.error(f"--only: no group of rows matches {asked.only!r}; there are {', '.join(GROUPS)}")
    if asked.rounds < 1:
        parser.error(f"--rounds: got {asked.rounds}, allowed: at least 1")
    reuse_memory()  # as every run does at its start; for all contestants, since a process has one allocator
    folder = cache_root() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, asked.rounds, asked.device, asked.quick)
    table, stopped = measure(bench, chosen)
    print(in_words(table), f"\nAs a table: {os.path.relpath(write(table, bench), PROJECT)}", sep="\n")
    return 1 if stopped else 0


def measure(bench: Bench, names: Iterable[str]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of these groups, and the names of those that stopped with an error: the others go on."""
    rows: list[Row] = []
    stopped: list[str] = []
    for name in names:
        try:
            with redirect_stdout(sys.stderr):  # what tools print while they work; the table alone goes to stdout
                for one in chain.from_iterable(made(bench) for made in GROUPS[name]):
                    rows.append({"group": name} | one)
                    bench.tell(f"{one['what']}, {one['setting']}: {one['ours']:.4g} {one['unit']}")
        except Exception as error:  # hours of other rows are not lost to one
            traceback.print_exc(file=sys.stderr)
            rows.append({"group": name} | row(name, "", "", rounds=0, note=f"stopped: {in_one_line(error)}"))
            stopped.append(name)
    table = pd.DataFrame(rows).astype({"met": "boolean"})
    return table.assign(met=pd.NA) if bench.quick else table, stopped  # quick: it was not measured


def in_words(table: pd.DataFrame) -> str:
    """The table for a shell: three digits or all of a large number, empty where there is nothing; the notes below."""
    shown = table[["what", "setting", "unit", "ours", "peer", "theirs", "ratio", "goal"]].copy()
    shown["met"] = table["met"].map({True: "yes", False: "NO"}).fillna("")
    noted = table.loc[table["note"] != "", ["what", "peer", "note"]].to_numpy()
    notes = dict.fromkeys(f"{what}, {peer or 'ours'}: {note}" for what, peer, note in noted)
    rounded = lambda value: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: E731
    return "\n".join([shown.to_string(index=False, na_rep="", float_format=rounded), *notes])


def write(table: pd.DataFrame, bench: Bench) -> Path:
    """``reports/bench/<time>-<device>.csv``: the table with hardware, versions, the project's commit and the date."""
    facts, now = environment(), datetime.now(UTC)
    path = reports_root() / "bench" / f"{now:%Y-%m-%d-%H%M%S}-{bench.device}{'-quick' * bench.quick}.csv"
    installed = {name: version(name) for name in ("lightning", "fastai") if find_spec(name)}
    versions = " ".join(f"{name} {found}" for name, found in (facts["versions"] | installed).items())
    gpu = bench.device == "cuda"
    hardware = torch.cuda.get_device_name() if gpu else f"{processor()}, {os.cpu_count()} cores"
    columns = {"device": bench.device, "hardware": hardware, "versions": versions}
    write_csv(path, table.assign(**columns, commit=facts["git_commit"], date=f"{now:%Y-%m-%d}"))
    return path


if __name__ == "__main__":
    sys.exit(main())
