"""Scores by hand and by scikit-learn; intervals by brute force and by how often they hold the truth."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from labkit.evaluation.ranking_intervals import auroc_draws
from sklearn import metrics as sk

from labkit.evaluation import (
    bootstrap_by_group,
    confusion,
    decide,
    evaluate,
    intervals,
    majority_baseline,
    majority_share,
    metrics,
    per_class_table,
    probabilities,
    score,
)
from labkit.evaluation.compare import mean_of_seeds, paired_difference, unpaired_difference

GRADES = ["none", "mild", "severe"]


def predictions(labels, answers, n_classes=3, groups=None) -> pd.DataFrame:
    """A predictions table whose logits say `answers`."""
    logits = np.eye(n_classes)[answers] * 4.0
    table = pd.DataFrame(logits, columns=[f"logit_{number}" for number in range(n_classes)])
    table.insert(0, "image_id", [f"image{number}" for number in range(len(table))])
    table["label"] = pd.array(labels, dtype="Int64")
    table["group"] = groups if groups is not None else pd.NA
    return table


@pytest.fixture
def known() -> pd.DataFrame:
    #              three "none", one called mild; two "mild", one called none; one "severe", called mild
    return predictions([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1], groups=["a", "a", "b", "b", pd.NA, "c"])


# --- decide -----------------------------------------------------------------------------------------------------------


def test_probabilities_are_softmax_and_do_not_overflow():
    np.testing.assert_allclose(probabilities([[0.0, np.log(3.0)]]), [[0.25, 0.75]])
    np.testing.assert_allclose(probabilities([[1e4, 1e4 + np.log(3.0)], [-1e4, 0.0]]), [[0.25, 0.75], [0.0, 1.0]])


def test_decide_adds_probabilities_and_the_most_probable_class():
    table = pd.DataFrame({"image_id": ["a", "b"], "logit_0": [0.0, 2.0], "logit_1": [1.0, 2.0], "logit_2": [-1.0, 0.0]})
    decided = decide(table)
    assert list(decided["prediction"]) == [1, 0]  # of equals, the first
    np.testing.assert_allclose(decided[["p_0", "p_1", "p_2"]].sum(axis=1), 1.0)
    assert "p_0" not in table


def test_ten_classes_are_read_in_the_order_of_their_numbers():
    table = predictions([10, 2], [10, 2], n_classes=11)
    shuffled = table[sorted(table.columns)]  # logit_0, logit_1, logit_10, logit_2, …
    assert list(decide(shuffled)["prediction"]) == [10, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_refused(known, bad):
    known.loc[3, "logit_1"] = bad
    with pytest.raises(ValueError, match=r"1 of 6 rows are NaN or infinite, first row 3.*learning rate"):
        decide(known)
    with pytest.raises(ValueError, match="NaN or infinite"):
        score("accuracy")(known["label"], known[["logit_0", "logit_1", "logit_2"]])


def test_a_gap_in_the_logits_is_refused(known):
    with pytest.raises(ValueError, match="found logit_0, logit_2"):
        decide(known.drop(columns="logit_1"))


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_scores_of_a_known_table_are_those_worked_out_by_hand(known):
    found = evaluate(known, GRADES)
    assert (found["n"], found["n_groups"], found["n_without_group"]) == (6, 3, 1)
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["sensitivity"] == pytest.approx([2 / 3, 1 / 2, 0])
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["macro_f1"] == pytest.approx((4 / 6 + 2 / 5 + 0) / 3)
    assert found["weighted_f1"] == pytest.approx((3 * 4 / 6 + 2 * 2 / 5 + 0) / 6)
    # three answers off by one grade; by chance (rows 3, 2, 1; columns 3, 3, 0): 3·3 + 2·3 + 1·3·4 + 1·3 over 6
    assert found["qwk"] == pytest.approx(1 - 3 / (30 / 6))
    assert found["mcc"] == pytest.approx((3 * 6 - (9 + 6 + 0)) / np.sqrt((36 - 14) * (36 - 18)))
    assert confusion(known, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]


def test_macro_auroc_is_the_mean_of_one_against_all_others():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 50)
    table = predictions(labels, labels)
    table[["logit_0", "logit_1", "logit_2"]] += generator.normal(0, 5, (50, 3))
    chances = decide(table)[["p_0", "p_1", "p_2"]].to_numpy()
    found = evaluate(table, GRADES)
    assert found["macro_auroc"] == pytest.approx(sk.roc_auc_score(labels, chances, multi_class="ovr", average="macro"))
    assert found["auroc_left_out"] == []


def test_a_perfect_model_scores_one_everywhere():
    found = evaluate(predictions([0, 1, 2, 2], [0, 1, 2, 2]), GRADES)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "qwk", "mcc", "macro_auroc"):
        assert found[name] == 1, name


def test_a_constant_model_is_recognised_and_scores_chance():
    table = predictions([0, 0, 0, 1, 2], [0, 0, 0, 0, 0])
    found = evaluate(table, GRADES)
    assert (found["qwk"], found["mcc"], found["macro_auroc"]) == (0, 0, 0.5)
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)
    assert majority_share(table) == 1


def test_a_nearly_constant_model_is_told_by_its_share(known):
    table = predictions([0] * 20, [0] * 19 + [1])
    assert majority_share(table) == pytest.approx(0.95)
    assert majority_share(known) == 0.5


def test_a_class_without_labels_is_left_out_and_named_and_the_result_is_json():
    found = evaluate(predictions([0, 0, 1, 1], [0, 2, 1, 1]), GRADES)
    assert found["auroc_left_out"] == ["severe"]
    assert found["sensitivity"] == [0.5, 1.0, None]
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_labels_of_one_class_leave_no_auroc_and_no_kappa():
    found = evaluate(predictions([1, 1], [1, 1]), GRADES)
    assert found["accuracy"] == 1
    assert found["qwk"] == 0
    assert found["macro_auroc"] is None
    assert found["auroc_left_out"] == GRADES


def test_kappa_knows_how_far_apart_two_grades_are_even_if_those_between_do_not_occur():
    labels, answers = [0, 0, 0, 4, 4, 4], [0, 0, 4, 4, 4, 3]
    found = evaluate(predictions(labels, answers, n_classes=5), list("abcde"))
    assert found["qwk"] == pytest.approx(sk.cohen_kappa_score(labels, answers, labels=range(5), weights="quadratic"))
    assert found["qwk"] != pytest.approx(sk.cohen_kappa_score(labels, answers, weights="quadratic"))


@pytest.mark.parametrize("name", ["qwk", "macro_f1", "accuracy", "balanced_accuracy"])
def test_score_is_evaluate_by_name(known, name):
    logits = known[["logit_0", "logit_1", "logit_2"]].to_numpy()
    assert score(name)(known["label"], logits) == pytest.approx(evaluate(known, GRADES)[name])


def test_an_unknown_score_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'auc' is not one of accuracy, balanced_accuracy, macro_f1, .*qwk"):
        score("auc")


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, None, 1], "1 of 3 rows are unlabelled"), ([0, 3, 1], "3 is not a class number from 0 to 2"), ([], "empty")],
)
def test_labels_that_cannot_be_scored_are_refused(labels, message):
    table = predictions(labels, [0] * len(labels))
    for scoring in (lambda: evaluate(table, GRADES), lambda: confusion(table, 3)):
        with pytest.raises(ValueError, match=message):
            scoring()


def test_class_names_must_be_as_many_as_the_logits(known):
    with pytest.raises(ValueError, match="2 names for predictions of 3 classes"):
        evaluate(known, GRADES[:2])


def test_the_majority_baseline_answers_trains_most_frequent_class_not_tests():
    found = majority_baseline([1, 1, 0, None], [0, 0, 0, 1], 3)
    assert (found["class"], found["n"], found["accuracy"], found["qwk"]) == (1, 4, 0.25, 0)
    assert found["sensitivity"] == [0, 1, None]
    table = predictions([0, 0, 0, 1], [1, 1, 1, 1])
    assert set(evaluate(table, GRADES)) - set(found) == {"n_groups", "n_without_group"}


def test_the_majority_baseline_works_on_a_test_set_with_a_class_that_train_lacks():
    found = majority_baseline(pd.Series([0, 0, 1], dtype="Int64"), pd.Series([2, 2, 0], dtype="Int64"), 3)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["sensitivity"] == [1, None, 0]


def test_per_class_table_is_each_class_against_all_others(known):
    table = per_class_table(known, GRADES).set_index("class")
    assert list(table["images"]) == [3, 2, 1]
    assert list(table["predicted"]) == [3, 3, 0]
    none = table.loc["none"]
    assert list(none[["sensitivity", "specificity", "ppv", "npv"]]) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2 / 3])
    mild = table.loc["mild"]
    assert list(mild[["sensitivity", "specificity", "ppv", "npv"]]) == pytest.approx([1 / 2, 2 / 4, 1 / 3, 2 / 3])
    assert np.isnan(table.loc["severe", "ppv"])
    assert table.loc["severe", "specificity"] == 1


def test_scoring_needs_no_torch():
    code = "import sys, labkit.evaluation, labkit.audit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- intervals --------------------------------------------------------------------------------------------------------


def clustered(generator, n_groups=300, per_group=4, right=0.7):
    """Labels and answers of which a whole group is right or wrong together, nine times in ten."""
    groups = np.repeat(np.arange(n_groups), per_group)
    labels = generator.choice(3, n_groups, p=[0.6, 0.3, 0.1])[groups]
    together = (generator.random(n_groups) < right)[groups]
    alone = generator.random(len(groups)) < right
    is_right = np.where(generator.random(len(groups)) < 0.9, together, alone)
    return labels, np.where(is_right, labels, (labels + 1) % 3), groups


@pytest.mark.parametrize("name", intervals.METRICS)
def test_metrics_of_confusion_matrices_are_scikit_learns(name):
    generator = np.random.default_rng(1)
    for _ in range(60):
        n_classes, n = generator.integers(2, 6), generator.integers(1, 30)  # small, so that classes are often missing
        labels, answers = generator.integers(0, n_classes, (2, n))
        matrix = sk.confusion_matrix(labels, answers, labels=range(n_classes)).astype(float)
        expected = metrics.SCORES[name](labels, answers, n_classes)
        assert intervals.METRICS[name](matrix) == pytest.approx(expected, abs=1e-12), (labels, answers)


def test_intervals_are_those_of_drawing_whole_groups_one_by_one():
    generator = np.random.default_rng(2)
    labels, answers, groups = clustered(generator, n_groups=60)
    found = bootstrap_by_group(labels, answers, groups.astype(str), 3, draws=4000)
    drawn = []
    for _ in range(3000):
        rows = (generator.choice(60, 60)[:, None] * 4 + np.arange(4)).ravel()  # a group's images are four rows
        matrix = np.bincount(labels[rows] * 3 + answers[rows], minlength=9).reshape(3, 3).astype(float)
        drawn.append((intervals.accuracy(matrix), intervals.qwk(matrix)))
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    for column, name in enumerate(["accuracy", "qwk"]):
        width = found.loc[name, "high"] - found.loc[name, "low"]
        # 3,000 draws place a limit to about 2 % of the width
        np.testing.assert_allclose(found.loc[name, ["low", "high"]], expected[:, column], atol=0.08 * width)
        assert found.loc[name, "estimate"] == pytest.approx(metrics.SCORES[name](labels, answers, 3))


def test_intervals_over_groups_are_wider_than_over_images_where_groups_agree():
    labels, answers, groups = clustered(np.random.default_rng(3))
    by_group = bootstrap_by_group(labels, answers, groups, 3)
    by_image = bootstrap_by_group(labels, answers, None, 3)
    widths = (by_group["high"] - by_group["low"]) / (by_image["high"] - by_image["low"])
    # all four of a group right or wrong together nine times in ten: about sqrt(1 + 3 · 0.81) = 1.85 times as wide
    assert widths["accuracy"] == pytest.approx(1.85, abs=0.2)
    assert (widths > 1.2).all()


def test_a_95_percent_interval_holds_the_true_accuracy_about_95_times_in_100():
    generator = np.random.default_rng(4)
    held = 0
    for repetition in range(200):
        labels = generator.choice(3, 400, p=[0.6, 0.3, 0.1])
        answers = np.where(generator.random(400) < 0.8, labels, (labels + 1) % 3)
        found = bootstrap_by_group(labels, answers, None, 3, draws=500, seed=repetition)
        held += found.loc["accuracy", "low"] <= 0.8 <= found.loc["accuracy", "high"]
    assert 180 <= held <= 198


def test_an_image_without_a_group_is_its_own_group():
    labels, answers, _ = clustered(np.random.default_rng(5), n_groups=50)
    unknown = pd.Series([pd.NA] * len(labels), dtype="string")
    pd.testing.assert_frame_equal(
        bootstrap_by_group(labels, answers, unknown, 3), bootstrap_by_group(labels, answers, None, 3)
    )
    half = pd.Series(["a"] * 100 + [None] * 100)
    own = ["a"] * 100 + [f"own{number}" for number in range(100)]
    pd.testing.assert_frame_equal(
        bootstrap_by_group(labels, answers, half, 3), bootstrap_by_group(labels, answers, own, 3)
    )


def test_one_group_alone_has_no_interval():
    found = bootstrap_by_group([0, 1, 1], [0, 1, 0], ["a", "a", "a"], 2)
    assert found.loc["accuracy", "estimate"] == pytest.approx(2 / 3)
    assert found[["low", "high"]].isna().all(axis=None)


def test_intervals_repeat_with_their_seed_and_not_with_the_memory_they_use(monkeypatch):
    labels, answers, groups = clustered(np.random.default_rng(6), n_groups=40)
    first = bootstrap_by_group(labels, answers, groups, 3, seed=1)
    assert not first.equals(bootstrap_by_group(labels, answers, groups, 3, seed=2))
    monkeypatch.setattr(intervals, "WEIGHTS_AT_ONCE", 1000)
    pd.testing.assert_frame_equal(first, bootstrap_by_group(labels, answers, groups, 3, seed=1))


def test_a_perfect_and_a_constant_model_have_intervals_without_nan():
    labels = np.array([0] * 30 + [1] * 5)
    perfect = bootstrap_by_group(labels, labels, None, 3)
    assert (perfect.loc["accuracy"] == 1).all()
    constant = bootstrap_by_group(labels, np.zeros(35), None, 3)
    assert (constant.loc["qwk"] == 0).all()
    assert not constant.isna().any(axis=None)
    one_class_only = bootstrap_by_group(np.ones(35), np.ones(35), None, 3)
    assert (one_class_only.loc["accuracy"] == 1).all()
    assert (one_class_only.loc["qwk"] == 0).all()  # as evaluate has it


def test_unlabelled_rows_and_unequal_lengths_have_no_interval():
    with pytest.raises(ValueError, match="1 of 2 rows are unlabelled"):
        bootstrap_by_group(pd.Series([0, None], dtype="Int64"), [0, 1], None, 2)
    with pytest.raises(ValueError, match="2 labels for 3 predictions"):
        bootstrap_by_group([0, 1], [0, 1, 1], None, 2)
    with pytest.raises(ValueError, match="1 groups for 2 labels"):
        bootstrap_by_group([0, 1], [0, 1], ["a"], 2)


# --- two models -------------------------------------------------------------------------------------------------------


def answered(labels, answers, groups, prefix="image") -> pd.DataFrame:
    ids = [f"{prefix}{number}" for number in range(len(labels))]
    return pd.DataFrame({"image_id": ids, "label": labels, "prediction": answers, "group": groups})


def compare(labels, a, b, groups, **options):
    return paired_difference([answered(labels, a, groups)], [answered(labels, b, groups)], 3, **options)


def test_a_model_does_not_differ_from_itself():
    labels, answers, groups = clustered(np.random.default_rng(7), n_groups=50)
    found = compare(labels, answers, answers, groups)
    assert (found[["difference", "low", "high"]] == 0).all(axis=None)
    assert (found["a"] == bootstrap_by_group(labels, answers, groups, 3)["estimate"]).all()


def test_pairing_makes_a_small_difference_visible():
    generator = np.random.default_rng(8)
    labels, a, groups = clustered(generator)
    b = np.where(generator.random(len(labels)) < 0.05, labels, a)  # as a, but five in a hundred put right
    found = compare(labels, a, b, groups).loc["accuracy"]
    alone = bootstrap_by_group(labels, a, groups, 3).loc["accuracy"]
    assert found["difference"] == pytest.approx((b == labels).mean() - (a == labels).mean())
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["high"] - found["low"] < 0.5 * (alone["high"] - alone["low"])


def test_rows_in_another_order_are_refused():
    whole = answered([0, 1, 2], [0, 1, 2], None)
    with pytest.raises(ValueError, match="row 1 is 'image1' against 'image2'; sort both tables by image_id"):
        paired_difference([whole], [whole.iloc[[0, 2, 1]]], 3)
    with pytest.raises(ValueError, match="3 images against 2"):
        paired_difference([whole], [whole.iloc[:2]], 3)


def test_seeds_that_answer_alike_add_nothing_and_seeds_that_differ_widen_the_interval():
    generator = np.random.default_rng(9)
    labels, answers, groups = clustered(generator)
    one = bootstrap_by_group(labels, answers, groups, 3)
    alike = mean_of_seeds([answered(labels, answers, groups)] * 3, 3)
    assert np.allclose(alike, one[["low", "high"]])
    perfect = answered(labels, labels, groups)
    mixed = mean_of_seeds([answered(labels, answers, groups), perfect, perfect], 3).loc["accuracy"]
    single = one.loc["accuracy"]
    assert single["low"] < mixed["low"] < single["high"] and mixed["high"] == 1  # one seed in all three places
    means = paired_difference([perfect] * 2, [answered(labels, answers, groups), perfect], 3).loc["accuracy"]
    assert means["difference"] == pytest.approx((single["estimate"] - 1) / 2)


def test_the_mean_of_seeds_has_an_interval_of_its_auroc_too():
    table = answered([0, 0, 1, 1] * 10, [0, 0, 1, 1] * 10, None).assign(p_0=[0.9, 0.8, 0.2, 0.1] * 10)
    table["p_1"] = 1 - table["p_0"]
    found = auroc_draws(table, ["a", "b"], draws=200)
    assert (mean_of_seeds([table, table], 2, [found, found], draws=200).loc["macro_auroc"] == 1).all()


def test_the_same_networks_on_two_sets_of_images_are_drawn_together():
    generator = np.random.default_rng(11)
    labels, answers, groups = clustered(generator)
    worse = np.where(generator.random(len(labels)) < 0.3, (labels + 1) % 3, answers)
    a, b = ([answered(labels, one, groups, prefix) for one in (labels, worse)] for prefix in ("x", "y"))
    apart = unpaired_difference(a, b, 3).loc["accuracy"]
    together = unpaired_difference(a, b, 3, same_seeds=True).loc["accuracy"]
    assert together["high"] - together["low"] < 0.5 * (apart["high"] - apart["low"])


def test_between_different_images_nothing_is_paired():
    labels, answers, groups = clustered(np.random.default_rng(10))
    a, b = answered(labels, answers, groups), answered(labels, answers, groups, prefix="other")
    found = unpaired_difference([a], [b], 3).loc["accuracy"]
    assert found["difference"] == 0 and found["low"] < 0 < found["high"]
    assert (compare(labels, answers, answers, groups).loc["accuracy", ["low", "high"]] == 0).all()
