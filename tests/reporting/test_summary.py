"""Page one answers from the numbers, in at most three lines, and says whether to trust it."""

import itertools

import numpy as np
import pytest
from made_runs import labels, make_run
from matplotlib.text import Text
from test_plots import drawn_texts

from labkit.reporting import results as collect_room
from labkit.reporting.exhibits.checklist import checklist, papers
from labkit.reporting.exhibits.summary import answer, page_one, trust
from labkit.reporting.exhibits.worth import worth
from labkit.reporting.results import study_results
from labkit.studies.file import Study


@pytest.fixture
def study(monkeypatch):
    table = {"title": "t", "question": "q", "runs": {name: {} for name in ("blind", "good", "alike")}}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    make_run("blind", np.zeros(60, int))


def said() -> list[str]:
    return [line.replace("\u00a0", " ") for line in answer(study_results("s"))]


def checks() -> dict[str, bool]:
    return {text.replace("\u00a0", " "): holds for holds, text in trust(study_results("s"))}


def test_a_single_variant_that_always_predicts_alike_is_called_so(study):
    (best,) = said()
    assert best.startswith("blind has a quadratic weighted kappa of 0 (constant predictions) on test, against 0.000 of")
    assert (
        "of the majority baseline: the same." in best and "blind finds no test image of b (n = 12) or c (n = 8)" in best
    )
    assert best.endswith("blind predicts one class for at least 98 % of the images.")


def test_the_answer_begins_with_what_each_setting_does_and_ends_with_the_best(study):
    make_run("good", labels(), val=labels(), weight_decay=0.1)
    factor, best = said()
    assert factor.startswith("A change of weight decay makes a difference (one seed each): good scores 1.000 higher")
    assert best.startswith("good (best on validation) has a quadratic weighted kappa of 1")
    assert "higher by more than noise." in best and "blind predicts one class" in best
    assert "finds any" not in best  # what one variant finds is found


def test_a_deeper_and_a_pretrained_network_are_told_as_such_whatever_their_order(study):
    make_run("good", labels(), val=labels(), arch="resnet50")
    make_run("alike", labels(), val=labels(), start="ImageNet weights")
    deeper, start, _ = said()
    assert deeper.startswith("A deeper network is better (one seed each): good scores 1.000 higher than blind")
    assert start.startswith("Starting from trained weights is better (one seed each): alike scores 1.000 higher")


def test_of_equal_predictions_no_difference_is_seen(study):
    make_run("good", np.zeros(60, int), weight_decay=0.1)
    assert said()[0] == (
        "A change of weight decay makes no difference that is seen (one seed each): good predicts the same as blind."
    )


def test_what_holds_and_what_does_not_stands_beside_the_answer(study):
    make_run("good", labels(), val=labels())
    assert checks()["no patient in both training and test"] and checks()["test images predicted once"]
    assert not checks()["1 seed per variant: nothing is known of another seed"]
    assert not checks()["synthetic images: nothing is said about patients"]


def test_page_one_holds_the_answer_a_forest_plot_and_one_matrix(study, monkeypatch):
    make_run("good", labels(), val=labels(), weight_decay=0.1)
    text, forest, matrix = page_one(study_results("s"))
    assert text.text.startswith("- A change of") and forest.label == "forest" and "by good" in matrix.caption
    left, right = forest.figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["blind", "good", "majority class"]
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["good\n− blind"]
    texts = drawn_texts(forest.figure, monkeypatch)
    boxes = [Text.get_window_extent(one) for one in texts]
    for (one, box), (other, against) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        across = min(box.x1, against.x1) - max(box.x0, against.x0)
        assert min(across, min(box.y1, against.y1) - max(box.y0, against.y0)) < 1, f"{one} and {other} overlap"


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
    listed = papers(results, worth(results))
    assert any("residual learning" in line for line in listed) and any("McNemar" in line for line in listed)
    assert any("(CLAIM): 2024 update" in line and "e240300" in line for line in listed)
    assert not any("EfficientNet" in line or "benchmarks" in line for line in listed)
    assert listed[-1].startswith("Data: ") == (results.runs[0]["params"].data == "somewhere/eyes")
