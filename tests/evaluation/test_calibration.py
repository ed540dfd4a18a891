"""Calibration on tables whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_tables import GRADES, both, table_of
from scipy import special
from scipy.stats import t
from sklearn import metrics as sk

from labkit.evaluation.calibration import (
    Calibration,
    brier,
    calibration,
    calibration_line,
    ece,
    ece_reference,
    fit_temperature,
    gap_half_width,
    reliability,
    with_temperature,
)
from labkit.evaluation.decide import NotFitted, decide
from labkit.format import NBSP
from labkit.reporting.exhibits.calibration import calibration_sentence


def sharpened(sharper=1.0, patients=600) -> pd.DataFrame:
    """Validation and test of a calibrated model whose logits were then multiplied."""
    table = both(patients)
    return decide(table.assign(**{f"logit_{k}": table[f"logit_{k}"] * sharper for k in range(len(GRADES))}))


def test_ece_of_a_known_table():
    confidence, right = [0.95, 0.95, 0.65, 0.65, 0.7], [1, 0, 1, 1, 0]
    # two of 0.95 and half right; three up to 0.7 (bins are closed above), mean 2/3, two right
    assert ece(confidence, right) == pytest.approx(2 / 5 * 0.45 + 3 / 5 * 0)
    table = reliability(confidence, right)
    assert table["n"].tolist() == [0, 0, 0, 0, 0, 0, 3, 0, 0, 2]
    assert table.loc[9, "accuracy"] == 0.5 and np.isnan(table.loc[0, "accuracy"])


def test_brier_of_two_classes_is_twice_scikit_learns():
    generator = np.random.default_rng(0)
    labels, positive = generator.integers(0, 2, 50), generator.random(50)
    ours = brier(np.stack([1 - positive, positive], axis=1), labels)
    assert ours == pytest.approx(2 * sk.brier_score_loss(labels, positive))


def test_the_temperature_has_the_least_loss_of_all_and_changes_no_answer():
    table = sharpened(3)
    val = table[table["split"] == "val"]
    best = fit_temperature(table)
    columns = [f"p_{k}" for k in range(5)]
    losses = [
        sk.log_loss(val["label"].astype(int), with_temperature(val, best * factor)[columns], labels=range(5))
        for factor in (0.98, 1, 1.02)
    ]
    assert losses[1] == min(losses)
    assert with_temperature(table, best)["prediction"].equals(table["prediction"])


def test_an_overconfident_model_is_put_right():
    found = calibration(sharpened(3))
    before, after = found.scores.loc["before"], found.scores.loc["after"]
    assert before["ece"] > before["reference_high"]
    assert after["ece"] < before["ece"] / 2
    assert after["nll"] < before["nll"] and after["brier"] < before["brier"]
    assert found.n == found.bins.groupby("when")["n"].sum().loc["after"] == 1200
    assert found.temperature == pytest.approx(3, rel=0.15) and found.reason == ""


def test_a_calibrated_model_of_few_images_has_an_error_too_and_the_reference_says_how_large():
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.3, 1, 100)
    found = [ece(confidence, generator.random(100) < confidence) for _ in range(300)]
    reference = ece_reference(confidence)
    assert reference.mean() == pytest.approx(np.mean(found), rel=0.1)
    assert reference.mean() > 0.05  # of a hundred images; none would be seen as 0
    assert ece_reference(np.tile(confidence, 100)).mean() < 0.01


def test_of_very_many_images_the_reference_is_drawn_from_the_normal_limit(monkeypatch):
    confidence = np.random.default_rng(0).uniform(0.3, 1, 4000)
    drawn = ece_reference(confidence)
    monkeypatch.setattr("labkit.evaluation.calibration.MANY", 100)
    limit = ece_reference(confidence)
    assert limit.mean() == pytest.approx(drawn.mean(), rel=0.03) and (limit != drawn).any()
    assert np.quantile(limit, 0.95) == pytest.approx(np.quantile(drawn, 0.95), rel=0.05)


def test_only_validation_labels_decide_the_temperature():
    table = sharpened(3)
    is_test = table["split"] == "test"
    changed = table.assign(label=table["label"].where(~is_test, 0))
    assert fit_temperature(changed) == fit_temperature(table)


def test_without_validation_calibration_is_shown_as_it_is_and_the_reason_is_said():
    table = sharpened()
    found = calibration(table[table["split"] == "test"])
    assert list(found.scores.index) == ["before"] and found.temperature is None
    assert "no validation split" in found.reason
    with pytest.raises(NotFitted, match="select_on: test"):
        fit_temperature(table[table["split"] == "test"])


def test_a_class_missing_everywhere_and_logits_that_are_not_numbers():
    labels = [0, 1] * 20
    table = pd.concat([table_of(labels, 2.0 * np.eye(3)[labels], split=split) for split in ("val", "test")])
    found = calibration(decide(table))
    assert found.scores["ece"].notna().all() and found.temperature < 0.1
    assert "a temperature of 0.05 (bound), where none fits best, " in calibration_sentence("a", found)
    wrong = decide(pd.concat([table_of([1, 0] * 15, 9.0 * np.eye(2)[[0, 1] * 15], split=s) for s in ("val", "test")]))
    assert "a temperature of 20.09 (bound), where none fits best, " in calibration_sentence("a", calibration(wrong))
    table.iloc[0, table.columns.get_loc("logit_0")] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_temperature(table)


def calibrated(before: float, after: float | None = None, sure: float = 0.9, right: float = 0.8):
    rows = {"before": before} | ({} if after is None else {"after": after})
    columns = {"ece": list(rows.values()), "brier": [0.3] * len(rows), "reference": 0.02, "reference_high": 0.03}
    bins = pd.DataFrame({"n": [0, 40], "confidence": [np.nan, sure], "accuracy": [np.nan, right], "when": "before"})
    scores = pd.DataFrame(columns, index=list(rows))
    return Calibration(scores, bins, 40, None if after is None else 2.0, "there is no validation split")


def test_over_and_underconfidence_are_tested_by_group():
    generator = np.random.default_rng(0)
    right = np.repeat(generator.random(60) < 0.8, 4)  # four images of a patient are right or wrong together
    half = gap_half_width(0.9 - right, np.repeat(np.arange(60), 4))
    assert half == pytest.approx(t.isf(0.025, 59) * np.std(right[::4], ddof=1) / np.sqrt(60))
    assert gap_half_width(0.9 - right, np.arange(240)) == pytest.approx(half / 2, rel=0.03)
    found = calibrated(0.02, 0.02)
    assert "is overconfident" in calibration_sentence(
        "a", found
    ) and "ECE of 0.020 alone is no" in calibration_sentence("a", found)
    assert "neither clearly" in calibration_sentence("a", replace(found, gap_half=0.11))


def test_calibration_says_whether_its_error_is_more_than_chance():
    text = calibration_sentence("a", calibrated(0.1, 0.01)).replace(NBSP, " ")
    assert text == (
        "a is overconfident: its mean confidence is 90.0 %, its accuracy 80.0 % (Brier score 0.300). Its ECE of 0.100 "
        "is more than random variation explains; a temperature of 2.00 lowers it to 0.010, no more than random "
        "variation."
    )
    text = calibration_sentence("a", calibrated(0.02, sure=0.8))
    assert "is neither clearly over- nor underconfident" in text and text.endswith(
        "No temperature is fitted: there is no validation split."
    )
    assert "is underconfident" in calibration_sentence("a", calibrated(0.02, 0.02, sure=0.7, right=0.9))
    noise = calibration_sentence("a", calibrated(0.02, 0.02, sure=0.7))  # 4 of 40 images: within random variation
    assert "neither clearly over- nor underconfident" in noise
    assert "leaves it at 0.020" in calibration_sentence("a", calibrated(0.02, 0.02))


def test_the_calibration_line_finds_the_shift_and_the_slope_of_a_simulation():
    generator = np.random.default_rng(3)
    said = generator.normal(-0.5, 1.5, 40_000)
    for shift, slope in ((0.7, 1.0), (0.0, 0.5)):
        truth = generator.random(len(said)) < special.expit(shift + slope * said)
        line = calibration_line(truth, special.expit(said), np.arange(len(said)) // 2)
        assert line.loc["slope", "low"] < slope < line.loc["slope", "high"]
        assert line.loc["slope", "estimate"] == pytest.approx(slope, abs=0.03)
        if slope == 1:
            assert line.loc["intercept", "estimate"] == pytest.approx(shift, abs=0.03)
            assert line.loc["intercept", "low"] < shift < line.loc["intercept", "high"]


def test_intervals_of_the_calibration_line_keep_groups_together():
    generator = np.random.default_rng(4)
    said = generator.normal(0, 1, 500)
    truth = generator.random(500) < special.expit(said)
    alone = calibration_line(truth, special.expit(said))
    twice = calibration_line(np.tile(truth, 2), special.expit(np.tile(said, 2)), np.tile(np.arange(500), 2))
    widths = [(line["high"] - line["low"]).to_numpy() for line in (alone, twice)]
    np.testing.assert_allclose(widths[1], widths[0], rtol=0.02)


@pytest.mark.parametrize(
    ("truth", "said"), [([1, 1, 1], [0.2, 0.5, 0.7]), ([0, 0, 1], [0.1, 0.2, 0.9]), ([0, 1, 1], [0.5, 0.5, 0.5])]
)
def test_there_is_no_calibration_line_without_both_kinds_or_where_a_threshold_tells_them_apart(truth, said):
    with pytest.raises(NotFitted):
        calibration_line(np.array(truth, bool), np.array(said))
