"""The sentence under each figure, computed from its numbers, and true whichever way they turned out."""

from labkit.reporting.sentences_ablation import (
    ablation_sentence,
    oversampling_sentence,
    protocol_sentence,
    published_sentence,
)
from labkit.reporting.sentences_calibration import calibration_sentence
from labkit.reporting.sentences_classes import confusion_sentence, imbalance_sentence
from labkit.reporting.sentences_curves import class_curves_sentence, question_sentence
from labkit.reporting.sentences_errors import (
    cuts_sentence,
    gaze_sentence,
    loss_titles,
    missed_sentence,
    mistake_titles,
    mistakes_sentence,
    subgroup_sentence,
    top_losses_sentence,
)
from labkit.reporting.sentences_light import light_sentence
from labkit.reporting.sentences_range import first_loss_sentence, range_test_sentence
from labkit.reporting.sentences_results import best_variant_sentence, compare_sentence, majority_sentence
from labkit.reporting.sentences_tables import (
    blocks_sentence,
    depth_sentence,
    found_sentence,
    further_sentence,
    runs_sentence,
    trust_sentence,
    variants_sentence,
    weights_sentence,
)
from labkit.reporting.sentences_training import cost_sentence, curves_sentence, micro_batch_sentence, processes_sentence

__all__ = [
    "ablation_sentence",
    "best_variant_sentence",
    "blocks_sentence",
    "calibration_sentence",
    "class_curves_sentence",
    "compare_sentence",
    "confusion_sentence",
    "cost_sentence",
    "curves_sentence",
    "cuts_sentence",
    "depth_sentence",
    "first_loss_sentence",
    "found_sentence",
    "further_sentence",
    "gaze_sentence",
    "imbalance_sentence",
    "light_sentence",
    "loss_titles",
    "majority_sentence",
    "micro_batch_sentence",
    "missed_sentence",
    "mistake_titles",
    "mistakes_sentence",
    "oversampling_sentence",
    "processes_sentence",
    "protocol_sentence",
    "published_sentence",
    "question_sentence",
    "range_test_sentence",
    "runs_sentence",
    "subgroup_sentence",
    "top_losses_sentence",
    "trust_sentence",
    "variants_sentence",
    "weights_sentence",
]
