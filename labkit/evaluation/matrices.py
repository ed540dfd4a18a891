"""Scores as functions of confusion matrices (…, C, C), rows true, columns predicted: of an epoch, or of many draws.

A kappa that is undefined because labels and predictions are all of one class counts 0, like Matthews' correlation.
Macro F1 is the mean over the classes that occur among labels or predictions, balanced accuracy over those that occur
among labels (scikit-learn's defaults).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from labkit.evaluation.decide import Floats, as_labels, decide

_diagonal = partial(np.diagonal, axis1=-2, axis2=-1)


def matrix_of(labels: ArrayLike, predicted: ArrayLike, n_classes: int) -> Floats:
    """Counts (C, C). Raises ValueError as `as_labels` does."""
    columns = as_labels(predicted, n_classes)
    cells = as_labels(labels, n_classes, len(columns)) * n_classes + columns
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.float64)


def accuracy(matrices: Floats) -> Floats:
    """Share of correct predictions."""
    return _diagonal(matrices).sum(axis=-1) / matrices.sum(axis=(-2, -1))


def balanced_accuracy(matrices: Floats) -> Floats:
    """Mean sensitivity of the classes that have images."""
    rows = matrices.sum(axis=-1)
    return ratio(_diagonal(matrices), rows).sum(axis=-1) / (rows > 0).sum(axis=-1)


def _f1(matrices: Floats) -> tuple[Floats, Floats]:
    """F1 of each class, 0 where it does not occur, and its images and predictions together: (…, C) both."""
    both = matrices.sum(axis=-1) + matrices.sum(axis=-2)
    return ratio(2 * _diagonal(matrices), both), both


def macro_f1(matrices: Floats) -> Floats:
    """Mean F1 of the classes that have images or predictions."""
    of_class, both = _f1(matrices)
    return of_class.sum(axis=-1) / (both > 0).sum(axis=-1)


def weighted_f1(matrices: Floats) -> Floats:
    """Mean F1 of the classes, each weighted by its number of images."""
    rows = matrices.sum(axis=-1)
    return (_f1(matrices)[0] * rows).sum(axis=-1) / rows.sum(axis=-1)


def qwk(matrices: Floats) -> Floats:
    """Quadratic weighted kappa (Cohen 1968): 1 is agreement, 0 is chance; an error of two grades counts four times."""
    grades = np.arange(matrices.shape[-1])
    distance = (grades[:, None] - grades[None, :]) ** 2.0
    rows, columns = matrices.sum(axis=-1), matrices.sum(axis=-2)
    expected = np.einsum("...i,ij,...j->...", rows, distance, columns) / matrices.sum(axis=(-2, -1))
    observed = (matrices * distance).sum(axis=(-2, -1))
    return np.where(expected > 0, 1 - ratio(observed, expected), 0.0)


def mcc(matrices: Floats) -> Floats:
    """Matthews' correlation for any number of classes (Gorodkin 2004): 1 is agreement, 0 is chance or one class."""
    rows, columns, n = matrices.sum(axis=-1), matrices.sum(axis=-2), matrices.sum(axis=(-2, -1))
    together = _diagonal(matrices).sum(axis=-1) * n - (rows * columns).sum(axis=-1)
    return ratio(together, np.sqrt((n**2 - (rows**2).sum(axis=-1)) * (n**2 - (columns**2).sum(axis=-1))))


def sensitivity(number: int) -> Callable[[Floats], Floats]:
    """The sensitivity of one class as a metric: the share of its images that are found; NaN without images."""

    def found(matrices: Floats) -> Floats:
        return ratio(matrices[..., number, number], matrices[..., number, :].sum(axis=-1), np.nan)

    return found


# Each can choose the epoch and is a column of history.csv; a change here makes every run train again.
CHOOSING = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1, "qwk": qwk}


@dataclass
class EpochScore:
    """How an epoch is scored: as its predictions.csv would be, so that curves and tables can be compared."""

    table: pd.DataFrame  # the image table
    n_classes: int
    name: str  # the data set's own metric, which chooses the epoch if `select_by` names none

    def __call__(self, outputs: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        """``<split>_<metric>`` of CHOOSING for outputs (n, C) or (n, 1) by split, each in the order of the table."""
        from labkit.training.predict import predictions_table  # with torch, which no table from elsewhere needs

        parts, row = {split: self.table.loc[self.table["split"] == split] for split in outputs}, {}
        decided = decide(predictions_table(parts, outputs), self.n_classes)
        for split in outputs:
            part = decided.loc[decided["split"] == split]
            matrix = matrix_of(part["label"], part["prediction"], self.n_classes)
            row |= {f"{split}_{name}": float(of(matrix)) for name, of in CHOOSING.items()}
        return row


def ratio(above: Floats, below: Floats, undefined: float = 0.0) -> Floats:
    """above / below, and `undefined` where below is 0."""
    out = np.full(np.broadcast(above, below).shape, undefined)
    return np.divide(above, below, out=out, where=np.asarray(below) > 0)
