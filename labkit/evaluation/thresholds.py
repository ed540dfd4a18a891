"""The threshold of the yes-or-no question behind the classes: chosen on validation predictions, applied to test.

A threshold that is chosen on the images it is evaluated on makes the results look too good. It is the highest one that
finds at least 90 % of the diseased images (for screening, as Gulshan et al. 2016 did). An image at it is positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from labkit.evaluation.decide import Floats, NotFitted, labelled_test, severity, validation_of
from labkit.evaluation.intervals import MANY, Column, bootstrap_by_group, exact, group_numbers, middle
from labkit.evaluation.matrices import sensitivity
from labkit.evaluation.ranking import Question, question

WANTED = 0.90  # sensitivity
AS_WANTED = "specificity at the wanted sensitivity"
_OF_POSITIVE, _OF_NEGATIVE = sensitivity(1), sensitivity(0)
TWO_BY_TWO = {
    "sensitivity": _OF_POSITIVE,
    "specificity": _OF_NEGATIVE,
    "ppv": lambda matrices: _OF_POSITIVE(matrices.swapaxes(-1, -2)),
    "npv": lambda matrices: _OF_NEGATIVE(matrices.swapaxes(-1, -2)),
}


def choose_threshold(truth: NDArray[np.bool_], scores: Floats) -> float:
    """The highest threshold with the sensitivity WANTED, which refers the fewest images.

    `truth` and `scores` (n,) are of validation images. Raises NotFitted unless there are positives and negatives.
    """
    if not truth.any() or truth.all():
        kind = "negative" if truth.all() else "positive"
        raise NotFitted(f"no {kind} image among the {len(truth)} of the validation split")
    _, found, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    return float(thresholds[np.argmax(found >= WANTED)])


def at_threshold(
    truth: NDArray[np.bool_], scores: Floats, threshold: float, groups: Column | None = None, **options: int
) -> pd.DataFrame:
    """A row per metric: estimate, low, high, groups (`bootstrap_by_group` at a given threshold) and n, its denominator.

    Sensitivity and specificity are shares of the truly positive and negative images, ppv and npv of those predicted
    so. NaN where n is 0. `options`: draws, seed.
    """
    predicted = scores >= threshold
    rows = bootstrap_by_group(truth, predicted, groups, 2, metrics=TWO_BY_TWO, **options)
    return rows.assign(n=[truth.sum(), (~truth).sum(), predicted.sum(), (~predicted).sum()])


def specificity_as_wanted(
    truth: NDArray[np.bool_], scores: Floats, groups: Column | None = None, draws: int | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """Specificity at the highest threshold of these images that finds 90 % of the positive ones, and its interval.

    To compare models at one sensitivity; a random score has 10 %. The threshold is chosen anew in every draw of groups,
    so its uncertainty is in the interval, which is never narrower than an exact one where draws reach 0 or 1. NaN
    without both positives and negatives.
    """
    order = np.argsort(-scores, kind="stable")
    kinds, numbers = np.stack([truth, ~truth])[:, order], group_numbers(groups, len(scores))[order]
    last = np.append(np.diff(scores[order]) != 0, True)  # the last image at each threshold
    n_groups, generator, values = int(numbers.max()) + 1, np.random.default_rng(seed), []
    for draw in range((draws or (2000 if len(scores) <= MANY else 200)) + 1):
        drawn = generator.integers(0, n_groups, n_groups) if draw else np.arange(n_groups)  # the first: all images
        found, false = np.cumsum(kinds * np.bincount(drawn, minlength=n_groups)[numbers], axis=1)[:, last]
        place = np.argmax(found >= WANTED * found[-1] - 1e-9)
        values.append(1 - false[place] / false[-1] if found[-1] and false[-1] else np.nan)
    low, high = middle(np.array(values[1:]), n_groups)
    if low <= 0 or high >= 1:
        ends = exact(float(values[0]), len(np.unique(numbers[kinds[1]])))
        low, high = min(low, ends[0]), max(high, ends[1])
    return float(values[0]), low, high


def operating_points(decided: pd.DataFrame, question: Question, **options: int) -> pd.DataFrame:
    """The threshold, chosen on the `val` rows of a decided predictions table, applied to its `test` rows.

    Columns threshold, metric, validation (the metric there), estimate, low, high, groups, n; four rows after one of the
    metric AS_WANTED, `specificity_as_wanted` of test. NotFitted if there is nothing to choose on.
    """
    truth, scores = question.of(validation_of(decided))
    test = labelled_test(decided)
    fair = specificity_as_wanted(*question.of(test), test["group"], **options)
    first = pd.DataFrame([fair], columns=["estimate", "low", "high"]).assign(metric=AS_WANTED)
    threshold = choose_threshold(truth, scores)
    on_validation = at_threshold(truth, scores, threshold, draws=1)["estimate"]
    table = at_threshold(*question.of(test), threshold, test["group"], **options)
    table = table.assign(threshold=threshold, validation=on_validation).reset_index()
    columns = ["threshold", "metric", "validation", "estimate", "low", "high", "groups", "n"]
    return pd.concat([first, table], ignore_index=True).loc[:, columns]


@dataclass(frozen=True)
class ScreeningPoint:
    """The threshold for new images; without one it is None, and `reason` says why.

    `n`: validation images that it was chosen on; `on_test`: metric -> its value on the labelled test images and their
    number, empty without such images.
    """

    question: Question | None
    threshold: float | None = None
    n: int = 0
    on_test: dict[str, tuple[float, int]] = field(default_factory=dict)
    reason: str | None = None

    def scores(self, decided: pd.DataFrame) -> Floats:
        """The numbers (n,) to compare with the threshold, as `severity` gives them; NaN without a question."""
        return severity(decided, self.question.positive[0]) if self.question else np.full(len(decided), np.nan)


def screening_point(decided: pd.DataFrame, classes: Sequence[str], task: str) -> ScreeningPoint:
    """Chosen on the `val` rows of a run's decided predictions table; `task`: 'grades' or 'classes'."""
    asked = question(classes, task)
    if asked is None:
        return ScreeningPoint(None, reason=f"none of the {len(classes)} classes is known to be worse than another")
    try:
        truth, scores = asked.of(validation_of(decided))
        threshold = choose_threshold(truth, scores)
    except NotFitted as error:
        return ScreeningPoint(asked, reason=str(error))
    test = labelled_test(decided)
    found = {} if test.empty else at_threshold(*asked.of(test), threshold, draws=1).to_dict("index")
    on_test = {str(name): (float(row["estimate"]), int(row["n"])) for name, row in found.items()}
    return ScreeningPoint(asked, threshold, len(truth), on_test)
