"""THE registry of scores: what each is called, how it is printed, computed and given an interval; and `evaluate`.

Scores are always those of a whole table, never averages over batches. To add one, add an entry of METRICS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from labkit.evaluation import matrices
from labkit.evaluation.decide import Floats, as_labels, decide, probabilities_of
from labkit.evaluation.ranking import MEASURES, auroc, average_precision, left_out, macro, referable
from labkit.format import DASH, MINUS, NBSP, fixed, missing, percent, plural, signed

PER_CLASS = ("sensitivity", "specificity", "ppv", "npv")
AVERAGE: Any = {"interval": "average", "table": "main"}
OF_GRADES: Any = {"table": "further", "ordered": True}


@dataclass(frozen=True)
class Metric:
    """One score; the key of its entry is its column.

    `name`, `short`: in a sentence, at the head of a column. `percent`: printed in percent, differences in points; else
    with three digits. `of`: its function of confusion matrices (…, C, C), or `ranks`: of decided predictions and
    classes. `interval`: of a 'share' of images, of an 'average' over classes, or of 'areas' under curves, see
    `intervals`. `table`: which of the report's two tables of scores shows it. `ordered`: for grades only.
    """

    name: str
    short: str
    percent: bool = False
    of: Callable[[Floats], Floats] | None = None
    ranks: Callable[[pd.DataFrame, Sequence[str]], float | None] | None = None
    interval: Literal["share", "average", "areas"] | None = None
    table: Literal["main", "further"] | None = None
    ordered: bool = False
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The name at the head of a sentence: 'Macro AUROC'."""
        return self.name[:1].upper() + self.name[1:]

    def text(self, value: float | None, *, unit: bool = True) -> str:
        """0.8233 -> '82.3 %', or '0.823' for a metric that is no share."""
        if self.percent:
            return percent(value) if unit else percent(value).removesuffix(f"{NBSP}%")
        return fixed(value, 3)

    def difference(self, value: float | None) -> str:
        """The size (without sign) of a difference: 0.012 -> '1.2 points', or '0.012'."""
        if missing(value):
            return DASH
        size = abs(float(value))  # type: ignore[arg-type]
        return plural(f"{size * 100:.1f}", "point") if self.percent else fixed(size, 3)


def ranked_probability_score(decided: pd.DataFrame, classes: Sequence[str]) -> float | None:
    """Mean squared distance of cumulated probabilities and truth, over the C - 1 cuts between grades (Epstein 1969).

    0 is perfect, 1 the worst: all on one end and the truth on the other. None without probabilities.
    """
    if "p_0" not in decided:
        return None
    labels, below = decided["label"].to_numpy(np.int64), np.cumsum(probabilities_of(decided), axis=1)[:, :-1]
    return float(((below - (labels[:, None] <= np.arange(len(classes) - 1))) ** 2).mean())


METRICS = {
    "accuracy": Metric("accuracy", "Accuracy", of=matrices.accuracy, interval="share", table="main", percent=True),
    "balanced_accuracy": Metric(
        "balanced accuracy", "Balanced accuracy", of=matrices.balanced_accuracy, **AVERAGE, percent=True
    ),
    "macro_f1": Metric("macro F1", "Macro F1", of=matrices.macro_f1, **AVERAGE),
    "qwk": Metric("quadratic weighted kappa", "QWK", of=matrices.qwk, **AVERAGE, ordered=True),
    "macro_auroc": Metric("macro AUROC", "Macro AUROC", ranks=partial(macro, auroc), interval="areas", table="main"),
    "weighted_f1": Metric("weighted F1", "Weighted F1", of=matrices.weighted_f1, table="further"),
    "mcc": Metric("Matthews correlation", "MCC", of=matrices.mcc, table="further"),
    "macro_average_precision": Metric(
        "macro average precision", "Macro AP", ranks=partial(macro, average_precision), table="further"
    ),
    "referable_auroc": Metric(
        "AUROC of referable disease", "Referable AUROC", ranks=partial(referable, auroc), interval="areas", **OF_GRADES
    ),
    "referable_average_precision": Metric(
        "average precision of referable disease",
        "Referable AP",
        ranks=partial(referable, average_precision),
        **OF_GRADES,
    ),
    "rps": Metric(
        "ranked probability score", "RPS", ranks=ranked_probability_score, **OF_GRADES, higher_is_better=False
    ),
    # Computed elsewhere: of one class or question, of curves, of training.
    "auroc": Metric("AUROC", "AUROC"),
    "sensitivity": Metric("sensitivity", "Sensitivity", percent=True),
    "specificity": Metric("specificity", "Specificity", percent=True),
    "ppv": Metric("positive predictive value", "PPV", percent=True),
    "npv": Metric("negative predictive value", "NPV", percent=True),
    "ece": Metric("expected calibration error", "ECE", higher_is_better=False),
    "brier": Metric("Brier score", "Brier", higher_is_better=False),
    "loss": Metric("loss", "Loss", higher_is_better=False),
}


def metric(key: str) -> Metric:
    """The metric of a column name; `val_qwk` and `test_qwk` are `qwk`. An unknown one is printed as it is spelt."""
    for prefix in ("train_", "val_", "test_"):
        key = key.removeprefix(prefix)
    words = key.replace("_", " ")
    return METRICS.get(key, Metric(words, words[:1].upper() + words[1:]))


def signed_difference(key: str, value: float, low: float | None = None, high: float | None = None) -> str:
    """'+5.0 points [+1.0 to +9.0]', or '+0.050 [+0.010 to +0.090]'; without brackets when there is no interval.

    An interval without width is none: '+1.000 [no spread]', as of a perfect kappa against constant predictions.
    """
    scale, digits, unit = (100, 1, f"{NBSP}points") if metric(key).percent else (1, 3, "")
    text = f"{signed(scale * value, digits)}{unit}"
    if missing(low) or missing(high):
        return text
    if high - low < 1e-9:  # type: ignore[operator]
        return f"{text} [no spread]"
    return f"{text} [{signed(scale * low, digits)} to {signed(scale * high, digits)}]"  # type: ignore[operator]


def interval(key: str, low: float | None, high: float | None) -> str:
    """'[81.4-83.2]' with an en dash, in the metric's own digits; empty when either end is missing."""
    if missing(low) or missing(high):
        return ""
    low_text, high_text = (metric(key).text(end, unit=False) for end in (low, high))
    joint = " to " if MINUS in low_text + high_text else DASH
    return f"[{low_text}{joint}{high_text}]"


def with_interval(key: str, estimate: float | None, *ends: float | None, spread: float | None = None) -> str:
    """'82.3 % ± 0.4 [81.4-83.2]' of estimate, low, high and `spread` over seeds, without what is not known."""
    named = metric(key)
    if named is METRICS["qwk"] and {estimate, *ends} == {0} and ends:  # as `bootstrap_by_group` leaves it
        return "0 (constant predictions)"
    text = named.text(estimate) + ("" if missing(spread) else f" ± {named.text(spread, unit=False)}")
    return f"{text} {interval(key, *ends) if ends else ''}".strip()


def evaluate(predictions: pd.DataFrame, classes: Sequence[str], task: str = "classes") -> dict[str, Any]:
    """All scores of these rows as plain numbers, ready for JSON; None if a missing class leaves a score undefined.

    n, n_groups (known groups), n_without_group, the entries of METRICS that have a function (those that are `ordered`
    if `task` is 'grades'), the classes that AUROC and average precision leave out, and lists with one number per class:
    sensitivity, specificity, ppv, npv. Takes a predictions table before or after `decide`. Raises ValueError on
    unlabelled rows or an empty table.
    """
    decided = _decided(predictions)
    matrix = _matrix(decided, len(classes))
    groups = decided["group"].dropna() if "group" in decided else ()
    found: dict[str, Any] = {"n": len(decided), "n_groups": len(set(groups))}
    found["n_without_group"] = len(decided) - len(groups)
    for name, one in METRICS.items():
        if (one.of or one.ranks) and (task == "grades" or not one.ordered):
            value = one.of(matrix) if one.of else one.ranks(decided, classes)  # type: ignore[misc]
            found[name] = None if missing(value) else float(value)  # type: ignore[arg-type]
    found |= {f"{name}_left_out": left_out(of, decided, classes) for name, of in MEASURES.items()}
    by_class = per_class_table(decided, classes)
    return found | {name: [None if missing(value) else float(value) for value in by_class[name]] for name in PER_CLASS}


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
    """`confusion` as the functions of METRICS take it."""
    n_logits = sum(column.startswith("logit_") for column in decided.columns)
    if n_logits not in (0, n_classes):
        raise ValueError(f"classes: {n_classes} names for predictions of {n_logits} classes")
    return matrices.matrix_of(decided["label"], decided["prediction"], n_classes)
