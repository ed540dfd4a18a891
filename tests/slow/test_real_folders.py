"""``labkit check`` on the real folders of LABKIT_TEST_DATA; test_slow.py checks and trains on the 6,742 photographs."""

import os
from pathlib import Path

import pytest

from labkit.cli import main

GUESS = "a guess by the names of the files"
READ = {  # folder -> exit code, images, how they are split, data set, lines or parts of them
    "cnmc": (0, 6, "no split", "leukemia", ["C-NMC files: the files are named UID", "Own split: none: C-NMC's folds"]),
    "leukemia": (0, 3_256, "no split", "custom", ["Classes: 0, 1; by number; a guess: the positive class is 1"]),
    "retinamnist": (0, 1_600, "the data's own split", "retinamnist", ["MedMNIST array file", "patients unknown"]),
    "labels": (2, 10_661, "the data's own split", "custom", ["leukemia/train.csv, leukemia/valid.csv with path and"]),
    "labels/leukemia": (2, 10_661, "the data's own split", "leukemia", ["own validation part serves as test"]),
    "labels/retinopathy": (1, 35_126, "the data's own split", "retinopathy", ["5,618 of 7,026 test images (80.0"]),
}


@pytest.mark.skipif("LABKIT_TEST_DATA" not in os.environ, reason="LABKIT_TEST_DATA names no folder of real data")
@pytest.mark.parametrize("name", READ)
def test_a_real_folder_is_taken_for_what_it_is(name, capsys):
    code, images, split, dataset, words = READ[name]
    folder = Path(os.environ["LABKIT_TEST_DATA"]).resolve() / name
    found, said = main(["check", str(folder)]), capsys.readouterr().out
    lines = said.splitlines()
    assert (found, lines[0]) == (code, f"{folder}: {images:,} images, {split}")
    assert lines[2] == "What this is taken for, and why" and lines[4].startswith(f"- Data set: {dataset}; {GUESS}")
    assert [word for word in words if word not in said] == []
