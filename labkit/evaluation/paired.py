"""Do two models answer differently, or did a few images fall the other way? Exact McNemar tests, corrected by Holm.

McNemar (1947): of the images that just one of two models answers correctly, each model has half by chance alone; the
exact two-sided binomial p value of their numbers b and c. It takes the images as independent and so **ignores that two
eyes of one patient go together**, which makes p too small; `seeds.paired_difference` keeps them together. It asks
about accuracy and says nothing of kappa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from labkit.evaluation.intervals import Column, check_same_rows
from labkit.evaluation.metrics import as_labels


@dataclass(frozen=True)
class McNemar:
    """b: images that only model a answers correctly; c: those that only model b does; p: two-sided, exact."""

    b: int
    c: int
    p: float


def mcnemar(
    labels: Column, predicted_a: Column, predicted_b: Column, *, image_ids_a: Column, image_ids_b: Column
) -> McNemar:
    """Two models on the same images in the same order, checked by their ids: ValueError. p is 1 where none differs."""
    check_same_rows(image_ids_a, image_ids_b)
    n_images, many = len(np.asarray(image_ids_a)), 1_000  # how many classes there may be does not matter here
    truth, a, b = (as_labels(column, many, n_images) for column in (labels, predicted_a, predicted_b))
    only_a = int(((a == truth) & (b != truth)).sum())
    only_b = int(((b == truth) & (a != truth)).sum())
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """p values corrected for being several (Holm 1979), in the order given; NaN is no test and stays NaN.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none falls below one smaller than it.
    """
    corrected = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(corrected))
    order = known[np.argsort(corrected[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(corrected[order] * factors))
    return corrected
