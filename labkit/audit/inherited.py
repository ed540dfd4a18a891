"""What weights have met before this run: their parents' images and groups, by bytes and by name."""

from __future__ import annotations

import numpy as np
import pandas as pd

from labkit.audit.words import LEARNT_FROM


def learnt_from(table: pd.DataFrame, hashes: pd.Series, source: str, before: pd.DataFrame) -> pd.DataFrame:
    """Every image and group that a network has learnt from or been chosen by: this run's, and its parents' ``before``.

    Columns sha256 and group; a group is named with its ``source``, since numbers of other data mean other people.
    """
    met = table.loc[table["split"].isin(LEARNT_FROM)]
    own = pd.DataFrame({"sha256": met["image_id"].map(hashes), "group": _named(met["group"], source)}, dtype="string")
    return pd.concat([own, before], ignore_index=True).drop_duplicates(ignore_index=True)


def inherited_leak(table: pd.DataFrame, hashes: pd.Series, source: str, before: pd.DataFrame) -> int:
    """How many test images the weights have met before this run, by bytes or by group."""
    test = table.loc[table["split"] == "test"]
    by_bytes = test["image_id"].map(hashes).isin(before["sha256"].dropna())
    by_group = _named(test["group"], source).isin(before["group"].dropna())
    return int(np.count_nonzero(by_bytes | by_group))


def _named(groups: pd.Series, source: str) -> pd.Series:
    return groups.astype("string").map(lambda name: f"{source}/{name}", na_action="ignore")
