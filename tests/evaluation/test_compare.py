"""Several seeds and two models: intervals of means and differences, and paired tests."""

import numpy as np
import pandas as pd
import pytest
from made_tables import clustered
from scipy.stats import binom

from labkit.evaluation.compare import holm, mcnemar, mean_of_seeds, paired_difference, unpaired_difference
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.evaluation.ranking import auroc_draws


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
    assert single["low"] < mixed["low"] < single["high"] and mixed["high"] == 1  # one seed in all three places
    means = paired_difference([perfect] * 2, [predicted(labels, predictions, groups), perfect], 3).loc["accuracy"]
    assert means["difference"] == pytest.approx((single["estimate"] - 1) / 2)


def test_the_mean_of_seeds_has_an_interval_of_its_auroc_too():
    table = predicted([0, 0, 1, 1] * 10, [0, 0, 1, 1] * 10, None).assign(p_0=[0.9, 0.8, 0.2, 0.1] * 10)
    table["p_1"] = 1 - table["p_0"]
    found = auroc_draws(table, ["a", "b"], draws=200)
    assert (mean_of_seeds([table, table], 2, [found, found], draws=200).loc["macro_auroc"] == 1).all()


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


def pair(b: int, c: int) -> float:
    """McNemar's p of two models: b images that only the first predicts, c that only the second does, 15 others."""
    first, second = ([right[0]] * b + [right[1]] * c + [1] * 10 + [0] * 5 for right in ((1, 0), (0, 1)))
    labels = [1] * len(first)
    return mcnemar(predicted(labels, first, None), predicted(labels, second, None))


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 5), (0, 1), (0, 12), (7, 7), (3, 9), (120, 160), (400, 390)])
def test_mcnemar_is_the_two_sided_binomial_of_the_images_that_differ(b, c):
    assert pair(b, c) == pytest.approx(min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)))


def test_two_different_wrong_predictions_do_not_differ():
    assert mcnemar(predicted([0, 0], [1, 2], None), predicted([0, 0], [2, 1], None)) == 1


def test_images_without_a_label_are_refused():
    table = predicted(pd.array([0, None], dtype="Int64"), [0, 1], None)
    with pytest.raises(ValueError, match="1 of 2 rows are unlabelled"):
        mcnemar(table, table)


def test_holm_by_hand_and_for_the_tests_that_there_are():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])
    assert holm([]).tolist() == []
