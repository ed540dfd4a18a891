"""AUROC and average precision: scores, curves and what is said of them, and intervals."""

import json

import numpy as np
import pandas as pd
import pytest
from made_tables import CELLS, GRADES, eyes, table_of
from sklearn import metrics as sk

from labkit.evaluation.decide import decide
from labkit.evaluation.intervals import auroc_intervals
from labkit.evaluation.metrics import evaluate
from labkit.evaluation.ranking import curves
from labkit.evaluation.thresholds import question
from labkit.format import NBSP
from labkit.reporting.exhibits.roc import class_curves_sentence, question_sentence, ranking_curves
from labkit.reporting.style import Palette

REFERABLE = question(GRADES, "grades")
NAMES = ("auroc", "average_precision")


@pytest.fixture
def some():
    return eyes(np.random.default_rng(0), 200)


def test_ranking_scores_are_scikit_learns(some):
    found = evaluate(some, GRADES, "grades")
    labels, probabilities = some["label"].to_numpy(int), decide(some)[[f"p_{k}" for k in range(5)]].to_numpy()
    one_hot = np.eye(5)[labels]
    assert found["macro_auroc"] == pytest.approx(sk.roc_auc_score(one_hot, probabilities))
    assert found["macro_average_precision"] == pytest.approx(sk.average_precision_score(one_hot, probabilities))
    assert found["referable_auroc"] == pytest.approx(sk.roc_auc_score(labels >= 2, probabilities[:, 2:].sum(axis=1)))
    expected = sk.average_precision_score(labels >= 2, probabilities[:, 2:].sum(axis=1))
    assert found["referable_average_precision"] == pytest.approx(expected)
    assert found["auroc_left_out"] == found["average_precision_left_out"] == []


def test_average_precision_of_a_known_ranking():
    # ranked by the chance of ALL: right, wrong, right -> precision 1 at recall 1/2, 2/3 at recall 1
    found = evaluate(table_of([1, 0, 1], [[0, 3], [0, 2], [0, 1]]), CELLS)
    of_all = (1 + 2 / 3) / 2
    of_hem = 1 / 2  # the only HEM is ranked second of three by its own chance
    assert found["macro_average_precision"] == pytest.approx((of_all + of_hem) / 2)


def test_scores_of_a_perfect_and_a_constant_model():
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


def test_where_all_images_are_of_one_kind_no_ranking_has_a_score_not_even_a_wrong_one():
    found = evaluate(table_of([2] * 6, np.eye(5)[[0] * 6]), GRADES, "grades")
    assert found["accuracy"] == 0 and found["average_precision_left_out"] == GRADES
    assert all(found[f"{what}_{name}"] is None for what in ("macro", "referable") for name in NAMES)


def test_a_table_without_probabilities_has_no_ranking(some):
    found = evaluate(decide(some)[["label", "prediction"]], GRADES, "grades")
    assert all(found[f"{what}_{name}"] is None for what in ("macro", "referable") for name in NAMES)
    assert found["auroc_left_out"] == GRADES


def test_only_grades_and_two_classes_ask_a_question(some):
    assert question(GRADES, "grades").positive == (2, 3, 4)
    assert question(CELLS, "classes").name == "ALL"
    assert question(["a", "b", "c"], "classes") is None
    assert "referable_auroc" not in evaluate(some, GRADES, "classes")
    truth, scores = question(GRADES, "grades").of(decide(some))
    assert truth.tolist() == (some["label"] >= 2).tolist()
    assert scores.min() >= 0 and scores.max() <= 1
    with pytest.raises(ValueError, match="1 of 2 rows are unlabelled"):
        question(CELLS, "classes").of(decide(table_of([1, None], np.eye(2))))


# --- curves -----------------------------------------------------------------------------------------------------------


def test_areas_are_those_of_the_table_and_of_the_points(some):
    test = decide(some)
    found = curves({"a": test}, GRADES, REFERABLE).groupby(["kind", "of"])
    scores = evaluate(test, GRADES, "grades")
    areas = found["area"].first()
    assert areas["roc"][GRADES].mean() == pytest.approx(scores["macro_auroc"])
    assert areas["pr", REFERABLE.name] == pytest.approx(scores["referable_average_precision"])
    points = found.get_group(("roc", REFERABLE.name))
    assert np.trapezoid(points["y"], points["x"]) == pytest.approx(scores["referable_auroc"])
    points = found.get_group(("pr", REFERABLE.name)).iloc[::-1]  # by rising sensitivity
    steps = (np.diff(points["x"]) * points["y"].to_numpy()[1:]).sum()
    assert steps == pytest.approx(scores["referable_average_precision"])
    assert points["share"].iloc[0] == pytest.approx((test["label"] >= 2).mean())


def test_a_class_that_does_not_occur_has_no_curve_and_is_named():
    table = decide(table_of([0, 0, 1, 1], np.eye(3)[[0, 1, 1, 1]]))
    found = curves({"a": table}, ["x", "y", "z"])
    assert set(found["of"]) == {"x", "y"}
    text = class_curves_sentence(found, ["x", "y", "z"])
    assert text.startswith("z cannot be drawn: all images are, or none is, of this kind.")
    assert text.endswith("Not ranked, for fewer than 30 test images: x and y.")
    one_kind = curves({"a": table[table["label"] == 0]}, ["x", "y", "z"])
    assert one_kind.empty and "all of one kind" in question_sentence(one_kind, "x")
    with pytest.raises(ValueError, match="no curve to draw"):
        ranking_curves(one_kind, Palette(["a"]), ["x"])


def test_curves_of_a_perfect_and_a_constant_model():
    labels = [0, 0, 0, 1]
    perfect, constant = (decide(table_of(labels, logits)) for logits in (np.eye(2)[labels], np.ones((4, 2))))
    found = curves({"perfect": perfect, "constant": constant}, CELLS, question(CELLS, "classes"))
    text = question_sentence(found, "ALL").replace(NBSP, " ")
    assert text.startswith("Of the test images 25.0 % (1 image) are positive for ALL")
    assert "highest AUROC is 1.000 (perfect), where a random score has 0.500" in text
    assert text.endswith("average precision is 1.000 (perfect), where a random score has 0.250.")


def test_the_sentence_names_the_best_and_the_hardest_class(some):
    found = curves({"a": decide(some)}, GRADES, REFERABLE)
    often = found[(found["kind"] == "roc") & found["of"].isin(GRADES) & (found["images"] >= 30)]
    areas = often.groupby("of")["area"].first()
    assert len(areas) == 2  # at 2 % a class of 400 images has about eight
    text = class_curves_sentence(found, GRADES)
    assert f"{areas.idxmax()} is told from the other classes best" in text and f"{areas.idxmin()} worst" in text


# --- intervals --------------------------------------------------------------------------------------------------------


def test_areas_of_draws_are_those_of_drawing_whole_groups_one_by_one():
    table = decide(eyes(np.random.default_rng(0), 150, shares=(0.6, 0.25, 0.15)))
    found = auroc_intervals(table, GRADES[:3], "grades", draws=1500)
    generator, drawn = np.random.default_rng(1), []
    for _ in range(800):
        rows = (generator.choice(150, 150)[:, None] * 2 + np.arange(2)).ravel()
        labels, p = table["label"].to_numpy(int)[rows], table[["p_0", "p_1", "p_2"]].to_numpy()[rows]
        drawn.append((sk.roc_auc_score(np.eye(3)[labels], p), sk.roc_auc_score(labels >= 2, p[:, 2])))
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    for column, name in enumerate(["macro_auroc", "referable_auroc"]):
        width = found.loc[name, "high"] - found.loc[name, "low"]
        np.testing.assert_allclose(found.loc[name, ["low", "high"]], expected[:, column], atol=0.12 * width)


def test_intervals_of_a_perfect_and_a_constant_model_and_a_single_group():
    table = eyes(np.random.default_rng(2), 40)
    logits = [f"logit_{k}" for k in range(5)]
    labels = table["label"].to_numpy(int)
    perfect = decide(table.assign(**dict(zip(logits, np.eye(5)[labels].T, strict=True))))
    assert auroc_intervals(perfect, GRADES, "grades", draws=50).isna().all(axis=None)  # equal in all draws
    constant = decide(table.assign(**dict.fromkeys(logits, 0.0)))
    assert auroc_intervals(constant, GRADES, draws=50).isna().all(axis=None)
    assert auroc_intervals(perfect.assign(group="a"), GRADES, draws=50).isna().all(axis=None)


def test_above_a_hundred_thousand_images_an_aurocs_interval_is_analytic_and_that_of_the_draws(monkeypatch):
    rng, n = np.random.default_rng(0), 1200
    group, label = np.arange(n) // 3, rng.choice(3, n, p=[0.6, 0.25, 0.15])
    logits = rng.normal(size=(n, 3)) + 1.2 * np.eye(3)[label] + rng.normal(size=(n // 3, 3))[group]
    table = pd.DataFrame({"label": label, "group": group.astype(str)})
    table = decide(table.assign(**{f"logit_{k}": logits[:, k] for k in range(3)}))
    drawn = auroc_intervals(table, ["a", "b", "c"], "grades")
    monkeypatch.setattr("labkit.evaluation.intervals.MANY", 1000)
    analytic = auroc_intervals(table, ["a", "b", "c"], "grades")
    assert list(analytic.index) == ["macro_auroc", "referable_auroc"]
    assert np.abs(analytic - drawn).to_numpy().max() < 0.003 and (analytic != drawn).to_numpy().all()
