"""Sentences on probabilities and thresholds: is a variant as often right as it says, what does a threshold cost."""

import numpy as np

from labkit.evaluation.calibration import Calibration
from labkit.format import fixed, percent, plural, word
from labkit.reporting.frames import floats, only

CLOSE = 0.01  # a mean confidence within one point of the accuracy is neither over- nor underconfident


def calibration_sentence(name: str, found: Calibration) -> str:
    """How sure and how often right a variant is, whether its ECE is more than chance, and what its temperature does."""
    table = only(found.bins, "when", "before")
    n, said, true = (floats(table, column) for column in ("n", "confidence", "accuracy"))
    sure, right = (float(np.nansum(column * n) / n.sum()) for column in (said, true))
    gap = sure - right
    verdict = "overconfident" if gap > CLOSE else "underconfident" if gap < -CLOSE else "as sure as it may be"
    before = _scores(found, "before")
    text = f"{name} is {percent(sure)} sure on average and right in {percent(right)} of {plural(found.n, 'image')}"
    text += f" ({verdict}); its ECE over {word(len(table))} bins is {fixed(before['ece'], 3)}, where a perfectly "
    text += f"calibrated model has {fixed(before['reference'], 3)} on as many images: {_against_chance(before)}."
    if found.temperature is None:
        return f"{text} No temperature is fitted: {found.reason}."
    after = _scores(found, "after")
    moved = _moved(before["ece"], after["ece"])
    text += f" A temperature of {fixed(found.temperature, 2)}, fitted on validation, {moved}: {_against_chance(after)}"
    return f"{text}; Brier score {fixed(before['brier'], 3)} before and {fixed(after['brier'], 3)} after."


def _scores(found: Calibration, when: str) -> dict[str, float]:
    of_row = found.scores.loc[[when]]
    return {str(name): float(floats(of_row, str(name))[0]) for name in of_row.columns}


def _against_chance(scores: dict[str, float]) -> str:
    ece, high = scores["ece"], scores["reference_high"]
    return "more than chance explains" if ece > high else "no more than chance"


def _moved(before: float, after: float) -> str:
    if fixed(before, 3) == fixed(after, 3):
        return f"leaves it at {fixed(after, 3)}"
    return f"{'lowers' if after < before else 'raises'} it to {fixed(after, 3)}"
