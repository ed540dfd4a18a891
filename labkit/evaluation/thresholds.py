"""Where to set the threshold of a yes-or-no question: chosen on validation predictions, then held fixed on test.

A threshold chosen on the images it is judged by flatters every number that follows from it. Two rules: the highest
threshold that finds at least 90 % of the diseased (screening: Gulshan et al. 2016 chose such a point, too), and the
one with the greatest sensitivity + specificity - 1 (Youden 1950). An image counts as positive from the threshold on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from labkit.evaluation.decide import NotFitted, severity, validation_of
from labkit.evaluation.intervals import Column, Floats, bootstrap_by_group
from labkit.evaluation.question import Question, question

WANTED = 0.90  # sensitivity
RULES = (f"sensitivity ≥ {WANTED:.2f}", "Youden")


def choose_threshold(truth: NDArray[np.bool_], chance: Floats, rule: str) -> float:
    """The threshold that `rule` (one of RULES) chooses; of several as good the highest, which refers the fewest.

    `truth`, `chance` (n,): of validation images. Raises NotFitted unless there are positives and negatives.
    """
    if rule not in RULES:
        raise ValueError(f"rule: {rule!r} is not one of {', '.join(RULES)}")
    if not truth.any() or truth.all():
        kind = "negative" if truth.all() else "positive"
        raise NotFitted(f"no {kind} image among the {len(truth)} of the validation split")
    false, found, thresholds = (part[1:] for part in roc_curve(truth, chance, drop_intermediate=False))  # [0]: infinite
    place = np.argmax(found >= WANTED) if rule == RULES[0] else np.argmax(found - false)
    return float(thresholds[place])


def at_threshold(
    truth: NDArray[np.bool_], chance: Floats, threshold: float, groups: Column | None = None, **options: int
) -> pd.DataFrame:
    """A row a metric: estimate, low, high (bootstrap over groups; `options`: draws, seed) and n, its denominator.

    sensitivity and specificity, of the truly positive and negative; ppv and npv, of those called so. NaN where n is 0.
    """
    called = chance >= threshold
    rows = bootstrap_by_group(truth, called, groups, 2, metrics=TWO_BY_TWO, **options)
    return rows.assign(n=[truth.sum(), (~truth).sum(), called.sum(), (~called).sum()])


def operating_points(decided: pd.DataFrame, question: Question, **options: int) -> pd.DataFrame:
    """Both rules' thresholds, chosen on the `val` rows of a decided predictions table, applied to its `test` rows.

    Columns rule, threshold, metric, validation (the metric there), estimate, low, high, n; four rows a rule. Raises
    NotFitted where there is nothing to choose on.
    """
    truth, chance = question.of(validation_of(decided))
    test = decided.loc[(decided["split"] == "test") & decided["label"].notna()]
    test_truth, test_chance = question.of(test)
    tables = []
    for rule in RULES:
        threshold = choose_threshold(truth, chance, rule)
        chosen_on = at_threshold(truth, chance, threshold, draws=1)["estimate"]
        table = at_threshold(test_truth, test_chance, threshold, test["group"], **options)
        tables.append(table.assign(rule=rule, threshold=threshold, validation=chosen_on).reset_index())
    columns = ["rule", "threshold", "metric", "validation", "estimate", "low", "high", "n"]
    return pd.concat(tables, ignore_index=True).loc[:, columns]


@dataclass(frozen=True)
class ScreeningPoint:
    """What new images are held against: the threshold of the first of RULES; None where there is none, for a `reason`.

    `n`: validation images that it was chosen on; `on_test`: metric -> its value on the labelled test images and of how
    many, empty where there are none.
    """

    question: Question | None
    threshold: float | None = None
    n: int = 0
    on_test: dict[str, tuple[float, int]] = field(default_factory=dict)
    reason: str | None = None

    def chance(self, decided: pd.DataFrame) -> Floats:
        """What the threshold is compared with, (n,): as `severity`; NaN where nothing is asked."""
        return severity(decided, self.question.positive[0]) if self.question else np.full(len(decided), np.nan)


def screening_point(decided: pd.DataFrame, classes: Sequence[str], task: str) -> ScreeningPoint:
    """Chosen on the `val` rows of a run's decided predictions table; `task`: 'grades' or 'classes'."""
    asked = question(classes, task)
    if asked is None:
        return ScreeningPoint(None, reason=f"none of the {len(classes)} classes is known to be worse than another")
    try:
        truth, chance = asked.of(validation_of(decided))
        threshold = choose_threshold(truth, chance, RULES[0])
    except NotFitted as error:
        return ScreeningPoint(asked, reason=str(error))
    test = decided.loc[(decided["split"] == "test") & decided["label"].notna()]
    if test.empty:
        return ScreeningPoint(asked, threshold, len(truth))
    found = at_threshold(*asked.of(test), threshold, draws=1)
    on_test = {name: (float(row["estimate"]), int(row["n"])) for name, row in found.to_dict("index").items()}
    return ScreeningPoint(asked, threshold, len(truth), on_test)


def _share(cell: int, of: tuple[int, int]) -> Callable[[Floats], Floats]:
    """Of 2×2 matrices (…, 2, 2) flattened row by row: cell / sum of two cells, NaN where that is 0."""

    def share(matrices: Floats) -> Floats:
        cells = matrices.reshape(*matrices.shape[:-2], 4)
        below = cells[..., list(of)].sum(axis=-1)
        return np.divide(cells[..., cell], below, out=np.full(below.shape, np.nan), where=below > 0)

    return share


# rows true, columns called; flattened: 0 true negative, 1 false positive, 2 false negative, 3 true positive
TWO_BY_TWO: dict[str, Callable[[Floats], Floats]] = {
    "sensitivity": _share(3, (2, 3)),
    "specificity": _share(0, (0, 1)),
    "ppv": _share(3, (1, 3)),
    "npv": _share(0, (0, 2)),
}
