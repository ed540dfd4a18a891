"""Paired tests by hand, by scipy and by statsmodels."""

import numpy as np
import pytest
from labkit.evaluation.paired import holm, mcnemar
from scipy.stats import binom


def pair(b: int, c: int, both: int = 10, neither: int = 5):
    """Labels and two models' answers with so many images that only a, only b, both and neither answers."""
    a = [1] * b + [0] * c + [1] * both + [0] * neither
    other = [0] * b + [1] * c + [1] * both + [0] * neither
    ids = [f"image{number}" for number in range(len(a))]
    return mcnemar([1] * len(a), a, other, image_ids_a=ids, image_ids_b=ids)


def test_mcnemar_of_a_table_worked_out_by_hand():
    found = pair(1, 5)
    assert (found.b, found.c) == (1, 5)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)  # no or one of six heads, two-sided


@pytest.mark.parametrize(("b", "c"), [(0, 1), (0, 12), (7, 7), (3, 9), (120, 160), (400, 390)])
def test_mcnemar_is_scipys_binomial_and_statsmodels(b, c):
    found = pair(b, c)
    assert found.p == pytest.approx(min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)))
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert found.p == pytest.approx(tables.mcnemar([[10, b], [c, 5]], exact=True).pvalue)


def test_models_that_answer_alike_do_not_differ():
    assert pair(0, 0).p == 1
    two_wrong_answers = mcnemar([0, 0], [1, 2], [2, 1], image_ids_a=["x", "y"], image_ids_b=["x", "y"])
    assert (two_wrong_answers.b, two_wrong_answers.c, two_wrong_answers.p) == (0, 0, 1)


def test_other_images_or_another_order_are_refused():
    with pytest.raises(ValueError, match="row 0 is 'x' against 'y'"):
        mcnemar([0, 1], [0, 1], [0, 1], image_ids_a=["x", "y"], image_ids_b=["y", "x"])
    with pytest.raises(ValueError, match="1 of 2 rows are unlabelled"):
        mcnemar([0, None], [0, 1], [0, 1], image_ids_a=["x", "y"], image_ids_b=["x", "y"])


def test_holm_by_hand_and_by_statsmodels():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = np.random.default_rng(0).random(20) ** 3
    np.testing.assert_allclose(holm(values), multitest.multipletests(values, method="holm")[1])


def test_holm_corrects_for_the_tests_that_there_are():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])
    assert holm([]).tolist() == []
