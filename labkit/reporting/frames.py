"""The few pandas steps that tables, figures and sentences share, with plain types (pandas' own are wide unions)."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd

from labkit.format import missing


def joined(table: pd.DataFrame) -> pd.DataFrame:
    """A history with `run` as text, `seed` (0 if absent), sorted by `epoch`."""
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
    values = table[name] if name in table else [np.nan] * len(table)
    return np.array([np.nan if missing(value) else float(value) for value in values], dtype=float)


def mean(values: Iterable[float]) -> float:
    """Mean of what is known, NaN if nothing is."""
    return float(pd.Series(list(values), dtype=float).mean())


def means(table: pd.DataFrame, by: str, name: str) -> dict[str, float]:
    """The mean of column `name` for each value of column `by`, in order of appearance; NaN where nothing is known."""
    return {key: mean(floats(part, name)) for key, part in parts(table, by).items()}
