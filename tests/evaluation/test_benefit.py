"""What a decision is worth, against numbers of other programs, plain formulas and simulations."""

import numpy as np
import pandas as pd
import pytest
from made_tables import CELLS, GRADES, both, eyes, table_of

from labkit.evaluation import matrices
from labkit.evaluation.benefit import (
    SHARES,
    abstention,
    expected_cost,
    guaranteed_threshold,
    net_benefit,
    positives_needed,
    predictive_values,
)
from labkit.evaluation.calibration import class_calibration
from labkit.evaluation.decide import NotFitted, decide
from labkit.evaluation.metrics import evaluate, ranked_probability_score
from labkit.evaluation.thresholds import at_threshold

TRUTH = np.array([0, 0, 0, 0, 0, 0, 1, 0, 1, 1], dtype=bool)
P = np.array([0.05, 0.08, 0.12, 0.2, 0.2, 0.3, 0.15, 0.45, 0.4, 0.9])
# dcurves 1.1.7, dca(data, "y", ["p"], thresholds=[0.1, 0.25, 0.5], prevalence=…): of p, and of treating all
DCURVES = {
    None: ([0.244444, 0.133333, 0.1], [0.222222, 0.066667, -0.4]),
    0.05: ([-0.025397, -0.057143, 0.016667], [-0.055556, -0.266667, -0.9]),
}


@pytest.mark.parametrize("prevalence", DCURVES)
def test_net_benefit_is_that_of_dcurves(prevalence):
    found = net_benefit(TRUTH, P, prevalence=prevalence).set_index("threshold").loc[[0.1, 0.25, 0.5]]
    model, everyone = DCURVES[prevalence]
    assert found["estimate"].to_numpy() == pytest.approx(model, abs=1e-6)
    assert found["all"].to_numpy() == pytest.approx(everyone, abs=1e-6)
    assert found["gain"].to_numpy() == pytest.approx(np.subtract(model, np.maximum(everyone, 0)), abs=1e-6)
    assert (found["low"] <= found["estimate"]).all() and (found["estimate"] <= found["high"]).all()


def test_the_band_of_net_benefit_is_of_patients_and_a_constant_model_gains_nothing():
    twice, groups = np.repeat(TRUTH, 20), np.repeat(np.arange(100), 2)
    apart, together = (net_benefit(twice, np.repeat(P, 20), of) for of in (None, groups))
    wide, narrow = (float((of["high"] - of["low"]).mean()) for of in (together, apart))
    assert wide == pytest.approx(np.sqrt(2) * narrow, rel=0.06)
    assert net_benefit(twice, np.full(200, 0.02))["gain"].max() <= 1e-12
    assert net_benefit(np.zeros(20, bool), np.linspace(0, 1, 20))["estimate"].isna().all()


def test_predictive_values_follow_bayes_and_their_interval_holds_the_truth():
    at = at_threshold(TRUTH, P, 0.25)["estimate"]
    same = predictive_values(at["sensitivity"], at["specificity"], TRUTH.mean())
    assert same == pytest.approx({"ppv": at["ppv"], "npv": at["npv"]})
    assert predictive_values(0.9, 0.9, 0.01)["ppv"] == pytest.approx(0.009 / 0.108)
    assert np.isnan(predictive_values(0.0, 1.0, 0.1)["ppv"])
    generator, held = np.random.default_rng(0), {"ppv": 0, "npv": 0}
    wanted = predictive_values(0.8, 0.9, 0.02)
    truth = np.repeat([True, False], [100, 300])
    for _ in range(200):
        said = generator.random(400) < np.where(truth, 0.8, 0.1)
        ends = at_threshold(truth, said.astype(float), 0.5, draws=300)
        low, high = (predictive_values(*ends.loc[["sensitivity", "specificity"], end], 0.02) for end in ("low", "high"))
        for name in held:
            held[name] += low[name] <= wanted[name] <= high[name]
    assert min(held.values()) >= 190


@pytest.mark.parametrize("n", [29, 60, 139])
def test_a_guaranteed_threshold_finds_nine_of_ten_in_at_least_95_of_100_samples(n):
    generator, low = np.random.default_rng(n), 0
    truth = np.arange(2 * n) < n
    for _ in range(2000):
        scores = generator.random(2 * n)  # the sensitivity at t is 1 - t
        low += 1 - guaranteed_threshold(truth, scores)[0] < 0.9
    assert low / 2000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def test_a_guarantee_counts_patients_and_says_how_many_it_needs():
    truth, scores = np.ones(58, bool), np.arange(58.0)
    assert positives_needed() == 29
    assert guaranteed_threshold(truth, scores, np.arange(58)) == (1.0, 58)  # one of them may be missed
    threshold, n = guaranteed_threshold(truth, scores, np.arange(58) // 2)
    assert n == 29 and threshold in (0.0, 1.0)
    with pytest.raises(NotFitted, match="28 positive images of different groups, and 29 are needed"):
        guaranteed_threshold(truth[:56], scores[:56], np.arange(56) // 2)


def test_abstention_leaves_out_the_least_confident_images_first():
    # of each class ten images: the five unsure ones of the second class are wrong
    confidence = np.r_[np.linspace(0.9, 0.99, 10), np.linspace(0.51, 0.55, 5), np.linspace(0.9, 0.99, 5)]
    second = np.r_[1 - confidence[:10], 1 - confidence[10:15], confidence[15:]]
    decided = decide(table_of([0] * 10 + [1] * 10, np.log(np.c_[1 - second, second]), groups=map(str, range(20))))
    found = abstention(decided, 2, matrices.accuracy).set_index("referred")
    assert list(found.index) == list(SHARES)
    assert found.loc[0, "estimate"] == 0.75 and found.loc[0.1, "estimate"] == pytest.approx(15 / 18)
    assert found.loc[0.3, "estimate"] == 1 and found.loc[0.2, "kept_0"] == 1 and found.loc[0.2, "kept_1"] == 0.6
    assert (found["low"] <= found["estimate"]).all() and (found["estimate"] <= found["high"]).all()
    grades = both(200)
    of_all = abstention(grades, 5, matrices.qwk).iloc[0]
    assert of_all["estimate"] == pytest.approx(evaluate(grades, GRADES, "grades")["qwk"])


def test_the_cost_of_predictions_is_counted_and_the_cheapest_class_costs_least():
    labels = [0, 0, 0, 1]
    decided = decide(table_of(labels, np.log([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.6, 0.4]]), groups="abcd"))
    found = expected_cost(decided, [[0, 1], [8, 0]])
    assert found["estimate"] == 2 and found["low"] <= 2 <= found["high"]  # the ill one is missed
    assert found["cheapest"] == 0.25 and (found["constant"], found["always"]) == (0.75, 1)  # from a ninth on: ill
    zero_one = expected_cost(both(200), 1 - np.eye(5))
    assert zero_one["estimate"] == pytest.approx(1 - evaluate(both(200), GRADES)["accuracy"])
    assert zero_one["cheapest"] == pytest.approx(zero_one["estimate"])
    assert np.isnan(
        expected_cost(pd.DataFrame({"label": [0, 1], "prediction": 1, "group": "a"}), np.eye(2))["cheapest"]
    )


def test_the_ranked_probability_score_is_of_grades_and_of_one_cut_the_brier_score():
    certain = pd.DataFrame({"label": [0, 2], "p_0": [1.0, 1.0], "p_1": [0.0, 0.0], "p_2": [0.0, 0.0]})
    assert ranked_probability_score(certain, GRADES[:3]) == 0.5  # 0 and, two grades off, 1
    p = np.array([0.2, 0.7])
    two = pd.DataFrame({"label": [0, 1], "p_0": 1 - p, "p_1": p})
    assert ranked_probability_score(two, CELLS) == pytest.approx(((p - [0, 1]) ** 2).mean())
    found = evaluate(both(100), GRADES, "grades")
    assert 0 < found["rps"] < 0.1 and "rps" not in evaluate(both(100), GRADES)


def test_calibration_of_a_class_holds_the_truth_by_patients():
    held, generator = np.zeros(5), np.random.default_rng(0)
    for _ in range(100):
        found = class_calibration(decide(eyes(generator, 150)), GRADES)
        held += (found["low"] <= 0) & (found["high"] >= 0)
    assert (held[:3] >= 88).all()  # of 100; both eyes of a patient count together
    assert found["difference"].to_numpy() == pytest.approx((found["probability"] - found["share"]).to_numpy())
    nobody = class_calibration(decide(table_of([0, 0], np.zeros((2, 2)), groups="ab")), CELLS)
    assert nobody["low"].isna().tolist() == [False, True]
