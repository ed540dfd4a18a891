"""From logits or a grade to a prediction, and to probabilities where there are any."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from labkit.evaluation.ordinal import Cuts, grade_cuts


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


def decide(predictions: pd.DataFrame, n_classes: int | None = None, cuts: Cuts | None = None) -> pd.DataFrame:
    """A copy of the predictions table with `prediction`, and of logits with `p_0 … p_{C-1}`.

    Logits answer with the most probable class, the first of exactly equal ones. An ordinal run's `grade` answers by
    `cuts`, or by those fitted on the table's own validation rows (labkit.evaluation.ordinal) for `n_classes` grades,
    or as many as its labels show; it says nothing of probabilities, and gets none. Raises ValueError on missing or NaN
    outputs.
    """
    if is_ordinal(predictions):
        grades = predictions["grade"].to_numpy(np.float64)
        if cuts is None:
            labels = predictions["label"].dropna().to_numpy(np.int64)
            cuts = grade_cuts(predictions, n_classes or int(labels.max()) + 1)
        return predictions.assign(prediction=cuts.answers(grades))
    logits = logits_of(predictions)
    chances = probabilities(logits)
    columns = {f"p_{number}": chances[:, number] for number in range(chances.shape[1])}
    # From the logits: two that differ can round to the same probability.
    return predictions.assign(**columns, prediction=logits.argmax(axis=1))


def is_ordinal(predictions: pd.DataFrame) -> bool:
    """Whether the table holds an ordinal run's grades in place of logits."""
    return "grade" in predictions


def severity(decided: pd.DataFrame, first: int) -> NDArray[np.float64]:
    """A number (n,) that ranks images by how likely their grade is `first` or a higher one, as a ROC curve needs.

    The sum of these classes' probabilities; of an ordinal run the grade itself, which ranks and is no probability.
    """
    if is_ordinal(decided):
        return decided["grade"].to_numpy(np.float64)
    n_classes = len(logits_of(decided)[0])
    return decided[[f"p_{number}" for number in range(first, n_classes)]].to_numpy(np.float64).sum(axis=1)


def mistakes(decided: pd.DataFrame) -> pd.DataFrame:
    """The wrongly answered rows, the surest first, with `sureness`.

    It is the probability of the wrong answer; an ordinal run has none, and there it is how many grades the output lies
    off the label.
    """
    wrong = decided.loc[decided["label"].notna() & (decided["prediction"] != decided["label"])]
    if is_ordinal(wrong):
        sureness = (wrong["grade"] - wrong["label"].astype("float64")).abs()
    else:
        sureness = wrong.filter(regex=r"^p_\d+$").max(axis=1)
    wrong = wrong.assign(sureness=sureness.astype("float64"))
    return wrong.sort_values("sureness", ascending=False, kind="stable")


def top_losses(decided: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows, the costliest first, with ``loss``: what fastai's `plot_top_losses` ranks images by.

    Each image's own cross entropy in nats, -log p of its true class, or of an ordinal run the squared error of its
    grade. A right answer can stand among them, if it was a close one.
    """
    known = decided.loc[decided["label"].notna()]
    labels = known["label"].to_numpy(np.int64)
    if is_ordinal(known):
        losses = (known["grade"].to_numpy(np.float64) - labels) ** 2
    else:
        losses = -log_softmax(logits_of(known), axis=1)[np.arange(len(labels)), labels]
    return known.assign(loss=losses).sort_values("loss", ascending=False, kind="stable")
