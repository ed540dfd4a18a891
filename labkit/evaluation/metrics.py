"""Scores of predictions (`matrices`), always over a whole table and never averaged over batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from labkit.evaluation.decide import Floats, as_labels, decide
from labkit.evaluation.matrices import METRICS, SCORES, matrix_of
from labkit.evaluation.ranking import ranking_scores, referable_scores

PER_CLASS = ("sensitivity", "specificity", "ppv", "npv")


@dataclass
class EpochScore:
    """How an epoch is scored: as its predictions.csv would be, so that curves and tables can be compared."""

    table: pd.DataFrame  # the image table
    n_classes: int
    name: str  # the data set's own metric, which chooses the epoch if `select_by` names none

    def __call__(self, outputs: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        """``<split>_<metric>`` of METRICS for outputs (n, C) or (n, 1) by split, each in the order of the table."""
        from labkit.training.predict import predictions_table  # with torch, which no table from elsewhere needs

        parts, row = {split: self.table.loc[self.table["split"] == split] for split in outputs}, {}
        decided = decide(predictions_table(parts, outputs), self.n_classes)
        for split in outputs:
            matrix = _matrix(decided.loc[decided["split"] == split], self.n_classes)
            row |= {f"{split}_{name}": float(of(matrix)) for name, of in METRICS.items()}
        return row


def evaluate(predictions: pd.DataFrame, classes: Sequence[str], task: str = "classes") -> dict[str, Any]:
    """All scores of these rows as plain numbers, ready for JSON; None if a missing class leaves a score undefined.

    n, n_groups (known groups), n_without_group, SCORES (kappa of grades only: other classes have no order), those of
    `ranking` (also for referable disease if `task` is 'grades'), and lists with one number per class: sensitivity,
    specificity, ppv, npv. Takes a predictions table before or after `decide`. Raises ValueError on unlabelled rows or
    an empty table.
    """
    decided = _decided(predictions)
    matrix = _matrix(decided, len(classes))
    groups = decided["group"].dropna() if "group" in decided else ()
    by_class = per_class_table(decided, classes)
    return {
        "n": len(decided),
        "n_groups": len(set(groups)),
        "n_without_group": len(decided) - len(groups),
        **{name: float(of(matrix)) for name, of in SCORES.items() if name != "qwk" or task == "grades"},
        **ranking_scores(decided, classes),
        **{name: [None if np.isnan(value) else float(value) for value in by_class[name]] for name in PER_CLASS},
        **referable_scores(decided, classes, task),
    }


def majority_baseline(
    train_labels: ArrayLike, test_labels: ArrayLike, n_classes: int, task: str = "classes"
) -> dict[str, Any]:
    """The scores of always predicting the most frequent class of train (the first if several are), named in `class`.

    The same keys as `evaluate`, without the groups. Unlabelled rows of train are left out; in test they are refused.
    """
    train = np.asarray(train_labels)
    majority = int(np.bincount(as_labels(train[~pd.isna(train)], n_classes), minlength=n_classes).argmax())
    table = pd.DataFrame({"label": as_labels(test_labels, n_classes), "prediction": majority})
    table = table.assign(**{f"p_{number}": float(number == majority) for number in range(n_classes)})
    found = evaluate(table, [str(number) for number in range(n_classes)], task)
    return {"class": majority} | {name: of for name, of in found.items() if name not in ("n_groups", "n_without_group")}


def as_frequent(train_counts: Sequence[int], classes: Sequence[str]) -> list[str]:
    """The classes with as many training images as the first of the most frequent ones has, if there are any."""
    found = [name for name, count in zip(classes, train_counts, strict=True) if count == max(train_counts)]
    return found[1:]


def majority_share(predictions: pd.DataFrame) -> float:
    """Share of the most frequent prediction: 1 for a constant model."""
    return float(_decided(predictions)["prediction"].value_counts(normalize=True).iloc[0])


def confusion(predictions: pd.DataFrame, n_classes: int) -> NDArray[np.int64]:
    """Counts (C, C): rows true, columns predicted."""
    return _matrix(_decided(predictions), n_classes).astype(np.int64)


def per_class_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Each class against all others: class, images, predicted, sensitivity, specificity, ppv, npv, f1.

    NaN if the denominator is 0: a class without labels has no sensitivity, one that is never predicted no ppv.
    """
    matrix = _matrix(_decided(predictions), len(classes))
    hit = np.diag(matrix)
    true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    rejected = matrix.sum() - true - predicted + hit  # neither labelled nor predicted as this class
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "class": list(classes),
            "images": true.astype(int),
            "predicted": predicted.astype(int),
            "sensitivity": hit / true,
            "specificity": rejected / (matrix.sum() - true),
            "ppv": hit / predicted,
            "npv": rejected / (matrix.sum() - predicted),
            "f1": 2 * hit / (true + predicted),
        }
    return pd.DataFrame(columns)


def _decided(predictions: pd.DataFrame) -> pd.DataFrame:
    if len(predictions) == 0:
        raise ValueError("predictions: the table is empty, so there is nothing to score")
    return predictions if "prediction" in predictions else decide(predictions)


def _matrix(decided: pd.DataFrame, n_classes: int) -> Floats:
    """`confusion` as METRICS take it."""
    n_logits = sum(column.startswith("logit_") for column in decided.columns)
    if n_logits not in (0, n_classes):
        raise ValueError(f"classes: {n_classes} names for predictions of {n_logits} classes")
    return matrix_of(decided["label"], decided["prediction"], n_classes)
