"""Comparison of variants: the mean over seeds, differences with intervals, and exact McNemar tests.

An interval accounts for two sources of chance: which patients are in the test set, and the seed of the training. So
each draw takes groups with replacement, as in `intervals`, and seeds with replacement (Bouthillier et al. 2021, arXiv
2103.03098). With n seeds this underestimates the variance between seeds by a factor of (n - 1) / n. With one seed that
part is missing, and the interval says nothing about another seed.

McNemar's test (1947) asks whether two models differ in accuracy. Among the images that only one of them predicts
correctly, each model would have half by chance; p is the exact two-sided binomial value. The test treats images as
independent and so **ignores that two eyes of one patient belong together**, which makes p too small;
`paired_difference` keeps them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from labkit.evaluation.decide import Floats, as_labels
from labkit.evaluation.intervals import METRICS, Column, cells, distinct, draw, middle, per_group

Tests = Sequence[pd.DataFrame]  # one decided predictions table per seed: image_id, label, prediction, [group]


def mean_of_seeds(
    tests: Tests,
    n_classes: int,
    aurocs: Sequence[pd.Series] = (),
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """A row per metric: low and high (the middle `level` of the draws) of the mean over seeds.

    `aurocs`: one `ranking.auroc_draws` per seed, with as many draws; its metrics get rows, too. NaN with fewer than two
    groups. Raises ValueError if the seeds have other images or another order.
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
    """A row per metric: a, b (means over seeds), difference (b - a), low, high; both get the same groups in each draw.

    Both variants must have the same images in the same order: ValueError. With equally many seeds, seeds are drawn as
    pairs (the first of a with the first of b …), otherwise independently.
    """
    found, whole, n_groups = _drawn([*a, *b], n_classes, draws, seed)
    parts = [(found[:, : len(a)], whole[: len(a)]), (found[:, len(a) :], whole[len(a) :])]
    return _differences(parts, n_groups, level, seed, paired=len(a) == len(b))


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
    """As `paired_difference`, but on different images, such as two test sets: all draws of a and b are independent.

    `same_seeds`: a and b are predictions of the same networks, so the same seeds are drawn for both.
    """
    drawn = [_drawn(tests, n_classes, draws, 2 * seed + number) for number, tests in enumerate((a, b))]
    parts = [(found, whole) for found, whole, _ in drawn]
    return _differences(parts, min(n_groups for *_, n_groups in drawn), level, seed, paired=same_seeds)


def _differences(
    parts: list[tuple[Floats, Floats]], n_groups: int, level: float, seed: int, paired: bool
) -> pd.DataFrame:
    picked = [
        _picked(len(whole), len(found), seed if paired else 2 * seed + k) for k, (found, whole) in enumerate(parts)
    ]
    rows = {}
    for name, metric in METRICS.items():
        a, b = (float(metric(whole).mean()) for _, whole in parts)
        of_a, of_b = (_mean(metric(found), of) for (found, _), of in zip(parts, picked, strict=True))
        low, high = middle(of_b - of_a, level, n_groups)
        rows[name] = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def _drawn(tests: Tests, n_classes: int, draws: int, seed: int) -> tuple[Floats, Floats, int]:
    """Confusion matrices of drawn groups (draws, S, C, C), of all images (S, C, C), and the number of groups."""
    first = tests[0]
    for other in tests[1:]:
        _check_same_images(first["image_id"], other["image_id"])
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


@dataclass(frozen=True)
class McNemar:
    """b: images that only model a predicts correctly; c: those that only model b does; p: two-sided, exact."""

    b: int
    c: int
    p: float


def mcnemar(
    labels: Column, predicted_a: Column, predicted_b: Column, *, image_ids_a: Column, image_ids_b: Column
) -> McNemar:
    """Two models on the same images in the same order (else ValueError, by their ids). p is 1 if b and c are 0."""
    _check_same_images(image_ids_a, image_ids_b)
    n_images, many = len(np.asarray(image_ids_a)), 1_000  # the number of classes does not matter here
    truth, a, b = (as_labels(column, many, n_images) for column in (labels, predicted_a, predicted_b))
    only_a = int(((a == truth) & (b != truth)).sum())
    only_b = int(((b == truth) & (a != truth)).sum())
    return McNemar(only_a, only_b, float(contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue))


def holm(p_values: Sequence[float]) -> Floats:
    """p values corrected for multiple tests (Holm 1979), in the given order; NaN is no test and stays NaN."""
    corrected = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(corrected)
    if known.any():
        corrected[known] = multipletests(corrected[known], method="holm")[1]
    return corrected


def _check_same_images(image_ids_a: Column, image_ids_b: Column) -> None:
    """Raises ValueError unless both have the same images in the same order."""
    a, b = np.asarray(image_ids_a, dtype=object), np.asarray(image_ids_b, dtype=object)
    if len(a) != len(b):
        raise ValueError(f"image ids: {len(a)} images against {len(b)}; compare models on the same test set")
    if (a != b).any():
        row = int(np.argmax(a != b))
        raise ValueError(f"image ids: row {row} is {a[row]!r} against {b[row]!r}; sort both tables by image_id")
