"""Is the data sound? Leaks from train to test, duplicates, and what a model could score without looking.

Stands after evaluation, since it scores baselines. Takes the image table with its splits and the files' hashes; needs
no image and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from labkit.evaluation.metrics import accuracy, as_labels, majority_baseline, qwk

LEARNT_FROM = ("train", "val")
OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class FellowEyeBaseline:
    """Test scored by copying the other eye's train label, and answering train's majority class where there is none."""

    accuracy: float
    qwk: float
    n_copied: int
    n_test: int
    majority: str
    majority_accuracy: float


@dataclass(frozen=True)
class SharedGroups:
    """Groups (patients, subjects) on both sides. `checked` is False where no group is known on one of the sides."""

    checked: bool
    n_learnt_from: int  # known groups in train and val
    n_test: int  # known groups in test
    n_shared: int
    n_shared_train_val: int
    n_test_images: int
    n_test_touched: int  # test images whose group is in train or val, too
    n_unknown: int  # images of train, val and test whose group is unknown
    n_images: int  # images of train, val and test

    @property
    def share_touched(self) -> float:
        return self.n_test_touched / self.n_test_images if self.n_test_images else 0.0


@dataclass(frozen=True)
class Duplicates:
    """Files with the same bytes. `files`: sha256, image_id, split, label, a row for every copy (the first one, too)."""

    checked: bool
    within: dict[str, int] = field(default_factory=dict)  # split -> surplus copies inside it; splits without left out
    n_across: int = 0  # distinct contents that lie in more than one split
    n_test_touched: int = 0  # test images whose bytes are in train or val, too
    n_conflicting: int = 0  # distinct contents that bear more than one label
    files: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Findings:
    """What was looked at and what was found; `sentences` says it in words, and calls a group `group_name`."""

    groups: SharedGroups
    duplicates: Duplicates
    fellow_eye: FellowEyeBaseline | None  # None where the data has no sides, no labelled test or no labelled train
    group_name: str = "group"

    @property
    def leak(self) -> bool:
        """Whether test shares a group or a file with what the model learns from or is chosen by."""
        return self.groups.n_shared > 0 or self.duplicates.n_test_touched > 0

    def sentences(self) -> list[str]:
        """Plain words with the numbers, one finding each, also where nothing was found or could not be looked for."""
        found = _group_sentences(self.groups, self.group_name)
        if self.fellow_eye is not None:
            found.append(_fellow_eye_sentence(self.fellow_eye, self.group_name))
        return found + _duplicate_sentences(self.duplicates)


def audit(table: pd.DataFrame, hashes: pd.Series | None, classes: Sequence[str], group_name: str = "group") -> Findings:
    """Looks through an image table whose `split` is filled; `hashes` is sha256 by image_id (None: not looked at).

    `group_name` is what the sentences call a group ('patient', 'subject'; 's' makes it plural).
    Raises ValueError on rows without a split, repeated image ids and images without a hash.
    """
    repeated = table.loc[table["image_id"].duplicated(), "image_id"].tolist()
    if repeated:
        raise ValueError(f"image table: image_id {repeated[0]!r} occurs twice; ids must be unique")
    missing = _count(table["split"].isna())
    if missing:
        raise ValueError(f"image table: {missing} of {len(table)} rows have no split; assign the splits first")
    return Findings(
        groups=shared_groups(table),
        duplicates=Duplicates(checked=False) if hashes is None else exact_duplicates(table, hashes),
        fellow_eye=fellow_eye_baseline(table, classes),
        group_name=group_name,
    )


def stamps(findings: Findings, select_on: str, inherited: int = 0, augment_test: bool = False) -> list[str]:
    """What every table and figure of a run must carry: what is wrong, or cannot be checked, about its test images.

    ``inherited``: test images that the weights it starts from have met (``inherited_leak``). ``augment_test``: they
    were cropped and flipped at random. Nothing where there is no labelled test image.
    """
    found: list[str] = []
    groups, duplicates, name = findings.groups, findings.duplicates, findings.group_name
    if not groups.n_test_images:
        return found
    if not groups.checked:
        found.append(f"{name}s are unknown: whether test shares them with training cannot be checked")
    if groups.n_shared:
        share = groups.n_test_touched / groups.n_test_images
        found.append(f"{share:.1%} of the test images share a {name} with the training images")
    if duplicates.n_test_touched:
        found.append(f"{_are(duplicates.n_test_touched, 'test image')} in the training images, too, byte for byte")
    if inherited:
        share = inherited / groups.n_test_images
        found.append(f"the weights it starts from have met {share:.1%} of the test images or their {name}s")
    if select_on == "test":
        found.append("the epoch was chosen on the test images")
    if augment_test:
        found.append("the test images were cropped, flipped and rotated at random, as in training")
    return found


def in_caption(found: Sequence[str]) -> str:
    """Stamps as the end of a caption; empty where there are none."""
    return "".join(f" ⚠ {stamp[0].upper()}{stamp[1:]}." for stamp in found)


def learnt_from(table: pd.DataFrame, hashes: pd.Series, source: str, before: pd.DataFrame) -> pd.DataFrame:
    """Every image and group that a network has learnt from or been chosen by: this run's, and its parents' ``before``.

    Columns sha256 and group; a group is named with its ``source``, since numbers of other data mean other people.
    """
    met = table.loc[table["split"].isin(LEARNT_FROM)]
    own = pd.DataFrame({"sha256": met["image_id"].map(hashes), "group": _named(met["group"], source)}, dtype="string")
    return pd.concat([own, before], ignore_index=True).drop_duplicates(ignore_index=True)


def inherited_leak(table: pd.DataFrame, hashes: pd.Series, source: str, before: pd.DataFrame) -> int:
    """How many test images the weights have met before this run, by bytes or by group."""
    test = table.loc[table["split"] == "test"]
    by_bytes = test["image_id"].map(hashes).isin(before["sha256"].dropna())
    by_group = _named(test["group"], source).isin(before["group"].dropna())
    return int(np.count_nonzero(by_bytes | by_group))


def _named(groups: pd.Series, source: str) -> pd.Series:
    return groups.astype("string").map(lambda name: f"{source}/{name}", na_action="ignore")


def shared_groups(table: pd.DataFrame) -> SharedGroups:
    """Groups that lie on both sides, and how many test images they touch."""
    train, val, test = (table.loc[table["split"] == split, "group"] for split in ("train", "val", "test"))
    train_groups, val_groups, test_groups = (set(groups.dropna()) for groups in (train, val, test))
    learnt_from = train_groups | val_groups  # val chooses the epoch, so what it shares with test leaks just as well
    shared = learnt_from & test_groups
    return SharedGroups(
        checked=bool(learnt_from and test_groups),
        n_learnt_from=len(learnt_from),
        n_test=len(test_groups),
        n_shared=len(shared),
        n_shared_train_val=len(train_groups & val_groups),
        n_test_images=len(test),
        n_test_touched=_count(test.isin(list(shared))),
        n_unknown=sum(_count(groups.isna()) for groups in (train, val, test)),
        n_images=len(train) + len(val) + len(test),
    )


def fellow_eye_baseline(table: pd.DataFrame, classes: Sequence[str]) -> FellowEyeBaseline | None:
    """What the labels of train alone say about test, by way of the patient's other eye."""
    labelled = table.dropna(subset=["label"])
    train, test = labelled.query("split == 'train'"), labelled.query("split == 'test'")
    if "side" not in table or not _count(table["side"].notna()) or train.empty or test.empty:
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
        n_copied=_count(copied.notna()),
        n_test=len(test),
        majority=str(classes[majority["class"]]),
        majority_accuracy=majority["accuracy"],
    )


def exact_duplicates(table: pd.DataFrame, hashes: pd.Series) -> Duplicates:
    """Same bytes twice: inside a split, across splits, under two labels."""
    files = table[["image_id", "split", "label"]].merge(
        hashes.rename("sha256"), how="left", left_on="image_id", right_index=True
    )
    lost = files.loc[files["sha256"].isna(), "image_id"].tolist()
    if lost:
        raise ValueError(f"hashes: {len(lost)} images have none, the first is {lost[0]!r}; hash the whole table")
    files = files.loc[files["sha256"].duplicated(keep=False), ["sha256", "image_id", "split", "label"]]
    files = files.sort_values(by=["sha256", "image_id"], ignore_index=True)
    surplus = files[files.duplicated(["sha256", "split"])]
    contents = files.groupby("sha256")
    learnt_from = set(files.loc[files["split"].isin(LEARNT_FROM), "sha256"])
    return Duplicates(
        checked=True,
        within={str(split): len(copies) for split, copies in surplus.groupby("split")},
        n_across=_count(contents["split"].nunique() > 1),
        n_test_touched=_count(files.loc[files["split"] == "test", "sha256"].isin(list(learnt_from))),
        n_conflicting=_count(contents["label"].nunique() > 1),
        files=files,
    )


def _count(flags: ArrayLike | pd.Series | pd.DataFrame) -> int:
    return int(np.count_nonzero(np.asarray(flags)))


def _group_sentences(groups: SharedGroups, name: str) -> list[str]:
    found = []
    if not groups.n_test_images:
        found.append("There is no labelled test image.")
    elif not groups.checked:
        found.append(f"Whether test shares {name}s with train cannot be checked: which {name} is whose is not known.")
    elif groups.n_shared == 0:
        found.append(
            f"No {name} is both in test and in train or validation "
            f"({groups.n_learnt_from:,} {name}s in train and validation, {groups.n_test:,} in test)."
        )
    else:
        found.append(
            f"Leak: {_are(groups.n_shared, name)} both in test and in train or validation, with "
            f"{groups.n_test_touched:,} of {groups.n_test_images:,} test images ({groups.share_touched:.1%}): "
            "scores on this test set can be too good."
        )
    if groups.checked and groups.n_unknown:
        found.append(
            f"The {name} is unknown for {groups.n_unknown:,} of {groups.n_images:,} images: not checked there."
        )
    if groups.n_shared_train_val:
        found.append(
            f"{_are(groups.n_shared_train_val, name)} both in train and in validation: "
            "the validation score can be too good, and choose a wrong epoch."
        )
    return found


def _fellow_eye_sentence(eyes: FellowEyeBaseline, name: str) -> str:
    always = f"always answering {eyes.majority} scores {eyes.majority_accuracy:.1%} accuracy"
    if eyes.n_copied == 0:
        return f"No test image has the other eye of its {name} in train; {always}."
    return (
        f"Without looking at any image, copying the train label of the {name}'s other eye ({eyes.n_copied:,} of "
        f"{eyes.n_test:,} test images) and else answering {eyes.majority} scores {eyes.accuracy:.1%} accuracy "
        f"and a quadratic weighted kappa of {eyes.qwk:.3f}; {always}."
    )


def _duplicate_sentences(duplicates: Duplicates) -> list[str]:
    if not duplicates.checked:
        return ["Exact duplicates were not looked for: no file hashes were given."]
    if duplicates.files.empty:
        return ["No two files have the same bytes."]
    found = []
    if duplicates.n_test_touched:
        found.append(
            f"Leak: {_are(duplicates.n_test_touched, 'test image')} in train or validation, too, byte for byte."
        )
    if duplicates.n_across:
        found.append(f"{_are(duplicates.n_across, 'image')} in more than one split, byte for byte.")
    if duplicates.within:
        surplus = ", ".join(f"{count:,} in {split}" for split, count in duplicates.within.items())
        found.append(f"Surplus copies of an image inside its own split: {surplus}.")
    if duplicates.n_conflicting:
        found.append(f"{_are(duplicates.n_conflicting, 'image')} labelled in two ways: same bytes, different labels.")
    return found


def _are(count: int, noun: str) -> str:
    return f"{count:,} {noun} is" if count == 1 else f"{count:,} {noun}s are"
