"""Scores of predictions, always over a whole table and never averaged over batches.

Two conventions hold for all scores and their intervals. A kappa that is undefined because labels and predictions are
all of one class counts 0, like Matthews' correlation. Macro F1 is the mean over the classes that occur among labels or
predictions, balanced accuracy over those that occur among labels (scikit-learn's defaults).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sk

from labkit.evaluation.decide import Labels, as_labels, decide
from labkit.evaluation.ranking import ranking_scores, referable_scores

PER_CLASS = ("sensitivity", "specificity", "ppv", "npv")


@contextmanager
def _quiet() -> Iterator[None]:
    """scikit-learn warns about each convention in this file's docstring, and about classes missing in small splits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def accuracy(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Share of correct predictions."""
    return float(sk.accuracy_score(labels, predicted))


@_quiet()
def balanced_accuracy(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Mean sensitivity of the classes that occur among the labels."""
    return float(sk.balanced_accuracy_score(labels, predicted))


@_quiet()
def macro_f1(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Mean F1 of the classes that occur among labels or predictions."""
    return float(sk.f1_score(labels, predicted, average="macro"))


@_quiet()
def weighted_f1(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Mean F1 of the classes, each weighted by its number of labels."""
    return float(sk.f1_score(labels, predicted, average="weighted"))


@_quiet()
def qwk(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Quadratic weighted kappa (Cohen 1968): 1 is agreement, 0 is chance; an error of two grades counts four times."""
    # All classes are listed: scikit-learn would otherwise number the classes that occur 0, 1, 2 …, and if only grades 0
    # and 4 occurred they would be neighbours.
    kappa = sk.cohen_kappa_score(labels, predicted, labels=list(range(n_classes)), weights="quadratic")
    return float(np.nan_to_num(kappa, nan=0.0))


@_quiet()
def mcc(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Matthews' correlation for any number of classes (Gorodkin 2004): 1 is agreement, 0 is chance or one class."""
    return float(sk.matthews_corrcoef(labels, predicted))


# The table of scores: `evaluate` gives all of them.
SCORES: dict[str, Callable[[Labels, Labels, int], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "qwk": qwk,
    "mcc": mcc,
}


OF_EPOCHS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "qwk",
)  # the columns of history.csv; each can choose the epoch


@dataclass
class EpochScore:
    """How an epoch is scored: as its predictions.csv would be, so that curves and tables can be compared."""

    table: pd.DataFrame  # the image table
    n_classes: int
    name: str  # the data set's own metric, which chooses the epoch if `select_by` names none

    def __call__(self, outputs: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        """``<split>_<metric>`` of OF_EPOCHS for outputs (n, C) or (n, 1) by split, each in the order of the table."""
        from labkit.training.predict import predictions_table  # with torch, which no table from elsewhere needs

        parts, row = {split: self.table.loc[self.table["split"] == split] for split in outputs}, {}
        decided = decide(predictions_table(parts, outputs), self.n_classes)
        for split in outputs:
            labels, predicted = _columns(decided.loc[decided["split"] == split], self.n_classes)
            row |= {f"{split}_{name}": SCORES[name](labels, predicted, self.n_classes) for name in OF_EPOCHS}
        return row


def evaluate(predictions: pd.DataFrame, classes: Sequence[str], task: str = "classes") -> dict[str, Any]:
    """All scores of these rows as plain numbers, ready for JSON; None if a missing class leaves a score undefined.

    n, n_groups (known groups), n_without_group, SCORES, those of `ranking` (also for referable disease if `task` is
    'grades'), and lists with one number per class: sensitivity, specificity, ppv, npv. Takes a predictions table before
    or after `decide`. Raises ValueError on unlabelled rows or an empty table.
    """
    decided = _decided(predictions)
    labels, predicted = _columns(decided, len(classes))
    groups = decided["group"].dropna() if "group" in decided else ()
    by_class = per_class_table(decided, classes)
    return {
        "n": len(labels),
        "n_groups": len(set(groups)),
        "n_without_group": len(labels) - len(groups),
        **{name: of(labels, predicted, len(classes)) for name, of in SCORES.items()},
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


def majority_share(predictions: pd.DataFrame) -> float:
    """Share of the most frequent prediction: 1 for a constant model."""
    return float(_decided(predictions)["prediction"].value_counts(normalize=True).iloc[0])


def confusion(predictions: pd.DataFrame, n_classes: int) -> NDArray[np.int64]:
    """Counts (C, C): rows true, columns predicted."""
    labels, predicted = _columns(_decided(predictions), n_classes)
    return sk.confusion_matrix(labels, predicted, labels=list(range(n_classes))).astype(np.int64)


def per_class_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Each class against all others: class, images, predicted, sensitivity, specificity, ppv, npv, f1.

    NaN if the denominator is 0: a class without labels has no sensitivity, one that is never predicted no ppv.
    """
    matrix = confusion(predictions, len(classes)).astype(float)
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


def _columns(decided: pd.DataFrame, n_classes: int) -> tuple[Labels, Labels]:
    """Labels and predictions."""
    n_logits = sum(column.startswith("logit_") for column in decided.columns)
    if n_logits not in (0, n_classes):
        raise ValueError(f"classes: {n_classes} names for predictions of {n_logits} classes")
    return as_labels(decided["label"], n_classes), as_labels(decided["prediction"], n_classes)
