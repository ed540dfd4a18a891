"""Several seeds and two models: intervals of means and differences, and paired tests."""

import numpy as np
import pandas as pd
import pytest
from made_tables import clustered
from scipy.stats import binom

from labkit.evaluation.compare import (
    against_constant,
    holm,
    mcnemar,
    mean_of_seeds,
    paired_difference,
    simultaneous_differences,
    unpaired_difference,
    verdict,
)
from labkit.evaluation.intervals import auroc_draws, bootstrap_by_group


def predicted(labels, predictions, groups, prefix="image") -> pd.DataFrame:
    ids = [f"{prefix}{number}" for number in range(len(labels))]
    return pd.DataFrame({"image_id": ids, "label": labels, "prediction": predictions, "group": groups})


def compare(labels, a, b, groups, **options):
    return paired_difference([predicted(labels, a, groups)], [predicted(labels, b, groups)], 3, **options)


def test_a_model_does_not_differ_from_itself():
    labels, predictions, groups = clustered(np.random.default_rng(7), n_groups=50)
    found = compare(labels, predictions, predictions, groups)
    assert (found[["difference", "low", "high"]] == 0).all(axis=None)
    assert (found["a"] == bootstrap_by_group(labels, predictions, groups, 3)["estimate"]).all()


def test_pairing_makes_a_small_difference_visible():
    generator = np.random.default_rng(8)
    labels, a, groups = clustered(generator)
    b = np.where(generator.random(len(labels)) < 0.05, labels, a)  # as a, but five in a hundred put right
    found = compare(labels, a, b, groups).loc["accuracy"]
    alone = bootstrap_by_group(labels, a, groups, 3).loc["accuracy"]
    assert found["difference"] == pytest.approx((b == labels).mean() - (a == labels).mean())
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["high"] - found["low"] < 0.5 * (alone["high"] - alone["low"])


@pytest.mark.parametrize("compared", [mcnemar, lambda a, b: paired_difference([a], [b], 3)])
def test_other_images_or_another_order_are_refused(compared):
    whole = predicted([0, 1, 2], [0, 1, 2], None)
    with pytest.raises(ValueError, match="row 1 is 'image1' against 'image2'; sort both tables by image_id"):
        compared(whole, whole.iloc[[0, 2, 1]])
    with pytest.raises(ValueError, match="3 images against 2"):
        compared(whole, whole.iloc[:2])


def test_seeds_that_answer_alike_add_nothing_and_seeds_that_differ_widen_the_interval():
    generator = np.random.default_rng(9)
    labels, predictions, groups = clustered(generator)
    one = bootstrap_by_group(labels, predictions, groups, 3)
    alike = mean_of_seeds([predicted(labels, predictions, groups)] * 3, 3)
    assert np.allclose(alike, one[["low", "high"]])
    perfect = predicted(labels, labels, groups)
    mixed = mean_of_seeds([predicted(labels, predictions, groups), perfect, perfect], 3).loc["accuracy"]
    single = one.loc["accuracy"]
    assert mixed["low"] < single["low"] and mixed["high"] == 1  # a share ends at 1, however far the seeds are apart
    means = paired_difference([perfect] * 2, [predicted(labels, predictions, groups), perfect], 3).loc["accuracy"]
    assert means["difference"] == pytest.approx((single["estimate"] - 1) / 2)


def test_the_mean_of_seeds_has_an_interval_of_its_auroc_too():
    table = predicted([0, 0, 1, 1] * 10, [0, 0, 1, 1] * 10, None).assign(p_0=[0.9, 0.8, 0.2, 0.1] * 10)
    table["p_1"] = 1 - table["p_0"]
    found = auroc_draws(table, ["a", "b"], draws=200)
    generator = np.random.default_rng(0)
    noisy = table.assign(p_1=generator.random(40)).assign(p_0=lambda one: 1 - one["p_1"])
    mixed = [found, auroc_draws(noisy, ["a", "b"], draws=200)]
    low, high = mean_of_seeds([table, table], 2, mixed, draws=200).loc["macro_auroc"]
    assert low < high


def test_seeds_that_are_all_perfect_have_no_interval_of_width_0():
    labels = [0, 0, 1, 1] * 10
    right = predicted(labels, labels, None).assign(p_0=[0.9, 0.8, 0.2, 0.1] * 10)
    right["p_1"] = 1 - right["p_0"]
    found = mean_of_seeds([right] * 3, 2, [auroc_draws(right, ["a", "b"], draws=200)] * 3, draws=200)
    assert found.loc[["qwk", "macro_f1", "macro_auroc"]].isna().all(axis=None)
    assert found.loc["accuracy"].tolist() == pytest.approx([0.025 ** (1 / 40), 1])  # Clopper and Pearson
    constant = mean_of_seeds([right.assign(prediction=0)] * 2, 2, draws=200)
    assert constant.loc["qwk"].tolist() == [0, 0] and constant.loc["accuracy", "low"] < constant.loc["accuracy", "high"]


def test_the_same_networks_on_two_sets_of_images_are_drawn_together():
    generator = np.random.default_rng(11)
    labels, predictions, groups = clustered(generator)
    worse = np.where(generator.random(len(labels)) < 0.3, (labels + 1) % 3, predictions)
    a, b = ([predicted(labels, one, groups, prefix) for one in (labels, worse)] for prefix in ("x", "y"))
    apart = unpaired_difference(a, b, 3).loc["accuracy"]
    together = unpaired_difference(a, b, 3, same_seeds=True).loc["accuracy"]
    assert together["high"] - together["low"] < 0.5 * (apart["high"] - apart["low"])


def test_between_different_images_nothing_is_paired():
    labels, predictions, groups = clustered(np.random.default_rng(10))
    a, b = predicted(labels, predictions, groups), predicted(labels, predictions, groups, prefix="other")
    found = unpaired_difference([a], [b], 3).loc["accuracy"]
    assert found["difference"] == 0 and found["low"] < 0 < found["high"]
    assert (compare(labels, predictions, predictions, groups).loc["accuracy", ["low", "high"]] == 0).all()


def beside_constant(groups: int, each: int, lost: int, won: int) -> pd.DataFrame:
    """Images of `groups` patients: a model that is right on `won` images of class 1, wrong on `lost` of the others."""
    labels = np.zeros(groups * each, int)
    ill = round(0.279 * len(labels))
    labels[:ill] = 1
    predictions = np.zeros_like(labels)
    predictions[:won] = predictions[ill : ill + lost] = 1
    patients = np.arange(len(labels))
    if each == 2:  # of five patients both eyes are won
        patients = np.where(patients < 10, patients // 2, 5 + (patients - 10) % (groups - 5))
    return predicted(labels, predictions, patients)


@pytest.mark.parametrize(
    ("table", "difference", "low", "high", "said"),
    [
        (beside_constant(80, 2, 3, 15), 7.5, 1.3, 14.4, "higher"),
        (beside_constant(1353, 1, 4, 31), 2.0, 1.2, 2.9, "higher"),
        (beside_constant(1353, 1, 0, 1), 0.1, 0.0, 0.2, "noise"),
        (beside_constant(1353, 1, 0, 4), 0.3, 0.1, 0.6, "too few"),  # p = 0.125 by McNemar
        (beside_constant(29, 2, 0, 15), 25.9, 12.1, 39.7, "too few"),
        (beside_constant(80, 2, 30, 5), -15.6, -22.5, -8.1, "lower"),
        (beside_constant(80, 2, 0, 0), 0, 0, 0, "equal"),
    ],
)
def test_a_model_is_compared_with_a_constant_answer_on_the_same_images(table, difference, low, high, said):
    row = against_constant([table], 0, 3).loc["accuracy"]
    assert 100 * row["difference"] == pytest.approx(difference, abs=0.06)
    assert 100 * row[["low", "high"]].to_numpy(float) == pytest.approx([low, high], abs=0.7)
    assert verdict(row) == said


def test_other_predictions_of_which_as_many_are_right_are_equal_for_accuracy_only():
    labels = np.repeat([0, 1, 2], 40)
    a, b = (np.where(labels == 2, wrong, labels) for wrong in (0, 1))
    rows = compare(labels, a, b, None)
    assert verdict(rows.loc["accuracy"]) == "equal" and rows.loc["qwk", "differing"] == 40


def equally_good(generator, n_variants: int, n_groups: int = 80) -> dict[str, list[pd.DataFrame]]:
    """Variants of one accuracy that agree on most images, patient by patient; two images a patient."""
    groups = np.repeat(np.arange(n_groups), 2)
    labels = generator.choice(3, n_groups, p=[0.7, 0.2, 0.1])[groups]
    easy = (generator.random(n_groups) < 0.75)[groups]
    variants = {}
    for number in range(n_variants):
        right = np.where(generator.random(len(groups)) < 0.7, easy, (generator.random(n_groups) < 0.75)[groups])
        answers = np.where(right, labels, (labels + generator.integers(1, 3, len(groups))) % 3)
        variants[f"v{number}"] = [predicted(labels, answers, groups)]
    return variants


@pytest.mark.parametrize(("n_variants", "studies"), [(2, 120), (4, 100), (7, 40), (12, 20)])
def test_of_equally_good_variants_one_study_in_twenty_claims_a_difference(n_variants, studies):
    generator, false = np.random.default_rng(10 + n_variants), 0
    for _ in range(studies):
        found = simultaneous_differences(equally_good(generator, n_variants), ["qwk", "accuracy"], 3, draws=400)
        false += any(verdict(row) in ("higher", "lower") for row in found.to_dict("records"))
    assert false / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


def test_simultaneous_intervals_are_mirrored_wider_and_still_find_what_is_there():
    variants = equally_good(np.random.default_rng(3), 3)
    (first,) = variants["v0"]
    variants |= {"same": [first], "right": [first.assign(prediction=first["label"])]}
    found = simultaneous_differences(variants, ["accuracy"], 3)
    forth, back = found.loc[("v0", "right", "accuracy")], found.loc[("right", "v0", "accuracy")]
    assert (verdict(forth), verdict(back)) == ("higher", "lower") and forth["low"] == pytest.approx(-back["high"])
    alone = paired_difference(variants["v0"], variants["v1"], 3).loc["accuracy"]
    joint = found.loc[("v0", "v1", "accuracy")]
    assert joint["difference"] == alone["difference"] and joint["high"] - joint["low"] > alone["high"] - alone["low"]
    same = found.loc[("v0", "same", "accuracy")]
    assert verdict(same) == "equal" and same["low"] == same["high"] == 0
    few = simultaneous_differences({name: [of[0].head(40)] for name, of in variants.items()}, ["accuracy"], 3)
    assert verdict(few.loc[("v0", "right", "accuracy")]) == "too few"


def test_no_difference_has_an_end_that_no_two_scores_can_be_apart():
    labels, groups = np.tile([0, 1], 40), np.arange(80)
    right, wrong = predicted(labels, labels, groups), predicted(labels, 1 - labels, groups)
    variants = {"a": [wrong, right], "b": [right, wrong], "c": [right, right]}
    found = simultaneous_differences(variants, ["accuracy", "qwk"], 2)
    for key, most in (("accuracy", 1), ("qwk", 2)):
        rows = found.loc[found.index.get_level_values("metric") == key]
        assert rows["low"].min() == -most and rows["high"].max() == most
        assert paired_difference(variants["a"], variants["b"], 2).loc[key, "high"] == most


def test_an_interval_over_three_seeds_covers_their_noise():
    generator, labels = np.random.default_rng(3), np.zeros(400, int)
    covered = 0
    for number in range(200):  # one patient's images are like another's: only seeds differ, by 10 points
        right = np.clip(generator.normal(0.5, 0.1, 3), 0, 1)
        answers = [np.tile(np.arange(20) >= round(20 * share), 20).astype(int) for share in right]
        tests = [predicted(labels, answer, np.repeat(np.arange(20), 20)) for answer in answers]
        ends = mean_of_seeds(tests, 2, draws=300, seed=number).loc["accuracy"]
        covered += ends["low"] - 1e-9 <= 0.5 <= ends["high"] + 1e-9
    assert covered / 200 >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 200)


def pair(b: int, c: int) -> float:
    """McNemar's p of two models: b images that only the first predicts, c that only the second does, 15 others."""
    first, second = ([right[0]] * b + [right[1]] * c + [1] * 10 + [0] * 5 for right in ((1, 0), (0, 1)))
    labels = [1] * len(first)
    return mcnemar(predicted(labels, first, None), predicted(labels, second, None))


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 5), (0, 1), (0, 12), (7, 7), (3, 9), (120, 160), (400, 390)])
def test_mcnemar_is_the_two_sided_binomial_of_the_images_that_differ(b, c):
    assert pair(b, c) == pytest.approx(min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)))
    assert pair(3, 15) == pytest.approx(0.0075, abs=5e-5)


def test_two_different_wrong_predictions_do_not_differ():
    assert mcnemar(predicted([0, 0], [1, 2], None), predicted([0, 0], [2, 1], None)) == 1


def test_holm_by_hand_and_for_the_tests_that_there_are():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])
    assert holm([]).tolist() == []
