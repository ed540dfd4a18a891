"""What the report of a course's study adds: three columns of scores, figures by question, what deviates."""

import numpy as np
import pandas as pd
import pytest
from made_runs import labels, make_run

from labkit.models.build import DEVIATIONS
from labkit.reporting import results as collect_room
from labkit.reporting.exhibits.deviations import degradation_sentence, deviation_sentences
from labkit.reporting.exhibits.published import protocol_rows
from labkit.reporting.learning import phase_sentences
from labkit.reporting.results import study_results
from labkit.studies.file import Study

PUBLISHED = {"source": "r.txt", "data": "EyePACS", "n": 60, "majority": 0.7, "scores": {"a": 0.8, "b": None}}


@pytest.fixture
def study(monkeypatch):
    """Runs a to f; a and b are published, the second without a number; a was made again under the honest protocol."""
    table = {"title": "t", "question": "q", "runs": {name: {} for name in "abcdef"}, "published": PUBLISHED}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    make_run("a", np.zeros(60, int), split="given", select_on="test")


def rows_of_study() -> list[dict]:
    results = study_results("s")
    return protocol_rows(results, results.study.published[0])


def test_published_course_and_honest_stand_in_three_columns(study):
    make_run("a-honest", labels(), ids="other")
    make_run("b", labels(), split="given", select_on="test", arch="resnet50")
    rows = {row["run"]: row for row in rows_of_study()}
    assert rows["a"]["published"]["estimate"] == 0.8
    assert rows["a"]["course"]["estimate"] == pytest.approx(40 / 60) and rows["a"]["honest"]["estimate"] == 1
    assert rows["b"]["published"]["estimate"] is None and rows["b"]["honest"] is None
    assert rows["c"]["published"] is None and rows["c"]["course"] is None
    difference, low, high = rows["a"]["gap"]
    assert difference == pytest.approx(40 / 60 - 1) and rows["b"]["gap"] is None
    assert low <= difference <= high
    cell = rows["a"]["course"]
    assert cell["n"] == 60 and cell["majority"] == pytest.approx(40 / 60) and "synthetic" in cell["data"]


def test_synthetic_images_are_never_called_the_published_ones(study):
    assert not rows_of_study()[0]["same_data"]  # as many test images, and yet others
    make_run("a", labels(), split="given", select_on="test", data="somewhere/eyes")
    row = rows_of_study()[0]
    assert row["same_data"] and row["course"]["data"].startswith("“eyes” (180 images")


def test_a_run_that_keeps_patients_apart_is_honest_by_itself(study):
    make_run("a", labels(), split="group", select_on="val")
    row = rows_of_study()[0]
    assert row["course"] is None and row["honest"]["estimate"] == 1


def test_each_deviation_is_told_with_the_variants_that_have_it(study):
    for name, deviation in {"a": "none", "b": "flat_head", "c": "small_stem", "d": "flat_head"}.items():
        make_run(name, labels(), deviation=deviation)
    assert deviation_sentences(study_results("s")) == [
        f"flat head (b, d): {DEVIATIONS['flat_head']}.",
        f"small stem (c): {DEVIATIONS['small_stem']}.",
    ]


def test_training_accuracy_by_depth_is_told_with_shortcuts_and_without(study):
    made = {"a": ("18", "none"), "b": ("34", "none"), "c": ("18", "no_shortcut"), "d": ("34", "no_shortcut")}
    for name, (depth, deviation) in made.items():
        make_run(name, labels(), arch=f"resnet{depth}", deviation=deviation)
    results = study_results("s")
    results.history.loc[results.history["epoch"] == 2, "train_accuracy"] = [0.90, 0.93, 0.88, 0.81]
    assert degradation_sentence(results).replace("\u00a0", " ") == (
        "Training accuracy of the last epoch, resnet34 against resnet18: +3.0 points with shortcuts "
        "(90.0 % a, 93.0 % b) and −7.0 points without (88.0 % c, 81.0 % d)."
    )
    results.runs[:] = [run for run in results.runs if run["run"] != "d"]
    assert degradation_sentence(results) == ""


CURVES = [
    ("50 60 50 60 70 71 72 73", {"learning_rate": [5e-3] * 4 + [1e-3] * 4},
     "changes by 10.0 points from epoch to epoch at a rate of 0.005 and by 1.0 points at 0.001."),
    ("50 52 60 61 62 63 64 65", {"phase": ["head"] * 2 + ["all"] * 6},
     "goes from 52.0 % to 60.0 % (+8.0 points) in the first epoch after the frozen phase."),
    ("50 73 73.1 73 73.2 73 73 70", {"learning_rate": np.linspace(1, 0, 8)},  # no drop of a constant rate
     "gains at most 0.2 points after epoch 2 of 8; it ends 3.2 points below its best, 73.2 % in epoch 5."),
    ("50 55 60 65 70 72 74 76", {}, None),
    ("70 50", {}, None),  # two epochs are no plateau and no fall
]  # fmt: skip


@pytest.mark.parametrize(("accuracy", "changes", "said"), CURVES)
def test_a_curve_is_told_by_its_swings_its_jump_its_plateau_and_its_fall(accuracy, changes, said):
    values = np.array(accuracy.split(), float) / 100
    base = {"run": "r", "epoch": range(1, len(values) + 1), "learning_rate": 1e-3, "phase": "all"}
    history = pd.DataFrame(base | {"test_accuracy": values} | changes)
    lines = [line.replace("\u00a0", " ") for line in phase_sentences(history)]
    assert lines == ([f"r: test accuracy {said}"] if said else [])
