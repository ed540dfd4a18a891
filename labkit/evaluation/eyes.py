"""Predictions from both eyes of a patient: a small model of the two eyes' outputs, fitted on validation predictions.

The *image* of the fellow eye is informative; its label is never used. The runner-up of the 2015 competition reports a
quadratic weighted kappa of 0.845 with such a blend and 0.824 without (github.com/sveitser/kaggle_diabetic). Ours is a
multinomial logistic regression on the log-probabilities and expected grades of both eyes; cross-validation that keeps
the eyes of a patient together chooses its regularisation. The network's epoch was also selected on validation, so its
predictions there are slightly too good.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from labkit.evaluation.decide import Floats, NotFitted, as_labels, decide, logits_of, softmax, validation_of

OTHER_SIDE = {"left": "right", "right": "left"}
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse regularisation
FOLDS = 5
FLOOR = 1e-6  # the least probability, for a class that validation lacks or a value rounded to 0


def join_eyes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The `test` rows of a predictions table with logits and predictions from both eyes, in the same columns.

    An eye without a fellow eye or a group keeps its own probabilities. Raises NotFitted if there are no sides, groups
    or validation split, or no eye of validation has a fellow.
    """
    if "logit_0" not in predictions:
        raise NotFitted("eyes are joined by probabilities, and a grade or a prediction alone is none")
    val, test = validation_of(predictions), predictions.loc[predictions["split"] == "test"]
    if _eyes(predictions).empty:
        raise NotFitted("it is not known which images are two eyes of one patient")
    n_classes = logits_of(predictions).shape[1]
    labels = as_labels(val["label"], n_classes)
    features, paired = eye_features(val)
    if not paired.any() or len(set(labels)) < 2:
        raise NotFitted("validation has no pair of eyes, or images of one class only")
    joined = np.log(np.maximum(softmax(logits_of(test)), FLOOR))
    test_features, test_paired = eye_features(test)
    groups = val["group"].to_numpy(object)[paired]
    with threadpool_limits(1):  # tables this small are faster with one thread
        model = _fit(features[paired], labels[paired], groups, n_classes)
        if test_paired.any():
            joined[test_paired] = np.log(_probabilities(model, test_features[test_paired], n_classes))
    names = [f"logit_{number}" for number in range(n_classes)]
    return decide(test.assign(**dict(zip(names, joined.T, strict=True))))


def eye_features(predictions: pd.DataFrame) -> tuple[Floats, NDArray[np.bool_]]:
    """Features of both eyes (n, 2 C + 2), and which rows have a fellow eye: the same group and the other side.

    Log-probabilities of the C classes and the expected grade, of this eye and then of the other. No label is used.
    """
    probabilities = softmax(logits_of(predictions))
    own = np.column_stack([np.log(np.maximum(probabilities, FLOOR)), probabilities @ np.arange(probabilities.shape[1])])
    eyes = _eyes(predictions)
    rows = pd.Series(eyes.index, index=pd.MultiIndex.from_frame(eyes))
    fellow = np.full(len(own), -1)
    others = pd.MultiIndex.from_frame(eyes.assign(side=eyes["side"].map(OTHER_SIDE.get)))
    fellow[eyes.index] = rows.reindex(others, fill_value=-1)
    return np.column_stack([own, own[fellow]]), fellow >= 0


def _eyes(predictions: pd.DataFrame) -> pd.DataFrame:
    """Group and side of the rows that are a patient's only image of this eye, indexed by the row's number."""
    eyes = predictions.reset_index(drop=True).reindex(columns=["group", "side"]).astype(object)
    return eyes.loc[eyes["group"].notna() & eyes["side"].isin(list(OTHER_SIDE)) & ~eyes.duplicated(keep=False)]


def _fit(features: Floats, labels: NDArray[np.int64], groups: NDArray[np.object_], n_classes: int) -> Pipeline:
    """The regression with the strength that predicts left-out patients best (log loss)."""
    folds = min(FOLDS, len(set(groups)))
    parts = list(GroupKFold(folds).split(features, labels, groups)) if folds > 1 else []
    parts = [(train, left_out) for train, left_out in parts if len(set(labels[train])) > 1]
    if not parts:
        raise NotFitted("validation has one patient only, or too few of them")

    def log_likelihood(model: Pipeline, left_out: Floats, truth: NDArray[np.int64]) -> float:
        return np.log(_probabilities(model, left_out, n_classes)[np.arange(len(truth)), truth]).sum()

    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-3, max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": STRENGTHS}, scoring=log_likelihood, cv=parts)
    return search.fit(features, labels).best_estimator_


def _probabilities(model: Pipeline, features: Floats, n_classes: int) -> Floats:
    """Probabilities (n, C); close to 0 for a class that the model has not seen."""
    found = np.full((len(features), n_classes), FLOOR)
    found[:, model.classes_] = np.maximum(model.predict_proba(features), FLOOR)
    return found / found.sum(axis=1, keepdims=True)
