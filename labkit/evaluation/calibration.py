"""Calibration (is a probability of 80 % right in 80 % of cases?) before and after temperature scaling.

*Temperature scaling* divides all logits by one number T, fitted on validation labels by maximum likelihood; predictions
do not change (Guo et al. 2017, "On calibration of modern neural networks"). The *expected calibration error* (ECE) is
the mean distance between confidence and accuracy over ten bins of equal width, weighted by their images. On small test
sets it is above 0 even for a perfectly calibrated model, so it is shown beside a simulated one: predictions that are
correct exactly as often as their confidences say (and independent, which two eyes of one patient are not quite). The
*Brier score* is the squared distance of the probabilities from the truth, summed over classes: 0 to 2 (Brier 1950).

On other images, *calibration-in-the-large* and the *calibration slope* tell whether the probabilities of a yes-or-no
question are too high or too low, and too extreme or too moderate (Cox 1958; Van Calster et al. 2019, BMC Medicine 17).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logit
from scipy.stats import t
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from labkit.evaluation.decide import (
    Floats,
    Labels,
    NotFitted,
    as_labels,
    decide,
    labelled_test,
    logits_of,
    probabilities_of,
    softmax,
    validation_of,
)
from labkit.evaluation.intervals import MANY, Column, clustered_error, group_numbers

BINS = 10
DRAWS = 1000
LOG_T = (-3.0, 3.0)  # temperatures from 0.05 to 20; validation with few images or no errors gives one of the ends


@dataclass(frozen=True)
class Calibration:
    """Calibration of one run on test.

    `scores`: rows before, after; columns nll, brier, ece, reference, reference_high (mean and upper limit of the ECE
    of a perfectly calibrated model). `bins`: the table of `reliability` before and after, told apart by the column
    `when`. Without a validation split there is no temperature and no `after`, and `reason` says so. `gap_half`: of
    `gap_half_width` before.
    """

    scores: pd.DataFrame
    bins: pd.DataFrame
    n: int
    temperature: float | None = None
    reason: str = ""
    gap_half: float = 0.0


def nll(logits: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood, in nats."""
    return -float(np.mean(log_softmax(logits, axis=1)[np.arange(len(labels)), labels]))


def fit_temperature(predictions: pd.DataFrame) -> float:
    """T from the `val` rows of a predictions table. Raises NotFitted if there are none."""
    val = validation_of(predictions)
    logits = logits_of(val)
    softmax(logits)  # refuses NaN
    labels = as_labels(val["label"], logits.shape[1])

    def loss(t: float) -> float:
        return nll(logits / np.exp(t), labels)

    # As a function of 1 / T the likelihood has a single maximum; the logarithm keeps T positive. Where it is flat, as
    # without an error on validation, the search stops anywhere, and the end of the range is as good.
    return float(np.exp(min(*LOG_T, minimize_scalar(loss, bounds=LOG_T, method="bounded").x, key=loss)))


def with_temperature(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The table with its logits divided by `temperature`, and decided again."""
    names = [name for name in predictions.columns if name.startswith("logit_")]
    return decide(predictions.assign(**{name: predictions[name] / temperature for name in names}))


def brier(probabilities: Floats, labels: Labels) -> float:
    """Of probabilities (n, C) and class numbers (n,)."""
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean())


def reliability(confidence: ArrayLike, right: ArrayLike) -> pd.DataFrame:
    """A row per bin (of equal width, from 0 to 1): low, high, n, confidence and accuracy (means; NaN if n is 0)."""
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    place = _bin(confidence)
    n = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=of, minlength=BINS) / n for of in (confidence, right)]
    edges = np.linspace(0, 1, BINS + 1)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n, "confidence": means[0], "accuracy": means[1]})


def ece(confidence: ArrayLike, right: ArrayLike) -> float:
    """Expected calibration error of confidences and correct predictions (n,): the bins' gaps, weighted by images."""
    table = reliability(confidence, right)
    n, said, true = (table[name].to_numpy(np.float64) for name in ("n", "confidence", "accuracy"))
    return float(np.nansum(np.abs(true - said) * n) / n.sum())


def ece_reference(confidence: ArrayLike) -> Floats:
    """ECE (DRAWS,) of simulated predictions that are correct exactly as often as these confidences say."""
    confidence = np.asarray(confidence, dtype=np.float64)
    generator = np.random.default_rng(0)
    gaps = np.zeros(DRAWS)
    place = _bin(confidence)
    for part in (confidence[place == number] for number in range(BINS)):
        if len(part) > MANY:  # a sum of so many is normal, and the draws would not fit into memory
            right = generator.normal(part.sum(), np.sqrt((part * (1 - part)).sum()), DRAWS)
        else:
            right = (generator.random((DRAWS, len(part))) < part).sum(axis=1)
        gaps += np.abs(right - part.sum())
    return gaps / len(confidence)


def gap_half_width(gaps: Floats, groups: NDArray[np.int64]) -> float:
    """Half a 95 % interval of the mean of `gaps` (n,), such as confidence - correctness, which keeps groups together.

    Student's quantile of G - 1 degrees of freedom times `clustered_error`; infinite for one group.
    """
    return float(t.isf(0.025, n) * clustered_error(gaps, groups)) if (n := int(groups.max())) else float("inf")


def calibration(decided: pd.DataFrame) -> Calibration:
    """Of decided predictions on test, before and after scaling by T from validation. NotFitted for an ordinal run."""
    if "p_0" not in decided:
        raise NotFitted("a grade or a prediction alone is no probability that could be calibrated")
    test = labelled_test(decided)
    tables, temperature, reason = {"before": test}, None, ""
    try:
        temperature = fit_temperature(decided)
        tables["after"] = with_temperature(test, temperature)
    except NotFitted as error:
        reason = str(error)
    rows, binned, half, groups = {}, [], 0.0, group_numbers(test.get("group"), len(test))
    for when, table in tables.items():
        logits = logits_of(table)
        probabilities, labels = softmax(logits), as_labels(table["label"], logits.shape[1])
        confidence, right = probabilities.max(axis=1), logits.argmax(axis=1) == labels
        perfect = ece_reference(confidence)
        half = gap_half_width(confidence - right, groups) if when == "before" else half
        rows[when] = {
            "nll": nll(logits, labels),
            "brier": brier(probabilities, labels),
            "ece": ece(confidence, right),
            "reference": float(perfect.mean()),
            "reference_high": float(np.quantile(perfect, 0.964)),  # 0.95 and two standard errors of DRAWS draws
        }
        binned.append(reliability(confidence, right).assign(when=when))
    scores = pd.DataFrame.from_dict(rows, orient="index").rename_axis("when")
    return Calibration(scores, pd.concat(binned, ignore_index=True), len(test), temperature, reason, half)


def class_calibration(decided: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """A row per class: class, images, groups, share, probability (its mean), difference, low, high.

    The 95 % interval of probability less share is that of `gap_half_width`; NaN for a class without images
    and with fewer than two groups. `groups`: those with an image of the class.
    """
    probabilities, groups = probabilities_of(decided), group_numbers(decided["group"], len(decided))
    labels, rows = as_labels(decided["label"], len(classes)), []
    for number, name in enumerate(classes):
        mine, p = labels == number, probabilities[:, number]
        off = p - mine
        half = gap_half_width(off, groups) if mine.any() and groups.max() else np.nan
        counts = int(mine.sum()), len(np.unique(groups[mine]))
        rows.append((name, *counts, mine.mean(), p.mean(), off.mean(), off.mean() - half, off.mean() + half))
    columns = ["class", "images", "groups", "share", "probability", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def calibration_line(truth: NDArray[np.bool_], probability: Floats, groups: Column | None = None) -> pd.DataFrame:
    """Rows intercept and slope; columns estimate, low, high: 95 % intervals, which keep groups together.

    Logistic regressions of the truth (n,) on the logit of its probability (n,): the intercept with the slope held at
    1 (calibration-in-the-large: 0 is right, above it the probabilities are too low), and the slope with its own
    intercept (1 is right, below it they are too extreme). Probabilities are cut off at 1e-6 from 0 and 1. NotFitted
    without both kinds of images, or where one threshold tells them apart: then no slope is the most likely one.
    """
    if truth.all() or not truth.any():
        raise NotFitted(f"all {len(truth)} images are {'positive' if truth.all() else 'negative'}")
    said = logit(np.clip(probability, 1e-6, 1 - 1e-6))
    ends = [(said[truth == kind].min(), said[truth == kind].max()) for kind in (False, True)]
    if ends[0][1] <= ends[1][0] or ends[1][1] <= ends[0][0]:
        raise NotFitted("the probabilities tell the positive from the negative images without an error, or are equal")
    numbers, ones = group_numbers(groups, len(truth)), np.ones((len(truth), 1))
    together = {"cov_type": "cluster", "cov_kwds": {"groups": numbers}} if numbers.max() else {}
    large = GLM(truth.astype(float), ones, Binomial(), offset=said).fit(**together)
    sloped = GLM(truth.astype(float), np.column_stack([ones, said]), Binomial()).fit(**together)
    rows = [(fit.params[-1], *fit.conf_int()[-1]) for fit in (large, sloped)]
    table = pd.DataFrame(rows, index=["intercept", "slope"], columns=["estimate", "low", "high"])
    return table if numbers.max() else table.assign(low=np.nan, high=np.nan)


def _bin(confidence: Floats) -> NDArray[np.int64]:
    """Bins include their upper end, as in Guo et al.: (0, 0.1], (0.1, 0.2], …"""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
