"""Percentile intervals of scores, by a bootstrap that keeps a patient's images together.

Two eyes of one patient are not independent observations. So whole groups are drawn with replacement, not images;
intervals from drawn images would be too narrow (Ying et al. 2021, PMC8586066).

Metrics are functions of the confusion matrix (`matrices`). So each group is replaced by its confusion matrix, equal
matrices are counted (for most patients both eyes are healthy and predicted so), and drawing G of G groups becomes one
multinomial draw over the distinct matrices: the same distribution in a fraction of the time.

Of 40 images without a hit no draw has one. So a share whose draws reach 0 or 1, or are all equal, gets Clopper and
Pearson's interval with groups for trials (Korn and Graubard 1998, Survey Methodology 24), rather too wide than too
narrow. Percentile intervals of few groups are too narrow: they cover 81 to 95 % at 8 to 24 groups.

An AUROC is no function of a confusion matrix. Drawing groups with replacement means weighting each image by how often
its group was drawn. The weighted areas of all draws are then cumulative sums over the images in the order of their
probabilities (Mann and Whitney's count of correctly ordered pairs, where a tie counts one half).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array
from statsmodels.stats.proportion import proportion_confint

from labkit.evaluation.decide import Floats, Labels, as_labels, ranks
from labkit.evaluation.matrices import qwk, ratio
from labkit.evaluation.metrics import METRICS
from labkit.evaluation.ranking import Flags, one_against_all, question

Column: TypeAlias = ArrayLike | pd.Series
LEVEL = 0.95
TOO_FEW = 30  # images: a share of fewer says little
FEW_GROUPS = 20  # an interval of fewer groups is not reliable
MANY = 100_000  # images; of more, what looks at each image in each draw has a formula or fewer draws
WEIGHTS_AT_ONCE = 4_000_000  # numbers held in memory at a time (32 MB); the draws do not depend on it
AT_ONCE = 100  # draws of areas held in memory at a time; the result does not depend on it
DRAWN = {name: one.of for name, one in METRICS.items() if one.of and one.interval}
AVERAGES = {one.of for one in METRICS.values() if one.interval == "average"}  # all other functions are shares of images


def bootstrap_by_group(
    labels: Column,
    predicted: Column,
    groups: Column | None,
    n_classes: int,
    draws: int = 2000,
    seed: int = 0,
    metrics: Mapping[str, Callable[[Floats], Floats]] = DRAWN,
) -> pd.DataFrame:
    """A row per metric: estimate, low, high (a 95 % interval from the draws in which the metric is defined), groups.

    `metrics`: functions of confusion matrices (…, C, C), NaN if undefined. An image without a group is its own group
    (all images if `groups` is None); `groups` of a row: those in the metric's denominator. Ends are NaN with a single
    group, and if all draws of a score other than a share are equal; but 0 and 0 say a kappa of constant predictions
    (`format.with_interval`). Raises ValueError on unlabelled rows and unequal lengths.
    """
    drawn, whole, n_groups = draw_groups([(labels, predicted)], groups, n_classes, draws, seed)
    each = _group_matrices(labels, predicted, groups, n_classes).reshape(-1, n_classes, n_classes)
    rows = {}
    for name, metric in metrics.items():
        estimate, of = float(metric(whole[0])), n_groups
        low, high = middle(metric(drawn[:, 0]), n_groups)
        if metric not in AVERAGES:
            of = int((~np.isnan(metric(each))).sum())
            if of and (estimate in (0, 1) or low <= 0 or high >= 1 or low == high):
                low, high = exact(estimate, of)
        elif metric is qwk and whole[0].any(axis=0).sum() == 1:  # constant predictions
            low = high = 0.0
        elif low == high:
            low = high = float("nan")
        rows[name] = {"estimate": estimate, "low": low, "high": high, "groups": of}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def exact(share: float, n: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of n independent ones."""
    ends: Any = proportion_confint(share * n, n, 1 - LEVEL, method="beta")
    return float(ends[0]), float(ends[1])


def draw_groups(
    seeds: Sequence[tuple[Column, ...]], groups: Column | None, n_classes: int, draws: int, seed: int
) -> tuple[Floats, Floats, int]:
    """Draw all groups with replacement, `draws` times; all networks get the same draws.

    `seeds`: labels and predictions of S networks on the same images, and, of a part of them, which count (0 or 1).
    Returns the confusion matrices of the draws (draws, S, C, C), those of all images (S, C, C), and the number of
    groups.
    """
    of_groups = [_group_matrices(labels, predicted, groups, n_classes, *part) for labels, predicted, *part in seeds]
    matrices, counts = _distinct(np.concatenate(of_groups, axis=1))
    rng = np.random.default_rng(seed)
    n_groups = int(counts.sum())
    step = max(1, WEIGHTS_AT_ONCE // len(counts))
    sizes = [min(step, draws - start) for start in range(0, draws, step)]
    found = np.concatenate([rng.multinomial(n_groups, counts / n_groups, size=size) @ matrices for size in sizes])
    shape = (len(seeds), n_classes, n_classes)
    return found.reshape(draws, *shape), (counts @ matrices).reshape(shape), n_groups


def _distinct(rows: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """``np.unique(rows, axis=0, return_counts=True)`` of whole numbers, by a hash: much faster."""
    keys = rows.astype(np.int64) @ np.random.default_rng(0).integers(2**62, size=rows.shape[1])  # overflow is no harm
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    order = np.lexsort(rows[first].T[::-1])
    return rows[first][order], counts[order]


def _group_matrices(
    labels: Column, predicted: Column, groups: Column | None, n_classes: int, counted: Column | None = None
) -> Floats:
    """Every group's confusion matrix, flat: (G, C·C); of the images that are `counted` only, if given."""
    columns = as_labels(predicted, n_classes)
    cells = as_labels(labels, n_classes, len(columns)) * n_classes + columns
    numbers, size = group_numbers(groups, len(cells)), n_classes**2
    n_groups = int(numbers.max()) + 1
    found = np.bincount(numbers * size + cells, counted, minlength=n_groups * size)
    return found.reshape(n_groups, size).astype(np.float64)


def group_numbers(groups: Column | None, n: int) -> NDArray[np.int64]:
    """The number of each image's group, from 0; an image without a group is a group of its own."""
    if groups is None:
        return np.arange(n)
    numbers, known = pd.factorize(pd.Series(np.asarray(groups, dtype=object)), use_na_sentinel=True)
    if len(numbers) != n:
        raise ValueError(f"groups: {len(numbers)} groups for {n} labels")
    alone = numbers < 0
    numbers = numbers.astype(np.int64)
    numbers[alone] = len(known) + np.arange(alone.sum())
    return numbers


def clustered_error(values: Floats, groups: NDArray[np.int64]) -> float:
    """Standard error of the mean of `values` (n,), clustered by group number (Liang and Zeger 1986, Biometrika 73).

    sqrt(G / (G - 1) * sum of squared group sums) / n, of values less their mean; NaN for one group.
    """
    sums = np.bincount(groups, values - values.mean())
    return (
        float(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(values)) if len(sums) > 1 else float("nan")
    )


def one_class_mix(parts: Sequence[Floats], mix: Floats) -> list[Floats]:
    """Confusion matrices of different images, reweighted to one class mix, in the classes that all parts have.

    `parts`: arrays (…, S, C, C) of S networks on the same images each; `mix` (C,): images of each class.
    """
    rows = [part[..., :1, :, :].sum(axis=-1) for part in parts]
    shared = np.where(np.all([of > 0 for of in rows], axis=0), mix, 0.0)
    return [part * ratio(shared, of)[..., None] for part, of in zip(parts, rows, strict=True)]


def too_few(images: float, groups: float = np.inf) -> bool:
    """Whether a score of so many images, of so many groups, says little; False where a number is unknown (NaN)."""
    return images < TOO_FEW or groups < FEW_GROUPS


def middle(values: Floats, n_groups: int) -> tuple[float, float]:
    """The ends of the middle 95 % of the draws, without undefined (NaN) ones; NaN with fewer than two groups."""
    if n_groups < 2 or np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def auroc_intervals(
    decided: pd.DataFrame, classes: Sequence[str], task: str = "classes", draws: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Rows macro_auroc and, for grades, referable_auroc: low and high of a decided table; NaN where no draw differs."""
    n_groups = int(group_numbers(decided["group"], len(decided)).max()) + 1
    if len(decided) > MANY and draws is None:
        return _analytic_intervals(decided, classes, task)
    found = auroc_draws(decided, classes, task, draws or 2000, seed)
    ends = {name: middle(of, n_groups if pd.Series(of).nunique() > 1 else 0) for name, of in found.items()}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["low", "high"]).rename_axis("metric")


def _analytic_intervals(decided: pd.DataFrame, classes: Sequence[str], task: str) -> pd.DataFrame:
    """The same from the variance of the groups' placements (Obuchowski 1997, Biometrics 53), without a draw.

    An image's placement is the share of images of the other kind that its score is on the right side of.
    """
    groups, parts = group_numbers(decided["group"], len(decided)), {}
    referable = question(classes, task) if task == "grades" else None
    for name, (truth, scores) in one_against_all(decided, classes).items():
        if truth.any() and not truth.all():
            parts[name] = _placements(truth, scores)
    mean = [np.mean(column, axis=0) for column in zip(*parts.values(), strict=True)]
    means = {"macro_auroc": mean or [np.nan, np.full(len(groups), np.nan)]}
    if referable is not None and ranks(decided):
        means["referable_auroc"] = list(_placements(*referable.of(decided)))
    rows = {}
    for name, (area, influence) in means.items():
        half = 1.96 * clustered_error(len(groups) * influence, groups)
        rows[name] = {"low": float(area - half), "high": float(area + half)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def _placements(truth: Flags, scores: Floats) -> tuple[float, Floats]:
    """The AUROC, and what each image moves it by (n,)."""
    influence = np.empty(len(scores))
    for mine, sign in ((truth, 1), (~truth, -1)):
        others = np.sort(sign * scores[~mine])
        below = [np.searchsorted(others, sign * scores[mine], side) for side in ("left", "right")]
        placed = np.add(*below) / (2 * len(others))
        influence[mine] = (placed - placed.mean()) / mine.sum()
    return float(placed.mean()), influence


def auroc_draws(
    decided: pd.DataFrame, classes: Sequence[str], task: str = "classes", draws: int = 2000, seed: int = 0
) -> pd.Series:
    """macro_auroc and, for grades, referable_auroc of every draw: arrays (draws,) by metric.

    A class without positives or negatives in a draw is left out of that draw's mean. Runs on the same images in the
    same order get the same draws, so their draws can be averaged or subtracted.
    """
    asked = list(one_against_all(decided, classes).values())
    referable = question(classes, task) if task == "grades" else None
    if referable is not None:
        asked.append(referable.of(decided))
    groups = group_numbers(decided["group"], len(decided))
    counted = [_counted(truth, scores, groups) for truth, scores in asked]
    n_groups = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    areas = np.empty((draws, len(asked)))
    for start in range(0, draws, AT_ONCE):
        size = min(AT_ONCE, draws - start)
        drawn = generator.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)
        weights = np.ascontiguousarray(weights.T, dtype=np.float64)  # groups × draws
        for column, (positive, negative) in enumerate(counted):
            areas[start : start + size, column] = _areas(positive @ weights, negative @ weights)
    by_class, known = areas[:, : len(classes)], ~np.isnan(areas[:, : len(classes)])
    means = np.where(known, by_class, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    return pd.Series({"macro_auroc": means} | ({"referable_auroc": areas[:, -1]} if referable is not None else {}))


def _counted(truth: Flags, scores: Floats, groups: Labels) -> list[csr_array]:
    """A group's positive images at each of their distinct scores, and its negative ones below: (values + 1, groups).

    The cumulative sum of the latter's rows is then the number below each value, an equal score counted half. If most
    images are positive, the sides change places and the scores their sign: the same area, from smaller matrices.
    """
    if 2 * truth.sum() > len(truth):
        truth, scores = ~truth, -scores
    values, place = np.unique(scores[truth], return_inverse=True)
    below = np.concatenate([np.searchsorted(values, scores[~truth], side) for side in ("left", "right")])  # a half each
    ends = ((1.0, place, groups[truth]), (0.5, below, np.tile(groups[~truth], 2)))
    shape = len(values) + 1, int(groups.max()) + 1
    return [csr_array(coo_array((np.full(len(row), count), (row, of)), shape=shape)) for count, row, of in ends]


def _areas(positive: Floats, negative: Floats) -> Floats:
    """Drawn images as `_counted`, (values + 1, draws) -> areas (draws,), exact; NaN without positives or negatives."""
    below = np.cumsum(negative, axis=0)
    pairs = positive.sum(axis=0) * below[-1]
    return np.divide(np.einsum("ij,ij->j", positive, below), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
