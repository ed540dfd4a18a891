"""Sentences on what is looked at before training: the first loss, the learning-rate range test."""

import math
from collections.abc import Mapping

import pandas as pd

from labkit.format import fixed, plural, rate


def first_loss_sentence(loss: float, expected: float | None, n_classes: int, ordinal: bool, from_scratch: bool) -> str:
    """What a batch costs before training, beside what it should; `expected` as `training.first_loss` gives it."""
    said = f"Before training a batch costs {fixed(loss, 3)}"
    if expected is None:
        return f"{said}; what it should cost is not known, since the head that was kept has learnt already."
    if ordinal:
        return f"{said}; always answering grade 0 would cost {fixed(expected, 3)}, the mean square of its grades."
    chance = f"ln {n_classes} = {fixed(math.log(n_classes), 3)}, the loss of a network that knows nothing"
    if from_scratch:
        return f"{said}; it should be near {chance}."
    return f"{said}; a new head on weights that are loaded should be near {chance}, too."


def range_test_sentence(tested: pd.DataFrame, found: Mapping[str, float], used: float) -> str:
    """Where the loss falls, what that suggests, and how far the run's own rate is from it."""
    steps = plural(len(tested), "mini-batch", "mini-batches")
    if not found:
        return f"Over {steps} of rising learning rate the loss never falls for long: there is nothing to suggest."
    low, high = sorted(found.values())
    said = f"Over {steps} the loss falls fastest at a learning rate of {rate(found['steepest'])}; half-way down its"
    if used > 3 * high:
        verdict = f"{_times(used / high)} as large as the larger of the two: look whether its loss is steady"
    elif used < low / 3:
        verdict = f"{_times(low / used)} smaller than the smaller of the two: it may learn slowly"
    else:
        verdict = "which is of that order"
    return (
        f"{said} longest fall, the usual choice, lies {rate(found['valley'])}. This run uses {rate(used)}, {verdict}."
    )


def _times(factor: float) -> str:
    return f"{fixed(factor, 1 if factor < 10 else 0)} times"
