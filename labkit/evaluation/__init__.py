"""What predictions are worth: everything here takes a predictions table, and needs no model and no GPU."""

from labkit.evaluation.decide import decide, probabilities
from labkit.evaluation.intervals import bootstrap_by_group, difference_by_group
from labkit.evaluation.metrics import (
    confusion,
    evaluate,
    is_majority_class,
    majority_baseline,
    majority_share,
    per_class_table,
    score,
)

__all__ = [
    "bootstrap_by_group",
    "confusion",
    "decide",
    "difference_by_group",
    "evaluate",
    "is_majority_class",
    "majority_baseline",
    "majority_share",
    "per_class_table",
    "probabilities",
    "score",
]
