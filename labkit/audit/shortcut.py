"""A shortcut baseline: how far colour and brightness alone get, without any shape.

Where that is far, stain, camera or lighting differ between the classes, and a network may have learnt those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labkit.data.store import Store
from labkit.evaluation.decide import as_labels
from labkit.evaluation.metrics import SCORES, majority_baseline
from labkit.format import fixed, percent

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIDE = 64  # pixels a side that are looked at: more do not change a mean or a quantile
BATCH = 512
IN_WORDS = {"qwk": "a quadratic weighted kappa", "macro_f1": "a macro F1", "accuracy": "an accuracy"}


@dataclass(frozen=True)
class ShortcutBaseline:
    """Test scored by a logistic regression on colour statistics, beside always answering train's majority class.

    Accuracy is that of a plain fit; balanced accuracy and the data set's `score` are those of a fit in which all
    classes weigh alike, since a plain one does not answer rare classes at all where one class prevails.
    """

    accuracy: float
    balanced_accuracy: float
    score: float
    score_name: str
    n_train: int
    n_test: int
    majority: str
    majority_accuracy: float
    majority_balanced_accuracy: float
    majority_score: float


def shortcut_baseline(
    table: pd.DataFrame, store: Store, classes: Sequence[str], score: str = "macro_f1"
) -> ShortcutBaseline | None:
    """Fitted on the labelled images of train, scored on those of test; None where there are none, or one class only."""
    labelled = table.loc[table["label"].notna() & ~table["image_id"].isin(store.unreadable["image_id"])]
    train, test = (labelled.loc[labelled["split"] == split] for split in ("train", "test"))
    if test.empty or train["label"].nunique() < 2:
        return None
    n_classes = len(classes)
    learnt, labels = as_labels(train["label"], n_classes), as_labels(test["label"], n_classes)
    known, asked = (colour_statistics(store, part["image_id"].tolist()) for part in (train, test))
    plain = _answers(known, asked, learnt, None)
    balanced = _answers(known, asked, learnt, "balanced")
    majority = majority_baseline(learnt, labels, n_classes)
    return ShortcutBaseline(
        accuracy=SCORES["accuracy"](labels, plain, n_classes),
        balanced_accuracy=SCORES["balanced_accuracy"](labels, balanced, n_classes),
        score=SCORES[score](labels, balanced, n_classes),
        score_name=score,
        n_train=len(train),
        n_test=len(test),
        majority=str(classes[majority["class"]]),
        majority_accuracy=majority["accuracy"],
        majority_balanced_accuracy=majority["balanced_accuracy"],
        majority_score=majority[score],
    )


def colour_statistics(store: Store, image_ids: Sequence[str]) -> np.ndarray:
    """(n, 21) float32: mean, standard deviation and five quantiles of red, green and blue, 0 to 255."""
    images, rows = store.images, np.array([store.rows[name] for name in image_ids], dtype=np.int64)
    step = max(1, store.size // SIDE)
    parts = []
    for start in range(0, len(rows), BATCH):
        pixels = images[rows[start : start + BATCH], ::step, ::step]
        channels = np.ascontiguousarray(pixels.reshape(len(pixels), -1, 3).swapaxes(1, 2))  # (n, 3, pixels)
        channels.sort(axis=2)  # a radix sort of bytes: quicker than np.quantile
        places = np.rint(np.array(QUANTILES) * (channels.shape[2] - 1)).astype(np.int64)
        moments = [channels.mean(axis=2, dtype=np.float32), channels.std(axis=2, dtype=np.float32)]
        parts.append(np.concatenate([*moments, *np.moveaxis(channels[:, :, places], 2, 0)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _answers(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, weights: Literal["balanced"] | None
) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight=weights))
    return np.asarray(model.fit(train, labels).predict(test), dtype=np.int64)


def shortcut_sentence(baseline: ShortcutBaseline) -> str:
    """What colour and brightness alone score, beside the majority class."""
    name = IN_WORDS.get(baseline.score_name, baseline.score_name)
    score = f", {name} of {fixed(baseline.score, 3)}" if baseline.score_name in ("qwk", "macro_f1") else ""
    return (
        f"Colour and brightness alone (a logistic regression on the means, spreads and quantiles of the channels) "
        f"score {percent(baseline.accuracy)} accuracy, and with all classes weighing alike "
        f"{percent(baseline.balanced_accuracy)} balanced accuracy{score}; always answering {baseline.majority} scores "
        f"{percent(baseline.majority_accuracy)} and {percent(baseline.majority_balanced_accuracy)}."
    )
