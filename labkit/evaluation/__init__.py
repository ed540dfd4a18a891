"""What predictions are worth: all but gradcam takes a predictions table and needs no model and no GPU."""

from labkit.evaluation.decide import decide, is_ordinal, mistakes, probabilities, severity
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.evaluation.metrics import (
    confusion,
    evaluate,
    majority_baseline,
    majority_share,
    per_class_table,
    score,
)
from labkit.evaluation.ordinal import Cuts, grade_cuts

__all__ = [
    "Cuts",
    "bootstrap_by_group",
    "confusion",
    "decide",
    "evaluate",
    "grade_cuts",
    "is_ordinal",
    "majority_baseline",
    "majority_share",
    "mistakes",
    "per_class_table",
    "probabilities",
    "score",
    "severity",
]
