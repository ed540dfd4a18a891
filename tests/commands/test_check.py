"""``labkit check``: what it says of folders that are sound, leak, have no parts or cannot be read; exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labkit.cli import main
from labkit.commands.check import check, in_words
from labkit.data.catalog import GUESS
from labkit.data.readers import read
from labkit.data.readers.inventory import take_inventory as walk
from labkit.params import DataParams


def picture(path: Path, seed: int, label: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 160, (20, 20, 3)).astype(np.uint8) + np.uint8(60 * label))
    small.resize((72, 72), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """train/ and test/ with a folder a class; nothing known of patients; no leak."""
    for number in range(60):
        label = number % 2
        picture(tmp_path / "photos" / ("train", "test")[number > 44] / "ab"[label] / f"{number}.png", number, label)
    return tmp_path / "photos"


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    """Kaggle's layout: trainLabels.csv, 30 patients, no parts."""
    lines = ["image,level"]
    for patient in range(30):
        for side in ("left", "right"):
            picture(tmp_path / "kaggle" / f"{patient + 10}_{side}.jpeg", 2 * patient + (side == "left"))
            lines.append(f"{patient + 10}_{side},{patient % 5}")
    (tmp_path / "kaggle" / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "kaggle"


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    """The exit code, and the JSON that is all of standard output."""
    code = main(["check", *arguments, "--json"])
    said = capsys.readouterr()
    assert "labkit: comparing files, headers and colours …" in said.err
    return code, json.loads(said.out)


def test_a_leaking_split_is_told_in_words_and_by_the_exit_code(image_folder, capsys):
    assert main(["check", str(image_folder)]) == 0  # 80 images by patient: 64 and 16
    assert "No leak was found; which copies are missed is said under Duplicates." in capsys.readouterr().out
    lists = image_folder / "train_img.csv", image_folder / "test_img.csv"
    train, test = (path.read_text().split() for path in lists)
    lists[0].write_text("\n".join([test[0], *train[1:]]))
    lists[1].write_text("\n".join([train[0], *test[1:]]))
    code, report = asked(capsys, str(image_folder))
    assert code == 1 and report["leak"] and report["dataset"] == "retinopathy" and report["guessed"]
    assert report["split"] == "given" and report["findings"]["groups"]["n_shared"] == 2
    assert report["findings"]["fellow_eye"]["n_copied"] == 2
    assert report["counts"]["train"]["No DR"] + report["counts"]["test"]["No DR"] == 16
    text = in_words(report)
    assert text.splitlines()[2] == "What this is taken for, and why" and "- Layout: course image and label" in text
    assert report["read_as"][0] == "Data set: retinopathy; a guess by the names of the files (dataset sets another)"
    assert set(report["notes"]) <= set(report["read_as"])
    assert "LEAK:" in text and "Leak: 2 patients are both" in text and "labkit's catalog has 28,100" in text


def test_unknown_groups_cannot_be_checked_and_that_is_the_verdict(classes, capsys):
    assert main(["check", str(classes)]) == 0
    said = capsys.readouterr().out
    assert "- Own split: the folders test, train\n" in said and "; a guess: the positive class is b (" in said
    assert "- Own split: the folders test, train (not used)\n" in in_words(check(str(classes), "group"))
    assert "No leak was found, but whether groups are shared cannot be checked." in said
    assert "No two files have the same bytes." in said and "All 60 images can be decoded" in said


@pytest.mark.parametrize("quality", [None, 60])
def test_a_copy_of_a_training_image_in_test_is_a_leak_byte_for_byte_or_saved_anew(classes, capsys, quality):
    copy = classes / "test" / "b" / "copy.jpg"
    if quality:
        Image.open(classes / "train" / "a" / "0.png").save(copy, quality=quality)
    else:
        copy.write_bytes((classes / "train" / "a" / "0.png").read_bytes())
    code, report = asked(capsys, str(classes))
    found = report["findings"]["near" if quality else "duplicates"]
    assert code == 1 and found["n_test_touched"] == found["n_across"] == found["n_conflicting"] == 1
    rows = found["pairs"] if quality else found["files"]
    assert len(rows) == (1 if quality else 2)


def test_data_without_parts_has_nothing_to_leak_but_its_files_are_looked_at(eyes, capsys):
    (eyes / "11_left.jpeg").write_bytes((eyes / "10_left.jpeg").read_bytes())
    (eyes / "12_left.jpeg").write_text("no image")
    code, report = asked(capsys, str(eyes))
    assert code == 1 and report["split"] is None and not report["checked"]["groups"]
    assert report["findings"]["duplicates"]["n_conflicting"] == 1
    assert report["findings"]["files"]["counts"] == {"unreadable": 1}
    text = in_words(report)
    assert "Surplus copies of an image: 1." in text and "CONTRADICTION: copies have two labels." in text
    assert "    10_left (unsplit, No DR) = 11_left (unsplit, Mild)\n" in text
    assert "no leak is possible; --split group draws one by patient, where that is known" in text
    assert "- Own split: none; runs draw one\n" in text and "Split from" not in text
    assert "- Task: grades, which are ordered (scored by kappa); as the catalog says\n" in text


def test_a_split_by_patient_is_sound_and_one_by_image_leaks(eyes, capsys):
    code, report = asked(capsys, str(eyes), "--split", "group")
    assert code == 0 and report["checked"]["groups"] and "shortcut" in report["findings"]
    assert in_words(report).splitlines()[0].endswith("60 images, split by patient, where that is known")
    code, report = asked(capsys, str(eyes), "--split", "image")
    assert code == 1 and report["findings"]["groups"]["n_shared"] > 0
    assert any("split one by one" in note for note in report["notes"])


def test_lists_whose_images_are_elsewhere_are_checked_alone(image_folder):
    for path in (image_folder / "images").iterdir():
        path.unlink()
    assert main(["check", str(image_folder)]) == 2  # no image could be checked
    report = check(str(image_folder))
    assert report["checked"] == {"groups": True, "exact_duplicates": False, "near_duplicates": False, "files": False}
    assert any("only the lists were checked" in note for note in report["notes"])
    assert "near" not in report["findings"] and "Files" not in report["said"]


def test_one_folder_relative_to_where_one_stands_is_read_once_though_its_data_set_is_guessed(eyes, monkeypatch):
    monkeypatch.chdir(eyes.parent)
    walked = []
    reader = sys.modules["labkit.data.readers.read"]
    monkeypatch.setattr(reader, "take_inventory", lambda *a, **k: walked.append(a) or walk(*a, **k))
    assert (check("kaggle")["images"], len(walked)) == (60, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}/nowhere"], "nowhere: there is no such folder"),
        (["{}", "--split", "given"], "split: given needs the data's own train and test parts"),
        (["{}", "--suffix", "png"], "suffix: got 'png', allowed: text or None, which begins with a dot"),
        (["{}", "--class-names", "a"], "class_names: got ['a'], two or more different names"),
        (["{}", "--group-pattern", "(x)"], "it must have a part (?P<group>…)"),
        (["{}", "--dataset", "retinopthy"], "unknown data set 'retinopthy'; known are: retinopathy, leukemia"),
    ],
)
def test_wrong_use_is_told_in_one_line(eyes, capsys, arguments, words):
    assert main(["check", *(word.format(eyes) for word in arguments)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("labkit: ") and words in last


def guessed(place: Path) -> str:
    return read(DataParams(dataset=GUESS), place).facts.name


def test_data_sets_are_told_by_the_names_of_their_files(eyes, classes, image_folder, tmp_path):
    assert guessed(eyes) == guessed(image_folder) == "retinopathy" and guessed(classes) == "custom"
    for number in range(4):
        picture(tmp_path / "cells" / f"UID_H{number}_1_1_hem.bmp", number)
    assert guessed(tmp_path / "cells") == "leukemia"
    images, labels = np.zeros((2, 28, 28, 3), np.uint8), np.zeros((2, 1), np.uint8)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "retinamnist_28.npz", **arrays)
    assert guessed(tmp_path / "retinamnist_28.npz") == "retinamnist"
    lines = ["image,level", *(f"{patient}_left,nine" for patient in range(10, 40))]
    (eyes / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    assert guessed(eyes) == "custom"  # names as EyePACS has them, labels that it has not
