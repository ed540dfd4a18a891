"""Ordinal runs: the grade is learnt as a number, cut by validation alone, and nothing pretends to be a probability."""

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
import torch

from labkit.data.catalog import facts
from labkit.data.hashes import file_hashes
from labkit.data.loaders import make_loaders
from labkit.data.readers import read
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation import metrics
from labkit.evaluation.decide import decide, mistakes, severity
from labkit.evaluation.matrices import CHOOSING, EpochScore, matrix_of, qwk
from labkit.evaluation.ordinal import best_cuts, grade_cuts, half_way
from labkit.models.build import build_model
from labkit.params import DataParams, ParameterError, RunParams
from labkit.reporting.exhibits.mistakes import cuts_sentence, mistake_titles
from labkit.runs.files import write_csv
from labkit.runs.fingerprint import run_inputs
from labkit.runs.folder import open_run, read_predictions
from labkit.training.device import set_up
from labkit.training.loop import fit
from labkit.training.loss import make_criterion, refuse_unordered
from labkit.training.predict import predict_chosen, predictions_table
from labkit.training.recorder import mean_loss

TINY = {"image_size": 24, "batch_size": 16, "epochs": 12, "threads": 1, "device": "cpu", "learning_rate": 1e-3}
BASE = RunParams(study="t", run="o", loss="ordinal", val_fraction=0.2, **TINY)


@pytest.fixture
def data(image_folder, tmp_path):
    table = read(DataParams(), image_folder).table
    store = build_store(table, file_hashes(table, tmp_path), 24, tmp_path)
    return assign_splits(table, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2), store


def train(data, params=BASE):
    table, store = data
    accelerator = set_up(params)
    run = open_run(params, run_inputs(params, "d"))
    model = build_model(params.arch, params.outputs(5), seed=params.seed)
    loaders = make_loaders(table, store, params)
    history = fit(model, loaders, params, accelerator, run, EpochScore(table, 5, "qwk"))
    parts = {name: table[table["split"] == name] for name in ("val", "test")}
    outputs = predict_chosen(model, loaders, params.normalize, run.manifest["best_epoch"])
    write_csv(run.path("predictions.csv"), predictions_table(parts, outputs))
    return run, history


def made(grades, labels, split="val"):
    table = pd.DataFrame({"grade": np.array(grades, float), "label": labels, "split": split, "group": "g"})
    return table.assign(image_id=[f"{split}{k}" for k in range(len(table))])


# --- learning ---------------------------------------------------------------------------------------------------------


def test_an_ordinal_run_learns_an_order_and_leaves_grades(data):
    run, history = train(data)
    assert history["val_qwk"].max() > 0.5  # always answering one grade, and chance, give 0
    kept = read_predictions(run.folder)
    chosen, val = history.iloc[run.manifest["best_epoch"] - 1], decide(kept, 5).query("split == 'val'")
    assert "train_accuracy" not in history  # there are no cuts of training images to measure it by
    for name, of in CHOOSING.items():  # the curve is scored by the rule of the table
        ours = of(matrix_of(val["label"], val["prediction"], 5))
        assert chosen[f"val_{name}"] == pytest.approx(ours, abs=1e-9), name
    assert "grade" in kept and not [name for name in kept if name.startswith("logit_")]
    test = decide(kept, 5).query("split == 'test'")
    results = metrics.evaluate(test, list("abcde"), "grades")
    assert results["qwk"] > 0.5
    assert results["macro_auroc"] is None and results["auroc_left_out"] == list("abcde")
    assert 0 < metrics.majority_share(test) < 1 and metrics.confusion(test, 5).sum() == len(test)


def test_a_data_set_without_an_order_is_refused():
    with pytest.raises(ParameterError, match=r"'ordinal'.*leukemia \(HEM, ALL\) have no order.*cross_entropy"):
        refuse_unordered(BASE, facts("leukemia"))
    refuse_unordered(BASE, facts("retinopathy"))
    refuse_unordered(BASE.model_copy(update={"loss": "cross_entropy"}), facts("leukemia"))
    with pytest.raises(ParameterError, match=r"select_by: got 'qwk'.*no order.*macro_f1"):
        refuse_unordered(RunParams(select_by="qwk"), facts("leukemia"))


def test_a_network_of_the_other_kind_is_refused_before_it_is_trained(data):
    table, store = data
    run = open_run(BASE, {"x": 1})
    with pytest.raises(ValueError, match="ordinal of 5 classes does not fit 5 outputs"):
        score = EpochScore(table, 5, "qwk")
        fit(build_model("resnet18", 5), make_loaders(table, store, BASE), BASE, set_up(BASE), run, score)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_the_loss_is_the_weighted_squared_error(weights):
    outputs, labels = torch.tensor([[0.2], [1.5], [2.0]]), torch.tensor([0, 1, 2])
    of_image = np.array(weights or [1.0] * 3)
    expected = (np.array([0.04, 0.25, 0.0]) * of_image).sum() / of_image.sum()
    assert float(make_criterion(BASE, weights)(outputs, labels)) == pytest.approx(expected)
    assert mean_loss(labels.numpy(), outputs.numpy(), weights) == pytest.approx(expected)


def test_an_epoch_is_scored_by_cuts_and_not_by_rounding():
    val = made(np.zeros(20), [0] * 10 + [1] * 10).assign(group=list("abcdefghijklmnopqrst"), side=None)
    test = made(np.zeros(4), [0, 0, 1, 1], "test").assign(side=None)
    score = EpochScore(pd.concat([val, test], ignore_index=True), 3, "qwk")
    outputs = np.r_[np.linspace(0.0, 0.2, 10), np.linspace(0.3, 0.4, 10)][:, None]  # all nearest to grade 0
    row = score({"val": outputs, "test": np.array([[0.1], [0.28], [0.28], [0.3]])})
    assert row["val_accuracy"] == row["val_qwk"] == 1.0 and row["test_accuracy"] == 0.75
    assert score({"test": outputs[8:12]})["test_accuracy"] == 0.5  # nothing to fit cuts on: rounded
    with pytest.raises(ValueError, match="NaN"):
        score({"val": np.full((20, 1), np.nan)})


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_cuts_found_by_hand():
    grades = np.array([0.1, 0.2, 0.3, 0.8, 1.0, 1.1])
    assert best_cuts(grades, np.array([0, 0, 0, 1, 2, 2]), 3) == pytest.approx((0.5, 0.9))  # 0.5 lies in the gap
    assert best_cuts(grades, np.array([0, 0, 1, 2, 2, 2]), 3) == pytest.approx((0.25, 0.55))


@pytest.mark.parametrize("seed", range(8))
def test_no_other_cuts_have_a_better_kappa(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 14)
    grades = np.round(labels * rng.uniform(0, 1) + rng.normal(size=14), 1)  # with ties
    found = best_cuts(grades, labels, 4)
    assert list(found) == sorted(found)
    between = np.r_[-9, np.unique(grades) + 0.05]

    def kappa(cuts):
        return qwk(matrix_of(labels, np.searchsorted(cuts, grades, side="right"), 4))

    assert kappa(found) == pytest.approx(max(kappa(cuts) for cuts in combinations_with_replacement(between, 3)))
    order = rng.permutation(14)
    assert best_cuts(grades[order], labels[order], 4) == found


def test_cuts_are_fitted_on_validation_alone():
    val = made([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    for labels in ([0, 0], [1, 1]):
        cuts = grade_cuts(pd.concat([val, made([0.22, 0.28], labels, "test")]), 2)
        assert cuts.values == pytest.approx((0.25,)) and cuts.n == 4 and cuts.reason is None
    assert decide(pd.concat([val, made([0.22, 0.28], [1, 0], "test")]))["prediction"].tolist()[4:] == [0, 1]


def test_a_validation_image_is_cut_by_the_patients_of_other_folds():
    """Two images of grade 0 at 0.9: only their own patient puts the cut above them."""
    grades, labels = [0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 1.0, 1.1, 1.2, 1.3], [0] * 6 + [1] * 4
    val = made(grades, labels).assign(group=["a", "b", "c", "d", "e", "e", "f", "g", "h", None])
    assert (grade_cuts(val, 2).predict(np.array(grades)) == labels).all()
    wrong = decide(val, 2)["prediction"].to_numpy() != labels
    assert wrong.tolist() == [False] * 4 + [True] * 2 + [False] * 4
    mixed = val.sample(frac=1, random_state=0)
    assert decide(mixed, 2)["prediction"].sort_index().tolist() == decide(val, 2)["prediction"].tolist()
    assert decide(val.assign(group="a"), 2)["prediction"].tolist() == [0] * 4 + [1] * 6  # one patient: half-way


def test_without_validation_images_the_cuts_lie_half_way_and_say_why():
    cuts = grade_cuts(made([0.4, 0.6], [0, 1], "test"), 3)
    assert cuts.values == half_way(3) == (0.5, 1.5)
    said = cuts_sentence(cuts, ["No DR", "Mild", "Moderate"])
    assert "Mild from 0.50 and Moderate from 1.50" in said and "no labelled validation images" in said
    assert "same grade" in str(grade_cuts(made([0.4, 0.6], [1, 1]), 3).reason)
    assert "on 4 validation images" in cuts_sentence(grade_cuts(made([0, 0, 1, 1], [0, 0, 1, 1]), 2), "ab").replace(
        "\u00a0", " "
    )


# --- what reads predictions -------------------------------------------------------------------------------------------


def test_grades_rank_by_severity_and_get_no_probabilities(predictions):
    decided = decide(made([0.4, 2.7, 1.2], [0, 2, 1], "test"), 3)
    assert not [name for name in decided if name.startswith("p_")]
    assert severity(decided, 2).tolist() == [0.4, 2.7, 1.2]
    ours = severity(decide(predictions), 1)
    assert ours == pytest.approx(1 - decide(predictions)["p_0"].to_numpy())


def test_mistakes_come_with_the_most_confident_first(predictions):
    wrong = mistakes(decide(made([0.4, 2.7, 1.9, 0.1], [0, 0, 0, 2], "test"), 3))
    assert wrong["confidence"].tolist() == pytest.approx([2.7, 1.9, 1.9])
    assert mistake_titles(wrong.head(1), "abc") == ["test1\na\nas c\ngrade 2.7"]
    sure = mistakes(decide(predictions))
    assert sure["confidence"].is_monotonic_decreasing and (sure["prediction"] != sure["label"]).all()
    assert "confidence" in mistake_titles(sure, "abc")[0]
