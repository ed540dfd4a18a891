"""A run that is asked to stop loses no step: it goes on from there to the bytes of one that was never stopped."""

import os
import re
import signal

import pytest
import torch

from labkit.data.loaders import EpochLoader, make_loaders
from labkit.evaluation import matrices
from labkit.models.build import build_model
from labkit.params import RunParams
from labkit.runs import folder as runs
from labkit.runs.fingerprint import run_inputs
from labkit.training.device import set_up
from labkit.training.loop import fit
from labkit.training.progress import Stopped, stop_requests
from labkit.training.step import TrainStep

BASE = RunParams(
    study="t", run="r", image_size=24, batch_size=16, epochs=2, threads=1, device="cpu", rotation=20.0, val_fraction=0.2
)
FROZEN = {"freeze_epochs": 1, "weights": "given"}


def train(data, params):
    run, accelerator = runs.open_run(params, run_inputs(params, "d")), set_up(params)
    model = build_model("resnet18", 5, seed=params.seed)
    fit(model, make_loaders(*data, params), params, accelerator, run, matrices.EpochScore(data[0], 5, "qwk"))
    return run


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def ask_in_step(monkeypatch, number):
    """SIGTERM comes while the number-th step (from 1) is computed."""
    step, done = TrainStep.__call__, []

    def asked(self, batch, seed):
        done.append(seed)
        if len(done) == number:
            ask()
        return step(self, batch, seed)

    monkeypatch.setattr(TrainStep, "__call__", asked)
    return done


def assert_same_bytes(run, whole):
    for name in ("history.csv", "model.safetensors"):
        assert run.path(name).read_bytes() == whole.path(name).read_bytes(), name


@pytest.mark.parametrize(
    ("changes", "number", "place"),
    [
        ({"num_workers": 1, **FROZEN}, 2, "after step 2 of 3 of epoch 1"),
        ({"num_workers": 1, **FROZEN}, 4, "after step 1 of 3 of epoch 2"),
        ({"optimizer": "sgd", "select_on": "test"}, 6, "after the last step of epoch 2, before it is evaluated"),
    ],
)
def test_a_run_that_is_asked_to_stop_goes_on_after_that_very_step(data, monkeypatch, changes, number, place, capsys):
    params = BASE.model_copy(update=changes)
    whole = train(data, params.model_copy(update={"run": "whole"}))
    with monkeypatch.context() as patches:
        done = ask_in_step(patches, number)
        with pytest.raises(Stopped, match=re.escape(f"saved {place}, and the same command goes on from there")):
            train(data, params)
        assert len(done) == number and runs.open_run(params, run_inputs(params, "d")).manifest["error"] is None
    with monkeypatch.context() as patches:
        done = ask_in_step(patches, 99)
        resumed = train(data, params)
    assert len(done) == 6 - number  # no step twice
    assert f"going on {place}" in capsys.readouterr().out
    assert_same_bytes(resumed, whole)


def test_a_run_may_be_stopped_at_every_step(data, monkeypatch):
    params = BASE.model_copy(update={"class_weights": "balanced"})
    whole = train(data, params.model_copy(update={"run": "whole"}))
    for _ in range(6):
        with monkeypatch.context() as patches:
            ask_in_step(patches, 1)
            with pytest.raises(Stopped):
                train(data, params)
    assert_same_bytes(train(data, params), whole)


def test_between_epochs_the_checkpoint_that_stands_is_enough(data, monkeypatch):
    whole = train(data, BASE.model_copy(update={"run": "whole"}))
    iterate = EpochLoader.__iter__

    def asked(self):
        if self.batch_sampler.epoch == 2:
            ask()
        return iterate(self)

    with monkeypatch.context() as patches:
        patches.setattr(EpochLoader, "__iter__", asked)
        with pytest.raises(Stopped, match="saved after epoch 1, and"):
            train(data, BASE)
    assert_same_bytes(train(data, BASE), whole)


def test_the_folder_of_a_stopped_run_says_interrupted(data, monkeypatch):
    with monkeypatch.context() as patches:
        ask_in_step(patches, 2)
        with pytest.raises(Stopped):
            train(data, BASE)
    folder = runs.reports_root() / "t" / "runs" / "r-seed0"
    runs._open.pop(folder).release()
    assert runs.state(folder) == "interrupted"
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["progress"]
    assert (saved["steps"], saved["sums"][2], saved["history"]) == (2, 32, [])


def test_sigterm_means_what_it_meant_before_and_after():
    former = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop:
        assert not stop.asked
        ask()
        assert stop.asked
    assert signal.getsignal(signal.SIGTERM) == former
