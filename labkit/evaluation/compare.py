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
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from labkit.evaluation.decide import Floats, as_labels
from labkit.evaluation.intervals import METRICS, draw_groups, middle

Tests = Sequence[pd.DataFrame]  # one decided predictions table per seed: image_id, label, prediction, [group]


def mean_of_seeds(
    tests: Tests, n_classes: int, aurocs: Sequence[pd.Series] = (), draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """A row per metric: low and high (a 95 % interval) of the mean over seeds.

    `aurocs`: one `ranking.auroc_draws` per seed, with as many draws; its metrics get rows, too. NaN with fewer than two
    groups. Raises ValueError if the seeds have other images or another order.
    """
    found, _, n_groups = _drawn(tests, n_classes, draws, seed)
    means = {name: _mean(metric(found), seed) for name, metric in METRICS.items()}
    for name in aurocs[0].index if len(aurocs) else ():
        means[str(name)] = _mean(np.stack([of_seed[name] for of_seed in aurocs], axis=1), seed)
    ends = {name: middle(values, n_groups) for name, values in means.items()}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["low", "high"]).rename_axis("metric")


def paired_difference(a: Tests, b: Tests, n_classes: int, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A row per metric: a, b (means over seeds), difference (b - a), low, high; both get the same groups in each draw.

    Both variants must have the same images in the same order: ValueError. With equally many seeds, seeds are drawn as
    pairs (the first of a with the first of b …), otherwise independently.
    """
    found, whole, n_groups = _drawn([*a, *b], n_classes, draws, seed)
    parts = [(found[:, : len(a)], whole[: len(a)]), (found[:, len(a) :], whole[len(a) :])]
    return _differences(parts, n_groups, seed, same_seeds=len(a) == len(b))


def unpaired_difference(
    a: Tests, b: Tests, n_classes: int, draws: int = 2000, seed: int = 0, *, same_seeds: bool = False
) -> pd.DataFrame:
    """As `paired_difference`, but on different images, such as two test sets: all draws of a and b are independent.

    `same_seeds`: a and b are predictions of the same networks, so the same seeds are drawn for both.
    """
    drawn = [_drawn(tests, n_classes, draws, 2 * seed + number) for number, tests in enumerate((a, b))]
    parts = [(found, whole) for found, whole, _ in drawn]
    return _differences(parts, min(n_groups for *_, n_groups in drawn), seed, same_seeds)


def _differences(parts: list[tuple[Floats, Floats]], n_groups: int, seed: int, same_seeds: bool) -> pd.DataFrame:
    streams = (seed, seed) if same_seeds else (2 * seed, 2 * seed + 1)
    rows = {}
    for name, metric in METRICS.items():
        a, b = (float(metric(whole).mean()) for _, whole in parts)
        of_a, of_b = (_mean(metric(found), of) for (found, _), of in zip(parts, streams, strict=True))
        low, high = middle(of_b - of_a, n_groups)
        rows[name] = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def _drawn(tests: Tests, n_classes: int, draws: int, seed: int) -> tuple[Floats, Floats, int]:
    """Confusion matrices of drawn groups (draws, S, C, C), of all images (S, C, C), and the number of groups."""
    first = tests[0]
    for other in tests[1:]:
        _check_same_images(first, other)
    seeds = [(one["label"], one["prediction"]) for one in tests]
    return draw_groups(seeds, first.get("group"), n_classes, draws, seed)


def _mean(values: Floats, seed: int) -> Floats:
    """Scores (draws, S) of S networks -> their mean in each draw (draws,), of S networks drawn with replacement."""
    draws, n_seeds = values.shape
    picked = np.random.default_rng((seed, n_seeds)).integers(0, n_seeds, (draws, n_seeds))
    return np.take_along_axis(values, picked, axis=1).mean(axis=1)


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> float:
    """The p value of two decided predictions tables; 1 if the same images are correct in both.

    Raises ValueError unless both have the same images in the same order, and on missing labels.
    """
    _check_same_images(a, b)
    labels = as_labels(a["label"], 1_000)  # the number of classes does not matter here
    right_a, right_b = (one["prediction"].to_numpy() == labels for one in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    result: Any = contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=True)
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> Floats:
    """p values corrected for multiple tests (Holm 1979), in the given order; NaN is no test and stays NaN."""
    corrected = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(corrected)
    if known.any():
        corrected[known] = multipletests(corrected[known], method="holm")[1]
    return corrected


def _check_same_images(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Raises ValueError unless both tables have the same images in the same order."""
    a, b = (table["image_id"].to_numpy(object) for table in (one, other))
    if len(a) != len(b):
        raise ValueError(f"image ids: {len(a)} images against {len(b)}; compare models on the same test set")
    if (a != b).any():
        row = int(np.argmax(a != b))
        raise ValueError(f"image ids: row {row} is {a[row]!r} against {b[row]!r}; sort both tables by image_id")
