"""Predictions and probabilities from the outputs of a network: logits, or the grade of an ordinal run."""

import re

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from labkit.evaluation.ordinal import Cuts, Floats, graded, refuse_diverged

Labels = NDArray[np.int64]


class NotFitted(ValueError):
    """Something cannot be fitted on the validation predictions; the message gives the reason, for the report."""


def validation_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """The labelled validation rows: thresholds and the like are fitted on them only. Raises NotFitted if none exist."""
    found = predictions.loc[(predictions["split"] == "val") & predictions["label"].notna()]
    if found.empty:
        raise NotFitted("there is no validation split to fit on (select_on: test or last leaves none)")
    return found


def labelled_test(predictions: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows of the test split; all labelled ones of a table without splits."""
    test = predictions.loc[predictions["split"] == "test"] if "split" in predictions else predictions
    return test.loc[test["label"].notna()]


def as_labels(labels: ArrayLike | pd.Series, n_classes: int, n: int | None = None) -> Labels:
    """Class numbers (n,) as int64. Raises ValueError on missing, fractional or out-of-range ones, or none at all."""
    values = np.asarray(labels)
    if len(values) == 0:
        raise ValueError("labels: there are none, so there is nothing to score")
    if n is not None and len(values) != n:
        raise ValueError(f"labels: {len(values)} labels for {n} predictions")
    missing = np.count_nonzero(pd.isna(values))
    if missing:
        raise ValueError(f"labels: {missing} of {len(values)} rows are unlabelled; score the labelled ones only")
    numbers = values.astype(np.float64)
    wrong = (numbers != np.floor(numbers)) | (numbers < 0) | (numbers >= n_classes)
    if wrong.any():
        raise ValueError(f"labels: {numbers[wrong][0]:g} is not a class number from 0 to {n_classes - 1}")
    return numbers.astype(np.int64)


def softmax(logits: ArrayLike) -> Floats:
    """Probabilities over the last axis, (…, C) -> (…, C). Raises ValueError on NaN or infinite logits."""
    logits = np.asarray(logits, dtype=np.float64)
    refuse_diverged("logits", np.atleast_1d(~np.isfinite(logits).all(axis=-1)))
    return special.softmax(logits, axis=-1)


def logits_of(predictions: pd.DataFrame) -> Floats:
    """The columns logit_0 … logit_{C-1} as an array (n, C). Raises ValueError if one is missing."""
    return _numbered(predictions, "logit")


def probabilities_of(decided: pd.DataFrame) -> Floats:
    """The columns p_0 … p_{C-1} as an array (n, C). Raises ValueError if one is missing."""
    return _numbered(decided, "p")


def _numbered(predictions: pd.DataFrame, name: str) -> Floats:
    matches = [re.fullmatch(rf"{name}_(\d+)", column) for column in predictions.columns]
    numbers = sorted(int(match[1]) for match in matches if match)
    if len(numbers) < 2 or numbers != list(range(len(numbers))):
        found = ", ".join(f"{name}_{number}" for number in numbers) or "none"
        raise ValueError(f"predictions: columns {name}_0, {name}_1, … are needed without a gap; found {found}")
    return predictions[[f"{name}_{number}" for number in numbers]].to_numpy(np.float64)


def decide(predictions: pd.DataFrame, n_classes: int | None = None, cuts: Cuts | None = None) -> pd.DataFrame:
    """A copy of the predictions table with `prediction`, and with the probabilities `p_0 … p_{C-1}` if it has logits.

    Logits predict the most probable class, the first one if several are equal. The `grade` of an ordinal run is turned
    into a class by `cuts`; by default those of the table's validation rows (`ordinal.graded`), for `n_classes` grades
    or as many as the labels have. A table with neither keeps the `prediction` that it has, and nothing ranks its images
    (`ranks`). Raises ValueError on missing or NaN outputs.
    """
    if "prediction" in predictions and not is_ordinal(predictions) and "logit_0" not in predictions:
        return predictions.copy()
    if is_ordinal(predictions):
        if cuts is not None:
            return predictions.assign(prediction=cuts.predict(predictions["grade"].to_numpy(np.float64)))
        n_classes = n_classes or int(predictions["label"].dropna().to_numpy(np.int64).max()) + 1
        return predictions.assign(prediction=graded(predictions, n_classes))
    logits = logits_of(predictions)
    columns = {f"p_{number}": column for number, column in enumerate(softmax(logits).T)}
    # From the logits: two different ones can round to the same probability.
    return predictions.assign(**columns, prediction=logits.argmax(axis=1))


def is_ordinal(predictions: pd.DataFrame) -> bool:
    """Whether the table holds an ordinal run's grades in place of logits."""
    return "grade" in predictions


def ranks(decided: pd.DataFrame) -> bool:
    """Whether the table says more than predictions: probabilities, or the grade of an ordinal run."""
    return is_ordinal(decided) or "p_0" in decided


def severity(decided: pd.DataFrame, first: int) -> Floats:
    """A number (n,) that ranks images by how likely their class is `first` or a higher one, for ROC curves.

    It is the sum of the probabilities of these classes; for an ordinal run it is the grade, which is no probability.
    """
    if is_ordinal(decided):
        return decided["grade"].to_numpy(np.float64)
    return probabilities_of(decided)[:, first:].sum(axis=1)


def mistakes(decided: pd.DataFrame) -> pd.DataFrame:
    """The wrong predictions, the highest `confidence` first: its probability, or the distance of grade and label."""
    wrong = decided.loc[decided["label"].notna() & (decided["prediction"] != decided["label"])]
    if is_ordinal(wrong):
        confidence = (wrong["grade"] - wrong["label"].astype("float64")).abs()
    else:
        confidence = wrong.filter(regex=r"^p_\d+$").max(axis=1)
    wrong = wrong.assign(confidence=confidence.astype("float64"))
    return wrong.sort_values("confidence", ascending=False, kind="stable")


def top_losses(decided: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows, the highest ``loss`` first: cross entropy in nats, or the squared error of a grade."""
    known = decided.loc[decided["label"].notna()]
    labels = known["label"].to_numpy(np.int64)
    if is_ordinal(known):
        losses = (known["grade"].to_numpy(np.float64) - labels) ** 2
    else:
        losses = -special.log_softmax(logits_of(known), axis=1)[np.arange(len(labels)), labels]
    return known.assign(loss=losses).sort_values("loss", ascending=False, kind="stable")
