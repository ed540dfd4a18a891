"""How far an AUROC could be off: bootstrap over groups, as `intervals` does it for what a confusion matrix says.

An area depends on every image's probability, so matrices do not suffice. Drawing groups with replacement is the same as
weighting each image by how often its group was drawn; the weighted area of all draws is then a cumulative sum over the
images in the order of their probabilities (Mann and Whitney's count of pairs in the right order, ties by half).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.evaluation.intervals import Floats, group_numbers, middle
from labkit.evaluation.question import question

AT_ONCE = 100  # draws held at a time; the result does not depend on it


def auroc_intervals(
    decided: pd.DataFrame,
    classes: Sequence[str],
    task: str = "classes",
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Rows macro_auroc and, for grades, referable_auroc: low and high, of a decided predictions table."""
    found = auroc_draws(decided, classes, task, draws, seed)
    n_groups = int(group_numbers(decided["group"], len(decided)).max()) + 1
    rows = {name: dict(zip(("low", "high"), middle(of, level, n_groups), strict=True)) for name, of in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def auroc_draws(
    decided: pd.DataFrame, classes: Sequence[str], task: str = "classes", draws: int = 2000, seed: int = 0
) -> pd.Series:
    """macro_auroc and, for grades, referable_auroc of every draw: arrays (draws,), by metric.

    A draw without positives or negatives of a class leaves that class out of its mean, as `ranking` does. Runs on the
    same images in the same order are drawn alike, so that the draws of several may be averaged or subtracted.
    """
    labels = decided["label"].to_numpy(np.int64)
    chances = decided[[f"p_{number}" for number in range(len(classes))]].to_numpy(np.float64)
    asked = [(labels == number, chances[:, number]) for number in range(len(classes))]
    referable = question(classes, task) if task == "grades" else None
    if referable is not None:
        asked.append(referable.of(decided))
    orders = [_order(truth, chance) for truth, chance in asked]
    groups = group_numbers(decided["group"], len(decided))
    n_groups = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    areas = np.empty((draws, len(asked)))
    for start in range(0, draws, AT_ONCE):
        size = min(AT_ONCE, draws - start)
        drawn = generator.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)
        weights = np.ascontiguousarray(weights.T[groups], dtype=np.float64)  # images × draws
        for column, order in enumerate(orders):
            areas[start : start + size, column] = _weighted_auroc(weights, *order)
    by_class, known = areas[:, : len(classes)], ~np.isnan(areas[:, : len(classes)])
    means = np.where(known, by_class, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    return pd.Series({"macro_auroc": means} | ({"referable_auroc": areas[:, -1]} if referable is not None else {}))


def _order(truth: NDArray[np.bool_], chance: Floats) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Truth and image numbers by rising probability, and where each distinct probability begins."""
    order = np.argsort(chance, kind="stable")
    ranked = chance[order]
    return truth[order], order, np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))


def _weighted_auroc(
    weights: Floats, truth: NDArray[np.bool_], order: NDArray[np.int64], starts: NDArray[np.int64]
) -> Floats:
    """Of weights (n, draws): (draws,), NaN without positives or negatives."""
    ranked = weights[order]
    positive, negative = ranked * truth[:, None], ranked * ~truth[:, None]
    if len(starts) < len(order):  # ties
        positive, negative = (np.add.reduceat(part, starts, axis=0) for part in (positive, negative))
    below = np.cumsum(negative, axis=0) - negative / 2
    pairs = positive.sum(axis=0) * negative.sum(axis=0)
    right = np.einsum("ij,ij->j", positive, below)
    return np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
