"""AUROC and average precision, of each class and of the question behind the classes."""

import json

import numpy as np
import pytest
from labkit.evaluation.question import question
from made_tables import CELLS, GRADES, eyes, table_of
from sklearn import metrics as sk

from labkit.evaluation import decide, evaluate, majority_baseline

NAMES = ("auroc", "average_precision")


@pytest.fixture
def some():
    return eyes(np.random.default_rng(0), 200)


def test_ranking_scores_are_scikit_learns(some):
    found = evaluate(some, GRADES, "grades")
    labels, chances = some["label"].to_numpy(int), decide(some)[[f"p_{k}" for k in range(5)]].to_numpy()
    one_hot = np.eye(5)[labels]
    assert found["macro_auroc"] == pytest.approx(sk.roc_auc_score(one_hot, chances))
    assert found["macro_average_precision"] == pytest.approx(sk.average_precision_score(one_hot, chances))
    assert found["referable_auroc"] == pytest.approx(sk.roc_auc_score(labels >= 2, chances[:, 2:].sum(axis=1)))
    expected = sk.average_precision_score(labels >= 2, chances[:, 2:].sum(axis=1))
    assert found["referable_average_precision"] == pytest.approx(expected)
    assert found["auroc_left_out"] == found["average_precision_left_out"] == []


def test_average_precision_of_a_known_ranking():
    # ranked by the chance of ALL: right, wrong, right -> precision 1 at recall 1/2, 2/3 at recall 1
    found = evaluate(table_of([1, 0, 1], [[0, 3], [0, 2], [0, 1]]), CELLS)
    of_all = (1 + 2 / 3) / 2
    of_hem = 1 / 2  # the only HEM is ranked second of three by its own chance
    assert found["macro_average_precision"] == pytest.approx((of_all + of_hem) / 2)


def test_a_perfect_and_a_constant_model():
    labels = [0, 1, 2, 3, 4, 2]
    perfect = evaluate(table_of(labels, 5 * np.eye(5)[labels]), GRADES, "grades")
    constant = evaluate(table_of(labels, np.ones((6, 5))), GRADES, "grades")
    for what in ("macro", "referable"):
        assert (perfect[f"{what}_auroc"], constant[f"{what}_auroc"]) == (1, 0.5)
        assert perfect[f"{what}_average_precision"] == 1
    assert constant["referable_average_precision"] == pytest.approx(4 / 6)  # the share of referable images
    assert constant["macro_average_precision"] == pytest.approx(1 / 5 * (4 / 6 + 2 / 6))


def test_a_class_that_does_not_occur_is_left_out_and_named_and_the_result_is_json():
    labels = [0, 0, 1, 1]
    found = evaluate(table_of(labels, np.eye(5)[labels]), GRADES, "grades")
    assert found["average_precision_left_out"] == ["Moderate", "Severe", "Proliferative DR"]
    assert found["macro_average_precision"] == 1
    assert found["referable_auroc"] is None and found["referable_average_precision"] is None
    assert found["ppv"] == [1, 1, None, None, None] and found["npv"] == [1, 1, 1, 1, 1]
    assert found["specificity"] == [1, 1, 1, 1, 1] and found["sensitivity"] == [1, 1, None, None, None]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_table_without_probabilities_has_no_ranking(some):
    found = evaluate(decide(some)[["label", "prediction"]], GRADES, "grades")
    assert all(found[f"{what}_{name}"] is None for what in ("macro", "referable") for name in NAMES)
    assert found["auroc_left_out"] == GRADES


def test_the_baseline_has_the_same_keys_and_ranks_like_chance(some):
    baseline = majority_baseline([0, 0, 1], some["label"], 5, "grades")
    assert set(evaluate(some, GRADES, "grades")) - set(baseline) == {"n_groups", "n_without_group"}
    assert baseline["referable_auroc"] == 0.5
    assert baseline["referable_average_precision"] == pytest.approx((some["label"] >= 2).mean())


def test_only_grades_and_two_classes_ask_a_question(some):
    assert question(GRADES, "grades").positive == (2, 3, 4)
    assert question(CELLS, "classes").name == "ALL"
    assert question(["a", "b", "c"], "classes") is None
    assert "referable_auroc" not in evaluate(some, GRADES, "classes")
    truth, chance = question(GRADES, "grades").of(decide(some))
    assert truth.tolist() == (some["label"] >= 2).tolist()
    assert chance.min() >= 0 and chance.max() <= 1
    with pytest.raises(ValueError, match="1 of 2 rows are unlabelled"):
        question(CELLS, "classes").truth([1, None])
