"""Points of curves, and what is said of them."""

import numpy as np
import pytest
from labkit.evaluation.curves import curves
from labkit.evaluation.question import question
from made_tables import CELLS, GRADES, eyes, table_of

from labkit.evaluation import decide, evaluate
from labkit.format import NBSP
from labkit.reporting.roc import class_curves_sentence, question_sentence, roc_curves

REFERABLE = question(GRADES, "grades")


@pytest.fixture
def test() -> object:
    return decide(eyes(np.random.default_rng(0), 300))


def test_areas_are_those_of_the_table_and_of_the_points(test):
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
    assert text.endswith("z cannot be drawn: all images are, or none is, of this kind.")
    one_kind = curves({"a": table[table["label"] == 0]}, ["x", "y", "z"])
    assert one_kind.empty and "all of one kind" in question_sentence(one_kind, "x")
    with pytest.raises(ValueError, match="no curve to draw"):
        roc_curves(one_kind)


def test_a_perfect_and_a_constant_model():
    labels = [0, 0, 0, 1]
    perfect, constant = (decide(table_of(labels, logits)) for logits in (np.eye(2)[labels], np.ones((4, 2))))
    found = curves({"perfect": perfect, "constant": constant}, CELLS, question(CELLS, "classes"))
    text = question_sentence(found, "ALL").replace(NBSP, " ")
    assert text.startswith("Of the test images 25.0 % (1 image) are positive for ALL")
    assert "highest AUROC is 1.000 (perfect), where chance gives 0.500" in text
    assert text.endswith("average precision is 1.000 (perfect), where chance gives 0.250.")


def test_the_sentence_names_the_best_and_the_hardest_class(test):
    found = curves({"a": test}, GRADES, REFERABLE)
    areas = found[(found["kind"] == "roc") & found["of"].isin(GRADES)].groupby("of")["area"].first()
    text = class_curves_sentence(found, GRADES)
    assert f"{areas.idxmax()} is told from the other classes best" in text and f"{areas.idxmin()} worst" in text
