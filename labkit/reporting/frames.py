"""The few pandas steps that tables, figures and sentences share, with plain types (pandas' own are wide unions)."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd

from labkit.format import missing


def joined(history: pd.DataFrame | Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table with `run` as text, `seed` (0 if absent), sorted by `epoch`; takes a list of tables too."""
    table = history if isinstance(history, pd.DataFrame) else pd.concat(list(history), ignore_index=True)
    return table.assign(run=table["run"].astype(str), seed=table.get("seed", 0)).sort_values("epoch", kind="stable")


def parts(table: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """The rows of each value (as text) of column `name`, in order of appearance."""
    keys = table[name].astype(str)
    return {key: cast(pd.DataFrame, table[keys == key]) for key in dict.fromkeys(keys)}


def only(table: pd.DataFrame, name: str, value: object) -> pd.DataFrame:
    """The rows whose column `name` is `value` (as text); possibly none."""
    return cast(pd.DataFrame, table[table[name].astype(str) == str(value)])


def known(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows where column `name` holds a number; none if there is no such column."""
    return cast(pd.DataFrame, table[table[name].notna()] if name in table else table.iloc[:0])


def floats(table: pd.DataFrame, name: str) -> np.ndarray:
    """Column `name` as floats, None and NA as NaN; all NaN if there is no such column."""
    if name not in table:
        return np.full(len(table), np.nan)
    return np.array([np.nan if missing(value) else float(value) for value in table[name]], dtype=float)


def mean(values: Iterable[float]) -> float:
    """Mean of what is known, NaN if nothing is."""
    array = np.array([value for value in values if not np.isnan(value)])
    return float(array.mean()) if len(array) else float("nan")


def chosen_epoch(history: pd.DataFrame, score: str | None = None) -> int | None:
    """Of one run's history: the epoch marked in the column `chosen`, else that of the first maximum of `score`."""
    epochs = floats(history, "epoch")
    marked = np.flatnonzero(floats(history, "chosen") > 0)
    if len(marked):
        return int(epochs[marked[0]])
    scores = floats(history, score) if score else np.array([])
    return int(epochs[np.nanargmax(scores)]) if np.isfinite(scores).any() else None
