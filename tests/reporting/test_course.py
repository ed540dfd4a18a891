"""What the report of a course's study adds: three columns of scores, figures by question, the cost of deviations."""

import numpy as np
import pytest
from made_runs import labels, make_run

from labkit.reporting import results as collect_room
from labkit.reporting.ablation import ablation
from labkit.reporting.comparisons import ablation_sentences, ablations, in_words
from labkit.reporting.deviations import deviation_rows
from labkit.reporting.published import protocol_rows
from labkit.reporting.results import study_results
from labkit.reporting.sensitivity import sensitivities
from labkit.studies.file import Study

PUBLISHED = {"source": "r.txt", "data": "EyePACS", "n": 60, "majority": 0.7, "scores": {"a": 0.8, "b": None}}


@pytest.fixture
def study(monkeypatch):
    """Runs a to f; a and b are published, the second without a number; a was made again under the honest protocol."""
    table = {"title": "t", "question": "q", "runs": {name: {} for name in "abcdef"}, "published": PUBLISHED}
    monkeypatch.setattr(collect_room, "load_study", lambda name: Study(name=name, **table))
    make_run("a", np.zeros(60, int), split="given", select_on="test")


def protocol_rows() -> list[dict]:
    results = study_results("s")
    return protocol_rows(results, results.study.published[0])


def test_published_course_and_honest_stand_in_three_columns(study):
    make_run("a-honest", labels(), ids="other")
    make_run("b", labels(), split="given", select_on="test", arch="resnet50")
    rows = {row["run"]: row for row in protocol_rows()}
    assert rows["a"]["published"] == 0.8
    assert rows["a"]["course"] == pytest.approx(40 / 60) and rows["a"]["honest"] == 1
    assert rows["b"]["cells"]["published"]["score"] is None and rows["b"]["honest"] is None
    assert rows["c"]["published"] is None and rows["c"]["course"] is None
    difference, low, high = rows["a"]["gap"]
    assert difference == pytest.approx(40 / 60 - 1) and low < difference < high and rows["b"]["gap"] is None
    cell = rows["a"]["cells"]["course"]
    assert cell["n"] == 60 and cell["majority"] == pytest.approx(40 / 60) and "synthetic" in cell["data"]


def test_synthetic_images_are_never_called_the_published_ones(study):
    assert not protocol_rows()[0]["same_data"]  # as many test images, and yet others
    make_run("a", labels(), split="given", select_on="test", data="somewhere/eyes")
    row = protocol_rows()[0]
    assert row["same_data"] and row["cells"]["course"]["data"].startswith("“eyes” (180 images")


def test_a_run_that_keeps_patients_apart_is_honest_by_itself(study):
    make_run("a", labels(), split="group", select_on="val")
    row = protocol_rows()[0]
    assert row["course"] is None and row["honest"] == 1


def test_each_question_has_its_figures_and_as_many_sentences_as_pairs(study):
    for name, decay in zip("bcdef", (0.1, 0.2, 0.3, 0.4, 0.5), strict=True):
        make_run(name, labels(), split="given", select_on="test", weight_decay=decay)
    results = study_results("s")
    figures = ablations(results)
    assert [in_words(one) for one in figures] == [f"weight decay ({k} of 4)" for k in (1, 2, 3, 4)]
    assert sum(len(ablation_sentences(one, results)) for one in figures) == 15
    sensitivity = sensitivities(results.runs, results.classes)
    for one in figures:
        ablation(one.pairs, results.history, sensitivity, results.palette, score=results.score)


@pytest.mark.parametrize("first", ["none", "flat_head"])
def test_a_deviation_is_told_as_proper_to_deviating_whichever_comes_first(study, first):
    other = "flat_head" if first == "none" else "none"
    better = labels() if other == "none" else np.zeros(60, int)
    worse = labels() if other != "none" else np.zeros(60, int)
    make_run("a", worse if first == "flat_head" else better, deviation=first)
    make_run("b", better if other == "none" else worse, deviation=other)
    make_run("c", better, deviation="small_stem")
    rows = deviation_rows(study_results("s"))
    row = next(row for row in rows if row["deviation"] == "flat_head")
    names = ("a", "b") if first == "none" else ("b", "a")
    assert (row["proper"], row["deviating"]) == names
    proper, deviating, difference, low, high = row["metrics"]["accuracy"]
    assert difference == pytest.approx(deviating - proper) and low <= difference <= high
    assert {row["proper"] for row in rows} == {names[0]}  # two deviations are not held against each other
