"""All chosen groups one after another, and what is left of them: the table, its CSV and what it was measured on."""

import sys
import traceback
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from labkit.bench.groups import chosen
from labkit.bench.machine import machine
from labkit.bench.rows import Row, absent_row, as_table
from labkit.bench.setting import Setting
from labkit.runs.files import write_csv, write_json
from labkit.runs.folder import reports_root


def measure(setting: Setting, only: str = "*") -> tuple[pd.DataFrame, list[str]]:
    """The rows of the groups that match ``only``, and the names of those that stopped with an error.

    Such a group keeps the rows that it had and gets one that says why; the others go on.
    """
    groups = chosen(only)
    tables, stopped = [], []
    for name, function in groups.items():
        rows: list[Row] = []
        try:
            with redirect_stdout(sys.stderr):  # what tools print while they work; the table alone goes to stdout
                for row in function(setting):
                    rows.append(row)
                    setting.tell(f"labkit bench: {_line(row)}")
        except Exception as error:  # hours of other rows are not lost to one
            traceback.print_exc(file=sys.stderr)
            rows.append(absent_row(name, "", "", "", f"stopped: {type(error).__name__}: {error}"))
            stopped.append(name)
        table = as_table(rows)
        table.insert(0, "group", name)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    if setting.quick:
        table["met"] = pd.array([pd.NA] * len(table), dtype="boolean")  # it was not measured
    return table, stopped


def write(table: pd.DataFrame, setting: Setting) -> Path:
    """``reports/bench/<time>-<device>.csv``, and a .json of the same name with the hardware and the versions."""
    facts = machine(setting.device)
    now = datetime.now(UTC)
    path = reports_root() / "bench" / f"{now:%Y-%m-%d-%H%M%S}-{setting.device}{'-quick' * setting.quick}.csv"
    write_json(path.with_suffix(".json"), {"date": now.isoformat(timespec="seconds"), "quick": setting.quick} | facts)
    hardware = facts["gpu"] or f"{facts['processor']}, {facts['cores']} cores"
    versions = " ".join(f"{name} {found}" for name, found in facts["versions"].items())
    columns = {"hardware": hardware, "versions": versions, "commit": facts["commit"], "date": f"{now:%Y-%m-%d}"}
    write_csv(path, table.assign(device=setting.device, **columns))
    return path


def _line(row: Row) -> str:
    if row.note and not row.rounds:
        return f"{row.what}, {row.setting}: {row.peer or 'ours'}: {row.note}"
    against = f"{row.ratio:.2f} × {row.peer}" if row.peer and row.ratio == row.ratio else ""
    return f"{row.what}, {row.setting}: {row.ours:.4g} {row.unit} {against}".rstrip()
