"""Intervals of areas by brute force; how often intervals hold the truth where images come in pairs."""

import numpy as np
import pandas as pd
import pytest
from labkit.evaluation.ranking_intervals import auroc_intervals
from made_tables import GRADES, eyes
from sklearn import metrics as sk

from labkit.evaluation import bootstrap_by_group, decide

WIDE = 40_000  # patients that stand for all there are


def test_areas_of_draws_are_those_of_drawing_whole_groups_one_by_one():
    table = decide(eyes(np.random.default_rng(0), 150, shares=(0.6, 0.25, 0.15)))
    found = auroc_intervals(table, GRADES[:3], "grades", draws=1500)
    generator, drawn = np.random.default_rng(1), []
    for _ in range(800):
        rows = (generator.choice(150, 150)[:, None] * 2 + np.arange(2)).ravel()
        labels, chances = table["label"].to_numpy(int)[rows], table[["p_0", "p_1", "p_2"]].to_numpy()[rows]
        drawn.append((sk.roc_auc_score(np.eye(3)[labels], chances), sk.roc_auc_score(labels >= 2, chances[:, 2])))
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    for column, name in enumerate(["macro_auroc", "referable_auroc"]):
        width = found.loc[name, "high"] - found.loc[name, "low"]
        np.testing.assert_allclose(found.loc[name, ["low", "high"]], expected[:, column], atol=0.12 * width)


def test_a_perfect_a_constant_and_a_single_group():
    table = eyes(np.random.default_rng(2), 40)
    logits = [f"logit_{k}" for k in range(5)]
    labels = table["label"].to_numpy(int)
    perfect = decide(table.assign(**dict(zip(logits, np.eye(5)[labels].T, strict=True))))
    assert (auroc_intervals(perfect, GRADES, "grades", draws=50) == 1).all(axis=None)
    constant = decide(table.assign(**dict.fromkeys(logits, 0.0)))
    assert (auroc_intervals(constant, GRADES, draws=50) == 0.5).all(axis=None)
    assert auroc_intervals(perfect.assign(group="a"), GRADES, draws=50).isna().all(axis=None)


def covered(repetitions: int, draws: int) -> pd.Series:
    """Share of 95 % intervals that hold the truth, of 1,200 images of 600 patients."""
    generator = np.random.default_rng(3)
    truth = bootstrap_by_group(*columns(eyes(generator, WIDE)), 5, draws=1)["estimate"]
    held = []
    for repetition in range(repetitions):
        found = bootstrap_by_group(*columns(eyes(generator, 600)), 5, draws=draws, seed=repetition)
        held.append((found["low"] <= truth) & (truth <= found["high"]))
    return pd.DataFrame(held).mean()


def columns(table: pd.DataFrame):
    decided = decide(table)
    return decided["label"], decided["prediction"], decided["group"]


def test_intervals_of_pairs_of_eyes_hold_the_truth_about_95_times_in_100():
    found = covered(150, 400)
    assert (found[["accuracy", "qwk"]] >= 0.9).all(), found  # four standard errors would be 0.88 to 1


@pytest.mark.slow
def test_intervals_of_pairs_of_eyes_hold_the_truth_93_to_97_times_in_100():
    found = covered(2000, 1000)
    assert found[["accuracy", "qwk"]].between(0.93, 0.97).all(axis=None), found
