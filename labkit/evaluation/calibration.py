"""Does 80 % mean right eight times in ten? Calibration before and after a temperature fitted on validation logits.

*Temperature scaling* divides all logits by one number T that makes the validation labels most likely; answers do not
change, since their order does not (Guo et al. 2017, "On calibration of modern neural networks"). The *expected
calibration error* (ECE) is the mean distance of confidence (of the answer given) and accuracy over ten bins of equal
width, weighted by their images. It is biased upward on small test sets: even a perfectly calibrated model has one
above 0. So it stands beside that reference, simulated: answers that are right just as often as their confidences say
(independently of each other, as two eyes of a patient are not quite).
The *Brier score* is the mean squared distance of the probabilities from the truth, summed over classes: 0 to 2
(Brier 1950).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from labkit.evaluation.decide import NotFitted, decide, is_ordinal, logits_of, probabilities, validation_of
from labkit.evaluation.intervals import Floats
from labkit.evaluation.metrics import as_labels

BINS = 10
DRAWS = 1000
LOG_T = (-3.0, 3.0)  # temperatures from 0.05 to 20; at an end, the validation labels are too few or too clean


@dataclass(frozen=True)
class Calibration:
    """One run on test. `scores`: rows before, after; columns nll, brier, ece, reference, reference_high (mean and
    95 % quantile of the ECE of a perfectly calibrated model). `bins`: the same rows times bins, as `reliability` has
    them, with the column `when`. Without a temperature (no validation split) there is no `after`, and `reason` says so.
    """

    scores: pd.DataFrame
    bins: pd.DataFrame
    n: int
    temperature: float | None = None
    reason: str = ""


def nll(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood, in nats."""
    return -float(np.mean(log_softmax(logits, axis=1)[np.arange(len(labels)), labels]))


def fit_temperature(predictions: pd.DataFrame) -> float:
    """T of the `val` rows of a predictions table. Raises NotFitted where there are none."""
    val = validation_of(predictions)
    logits = logits_of(val)
    probabilities(logits)  # refuses NaN
    labels = as_labels(val["label"], logits.shape[1])
    # In 1 / T the likelihood has one maximum only; its logarithm keeps T positive.
    found: float = minimize_scalar(lambda t: nll(logits / np.exp(t), labels), bounds=LOG_T, method="bounded").x
    return float(np.exp(found))


def with_temperature(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The table with its logits divided by `temperature`, decided anew."""
    names = [name for name in predictions.columns if name.startswith("logit_")]
    return decide(predictions.assign(**{name: predictions[name] / temperature for name in names}))


def brier(chances: Floats, labels: NDArray[np.int64]) -> float:
    """Of probabilities (n, C) and class numbers (n,)."""
    return float(((chances - np.eye(chances.shape[1])[labels]) ** 2).sum(axis=1).mean())


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> pd.DataFrame:
    """A row a bin (of equal width, from 0 to 1): low, high, n, confidence and accuracy (means; NaN where n is 0)."""
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    place = _bin(confidence, bins)
    n = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=of, minlength=bins) / n for of in (confidence, right)]
    edges = np.linspace(0, 1, bins + 1)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n, "confidence": means[0], "accuracy": means[1]})


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of confidences and hits (n,): the gaps |accuracy - confidence| of the bins, weighted
    by their images (Guo et al. 2017, arXiv:1706.04599).
    """
    table = reliability(confidence, right, bins)
    filled = table.loc[table["n"] > 0].to_numpy(np.float64)
    n, said, true = filled[:, 2], filled[:, 3], filled[:, 4]
    return float((np.abs(true - said) * n).sum() / n.sum())


def ece_reference(confidence: ArrayLike, bins: int = BINS, draws: int = DRAWS, seed: int = 0) -> Floats:
    """ECE (draws,) of answers of these confidences that are right just as often as the confidences say."""
    confidence = np.asarray(confidence, dtype=np.float64)
    generator = np.random.default_rng(seed)
    gaps = np.zeros(draws)
    place = _bin(confidence, bins)
    for part in (confidence[place == number] for number in range(bins)):
        right = (generator.random((draws, len(part))) < part).sum(axis=1)
        gaps += np.abs(right - part.sum())
    return gaps / len(confidence)


def calibration(decided: pd.DataFrame, bins: int = BINS, draws: int = DRAWS, seed: int = 0) -> Calibration:
    """Calibration of a decided predictions table on its `test` rows, before and after T of its `val` rows.

    Raises NotFitted for an ordinal run.
    """
    if is_ordinal(decided):
        raise NotFitted("an ordinal run gives a grade and no probabilities that could be calibrated")
    test = decided.loc[(decided["split"] == "test") & decided["label"].notna()]
    tables, temperature, reason = {"before": test}, None, ""
    try:
        temperature = fit_temperature(decided)
        tables["after"] = with_temperature(test, temperature)
    except NotFitted as error:
        reason = str(error)
    rows, binned = {}, []
    for when, table in tables.items():
        logits = logits_of(table)
        chances, labels = probabilities(logits), as_labels(table["label"], logits.shape[1])
        confidence, right = chances.max(axis=1), logits.argmax(axis=1) == labels
        perfect = ece_reference(confidence, bins, draws, seed)
        rows[when] = {
            "nll": nll(logits, labels),
            "brier": brier(chances, labels),
            "ece": ece(confidence, right, bins),
            "reference": float(perfect.mean()),
            "reference_high": float(np.quantile(perfect, 0.95)),
        }
        binned.append(reliability(confidence, right, bins).assign(when=when))
    scores = pd.DataFrame.from_dict(rows, orient="index").rename_axis("when")
    return Calibration(scores, pd.concat(binned, ignore_index=True), len(test), temperature, reason)


def _bin(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """Bins are closed above, as Guo et al. have them: (0, 0.1], (0.1, 0.2], …"""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
