"""How far an AUROC could be off: bootstrap over groups, as `intervals` does it for what a confusion matrix says.

An area depends on every image's probability, so matrices do not suffice. Drawing groups with replacement is the same as
weighting each image by how often its group was drawn; the weighted area of all draws is then a cumulative sum over the
images in the order of their probabilities (Mann and Whitney's count of pairs in the right order, ties by half).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

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
    groups = group_numbers(decided["group"], len(decided))
    ranked = [_Ranked.of(truth, chance, groups) for truth, chance in asked]
    n_groups = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    areas = np.empty((draws, len(asked)))
    for start in range(0, draws, AT_ONCE):
        size = min(AT_ONCE, draws - start)
        drawn = generator.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)
        weights = np.ascontiguousarray(weights.T, dtype=np.float64)  # groups × draws
        for column, one in enumerate(ranked):
            areas[start : start + size, column] = one.areas(weights)
    by_class, known = areas[:, : len(classes)], ~np.isnan(areas[:, : len(classes)])
    means = np.where(known, by_class, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    return pd.Series({"macro_auroc": means} | ({"referable_auroc": areas[:, -1]} if referable is not None else {}))


@dataclass(frozen=True)
class _Ranked:
    """One question's images by group, for the areas of many draws.

    A side with few images cuts the other one's probabilities into bins: those between two of its own, and those equal
    to one. Adding up a draw is then a product of sparse matrices (of whole numbers: exact) with the groups' weights.
    """

    few: csr_array  # (values, groups): images of the smaller side at each of its distinct probabilities
    many: csr_array  # (2 · values + 1, groups): images of the larger side, below the first value, at it, above it …
    few_is_positive: bool

    @classmethod
    def of(cls, truth: NDArray[np.bool_], chance: Floats, groups: NDArray[np.int64]) -> _Ranked:
        """From truth, what ranks, and the group's number of every image."""
        few_is_positive = bool(2 * truth.sum() <= len(truth))
        few = truth if few_is_positive else ~truth
        values, place = np.unique(chance[few], return_inverse=True)
        below = np.searchsorted(values, chance[~few])
        equal = np.append(values, np.nan)[below] == chance[~few]
        n_groups = int(groups.max()) + 1
        return cls(
            _counted(place, groups[few], (len(values), n_groups)),
            _counted(2 * below + equal, groups[~few], (2 * len(values) + 1, n_groups)),
            few_is_positive,
        )

    def areas(self, weights: Floats) -> Floats:
        """Of weights (groups, draws): (draws,), NaN without positives or negatives."""
        few, many = self.few @ weights, self.many @ weights
        lower, equal = many[::2], many[1::2]  # strictly between the values, and at each of them
        below = np.cumsum(lower[:-1] + np.concatenate([np.zeros((1, weights.shape[1])), equal[:-1]]), axis=0)
        right = np.einsum("ij,ij->j", few, below + equal / 2)
        pairs = few.sum(axis=0) * many.sum(axis=0)
        if not self.few_is_positive:
            right = pairs - right
        return np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _counted(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> csr_array:
    """How often each (row, column) occurs."""
    return csr_array(coo_array((np.ones(len(rows)), (rows, columns)), shape=shape))
