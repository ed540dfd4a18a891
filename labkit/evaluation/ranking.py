"""How well probabilities rank the images, before any threshold is set: AUROC, average precision, and their curves.

With several classes, each is compared with all others, and the mean is over the classes of which and not of which there
are images; the other classes are listed as left out. Average precision is scikit-learn's sum over
thresholds without interpolation, which would be too optimistic (Davis and Goadrich 2006); a random ranking has the
share of positives, not one half.

The yes-or-no question behind grades is whether they are 2 or worse, *referable* diabetic retinopathy (moderate
non-proliferative or more; Gulshan et al. 2016, JAMA 316(22)). For two classes it is whether the image belongs to the
second, which is the disease in the catalog.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics as sk

from labkit.evaluation.decide import Floats, as_labels, probabilities_of, ranks, severity

Flags = NDArray[np.bool_]
Measure = Callable[[Flags, Floats], float | None]
REFERABLE_FROM = 2  # the lowest grade that is referred
COLUMNS = ["run", "of", "kind", "x", "y", "area", "share", "images"]
MOST_POINTS = 2_000  # of a curve; its area is that of all


@dataclass(frozen=True)
class Question:
    """`name`: what is looked for; `positive`: the numbers of its classes, which are the last ones."""

    name: str
    positive: tuple[int, ...]

    def of(self, decided: pd.DataFrame) -> tuple[NDArray[np.bool_], Floats]:
        """Which rows are positive, and what ranks them (`severity`). Raises ValueError on missing labels."""
        first, n_classes = self.positive[0], self.positive[-1] + 1
        return as_labels(decided["label"], n_classes) >= first, severity(decided, first)


def question(classes: Sequence[str], task: str) -> Question | None:
    """The question for these classes of a `task` ('grades' or 'classes'); None if none is worse than another."""
    if task == "grades" and len(classes) > REFERABLE_FROM:
        name = f"referable disease (grade {REFERABLE_FROM} or worse)"
        return Question(name, tuple(range(REFERABLE_FROM, len(classes))))
    return Question(classes[1], (1,)) if len(classes) == 2 else None


def auroc(positive: Flags, scores: Floats) -> float | None:
    """Area under the ROC curve; None unless there are both positives and negatives."""
    return float(sk.roc_auc_score(positive, scores)) if positive.any() and not positive.all() else None


def average_precision(positive: Flags, scores: Floats) -> float | None:
    """Mean precision over the thresholds, weighted by the gain in recall; None without both positives and negatives.

    Without a negative any ranking, the worst included, would have 1.
    """
    return float(sk.average_precision_score(positive, scores)) if positive.any() and not positive.all() else None


MEASURES = {"auroc": auroc, "average_precision": average_precision}


def one_against_all(decided: pd.DataFrame, classes: Sequence[str]) -> dict[str, tuple[Flags, Floats]]:
    """For each class: which images belong to it, and their probabilities of it. Empty without probabilities."""
    if "p_0" not in decided:
        return {}
    labels, columns = decided["label"].to_numpy(np.int64), probabilities_of(decided).T
    return {name: (labels == number, columns[number]) for number, name in enumerate(classes)}


def _by_class(measure: Measure, decided: pd.DataFrame, classes: Sequence[str]) -> dict[str, float | None]:
    return {name: measure(*of) for name, of in one_against_all(decided, classes).items()}


def left_out(measure: Measure, decided: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """The classes that `macro` leaves out; all of them without probabilities."""
    values = _by_class(measure, decided, classes)
    return [name for name in classes if values.get(name) is None]


def macro(measure: Measure, decided: pd.DataFrame, classes: Sequence[str]) -> float | None:
    """The mean of a measure over the classes that have one; None if none has."""
    known = [value for value in _by_class(measure, decided, classes).values() if value is not None]
    return float(np.mean(known)) if known else None


def referable(measure: Measure, decided: pd.DataFrame, classes: Sequence[str]) -> float | None:
    """A measure of finding referable disease among grades; None if nothing ranks the images."""
    asked = question(classes, "grades")
    known = asked is not None and ranks(decided)
    return measure(*asked.of(decided)) if asked and known else None


def curves(tests: Mapping[str, pd.DataFrame], classes: Sequence[str], question: Question | None = None) -> pd.DataFrame:
    """Points of every variant's curves; `tests`: decided predictions by variant.

    Columns run; of: the class, or the question's name; kind: 'roc' (x = 1 - specificity, y = sensitivity) or 'pr'
    (x = sensitivity, y = PPV); area: AUROC or average precision; share: of positives; images: number of positives.
    There is no curve without both positive and negative images.
    """
    tables = []
    for run, table in tests.items():
        asked = one_against_all(table, classes)
        if question is not None and ranks(table):
            asked[question.name] = question.of(table)
        for name, (truth, scores) in asked.items():
            if truth.any() and not truth.all():
                known = {"run": run, "of": name, "share": truth.mean(), "images": int(truth.sum())}
                x, y, _ = sk.roc_curve(truth, scores)
                tables.append(pd.DataFrame(_thinned(x, y) | {"kind": "roc", "area": auroc(truth, scores)} | known))
                y, x, _ = sk.precision_recall_curve(truth, scores)
                area = average_precision(truth, scores)
                tables.append(pd.DataFrame(_thinned(x, y) | {"kind": "pr", "area": area} | known))
    empty = pd.DataFrame(columns=pd.Index(COLUMNS))
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS) if tables else empty


def _thinned(x: Floats, y: Floats) -> dict[str, Floats]:
    """At most MOST_POINTS of a curve's points, its ends among them: what a figure can show."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(np.int64))
    return {"x": x[kept], "y": y[kept]}
