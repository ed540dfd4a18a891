"""What a difference is worth: the first rank, patients needed and equivalence, beside formulas of statsmodels."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import ztost

from labkit.evaluation.compare import simultaneous_differences
from labkit.evaluation.power import ONE_SIDED, TWICE_GOOD, equivalence, groups_needed, of_width, ranking


def predicted(labels, predictions, groups) -> pd.DataFrame:
    ids = [f"i{number}" for number in range(len(labels))]
    return pd.DataFrame({"image_id": ids, "label": labels, "prediction": predictions, "group": groups})


def variants(*right: float, patients: int = 90) -> dict[str, list[pd.DataFrame]]:
    """Two images a patient, of which each variant predicts such a share, patient by patient."""
    generator, groups = np.random.default_rng(1), np.repeat(np.arange(patients), 2)
    labels = generator.integers(0, 2, patients)[groups]
    answers = [np.where((generator.random(patients) < share)[groups], labels, 1 - labels) for share in right]
    return {f"v{number}": [predicted(labels, answer, groups)] for number, answer in enumerate(answers)}


def ranked(of: dict, key: str = "accuracy") -> pd.DataFrame:
    return ranking(of, simultaneous_differences(of, [key], 2), key, 2)


def test_groups_needed_are_those_of_the_power_formula():
    reach = stats.norm.isf(0.025) + stats.norm.ppf(0.8)
    wanted = normal_sample_size_one_tail(0.1, 0.8, 0.025, std_null=0.6)
    assert groups_needed(50, reach, 0.1, 0.6**2 / 50) == pytest.approx(wanted)
    assert groups_needed(50, reach, 0.1, 0.6**2 / 50, fixed=0.04**2) == np.inf
    assert groups_needed(50, reach, 0, 1) == np.inf


def test_the_first_of_two_is_first_as_often_as_a_normal_difference_is_above_zero():
    of = variants(0.8, 0.72)
    found = ranked(of)
    right = [(one["prediction"] == one["label"]).groupby(one["group"]).mean() for (one,) in of.values()]
    apart = right[0] - right[1]
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    name = "v0" if apart.mean() > 0 else "v1"
    assert found.index[0] == name and found["first"].sum() == pytest.approx(1)
    assert found.loc[name, "first"] == pytest.approx(stats.norm.cdf(abs(apart.mean()) / error), abs=0.02)
    second = found.iloc[1]
    row = simultaneous_differences(of, ["accuracy"], 2).loc[("v0", "v1", "accuracy")]
    half = (row["high"] - row["low"]) / 2
    assert second["shown"] == pytest.approx(half + stats.norm.ppf(0.8) * error, rel=0.02)
    assert second["needed"] == pytest.approx(90 * (second["shown"] / apart.mean()) ** 2, rel=0.01)


def test_equal_predictions_share_no_rank_and_few_patients_have_none():
    of = variants(0.8, 0.7)
    found = ranked(of | {"same": of["v0"]})
    assert found["verdict"].tolist() == ["best", "equal", "noise"]
    assert np.isnan(found.loc["same", "first"]) and found["first"].sum() == pytest.approx(1)
    few = ranked(variants(0.9, 0.4, patients=20))
    assert few["verdict"].tolist() == ["best", "too few"] and few[["first", "shown", "needed"]].isna().all(axis=None)
    alike = ranked({"a": of["v0"], "b": of["v0"]})
    assert alike["verdict"].tolist() == ["best", "equal"] and alike["first"].isna().all()


def test_half_the_width_takes_four_times_the_patients_unless_seeds_are_what_is_uncertain():
    of = variants(0.9, 0.6)
    assert of_width(of["v0"], "accuracy", 2, 0.08, 90, (0.04, 0.08)) == pytest.approx([360, 90])
    (two,) = of_width(of["v0"] + of["v1"], "accuracy", 2, 0.3, 90, (0.15,))
    assert two == np.inf


@pytest.mark.parametrize("seed", range(12))
def test_equivalence_is_that_of_two_one_sided_z_tests(seed):
    values = np.random.default_rng(seed).normal(0.02, 0.3, 200)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(200)
    found = equivalence((mean, mean - 1.959964 * error, mean + 1.959964 * error), 0.0, 200, 0.06)
    p = ztost(values, -0.06, 0.06)[0]
    assert (found.verdict == "equivalent") == (p < 0.05)
    if found.verdict == "equivalent":
        assert (found.low, found.high) == pytest.approx((mean - ONE_SIDED * error, mean + ONE_SIDED * error))


def test_a_published_share_brings_its_own_error():
    ends = confint_proportions_2indep(160, 200, 420, 600, method="wald")
    error, ours = np.sqrt(0.8 * 0.2 / 200), 0.8
    around = (ours, ours - 1.959964 * error, ours + 1.959964 * error)
    found = equivalence(around, 0.7, 200, None, np.sqrt(0.7 * 0.3 / 600))
    assert found.verdict == "different" and (found.low, found.high) == pytest.approx(ends, abs=1e-5)
    assert equivalence(around, 0.7, 29, None).verdict == "undecided"  # of too few patients


def test_what_is_undecided_is_decided_by_as_many_patients_as_it_says():
    ours = (0.80, 0.74, 0.86)
    found = equivalence(ours, 0.79, 100, 0.05)
    assert found.verdict == "undecided"
    error = 0.06 / 1.959964 * np.sqrt(100 / found.needed)
    power = stats.norm.cdf((0.04 / error) - ONE_SIDED) + stats.norm.cdf((0.06 / error) - ONE_SIDED) - 1
    assert 0.8 <= power < 0.93 and (ONE_SIDED + TWICE_GOOD) * error == pytest.approx(0.04)
    assert equivalence(ours, 0.79, 100, 0.05, error=0.05).needed == np.inf  # no number makes theirs more exact
    assert np.isnan(equivalence(ours, 0.6, 100, 0.05).needed)
