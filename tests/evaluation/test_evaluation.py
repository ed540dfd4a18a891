"""Scores by hand and by scikit-learn; intervals by brute force and by how often they hold the truth."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from made_tables import clustered, table_of
from sklearn import metrics as sk

from labkit.evaluation import intervals, matrices
from labkit.evaluation.decide import decide, softmax
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.evaluation.metrics import (
    METRICS,
    as_frequent,
    confusion,
    evaluate,
    majority_baseline,
    majority_share,
    per_class_table,
    with_interval,
)
from labkit.params import RunParams
from labkit.reporting import tables

GRADES = ["none", "mild", "severe"]


def predictions(labels, predicted, n_classes=3, groups=None) -> pd.DataFrame:
    """A predictions table whose logits predict `predicted`."""
    return table_of(labels, np.eye(n_classes)[predicted] * 4.0, groups)


@pytest.fixture
def known() -> pd.DataFrame:
    #              three "none", one called mild; two "mild", one called none; one "severe", called mild
    return predictions([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1], groups=["a", "a", "b", "b", pd.NA, "c"])


# --- decide -----------------------------------------------------------------------------------------------------------


def test_probabilities_are_softmax_and_do_not_overflow():
    np.testing.assert_allclose(softmax([[0.0, np.log(3.0)]]), [[0.25, 0.75]])
    np.testing.assert_allclose(softmax([[1e4, 1e4 + np.log(3.0)], [-1e4, 0.0]]), [[0.25, 0.75], [0.0, 1.0]])


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


def test_a_gap_in_the_logits_and_class_names_that_are_not_as_many_are_refused(known):
    with pytest.raises(ValueError, match="2 names for predictions of 3 classes"):
        evaluate(known, GRADES[:2])
    with pytest.raises(ValueError, match="found logit_0, logit_2"):
        decide(known.drop(columns="logit_1"))


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_scores_of_a_known_table_are_those_worked_out_by_hand(known):
    found = evaluate(known, GRADES, "grades")
    assert (found["n"], found["n_groups"], found["n_without_group"]) == (6, 3, 1)
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["sensitivity"] == pytest.approx([2 / 3, 1 / 2, 0])
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["macro_f1"] == pytest.approx((4 / 6 + 2 / 5 + 0) / 3)
    assert found["weighted_f1"] == pytest.approx((3 * 4 / 6 + 2 * 2 / 5 + 0) / 6)
    # three predictions off by one grade; by chance (rows 3, 2, 1; columns 3, 3, 0): 3·3 + 2·3 + 1·3·4 + 1·3 over 6
    assert found["qwk"] == pytest.approx(1 - 3 / (30 / 6))
    assert found["mcc"] == pytest.approx((3 * 6 - (9 + 6 + 0)) / np.sqrt((36 - 14) * (36 - 18)))
    assert confusion(known, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]


def test_the_scores_that_can_choose_an_epoch_are_those_of_params_and_printed_in_the_tables():
    (choices, _) = get_args(RunParams.model_fields["select_by"].annotation)
    assert list(get_args(choices)) == [*matrices.CHOOSING, "loss"]
    assert {name: METRICS[name].of for name in matrices.CHOOSING} == matrices.CHOOSING == intervals.DRAWN
    found = evaluate(predictions([0, 1], [0, 1], 5), list("abcde"), "grades")
    assert set(found) >= {*tables.MAIN, *tables.FURTHER}
    areas = {name for name, one in METRICS.items() if one.interval == "areas"}
    known = decide(predictions([0, 1, 2], [0, 1, 2])).assign(group=None)
    assert set(intervals.auroc_draws(known, GRADES, "grades", draws=2).index) == areas


def test_a_constant_model_is_recognised_and_scores_chance():
    table = predictions([0, 0, 0, 1, 2], [0, 0, 0, 0, 0])
    found = evaluate(table, GRADES, "grades")
    assert (found["qwk"], found["mcc"], found["macro_auroc"]) == (0, 0, 0.5)
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)
    assert majority_share(table) == 1
    assert majority_share(predictions([0] * 20, [0] * 19 + [1])) == pytest.approx(0.95)


def test_labels_of_one_class_leave_no_auroc_and_no_kappa():
    found = evaluate(predictions([1, 1], [1, 1]), GRADES, "grades")
    assert found["accuracy"] == 1
    assert found["qwk"] == 0
    assert found["macro_auroc"] is None
    assert found["auroc_left_out"] == GRADES


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, None, 1], "1 of 3 rows are unlabelled"), ([0, 3, 1], "3 is not a class number from 0 to 2"), ([], "empty")],
)
def test_labels_that_cannot_be_scored_are_refused(labels, message):
    table = predictions(labels, [0] * len(labels))
    for scoring in (lambda: evaluate(table, GRADES), lambda: confusion(table, 3)):
        with pytest.raises(ValueError, match=message):
            scoring()


def test_the_majority_baseline_predicts_trains_most_frequent_class_not_tests():
    found = majority_baseline([1, 1, 0, None], [0, 0, 0, 1], 3, "grades")
    assert (found["class"], found["n"], found["accuracy"], found["qwk"]) == (1, 4, 0.25, 0)
    assert found["sensitivity"] == [0, 1, None]
    table = predictions([0, 0, 0, 1], [1, 1, 1, 1])
    assert set(evaluate(table, GRADES, "grades")) - set(found) == {"n_groups", "n_without_group"}
    assert "qwk" not in evaluate(table, GRADES)  # whose classes have no order
    assert as_frequent([1, 2, 2], GRADES) == [GRADES[2]] and as_frequent([2, 1], GRADES[:2]) == []


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
    code = "import sys, labkit.audit, labkit.evaluation.calibration; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- intervals --------------------------------------------------------------------------------------------------------


SKLEARN = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "macro_f1": partial(sk.f1_score, average="macro"),
    "weighted_f1": partial(sk.f1_score, average="weighted"),
    "mcc": sk.matthews_corrcoef,
}


@pytest.mark.filterwarnings("ignore")  # scikit-learn's, about missing classes
@pytest.mark.parametrize("name", [*SKLEARN, "qwk"])
def test_scores_of_confusion_matrices_are_scikit_learns(name):
    generator = np.random.default_rng(1)
    for _ in range(60):
        n_classes, n = generator.integers(2, 6), generator.integers(1, 30)  # small, so that classes are often missing
        labels, predicted = generator.integers(0, n_classes, (2, n))
        kappa = partial(sk.cohen_kappa_score, labels=range(n_classes), weights="quadratic")
        expected = np.nan_to_num(SKLEARN.get(name, kappa)(labels, predicted))  # a kappa of one class is undefined
        found = METRICS[name].of(matrices.matrix_of(labels, predicted, n_classes))
        assert found == pytest.approx(expected, abs=1e-12), (labels, predicted)


def test_intervals_are_those_of_drawing_whole_groups_one_by_one():
    generator = np.random.default_rng(2)
    labels, predicted, groups = clustered(generator, n_groups=60)
    found = bootstrap_by_group(labels, predicted, groups.astype(str), 3, draws=4000)
    drawn = []
    for _ in range(3000):
        rows = (generator.choice(60, 60)[:, None] * 4 + np.arange(4)).ravel()  # a group's images are four rows
        matrix = np.bincount(labels[rows] * 3 + predicted[rows], minlength=9).reshape(3, 3).astype(float)
        drawn.append((matrices.accuracy(matrix), matrices.qwk(matrix)))
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    for column, name in enumerate(["accuracy", "qwk"]):
        width = found.loc[name, "high"] - found.loc[name, "low"]
        # 3,000 draws place a limit to about 2 % of the width
        np.testing.assert_allclose(found.loc[name, ["low", "high"]], expected[:, column], atol=0.08 * width)
        assert found.loc[name, "estimate"] == METRICS[name].of(matrices.matrix_of(labels, predicted, 3))


def test_equal_groups_are_counted_as_numpy_counts_them():
    rows = np.random.default_rng(0).integers(0, 3, (5000, 9)).astype(float)
    for found, expected in zip(intervals._distinct(rows), np.unique(rows, axis=0, return_counts=True), strict=True):
        assert (found == expected).all()


def test_an_image_without_a_group_is_its_own_group():
    labels, predicted, _ = clustered(np.random.default_rng(5), n_groups=50)
    unknown = pd.Series([pd.NA] * len(labels), dtype="string")
    pd.testing.assert_frame_equal(
        bootstrap_by_group(labels, predicted, unknown, 3), bootstrap_by_group(labels, predicted, None, 3)
    )
    half = pd.Series(["a"] * 100 + [None] * 100)
    own = ["a"] * 100 + [f"own{number}" for number in range(100)]
    pd.testing.assert_frame_equal(
        bootstrap_by_group(labels, predicted, half, 3), bootstrap_by_group(labels, predicted, own, 3)
    )


def test_one_group_alone_has_no_interval():
    found = bootstrap_by_group([0, 1, 1], [0, 1, 0], ["a", "a", "a"], 2)
    assert found.loc["accuracy", "estimate"] == pytest.approx(2 / 3)
    assert found[["low", "high"]].isna().all(axis=None)


def test_intervals_repeat_with_their_seed_and_not_with_the_memory_they_use(monkeypatch):
    labels, predicted, groups = clustered(np.random.default_rng(6), n_groups=40)
    first = bootstrap_by_group(labels, predicted, groups, 3, seed=1)
    assert not first.equals(bootstrap_by_group(labels, predicted, groups, 3, seed=2))
    monkeypatch.setattr(intervals, "WEIGHTS_AT_ONCE", 1000)
    pd.testing.assert_frame_equal(first, bootstrap_by_group(labels, predicted, groups, 3, seed=1))


@pytest.mark.parametrize(("n", "highest"), [(40, 0.088), (11, 0.285), (3, 0.708), (1, 0.975)])
def test_a_share_of_0_or_1_has_an_exact_interval_with_groups_for_trials(n, highest):
    found = bootstrap_by_group([1] * n, [0] * n, None, 2, metrics={"found": matrices.sensitivity(1)}).loc["found"]
    assert found["low"] == 0 and found["high"] == pytest.approx(highest, abs=5e-4)
    pairs = bootstrap_by_group([1] * 2 * n, [1] * 2 * n, list(range(n)) * 2, 2).loc["accuracy"]
    assert pairs["high"] == 1 and pairs["low"] == pytest.approx(1 - highest, abs=5e-4) and pairs["groups"] == n


def test_a_score_that_is_equal_in_all_draws_has_no_interval_and_a_constant_model_says_so():
    labels = np.array([0] * 30 + [1] * 5)
    perfect = bootstrap_by_group(labels, labels, None, 3)
    assert perfect.loc[["macro_f1", "qwk"], ["low", "high"]].isna().all(axis=None)
    constant = bootstrap_by_group(labels, np.zeros(35), None, 3).loc["qwk", ["estimate", "low", "high"]]
    assert with_interval("qwk", *constant) == "0 (constant predictions)"
    one_class_only = bootstrap_by_group(np.ones(35), np.arange(35) % 2, None, 3).loc["qwk"]
    assert one_class_only["estimate"] == 0 and np.isnan(one_class_only["low"])  # as evaluate has it


def test_unlabelled_rows_and_unequal_lengths_have_no_interval():
    with pytest.raises(ValueError, match="1 of 2 rows are unlabelled"):
        bootstrap_by_group(pd.Series([0, None], dtype="Int64"), [0, 1], None, 2)
    with pytest.raises(ValueError, match="2 labels for 3 predictions"):
        bootstrap_by_group([0, 1], [0, 1, 1], None, 2)
    with pytest.raises(ValueError, match="1 groups for 2 labels"):
        bootstrap_by_group([0, 1], [0, 1], ["a"], 2)
