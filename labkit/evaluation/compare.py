"""Several seeds of a variant on the same test images: their mean score, and how far a difference could be off.

Two things might have come out otherwise: whom the test images are of, and how training went. So a draw takes groups
with replacement, as in `intervals`, and seeds with replacement (why: Bouthillier et al. 2021, arXiv 2103.03098). Of n
seeds this understates the seeds' part of the variance by a factor of (n - 1) / n; with one seed it is left out, and the
interval says nothing of another seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.evaluation.intervals import METRICS, Floats, cells, check_same_rows, distinct, draw, middle, per_group

Tests = Sequence[pd.DataFrame]  # one decided predictions table a seed: image_id, label, prediction, [group]


def mean_of_seeds(
    tests: Tests,
    n_classes: int,
    aurocs: Sequence[pd.Series] = (),
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """A row a metric: low and high (the middle `level` of the draws) of the mean over seeds.

    `aurocs`: one `ranking_intervals.auroc_draws` a seed with as many draws, for rows of these metrics, too. With fewer
    than two groups there is no interval: NaN. Raises ValueError on seeds of other images or in another order.
    """
    found, _, n_groups = _drawn(tests, n_classes, draws, seed)
    picked = _picked(len(tests), draws, seed)
    means = {name: _mean(metric(found), picked) for name, metric in METRICS.items()}
    for name in aurocs[0].index if len(aurocs) else ():
        means[str(name)] = _mean(np.stack([of_seed[name] for of_seed in aurocs], axis=1), picked)
    ends = {name: middle(values, level, n_groups) for name, values in means.items()}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["low", "high"]).rename_axis("metric")


def paired_difference(
    a: Tests, b: Tests, n_classes: int, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """A row a metric: a, b (means over seeds), difference (b - a), low, high; the same groups are drawn for both.

    Both variants must have answered the same images in the same order: ValueError. As many seeds of both are drawn as
    pairs (the first of a with the first of b …), else by themselves.
    """
    found, whole, n_groups = _drawn([*a, *b], n_classes, draws, seed)
    parts = [(found[:, : len(a)], whole[: len(a)]), (found[:, len(a) :], whole[len(a) :])]
    return _differences(parts, [n_groups], level, seed, paired=len(a) == len(b))


def unpaired_difference(
    a: Tests,
    b: Tests,
    n_classes: int,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    *,
    same_seeds: bool = False,
) -> pd.DataFrame:
    """The same between different images, such as two test sets: groups and seeds of each are drawn by themselves.

    `same_seeds`: the very same networks answered both, so that the same seeds are drawn for both.
    """
    parts, n_groups = [], []
    for number, tests in enumerate((a, b)):
        found, whole, n = _drawn(tests, n_classes, draws, 2 * seed + number)
        parts.append((found, whole))
        n_groups.append(n)
    return _differences(parts, n_groups, level, seed, paired=same_seeds)


def _differences(
    parts: list[tuple[Floats, Floats]], n_groups: list[int], level: float, seed: int, paired: bool
) -> pd.DataFrame:
    picked = [
        _picked(len(whole), len(found), seed if paired else 2 * seed + k) for k, (found, whole) in enumerate(parts)
    ]
    rows = {}
    for name, metric in METRICS.items():
        a, b = (float(metric(whole).mean()) for _, whole in parts)
        of_a, of_b = (_mean(metric(found), of) for (found, _), of in zip(parts, picked, strict=True))
        low, high = middle(of_b - of_a, level, min(n_groups))
        rows[name] = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def _drawn(tests: Tests, n_classes: int, draws: int, seed: int) -> tuple[Floats, Floats, int]:
    """Confusion matrices of drawn groups (draws, S, C, C), of all images (S, C, C), and the number of groups."""
    first = tests[0]
    for other in tests[1:]:
        check_same_rows(first["image_id"], other["image_id"])
    size = n_classes**2
    of_seeds = [per_group(cells(one["label"], one["prediction"], n_classes), first.get("group"), size) for one in tests]
    matrices, counts = distinct(np.concatenate(of_seeds, axis=1))
    shape = (len(tests), n_classes, n_classes)
    found = draw(matrices, counts, draws, seed).reshape(draws, *shape)
    return found, (counts @ matrices).reshape(shape), int(counts.sum())


def _picked(n_seeds: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Which seeds each draw takes: (draws, n_seeds)."""
    return np.random.default_rng((seed, n_seeds)).integers(0, n_seeds, (draws, n_seeds))


def _mean(values: Floats, picked: NDArray[np.int64]) -> Floats:
    """Scores (draws, S) -> their mean over the seeds that each draw took."""
    return np.take_along_axis(values, picked, axis=1).mean(axis=1)
