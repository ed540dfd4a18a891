"""How well probabilities rank the images, whatever threshold is set afterwards: AUROC and average precision.

Of several classes each is taken against all others; the mean is over the classes that occur among the labels (and, for
AUROC, are not all of them), and the others are named. Average precision is scikit-learn's sum over thresholds, without
interpolation (which flatters; Davis and Goadrich 2006); by chance it is the share of positives, not one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from labkit.evaluation.question import REFERABLE_FROM

Floats = NDArray[np.float64]


def auroc(positive: NDArray[np.bool_], chances: Floats) -> float | None:
    """Area under the ROC curve; None unless there are both positives and negatives."""
    if not positive.any() or positive.all():
        return None
    return float(sk.roc_auc_score(positive, chances))


def average_precision(positive: NDArray[np.bool_], chances: Floats) -> float | None:
    """None without a positive."""
    return float(sk.average_precision_score(positive, chances)) if positive.any() else None


def ranking_scores(labels: NDArray[np.int64], chances: Floats | None, classes: Sequence[str]) -> dict[str, Any]:
    """macro_auroc, auroc_left_out, macro_average_precision, average_precision_left_out.

    `chances` (n, C), or None where they are unknown: all None then.
    """
    found: dict[str, Any] = {}
    for name, measure in (("auroc", auroc), ("average_precision", average_precision)):
        values = [
            None if chances is None else measure(labels == number, chances[:, number]) for number in range(len(classes))
        ]
        known = [value for value in values if value is not None]
        found[f"macro_{name}"] = float(np.mean(known)) if known else None
        found[f"{name}_left_out"] = [one for one, value in zip(classes, values, strict=True) if value is None]
    return found


def referable_scores(labels: NDArray[np.int64], severity: Floats | None) -> dict[str, float | None]:
    """referable_auroc and referable_average_precision of grades; `severity` (n,) ranks the images, None: unknown."""
    found: dict[str, float | None] = {}
    for name, measure in (("auroc", auroc), ("average_precision", average_precision)):
        found[f"referable_{name}"] = None if severity is None else measure(labels >= REFERABLE_FROM, severity)
    return found
