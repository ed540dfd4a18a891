"""The box at the head of a report is written from the numbers and has at most five sentences."""

import re

import numpy as np
import pytest
from made_runs import labels, make_run

from labkit.reporting import results as collect_room
from labkit.reporting.exhibits.checklist import checklist, references
from labkit.reporting.exhibits.summary import summary
from labkit.reporting.exhibits.worth import worth
from labkit.reporting.results import study_results
from labkit.studies.file import Study


@pytest.fixture
def study(monkeypatch):
    table = {"title": "t", "question": "q", "runs": {name: {} for name in ("blind", "good", "alike")}}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    make_run("blind", np.zeros(60, int))


def said() -> list[str]:
    return [sentence.replace("\u00a0", " ") for sentence in summary(study_results("s"))]


def test_a_single_variant_that_always_answers_alike_is_called_so(study):
    what, best, without, sound = said()
    assert what == "One network was trained on 100 synthetic images and tested on 60 others of 30 patients."
    assert (
        best.startswith("blind has a quadratic weighted kappa of 0 (constant predictions)")
        and "the same as the majority" in best
    )
    assert "blind predicts one class for at least 98 % of the images" in without
    assert sound.startswith("No patient is on both sides of the split") and "another seed" in sound


def without_intervals(text: str) -> str:
    return re.sub(r" \([+−][\d.]+ \[.*?\]\)", "", text)


def test_the_best_is_told_apart_from_those_it_beats_and_not_from_its_like(study):
    almost = labels()
    almost[59] = 1
    make_run("good", labels(), val=labels())
    make_run("alike", almost, val=almost)
    assert re.search(r"blind \(\+[\d.]+ \[\+[\d.]+ to \+[\d.]+\]\) by more than noise", said()[3])
    told = without_intervals(said()[3])
    assert "good is better than blind by more than noise and cannot be told apart from alike." in told
    assert len(said()) == 5 and "Three variants" in said()[0]
    make_run("good", labels()[::-1].copy(), val=labels())  # chosen on validation, and worse than chance on test
    assert (
        "good (best on validation)" in said()[1]
        and "against the majority baseline (0.000): more than noise" in said()[1]
    )
    assert "good is worse than blind and alike by more than noise." in without_intervals(said()[3])


def test_a_leak_is_left_to_its_warning_and_never_called_sound(study):
    make_run("good", labels(), stamps=["80 % of the test images share a patient with the training images"])
    assert not any("both sides" in sentence for sentence in said())


def test_several_seeds_are_averaged(study):
    make_run("good", labels(), val=labels())
    make_run("good", np.zeros(60, int), val=labels(), seed=1)
    what, best, *_ = said()
    assert "up to two times each" in what and "good (best on validation) has" in best
    assert "(mean of 2 seeds) on the test images, +0.500 [−" in best and best.endswith(
        "baseline (0.000): within noise."
    )


def test_the_variant_told_of_is_the_best_mean_on_validation_whatever_test_says(study):
    blind, nearly = np.zeros(60, int), labels()
    nearly[59] = 1
    make_run("blind", blind, val=blind)
    make_run("blind", blind, val=blind, seed=1)
    for seed in (0, 1):
        make_run("good", blind, val=nearly, seed=seed)  # best on validation, and blind on test
    make_run("alike", labels(), val=labels())  # perfect once, and blind the second time
    make_run("alike", blind, val=blind, seed=1)
    results = study_results("s")
    assert results.chosen == "good" and results.n_seeds.replace("\u00a0", " ") == "2 seeds"
    assert results.by_chosen == ", by good (best on validation)"
    ends = results.over_seeds()["alike"].loc["qwk"]
    assert ends["low"] == -1 and ends["high"] == 1  # two seeds this far apart say nothing


def test_without_validation_images_the_first_row_is_told_of_and_stamped(study):
    assert study_results("s").by_chosen == ", by blind"
    make_run("good", labels())
    results = study_results("s")
    assert results.chosen == "blind"
    assert results.by_chosen == ", by blind (first row of the table, not chosen by validation)"
    assert f"kappa{results.by_chosen}: 0 (constant predictions)" in " ".join(checklist(results, {})["reported"])


def test_only_what_a_report_uses_is_referred_to(study):
    make_run("good", labels(), data="somewhere/eyes")
    results = study_results("s")
    listed = references(results, worth(results))
    assert any("residual learning" in line for line in listed) and any("McNemar" in line for line in listed)
    assert any("(CLAIM): 2024 update" in line and "e240300" in line for line in listed)
    assert not any("EfficientNet" in line or "benchmarks" in line for line in listed)
    assert listed[-1].startswith("Data: ") == (results.runs[0]["params"].data == "somewhere/eyes")
