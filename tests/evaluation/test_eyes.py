"""Both eyes joined: better where the eyes go together, never by a label, refused where there is nothing to join."""

import numpy as np
import pandas as pd
import pytest
from made_tables import GRADES, both

from labkit.evaluation.decide import NotFitted
from labkit.evaluation.eyes import eye_features, join_eyes
from labkit.evaluation.metrics import evaluate


def scores(table: pd.DataFrame) -> dict:
    return evaluate(table[table["split"] == "test"], GRADES, "grades")


def test_two_eyes_that_go_together_are_graded_better_joined():
    table = both(1000)
    alone, joined = scores(table), scores(join_eyes(table))
    assert joined["qwk"] > alone["qwk"] + 0.03
    assert joined["referable_auroc"] > alone["referable_auroc"]


def test_no_label_of_a_test_eye_is_read():
    table = both(60)
    expected = join_eyes(table)["logit_0"]
    is_test = table["split"] == "test"
    assert join_eyes(table.assign(label=table["label"].where(~is_test, 4 - table["label"])))["logit_0"].equals(expected)
    assert join_eyes(table.assign(label=table["label"].where(~is_test)))["logit_0"].equals(expected)


def test_features_are_those_of_the_other_eye_of_the_same_patient():
    table = both(3).query("split == 'test'")
    features, paired = eye_features(table)
    assert paired.all()
    np.testing.assert_allclose(features[0::2, 6:], features[1::2, :6])
    np.testing.assert_allclose(features[:, 5], table[[f"p_{k}" for k in range(5)]] @ np.arange(5))
    mixed = table.sample(frac=1, random_state=0)
    np.testing.assert_allclose(eye_features(mixed)[0], features[mixed.index - table.index[0]])


def test_an_eye_without_a_fellow_keeps_its_own_probabilities():
    table, names = both(60), [f"p_{k}" for k in range(5)]
    first = table.index[table["split"] == "test"][0]
    before = table.loc[first + 1, names].to_numpy(float)
    unknown = table.assign(group=table["group"].where(table.index != first))
    for changed in (table.drop(index=first), unknown):
        found = join_eyes(changed).loc[first + 1, names].to_numpy(float)
        np.testing.assert_allclose(found, before, atol=1e-4)
    assert not np.allclose(join_eyes(table).loc[first + 1, names].to_numpy(float), before, atol=1e-3)


def test_a_grade_that_validation_lacks_is_nearly_impossible_and_not_nan():
    table = both(60)
    derived = join_eyes(table[(table["split"] == "test") | (table["label"] < 4)])
    assert 0 < derived["p_4"].max() < 1e-5


def without(table: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The table with only those validation rows."""
    return table[(table["split"] == "test") | rows]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table[table["split"] == "test"], "no validation split"),
        (lambda table: table.assign(side=pd.NA), "not known which images are two eyes"),
        (lambda table: table.assign(group=pd.NA), "not known which images are two eyes"),
        (lambda table: without(table, table["side"] == "left"), "no pair of eyes"),
        (lambda table: without(table, table["group"] == "val3"), "one patient only|one class only"),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_reason(change, reason):
    with pytest.raises(NotFitted, match=reason):
        join_eyes(change(both(40)))
