"""Thresholds are chosen on validation predictions and applied to test as they are."""

import numpy as np
import pandas as pd
import pytest
from made_tables import CELLS, GRADES, both, table_of
from sklearn import metrics as sk

from labkit.evaluation.decide import NotFitted, decide
from labkit.evaluation.thresholds import (
    at_threshold,
    choose_threshold,
    operating_points,
    question,
    specificity_as_wanted,
)

TRUTH = np.array([0, 0, 0, 0, 0, 0, 1, 0, 1, 1], dtype=bool)
SCORES = np.array([0.1, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9])
REFERABLE = question(GRADES, "grades")


def test_the_highest_threshold_that_finds_enough_is_chosen():
    assert choose_threshold(TRUTH, SCORES) == 0.5  # below it nothing more is found
    many = np.repeat(TRUTH, 4)
    scores = np.repeat(SCORES, 4) + np.tile([0, 0.01, 0.02, 0.03], 10)
    assert choose_threshold(many, scores) == 0.51  # eleven of twelve


def test_a_known_table_at_a_threshold():
    found = at_threshold(TRUTH, SCORES, 0.5)
    assert found["estimate"].to_dict() == pytest.approx(
        {"sensitivity": 1.0, "specificity": 6 / 7, "ppv": 3 / 4, "npv": 1.0}
    )
    assert found["n"].to_dict() == {"sensitivity": 3, "specificity": 7, "ppv": 4, "npv": 6}
    assert (found["low"] <= found["estimate"]).all() and (found["estimate"] <= found["high"]).all()


def test_what_is_called_by_nobody_is_unknown_not_zero():
    found = at_threshold(TRUTH, SCORES, 2.0)
    assert np.isnan(found.loc["ppv", ["estimate", "low", "high"]].astype(float)).all()
    assert found.loc["sensitivity", "estimate"] == 0 and found.loc["npv", "estimate"] == pytest.approx(0.7)
    constant = np.full(10, 0.3)
    assert choose_threshold(TRUTH, constant) == 0.3  # at the threshold every image is positive
    assert at_threshold(TRUTH, constant, 0.3).loc["specificity", "estimate"] == 0


def test_a_threshold_depends_on_validation_alone():
    table = both(300)
    found = operating_points(table, REFERABLE)
    changed = table.copy()
    is_test = changed["split"] == "test"
    changed.loc[is_test, "label"] = changed.loc[is_test, "label"].to_numpy()[::-1]
    again = operating_points(changed, REFERABLE)
    assert list(found["metric"])[1:] == ["sensitivity", "specificity", "ppv", "npv"]
    assert found["threshold"].equals(again["threshold"]) and found["validation"].equals(again["validation"])
    assert (found["estimate"] != again["estimate"]).any()
    first = found.set_index("metric").loc["sensitivity"]
    assert 0.9 <= first["validation"] < 0.93
    truth, scores = REFERABLE.of(table[is_test])
    assert first["estimate"] == pytest.approx((scores[truth] >= first["threshold"]).mean())
    assert first["low"] < first["estimate"] < first["high"]


def test_specificity_is_compared_at_the_wanted_sensitivity(monkeypatch):
    table = both(300)
    test = table[table["split"] == "test"]
    truth, scores = REFERABLE.of(test)
    estimate, low, high = specificity_as_wanted(truth, scores, test["group"])
    false, found, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    assert estimate == pytest.approx(1 - false[np.argmax(found >= 0.9)]) and low < estimate < high
    given = at_threshold(truth, scores, choose_threshold(truth, scores), test["group"]).loc["specificity"]
    assert high - low > given["high"] - given["low"]  # the threshold's own uncertainty is in it
    assert specificity_as_wanted(truth, np.zeros(len(truth)))[0] == 0
    perfect = specificity_as_wanted(np.arange(50) >= 40, np.arange(50.0))  # 40 of 40 left alone
    assert perfect == pytest.approx((1, 0.9119, 1), abs=1e-4)
    assert np.isnan(specificity_as_wanted(np.ones(9, dtype=bool), np.arange(9.0))).all()
    monkeypatch.setattr("labkit.evaluation.thresholds.MANY", 100)  # of more, 200 draws
    assert specificity_as_wanted(truth, scores, test["group"]) == pytest.approx((estimate, low, high), abs=0.03)


def test_two_classes_are_asked_for_the_second():
    labels = [0, 0, 1, 1]
    logits = [[2, 0], [0, 1], [0, 2], [0, 3]]
    table = pd.concat([table_of(labels, logits, split=split, name=split) for split in ("val", "test")])
    found = operating_points(decide(table), question(CELLS, "classes")).set_index("metric")
    assert found.loc["sensitivity", "estimate"] == 1
    assert found.loc["specificity", "estimate"] == 1  # the cell called ALL at 0.73 is below the threshold


def test_without_validation_or_without_a_positive_there_the_reason_is_said():
    table = both(30)
    with pytest.raises(NotFitted, match=r"no validation split.*select_on: test"):
        operating_points(table[table["split"] == "test"], REFERABLE)
    healthy = table.assign(label=table["label"].where(table["split"] == "test", 0))
    with pytest.raises(NotFitted, match="no positive image among the 60"):
        operating_points(healthy, REFERABLE)
