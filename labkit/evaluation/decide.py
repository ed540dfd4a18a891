"""From logits to probabilities and a prediction. What is fitted on validation predictions belongs here, too."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


class NotFitted(ValueError):
    """What is fitted on validation predictions cannot be; the message says why, for the report."""


def validation_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """The labelled validation rows, on which alone something may be fitted. Raises NotFitted where there are none."""
    found = predictions.loc[(predictions["split"] == "val") & predictions["label"].notna()]
    if found.empty:
        # What is fitted on the test images would flatter itself.
        raise NotFitted("there is no validation split to fit on (select_on: test or last leaves none)")
    return found


def probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """Softmax over the last axis, (…, C) -> (…, C). Raises ValueError on NaN or infinite logits."""
    logits = np.asarray(logits, dtype=np.float64)
    bad = ~np.isfinite(logits).all(axis=-1)
    if bad.any():
        raise ValueError(
            f"logits: {int(bad.sum())} of {bad.size} rows are NaN or infinite, first row {int(np.argmax(bad))}; "
            "the training diverged: lower the learning rate, or look for broken images"
        )
    # exp of the largest is 1: no overflow, and softmax does not change under a shift.
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def logits_of(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """The columns logit_0 … logit_{C-1} as an array (n, C). Raises ValueError where one is missing."""
    numbers = sorted(int(match[1]) for name in predictions.columns if (match := re.fullmatch(r"logit_(\d+)", name)))
    if len(numbers) < 2 or numbers != list(range(len(numbers))):
        found = ", ".join(f"logit_{number}" for number in numbers) or "none"
        raise ValueError(f"predictions: columns logit_0, logit_1, … are needed without a gap; found {found}")
    return predictions[[f"logit_{number}" for number in numbers]].to_numpy(np.float64)


def decide(predictions: pd.DataFrame) -> pd.DataFrame:
    """A copy of the predictions table with `p_0 … p_{C-1}` and `prediction`, the most probable class.

    Of classes with exactly equal logits the first is taken. Raises ValueError on missing or NaN logits.
    """
    logits = logits_of(predictions)
    chances = probabilities(logits)
    columns = {f"p_{number}": chances[:, number] for number in range(chances.shape[1])}
    # From the logits: two that differ can round to the same probability.
    return predictions.assign(**columns, prediction=logits.argmax(axis=1))
