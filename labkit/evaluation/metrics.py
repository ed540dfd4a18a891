"""What predictions are worth: scores over a whole table, never averaged over batches.

Two conventions hold everywhere (also in the intervals): a kappa that is undefined because labels and predictions are
all of one class counts 0, as Matthews' coefficient does; macro F1 is the mean over the classes that occur among the
labels or the predictions, balanced accuracy over those among the labels (scikit-learn's defaults).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sk

from labkit.evaluation.decide import decide, is_ordinal, probabilities, severity
from labkit.evaluation.question import REFERABLE_FROM
from labkit.evaluation.ranking import ranking_scores, referable_scores

Labels = NDArray[np.int64]
PER_CLASS = ("sensitivity", "specificity", "ppv", "npv")


def accuracy(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Share of labels (n,) that are predicted."""
    return float(sk.accuracy_score(labels, predicted))


def balanced_accuracy(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Mean over the classes that occur among the labels of the share that is found."""
    with _quiet():  # a predicted class without labels is normal on a small split
        return float(sk.balanced_accuracy_score(labels, predicted))


def macro_f1(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Mean F1 over the classes that occur among labels or predictions."""
    with _quiet():  # a class that is never predicted has F1 0
        return float(sk.f1_score(labels, predicted, average="macro"))


def weighted_f1(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Mean F1 of the classes, each weighted by its labels."""
    with _quiet():
        return float(sk.f1_score(labels, predicted, average="weighted"))


def qwk(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Quadratic weighted kappa (Cohen 1968): 1 agreement, 0 chance; two grades off cost four times as much as one."""
    # All classes are named: scikit-learn would otherwise number those that occur 0, 1, 2 …, and grades 0 and 4 alone
    # would be neighbours.
    with _quiet():  # 0 / 0, by different names in different versions
        kappa = sk.cohen_kappa_score(labels, predicted, labels=list(range(n_classes)), weights="quadratic")
    return float(np.nan_to_num(kappa, nan=0.0))


def mcc(labels: Labels, predicted: Labels, n_classes: int) -> float:
    """Matthews' correlation, for any number of classes (Gorodkin 2004): 1 agreement, 0 chance or a constant answer."""
    with _quiet():
        return float(sk.matthews_corrcoef(labels, predicted))


SCORES: dict[str, Callable[[Labels, Labels, int], float]] = {  # all that `evaluate` gives, and an epoch is chosen by
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "qwk": qwk,
    "mcc": mcc,
}


def score(name: str) -> Callable[[ArrayLike, ArrayLike], float]:
    """A function (labels (n,), logits (n, C)) -> number, larger is better; to choose an epoch by.

    Raises ValueError on an unknown name; the function does on missing labels and NaN logits.
    """
    if name not in SCORES:
        raise ValueError(f"score: {name!r} is not one of {', '.join(SCORES)}")

    def scorer(labels: ArrayLike, logits: ArrayLike) -> float:
        logits = np.asarray(logits)
        probabilities(logits)  # refuses NaN, of which argmax would make an answer
        n_classes = logits.shape[1]
        predicted = logits.argmax(axis=1).astype(np.int64)
        return SCORES[name](as_labels(labels, n_classes, len(logits)), predicted, n_classes)

    return scorer


def evaluate(predictions: pd.DataFrame, classes: Sequence[str], task: str = "classes") -> dict[str, Any]:
    """All scores of the rows given, plain numbers (ready for JSON): None is what a missing class leaves undefined.

    n, n_groups (known groups), n_without_group, accuracy, balanced_accuracy, macro_f1, weighted_f1, qwk, mcc, those of
    `ranking.ranking_scores` (with referable disease where `task` is 'grades'), and lists with a number a class:
    sensitivity, specificity, ppv, npv. Takes a predictions table, before or after `decide`. Raises ValueError on
    unlabelled rows or an empty table.
    """
    labels, predicted, chances = _columns(predictions, classes)
    groups = predictions["group"].dropna() if "group" in predictions else ()
    counts = {"n": len(labels), "n_groups": len(set(groups)), "n_without_group": len(labels) - len(groups)}
    found = counts | _scores(labels, predicted, chances, classes)
    if _asks_for_referral(classes, task):
        known = chances is not None or is_ordinal(predictions)
        found |= referable_scores(labels, severity(_decided(predictions), REFERABLE_FROM) if known else None)
    return found


def majority_baseline(
    train_labels: ArrayLike, test_labels: ArrayLike, n_classes: int, task: str = "classes"
) -> dict[str, Any]:
    """The scores of always answering the most frequent class of train (the first of equals), named in `class`.

    The same keys as `evaluate`, without the groups. Train's unlabelled rows are left out, test's are refused.
    """
    train = np.asarray(train_labels)
    train = as_labels(train[~pd.isna(train)], n_classes)
    answer = int(np.bincount(train, minlength=n_classes).argmax())
    labels = as_labels(test_labels, n_classes)
    predicted = np.full(len(labels), answer, dtype=np.int64)
    names = [str(number) for number in range(n_classes)]
    chances = np.eye(n_classes)[predicted]
    found = {"class": answer, "n": len(labels)} | _scores(labels, predicted, chances, names)
    return found | (referable_scores(labels, predicted.astype(float)) if _asks_for_referral(names, task) else {})


def _asks_for_referral(classes: Sequence[str], task: str) -> bool:
    return task == "grades" and len(classes) > REFERABLE_FROM


def majority_share(predictions: pd.DataFrame) -> float:
    """Share of images that get the most frequent answer: 1 for a constant model."""
    predicted = _decided(predictions)["prediction"]
    return float(predicted.value_counts(normalize=True).iloc[0])


def confusion(predictions: pd.DataFrame, n_classes: int) -> NDArray[np.int64]:
    """Counts (C, C): rows true, columns predicted."""
    labels, predicted, _ = _columns(predictions, [str(number) for number in range(n_classes)])
    return _matrix(labels, predicted, n_classes)


def _matrix(labels: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    return sk.confusion_matrix(labels, predicted, labels=list(range(n_classes))).astype(np.int64)


def per_class_table(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """A row a class against all others: class, images, predicted, sensitivity, specificity, ppv, npv, f1.

    NaN where the denominator is 0 (a class without labels has no sensitivity, one never predicted no ppv).
    """
    return _per_class(confusion(predictions, len(classes)), classes)


def _per_class(counts: NDArray[np.int64], classes: Sequence[str]) -> pd.DataFrame:
    matrix = counts.astype(float)
    hit = np.diag(matrix)
    true, answered = matrix.sum(axis=1), matrix.sum(axis=0)
    rejected = matrix.sum() - true - answered + hit  # neither is, nor is called, this class
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "class": list(classes),
            "images": true.astype(int),
            "predicted": answered.astype(int),
            "sensitivity": hit / true,
            "specificity": rejected / (matrix.sum() - true),
            "ppv": hit / answered,
            "npv": rejected / (matrix.sum() - answered),
            "f1": 2 * hit / (true + answered),
        }
    return pd.DataFrame(columns)


def as_labels(labels: ArrayLike | pd.Series, n_classes: int, n: int | None = None) -> Labels:
    """Class numbers (n,) as int64. Raises ValueError on missing, fractional or out-of-range ones, or none at all."""
    values = np.asarray(labels)
    if len(values) == 0:
        raise ValueError("labels: there are none, so there is nothing to score")
    if n is not None and len(values) != n:
        raise ValueError(f"labels: {len(values)} labels for {n} predictions")
    missing = np.count_nonzero(pd.isna(values))
    if missing:
        raise ValueError(f"labels: {missing} of {len(values)} rows are unlabelled; score the labelled ones only")
    numbers = values.astype(np.float64)
    wrong = (numbers != np.floor(numbers)) | (numbers < 0) | (numbers >= n_classes)
    if wrong.any():
        raise ValueError(f"labels: {numbers[wrong][0]:g} is not a class number from 0 to {n_classes - 1}")
    return numbers.astype(np.int64)


@contextmanager
def _quiet() -> Iterator[None]:
    """scikit-learn warns of every convention named at the top of this file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decided(predictions: pd.DataFrame) -> pd.DataFrame:
    if len(predictions) == 0:
        raise ValueError("predictions: the table is empty, so there is nothing to score")
    return predictions if "prediction" in predictions else decide(predictions)


def _columns(predictions: pd.DataFrame, classes: Sequence[str]) -> tuple[Labels, Labels, NDArray[np.float64] | None]:
    """Labels, predictions and probabilities (None for a table that has a `prediction` but no `p_0 …`)."""
    table = _decided(predictions)
    n_logits = sum(column.startswith("logit_") for column in table.columns)
    if n_logits not in (0, len(classes)):
        raise ValueError(f"classes: {len(classes)} names for predictions of {n_logits} classes")
    names = [f"p_{number}" for number in range(len(classes))]
    chances = table[names].to_numpy(np.float64) if set(names) <= set(table.columns) else None
    return as_labels(table["label"], len(classes)), as_labels(table["prediction"], len(classes)), chances


def _scores(
    labels: Labels, predicted: Labels, chances: NDArray[np.float64] | None, classes: Sequence[str]
) -> dict[str, Any]:
    by_class = _per_class(_matrix(labels, predicted, len(classes)), classes)
    return {
        **{name: of(labels, predicted, len(classes)) for name, of in SCORES.items()},
        **ranking_scores(labels, chances, classes),
        **{name: _known(by_class[name].to_numpy(np.float64)) for name in PER_CLASS},
    }


def _known(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
