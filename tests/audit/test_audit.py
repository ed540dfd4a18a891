"""The audit finds what is planted in hand-made tables, and says so when there is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from labkit.audit import audit, in_caption, inherited_leak, learnt_from, stamps

GRADES = ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR"]


def eyes(rows: str) -> pd.DataFrame:
    """An image table from lines `name split label`, name being patient_side or a bare name; label - is missing."""
    cells = [row.split() for row in rows.strip().splitlines()]
    table = pd.DataFrame(cells, columns=["image_id", "split", "label"])
    names = table["image_id"].str.extract(r"^(?P<group>\d+)_(?P<side>left|right)$")
    table["group"], table["side"] = names["group"], names["side"]
    table["label"] = pd.to_numeric(table["label"].replace("-", None)).astype("Int64")
    table["path"] = table["image_id"] + ".jpeg"
    return table


def different(table: pd.DataFrame, **same: str) -> pd.Series:
    """A hash for every image, all different but for those given as image=other."""
    hashes = pd.Series({image: f"sha-{image}" for image in table["image_id"]})
    for image, other in same.items():
        hashes[image] = hashes[other]
    return hashes


CLEAN = eyes("""
    1_left train 0
    1_right train 0
    2_left val 1
    3_left test 0
    3_right test 2
""")
LEAKY = eyes("""
    1_left train 0
    2_left train 3
    3_left train 0
    4_left val 1
    1_right test 1
    2_right test 3
    4_right test 0
    5_left test 0
    5_right test 0
""")


def test_a_clean_table_is_said_to_be_clean():
    found = audit(CLEAN, different(CLEAN), GRADES, group_name="patient")
    assert not found.leak
    assert found.sentences() == [
        "No patient is both in test and in train or validation (2 patients in train and validation, 1 in test).",
        "No two files have the same bytes.",
        "No test image has the other eye of its patient in train, so there is no label to copy.",
    ]


def test_groups_in_train_or_val_and_test_are_a_leak():
    found = audit(LEAKY, different(LEAKY), GRADES)
    assert found.leak
    groups = found.groups
    assert (groups.n_learnt_from, groups.n_test, groups.n_shared) == (4, 4, 3)
    assert (groups.n_test_images, groups.n_test_touched, groups.share_touched) == (5, 3, 0.6)
    assert (
        "Leak: 3 groups are both in test and in train or validation, with 3 of 5 test images (60.0\u00a0%)"
        in (found.sentences()[0])
    )


def test_the_fellow_eye_is_copied_from_train_only_and_else_the_majority_is_answered():
    eyes_found = audit(LEAKY, None, GRADES).fellow_eye
    assert eyes_found is not None
    # 1 and 2 copied from train (0, 3), 4 is in val only and 5 nowhere: the majority of train, 0
    labels, answers = [1, 3, 0, 0, 0], [0, 3, 0, 0, 0]
    assert (eyes_found["n_copied"], eyes_found["n_test"], eyes_found["majority"]) == (2, 5, "No DR")
    assert eyes_found["accuracy"] == pytest.approx(4 / 5)
    assert eyes_found["majority_accuracy"] == pytest.approx(3 / 5)
    assert eyes_found["qwk"] == pytest.approx(
        sk.cohen_kappa_score(labels, answers, labels=range(5), weights="quadratic")
    )


def test_the_same_eye_photographed_twice_is_a_leak_but_not_a_fellow_eye():
    table = eyes("7_left train 2\nagain test 2")
    table.loc[1, ["group", "side"]] = ["7", "left"]
    found = audit(table, None, GRADES)
    assert found.leak
    assert found.fellow_eye is not None and found.fellow_eye["n_copied"] == 0


def test_data_without_sides_or_without_test_labels_have_no_fellow_eye_baseline():
    assert audit(LEAKY.assign(side=pd.NA), None, GRADES).fellow_eye is None
    unlabelled = LEAKY.assign(label=LEAKY["label"].mask(LEAKY["split"] == "test"))
    assert audit(unlabelled, None, GRADES).fellow_eye is None
    assert audit(LEAKY[LEAKY["split"] != "test"], None, GRADES).fellow_eye is None


def test_unknown_groups_are_called_uncheckable_not_clean():
    table = LEAKY.assign(group=pd.NA, side=pd.NA)
    found = audit(table, different(table), GRADES, group_name="subject")
    assert not found.groups.checked
    assert found.sentences()[0].startswith("Whether test shares subjects with train cannot be checked")
    assert not any(sentence.startswith("No subject") for sentence in found.sentences())


def test_some_unknown_groups_are_counted_beside_what_was_checked():
    table = eyes("1_left train 0\n2_left test 0\nscan test 1\nother train 0\nmore unlabeled -")
    found = audit(table, None, GRADES)
    assert found.groups.checked
    assert "The group is unknown for 2 of 4 images: not checked there." in found.sentences()


def test_groups_in_train_and_val_spoil_the_validation_score_but_are_no_leak_into_test():
    found = audit(eyes("1_left train 0\n1_right val 0\n2_left test 0"), None, GRADES, group_name="patient")
    assert found.groups.n_shared_train_val == 1
    assert not found.leak
    assert "1 patient is both in train and in validation" in " ".join(found.sentences())


def test_duplicates_within_and_across_splits_and_under_two_labels_are_counted_apart():
    table = eyes("""
        a train 0
        b train 0
        c train 0
        d train 1
        e val 1
        f test 2
        g test 0
        h unlabeled -
        i train 3
    """)
    hashes = different(table, b="a", c="a", e="d", f="d", h="i")
    found = audit(table, hashes, GRADES)
    duplicates = found.duplicates
    assert duplicates.within == {"train": 2}  # a three times: two too many
    assert duplicates.n_across == 2  # d in train, val and test; i in train and unlabeled
    assert duplicates.n_test_touched == 1
    assert (
        duplicates.n_conflicting == found.facts()["n_conflicting"] == 1
    )  # d, d, f: 1, 1 and 2; an unlabelled copy contradicts nothing
    assert list(duplicates.files["image_id"]) == list("abcdefhi")
    assert found.leak
    text = " ".join(found.sentences())
    assert "Leak: 1 of 2 test images is in train or validation, too, byte for byte." in text
    assert "2 images are in more than one split, byte for byte." in text
    assert "Surplus copies of an image inside its own split: 2 in train." in text
    assert "1 image is labelled in two ways: same bytes, different labels." in text
    first, *others = found.named_copies(GRADES)  # of two labels and three splits comes first
    assert first == "d (train, Mild) = e (val, Mild) = f (test, Moderate)"
    assert others == [
        "h (unlabeled, no label) = i (train, Severe)",
        "a (train, No DR) = b (train, No DR) = c (train, No DR)",
    ]


def test_a_test_image_that_lies_in_val_is_a_leak_and_one_that_lies_among_the_unlabelled_is_none():
    table = eyes("a train 0\nb val 0\nc test 0\nd unlabeled -")
    assert audit(table, different(table, c="b"), GRADES).leak
    unlabelled = audit(table, different(table, c="d"), GRADES)
    assert unlabelled.duplicates.n_across == 1
    assert not unlabelled.leak


def test_duplicates_inside_train_alone_are_no_leak():
    table = eyes("a train 0\nb train 0\nc test 1")
    found = audit(table, different(table, b="a"), GRADES)
    assert found.duplicates.within == {"train": 1}
    assert not found.leak
    assert not any("Leak" in sentence for sentence in found.sentences())


def test_without_hashes_duplicates_are_said_not_to_have_been_looked_for():
    found = audit(CLEAN, None, GRADES)
    assert "Exact duplicates were not looked for: no file hashes were given." in found.sentences()
    assert not any(sentence.startswith("No two files") for sentence in found.sentences())


def test_tables_that_cannot_be_audited_are_refused():
    with pytest.raises(ValueError, match="1 of 5 rows have no split"):
        audit(CLEAN.assign(split=CLEAN["split"].mask(CLEAN["image_id"] == "1_left")), None, GRADES)
    with pytest.raises(ValueError, match="'1_left' occurs twice"):
        audit(pd.concat([CLEAN, CLEAN]), None, GRADES)
    with pytest.raises(ValueError, match="1 images have none, the first is '3_right'"):
        audit(CLEAN, different(CLEAN).drop("3_right"), GRADES)


def test_a_test_set_with_a_class_that_train_lacks_is_audited():
    found = audit(eyes("1_left train 0\n2_left train 0\n1_right test 4"), None, GRADES)
    assert found.fellow_eye is not None and found.fellow_eye["accuracy"] == 0


def test_the_courses_own_split_leaks_four_in_five_test_images():
    """The four CSV files of the course (no header row)."""
    folder = Path(os.environ.get("LABKIT_TEST_DATA", "../data")).resolve() / "labels" / "retinopathy"
    if not (folder / "train_img.csv").is_file():
        pytest.skip(f"no course label files in {folder}; set LABKIT_TEST_DATA")
    table = pd.concat(
        pd.DataFrame(
            {
                "image_id": pd.read_csv(folder / f"{split}_img.csv", header=None)[0],
                "label": pd.read_csv(folder / f"{split}_label.csv", header=None)[0].astype("Int64"),
                "split": split,
            }
        )
        for split in ("train", "test")
    )
    table[["group", "side"]] = table["image_id"].str.split("_", expand=True).to_numpy()
    found = audit(table, None, GRADES, group_name="patient")
    assert found.leak
    assert (found.groups.n_learnt_from, found.groups.n_test, found.groups.n_shared) == (16859, 6322, 5618)
    assert (found.groups.n_test_touched, found.groups.n_test_images) == (5618, 7026)
    assert found.fellow_eye is not None and found.fellow_eye["n_copied"] == 5618
    assert np.round([found.fellow_eye["accuracy"], found.fellow_eye["qwk"]], 3).tolist() == [0.847, 0.723]
    assert np.round(found.fellow_eye["majority_accuracy"], 4) == 0.7336


def test_stamps_name_a_leak_and_a_selection_on_test_and_nothing_on_an_honest_protocol():
    leaky = audit(eyes("1_left train 0\n2_left train 1\n1_right test 0\n3_left test 1"), None, GRADES, "patient")
    assert stamps(leaky, "val") == ["50.0\u00a0% of the test images share a patient with train or validation"]
    sound = audit(eyes("1_left train 0\n2_left train 1\n3_right test 0\n4_left test 1"), None, GRADES, "patient")
    assert stamps(sound, "val") == []
    assert stamps(sound, "test") == ["the epoch was chosen on the test images"]
    assert stamps(sound, "val", 1) == [
        "the weights it starts from were trained on 50.0\u00a0% of the test images or on their patients"
    ]
    (shaken,) = stamps(sound, "val", augment_test=True)
    assert shaken == "the test images were augmented at random, as in training"
    untested = audit(eyes("1_left train 0\n1_right val 1"), None, GRADES, "patient")
    assert stamps(untested, "last", augment_test=True) == []  # without a test image nothing is wrong with it
    assert in_caption(stamps(sound, "test")) == " ⚠ The epoch was chosen on the test images."
    assert in_caption([]) == ""


def test_unknown_groups_are_stamped_as_unchecked():
    table = eyes("1_left train 0\n2_left test 1").assign(group=pd.NA)
    (stamp,) = stamps(audit(table, None, GRADES, "subject"), "val")
    assert "subjects are unknown" in stamp and "cannot be checked" in stamp


def test_weights_that_have_met_test_images_or_their_patients_are_found():
    parent = eyes("1_left train 0\n2_left val 0\n3_left test 0")
    hashes = pd.Series({name: f"sha of {name}" for name in ("1_left", "2_left", "3_left", "1_right", "4_left")})
    none = pd.DataFrame({"sha256": [], "group": []}, dtype="string")
    met = learnt_from(parent, hashes, "eyepacs", none)
    assert set(met["group"]) == {"eyepacs/1", "eyepacs/2"}
    child = eyes("3_left train 0\n1_right test 0\n2_left test 0\n4_left test 0")
    assert inherited_leak(child, hashes, "eyepacs", met) == 2  # the other eye of 1, and the very image of 2
    assert inherited_leak(child, hashes, "other data", met) == 1  # numbers of other data are other people
    assert inherited_leak(child, hashes, "eyepacs", none) == 0
    grandchild = learnt_from(child, hashes, "eyepacs", met)
    assert set(grandchild["group"]) == {"eyepacs/1", "eyepacs/2", "eyepacs/3"}
