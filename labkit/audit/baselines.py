"""What can be scored without a network: by the majority class, by the other eye's label, by colour and brightness.

Where the last two are far above the first, a network may have learnt who a patient is, or the stain, camera or
lighting that differs between the classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labkit.data.store import Store
from labkit.evaluation.decide import as_labels
from labkit.evaluation.eyes import OTHER_SIDE
from labkit.evaluation.matrices import CHOOSING, accuracy, balanced_accuracy, matrix_of, qwk
from labkit.evaluation.metrics import majority_baseline, metric
from labkit.format import article, fixed, percent

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def fellow_eye_baseline(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any] | None:
    """Test scored by the other eye's train label, and train's majority class where there is none.

    accuracy, qwk, n_copied, n_test, majority (its name), majority_accuracy; None without sides, labelled train or test.
    """
    labelled = table.dropna(subset=["label"])
    train, test = labelled.query("split == 'train'"), labelled.query("split == 'test'")
    if "side" not in table or table["side"].dropna().empty or train.empty or test.empty:
        return None
    eyes = train.dropna(subset=["group", "side"]).drop_duplicates(["group", "side"])  # of each, the first photograph
    label_of_eye = eyes.set_index(["group", "side"])["label"]
    other_eyes = pd.MultiIndex.from_arrays([test["group"], test["side"].map(OTHER_SIDE.get)])
    copied = label_of_eye.reindex(other_eyes)  # missing where that eye is not in train

    majority = majority_baseline(train["label"], test["label"], len(classes))
    matrix = matrix_of(test["label"], copied.fillna(majority["class"]), len(classes))
    return {
        "accuracy": float(accuracy(matrix)),
        "qwk": float(qwk(matrix)),
        "n_copied": len(copied.dropna()),
        "n_test": len(test),
        "majority": str(classes[majority["class"]]),
        "majority_accuracy": majority["accuracy"],
    }


def fellow_eye_sentence(eyes: Mapping[str, Any], name: str) -> str:
    """What copying the other eye's label scores, beside the majority class; `name` is what one group is."""
    always = f"always predicting “{eyes['majority']}” scores {percent(eyes['majority_accuracy'])} accuracy"
    if eyes["n_copied"] == 0:
        return f"No test image has the other eye of its {name} in train, so there is no label to copy."
    return (
        f"Without looking at any image, copying the train label of the {name}'s other eye ({eyes['n_copied']:,} of "
        f"{eyes['n_test']:,} test images) and else predicting “{eyes['majority']}” scores "
        f"{percent(eyes['accuracy'])} accuracy and a quadratic weighted kappa of {fixed(eyes['qwk'], 3)}; {always}."
    )


def shortcut_baseline(
    table: pd.DataFrame, store: Store, classes: Sequence[str], score: str = "macro_f1"
) -> dict[str, Any] | None:
    """Test scored by a logistic regression on train's colour statistics; None without labelled images of two classes.

    accuracy of a plain fit; balanced_accuracy and score (score_name) of a fit in which all classes weigh alike, since a
    plain one may predict no rare class; n_train, n_test; majority (the class) and majority_<score> of predicting it.
    """
    labelled = table.loc[table["label"].notna() & ~table["image_id"].isin(store.unreadable["image_id"])]
    train, test = (labelled.loc[labelled["split"] == split] for split in ("train", "test"))
    if test.empty or train["label"].nunique() < 2:
        return None
    n_classes = len(classes)
    learnt, labels = as_labels(train["label"], n_classes), as_labels(test["label"], n_classes)
    known, asked = (colour_statistics(store, part["image_id"].tolist()) for part in (train, test))
    models = [LogisticRegression(max_iter=2000, class_weight=weights) for weights in (None, "balanced")]
    answers = [make_pipeline(StandardScaler(), model).fit(known, learnt).predict(asked) for model in models]
    plain, balanced = (matrix_of(labels, of_model, n_classes) for of_model in answers)
    majority = majority_baseline(learnt, labels, n_classes, "grades" if score == "qwk" else "classes")
    return {
        "accuracy": float(accuracy(plain)),
        "balanced_accuracy": float(balanced_accuracy(balanced)),
        "score": float(CHOOSING[score](balanced)),
        "score_name": score,
        "n_train": len(train),
        "n_test": len(test),
        "majority": str(classes[majority["class"]]),
        "majority_accuracy": majority["accuracy"],
        "majority_balanced_accuracy": majority["balanced_accuracy"],
        "majority_score": majority[score],
    }


def colour_statistics(store: Store, image_ids: Sequence[str]) -> np.ndarray:
    """(n, 21) float32: mean, standard deviation and five quantiles of red, green and blue, 0 to 255."""
    parts = []
    for pixels in store.thumbnails(image_ids):
        channels = np.ascontiguousarray(pixels.reshape(len(pixels), -1, 3).swapaxes(1, 2))  # (n, 3, pixels)
        channels.sort(axis=2)  # a radix sort of bytes: quicker than np.quantile
        places = np.rint(np.array(QUANTILES) * (channels.shape[2] - 1)).astype(np.int64)
        moments = [channels.mean(axis=2, dtype=np.float32), channels.std(axis=2, dtype=np.float32)]
        parts.append(np.concatenate([*moments, *np.moveaxis(channels[:, :, places], 2, 0)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def shortcut_sentence(baseline: Mapping[str, Any]) -> str:
    """What colour and brightness alone score, beside the majority class."""
    score = f", {article(metric(baseline['score_name']).name)} of {fixed(baseline['score'], 3)}"
    return (
        f"Colour and brightness alone (a logistic regression on the means, spreads and quantiles of the channels) "
        f"score {percent(baseline['accuracy'])} accuracy (always “{baseline['majority']}”: "
        f"{percent(baseline['majority_accuracy'])}); fitted with equal weights of all classes, they score "
        f"{percent(baseline['balanced_accuracy'])} balanced accuracy (always “{baseline['majority']}”: "
        f"{percent(baseline['majority_balanced_accuracy'])}){score}."
    )
