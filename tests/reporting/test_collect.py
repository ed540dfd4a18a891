"""From run folders to the report's numbers: all of them from predictions.csv, failures shown, nothing mixed."""

import numpy as np
import pandas as pd
import pytest
from made_runs import labels, make_run, without_sums

from labkit.params import RunParams
from labkit.reporting import exhibits
from labkit.reporting import results as collect_room
from labkit.reporting.results import UNLABELLED, StudyResults, study_results
from labkit.runs.files import read_json
from labkit.runs.folder import run_folder
from labkit.studies.file import Study


@pytest.fixture
def study(monkeypatch):
    """Runs 'constant' and 'good' on the same 60 test images of 30 patients; 'deep' is not run yet."""
    table = {"title": "t", "question": "q", "runs": {"constant": {}, "good": {}, "deep": {}}}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    make_run("constant", np.zeros(60, int))
    make_run("good", labels())


def test_scores_and_baseline_come_from_the_predictions(study):
    results = study_results("s")
    good = next(run for run in results.runs if run["run"] == "good")
    constant = next(run for run in results.runs if run["run"] == "constant")
    assert good["accuracy"] == 1 and good["qwk"] == 1 and good["n"] == 60 and good["n_groups"] == 30
    assert constant["accuracy"] == results.baseline["accuracy"] == pytest.approx(40 / 60)
    assert constant["majority_share"] == 1 and results.majority_class == "a"
    assert list(results.history.loc[results.history["chosen"], "epoch"]) == [2, 2]


def test_runs_that_were_started_by_hand_are_compared_though_no_file_lists_them():
    make_run("constant", np.zeros(60, int), epochs=2)
    make_run("good", labels(), epochs=3)
    results = study_results("s")
    assert list(results.tests) == ["constant", "good"] and results.study.title == "Runs of s, started by hand"
    assert [pair.factor for pair in results.comparisons()] == ["epochs", "epochs"]


def test_one_changed_prediction_moves_every_number(study):
    before = study_results("s")
    path = without_sums(run_folder(RunParams(study="s", run="good"), ""))
    table = pd.read_csv(path)
    table.loc[59, ["logit_0", "logit_2"]] = [9.0, 0.0]
    table.to_csv(path, index=False)
    after = study_results("s")
    old, new = (next(run for run in results.runs if run["run"] == "good") for results in (before, after))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "qwk", "mcc", "weighted_f1", "macro_auroc"):
        assert new[name] < old[name], name
    assert new["sensitivity"][2] == pytest.approx(7 / 8)
    assert new["intervals"].loc["accuracy", "low"] < old["intervals"].loc["accuracy", "low"]
    assert after.tests["good"]["prediction"].tolist()[-1] == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ids": "other"}, "tested on other images than constant, or with other labels"),
        ({"split_name": "unlabeled"}, "without a labelled test image"),
    ],
)
def test_a_run_that_cannot_be_compared_is_named_with_the_reason_and_left_out(study, changes, why):
    make_run("deep", labels(), **changes)
    results = study_results("s")
    assert results.left_out == {"deep-seed0": why}
    assert [run["run"] for run in results.runs] == ["constant", "good"]


def test_only_variants_that_differ_in_one_thing_are_compared(study):
    assert list(study_results("s").comparisons()) == []  # the same parameters
    make_run("deep", labels(), arch="resnet50", sampling="oversample")
    assert list(study_results("s").comparisons()) == []  # two that differ
    make_run("good", labels(), arch="resnet50")
    pairs = list(study_results("s").comparisons())
    assert {(pair.a, pair.b, pair.factor, pair.also) for pair in pairs} == {
        ("constant", "good", "arch", ()),
        ("good", "deep", "sampling", ()),
    }
    gain = next(pair for pair in pairs if pair.b == "good" and pair.metric == "accuracy")
    assert gain.difference == pytest.approx(20 / 60) and gain.low < 20 / 60 < gain.high


def test_a_recipe_that_differs_too_is_said_besides(study):
    make_run("good", labels(), arch="resnet50", epochs=3)
    make_run("deep", labels(), arch="resnet50", epochs=5)
    pairs = [pair for pair in study_results("s").comparisons() if pair.metric == "accuracy"]
    assert [(pair.b, pair.factor, pair.also) for pair in pairs] == [
        ("good", "arch", (("epochs", 1, 3),)),
        ("deep", "arch", (("epochs", 1, 5),)),
        ("deep", "epochs", ()),
    ]


def test_augmented_or_not_is_one_thing_however_many_parameters_it_takes(study):
    make_run("good", labels(), horizontal_flip=False, vertical_flip=False)
    assert {pair.factor for pair in study_results("s").comparisons()} == {"augmentation"}


def test_a_stamp_of_one_run_stands_on_every_caption(study):
    assert study_results("s").stamp == ""
    make_run("good", labels(), stamps=["80.0% of the test images share a patient with the training images"])
    (stamp,) = study_results("s").stamps
    assert stamp.startswith("80.0% of the test images share a patient") and stamp.endswith(" (good)")


def test_sentences_and_alternative_texts_about_one_of_several_seeds_say_so(study, monkeypatch):
    monkeypatch.setattr(StudyResults, "pixels", None)  # these runs' images are made up
    told = (exhibits.confusions, exhibits.class_tables, exhibits.screening, exhibits.reliability, exhibits.subgroups)

    def shown():
        return [one for exhibit in told for one in exhibit(study_results("s"))]

    assert shown() and not [one for one in shown() if "first seed" in one.text + one.alt + one.caption]
    make_run("good", labels(), seed=1)
    assert study_results("s").drawn_over == "patient and seed"
    for one in shown():
        for said in filter(None, (one.text, one.alt)):
            assert said.endswith("This is of the first seed alone."), said


def test_a_study_without_a_finished_run_says_what_to_do(study, monkeypatch):
    monkeypatch.setenv("LABKIT_REPORTS", "/nonexistent")
    with pytest.raises(ValueError, match="no run is finished"):
        study_results("s")


def test_a_run_that_goes_on_with_more_images_is_compared_by_these(study):
    make_run("good", labels(), split="given")
    parent = read_json(run_folder(RunParams(study="s", run="good"), "") / "run.json")["fingerprint"]
    more = {"train_on": "train+val", "select_on": "last", "weights": "x", "parent": parent, "epochs": 3}
    make_run("deep", labels(), split="given", start="from good-seed0, trained on x", **more)
    pairs = [pair for pair in study_results("s").comparisons() if pair.a == "good"]
    assert {pair.factor for pair in pairs} == {"training images"}
    assert {name for pair in pairs for name, *_ in pair.also} == {"start", "epochs"}


def test_a_deviation_that_only_bottlenecks_have_does_not_hide_the_question_of_depth(study):
    make_run("good", labels(), arch="resnet50", deviation="linear_bottleneck")
    (factor,) = {pair.factor for pair in study_results("s").comparisons()}
    assert factor == "arch"
    assert {name for pair in study_results("s").comparisons() for name, *_ in pair.also} == {"deviation"}


def test_a_frozen_phase_that_only_loaded_weights_have_is_said_beside_the_start(study):
    loaded = {"weights": "IMAGENET1K_V1", "start": "from IMAGENET1K_V1", "epochs": 2}
    make_run("constant", np.zeros(60, int), epochs=2)
    make_run("good", labels(), freeze_epochs=1, **loaded)
    make_run("deep", labels(), **loaded, class_weights="balanced")  # two things apart from "good"
    pairs = {(pair.a, pair.b, pair.factor, pair.also) for pair in study_results("s").comparisons()}
    assert pairs == {("constant", "good", "start", (("freeze_epochs", 0, 1),))}


def test_validation_is_scored_and_stamped_where_no_test_image_has_a_label(study):
    for name, answers in (("constant", np.zeros(60, int)), ("good", labels())):
        make_run(name, answers, split_name="val")
    results = study_results("s")
    assert [run["accuracy"] for run in results.runs] == [pytest.approx(40 / 60), 1] and not results.left_out
    assert results.majority["test"] == pytest.approx(40 / 60) and all(run["val"].empty for run in results.runs)
    assert results.stamps == [UNLABELLED]


def test_runs_made_again_under_the_honest_protocol_are_no_variants_and_keep_their_own_test_images(study):
    make_run("good-honest", labels()[::-1].copy(), ids="other")
    results = study_results("s")
    assert [run["run"] for run in results.runs] == ["constant", "good"]
    assert list(results.honest) == ["good"] and results.honest["good"][0]["accuracy"] < 1


def test_p_values_of_accuracy_are_corrected_for_all_pairs_of_the_study(study):
    half = labels()
    half[40:46] = 0  # six images wrong
    make_run("good", labels(), arch="resnet50")
    make_run("deep", half, arch="resnet34")
    pairs = {(pair.a, pair.b): pair for pair in study_results("s").comparisons() if pair.metric == "accuracy"}
    assert len(pairs) == 3
    assert pairs["good", "deep"].p == pytest.approx(2 / 2**6)
    assert pairs["good", "deep"].p_holm == pairs["good", "deep"].p  # the largest of three
    assert pairs["constant", "good"].p_holm == pytest.approx(3 * 2 / 2**20)
    assert all(np.isnan(pair.p_holm) for pair in study_results("s").comparisons() if pair.metric == "qwk")


def test_every_class_has_an_interval_of_its_sensitivity(study):
    good = next(run for run in study_results("s").runs if run["run"] == "good")
    answers = labels()
    answers[40:46] = 0  # half of the second class is missed
    make_run("good", answers)
    half = next(run for run in study_results("s").runs if run["run"] == "good")["sensitivity_intervals"]
    assert (good["sensitivity_intervals"][["estimate", "high"]] == 1).all(axis=None)
    assert good["sensitivity_intervals"]["groups"].tolist() == [20, 6, 4]
    assert half.loc["b", "estimate"] == 0.5 and half.loc["b", "low"] < 0.5 < half.loc["b", "high"]
    assert (half.loc[["a", "c"], ["estimate", "high"]] == 1).all(axis=None)
