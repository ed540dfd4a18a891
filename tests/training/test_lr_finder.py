"""Before training: the range test finds a rate and leaves no trace, and a fresh network's loss is ln C."""

import math
import random

import numpy as np
import pandas as pd
import pytest
import torch

from labkit.data.loaders import make_loaders
from labkit.evaluation import matrices
from labkit.format import rate
from labkit.models.build import build_model
from labkit.params import RunParams
from labkit.reporting.learning import live_curve
from labkit.reporting.lr_range import first_loss_sentence, range_test_figure, range_test_sentence
from labkit.runs.files import write_text
from labkit.runs.fingerprint import run_inputs
from labkit.runs.folder import RANGE_TEST, open_run, why_run
from labkit.training import lr_finder
from labkit.training.device import set_up
from labkit.training.loop import fit
from labkit.training.loss import expected_first_loss, first_loss, make_criterion
from labkit.training.lr_finder import EXPLODED, HIGHEST, LOWEST, STEPS, range_test, suggested_rate
from labkit.training.optim import make_optimizer

BASE = RunParams(
    study="t", run="r", image_size=24, batch_size=16, epochs=1, threads=1, device="cpu", rotation=10.0, val_fraction=0.2
)


@pytest.fixture
def few_steps(monkeypatch):
    """Fifteen steps over the same rates: enough to see what a range test touches."""
    monkeypatch.setattr(lr_finder, "STEPS", 15)


def tried(model, batches, params, accelerator):
    return range_test(model, make_criterion(params, None), make_optimizer(model, params), batches, params, accelerator)


def train(data, params, test_first=False, watch=None):
    accelerator = set_up(params)
    run = open_run(params, run_inputs(params, "d"))
    model = build_model(params.arch, 5, seed=params.seed)
    loaders = make_loaders(*data, params)
    tested = tried(model, loaders["train"], params, accelerator) if test_first else None
    fit(model, loaders, params, accelerator, run, matrices.EpochScore(data[0], 5, "qwk"), watch)
    return run, tested


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_has_the_same_bytes_with_and_without_the_range_test(data, few_steps, workers):
    plain, _ = train(data, BASE.model_copy(update={"run": "plain", "num_workers": workers}))
    changes = {"run": "tested", "num_workers": workers, "find_learning_rate": True}
    looked, tested = train(data, BASE.model_copy(update=changes), test_first=True)
    assert len(tested) > 5
    assert plain.fingerprint == looked.fingerprint
    for name in ("history.csv", "model.safetensors"):
        assert plain.path(name).read_bytes() == looked.path(name).read_bytes(), name


def test_the_network_and_every_random_state_are_as_before(data, few_steps):
    accelerator = set_up(BASE)
    model = build_model("resnet18", 5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loader = make_loaders(*data, BASE)["train"]
    loader.set_epoch(3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    tested = tried(model, loader, BASE, accelerator)
    after = random.getstate(), np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002
    assert states[0] == after[0] and (states[1] == after[1]).all() and torch.equal(states[2], after[2])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert loader.batch_sampler.epoch == 3
    again = tried(model, loader, BASE, accelerator)
    pd.testing.assert_frame_equal(tested, again)


def test_rates_rise_exponentially_and_an_exploding_loss_ends_the_test(data, few_steps):
    params = BASE.model_copy(update={"optimizer": "sgd", "momentum": 0.0})
    tested = tried(build_model("resnet18", 5), make_loaders(*data, params)["train"], params, set_up(params))
    rates = tested["learning_rate"].to_numpy()
    assert rates[0] == LOWEST and rates[-1] <= HIGHEST * 1.000001
    factors = rates[1:] / rates[:-1]
    assert factors == pytest.approx(np.full(len(factors), (HIGHEST / LOWEST) ** (1 / 14)))
    smoothed = tested["smoothed"].to_numpy()
    assert (smoothed <= EXPLODED * np.minimum.accumulate(smoothed)).all()


def test_a_frozen_backbone_stays_frozen_in_the_range_test(data, few_steps):
    params = BASE.model_copy(update={"weights": "given", "freeze_epochs": 1})
    model = build_model("resnet18", 5)
    tested = tried(model, make_loaders(*data, params)["train"], params, set_up(params))
    assert np.isfinite(tested["loss"]).all()
    assert all(parameter.requires_grad for parameter in model.parameters())  # only the copy was frozen


def curve(losses) -> pd.DataFrame:
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)[: len(losses)]
    return pd.DataFrame({"step": range(len(losses)), "learning_rate": rates, "loss": losses, "smoothed": losses})


def fastais(tested: pd.DataFrame) -> float:
    """fastai 2.8, callback/schedule.py: valley, on what lr_find hands it, line by line."""
    lrs = tested["learning_rate"].to_numpy()[STEPS // 10 : -5]
    losses = tested["smoothed"].to_numpy()[STEPS // 10 : -5]
    n, max_start, max_end = len(losses), 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(0, i):
            if (losses[i] < losses[j]) and (lds[i] < lds[j] + 1):
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return lrs[max_start + int(sections) + int(sections / 2)]


def test_the_suggestion_is_that_of_fastais_own_lines():
    place = np.arange(90)
    smooth = 1.6 - 1.2 / (1 + np.exp(-(place - 45) / 5)) + 3 * np.exp((place - 95) / 4)
    rng = np.random.default_rng(0)
    for noise in (0.0, 0.005, 0.05):
        tested = curve(smooth + noise * rng.normal(size=90))
        assert suggested_rate(tested) == pytest.approx(fastais(tested))


def test_nothing_is_suggested_where_the_loss_never_falls():
    for losses in (np.full(90, 1.6), np.linspace(1.0, 3.9, 90), np.ones(3)):
        assert suggested_rate(curve(losses)) is None
    assert "nothing to suggest" in range_test_sentence(curve(np.ones(3)), 0.001)


def test_the_figure_and_its_sentence_name_the_suggestion_and_the_runs_own_rate():
    tested = curve(1.6 - 1.2 / (1 + np.exp(-(np.arange(90) - 45) / 5)))
    written = [text.get_text() for text in range_test_figure(tested, 0.01).axes[0].texts]
    found = suggested_rate(tested)
    assert found and written == ["this run: 0.01", f"suggested: {rate(found)}"]
    assert rate(found) in range_test_sentence(tested, 0.01)
    assert "50 times as large" in range_test_sentence(tested, 50 * found)
    assert "of that order" in range_test_sentence(tested, 2 * found)
    assert "20 times smaller" in range_test_sentence(tested, found / 20)
    with pytest.raises(ValueError, match="no step"):
        range_test_figure(tested.head(0), 0.1)


def test_a_range_test_that_is_asked_for_makes_no_run_stale(tmp_path):
    run = open_run(BASE, {"a": 1})
    write_text(run.path("train.ipynb"), '{"cells": [{"cell_type": "code", "source": "1", "outputs": [], '
                    '"execution_count": 1, "metadata": {}}]}')  # fmt: skip
    run.finish()
    assert why_run(run.folder, {"a": 1}) is None
    assert why_run(run.folder, {"a": 1}, True) == "finished, but without the learning-rate range test"
    write_text(run.path(RANGE_TEST), "step\n")
    assert why_run(run.folder, {"a": 1}, True) is None


@pytest.mark.parametrize("classes", [2, 5, 8])
@pytest.mark.parametrize("change", [{}, {"deviation": "small_stem"}, {"arch": "resnet50"}])
def test_a_network_from_scratch_begins_at_ln_c_and_is_left_as_it_was(data, classes, change):
    params = BASE.model_copy(update=change)
    batch = next(iter(make_loaders(*data, params)["train"]))
    batch["labels"] = torch.arange(len(batch["labels"])) % classes
    model = build_model(params.arch, classes, deviation=params.deviation, image_size=24)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss = first_loss(model, batch, params, torch.device("cpu"))
    assert abs(loss - math.log(classes)) < 0.9
    assert expected_first_loss(params, batch["labels"], classes) == pytest.approx(math.log(classes))
    assert model.training and all(torch.equal(before[name], one) for name, one in model.state_dict().items())


def test_what_the_first_loss_should_be_is_said_for_every_kind_of_run():
    labels, ordinal = torch.tensor([0, 0, 2, 4]), BASE.model_copy(update={"loss": "ordinal"})
    kept = BASE.model_copy(update={"weights": "w.pt", "head": "keep"})
    assert "ln 5 = 1.609" in first_loss_sentence(1.6, BASE, labels, 5)
    assert "5.000" in first_loss_sentence(4.9, ordinal, labels, 5)
    assert "is trained already" in first_loss_sentence(0.9, kept, labels, 5)


def test_the_live_curve_is_drawn_after_every_epoch_where_a_person_watches(data, monkeypatch):
    assert live_curve("r", "val_qwk") is None  # nobody watches a test
    monkeypatch.setenv("JPY_SESSION_NAME", "train.ipynb")
    shown: list = []

    class Handle:
        def update(self, content, **_):
            shown.append(content["text/plain"])

    def display(content, **_):
        shown.append(content["text/plain"])
        return Handle()

    monkeypatch.setattr("labkit.reporting.learning.display", display)
    train(data, BASE.model_copy(update={"epochs": 3}), watch=live_curve("r", "val_qwk"))
    told = [text.removesuffix(" epochs]").split(" of r after ") for text in shown]
    assert [number for _, number in told] == list("112233")  # accuracy, and what chooses the epoch
    assert [what.rpartition(" ")[2].strip("[") for what, _ in told] == ["accuracy", "qwk"] * 3
