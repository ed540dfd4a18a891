"""What the labels of train tell of test without a look at any image: the other eye has the same grade, mostly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from labkit.audit.words import count
from labkit.evaluation.decide import as_labels
from labkit.evaluation.eyes import OTHER_SIDE
from labkit.evaluation.metrics import accuracy, majority_baseline, qwk
from labkit.format import fixed, percent


@dataclass(frozen=True)
class FellowEyeBaseline:
    """Test scored by copying the other eye's train label, and answering train's majority class where there is none."""

    accuracy: float
    qwk: float
    n_copied: int
    n_test: int
    majority: str
    majority_accuracy: float


def fellow_eye_baseline(table: pd.DataFrame, classes: Sequence[str]) -> FellowEyeBaseline | None:
    """What the labels of train alone say about test, by way of the patient's other eye."""
    labelled = table.dropna(subset=["label"])
    train, test = labelled.query("split == 'train'"), labelled.query("split == 'test'")
    if "side" not in table or not count(table["side"].notna()) or train.empty or test.empty:
        return None
    eyes = train.dropna(subset=["group", "side"]).drop_duplicates(["group", "side"])  # of each, the first photograph
    label_of_eye = eyes.set_index(["group", "side"])["label"]
    other_eyes = pd.MultiIndex.from_arrays([test["group"], test["side"].map(OTHER_SIDE.get)])
    copied = label_of_eye.reindex(other_eyes)  # missing where that eye is not in train

    majority = majority_baseline(train["label"], test["label"], len(classes))
    answers = as_labels(copied.fillna(majority["class"]), len(classes))
    labels = as_labels(test["label"], len(classes))
    return FellowEyeBaseline(
        accuracy=accuracy(labels, answers, len(classes)),
        qwk=qwk(labels, answers, len(classes)),
        n_copied=count(copied.notna()),
        n_test=len(test),
        majority=str(classes[majority["class"]]),
        majority_accuracy=majority["accuracy"],
    )


def fellow_eye_sentence(eyes: FellowEyeBaseline, name: str) -> str:
    """What copying the other eye's label scores, beside the majority class; `name` is what one group is."""
    always = f"always answering {eyes.majority} scores {percent(eyes.majority_accuracy)} accuracy"
    if eyes.n_copied == 0:
        return f"No test image has the other eye of its {name} in train; {always}."
    return (
        f"Without looking at any image, copying the train label of the {name}'s other eye ({eyes.n_copied:,} of "
        f"{eyes.n_test:,} test images) and else answering {eyes.majority} scores {percent(eyes.accuracy)} accuracy "
        f"and a quadratic weighted kappa of {fixed(eyes.qwk, 3)}; {always}."
    )
