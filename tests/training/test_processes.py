"""A run in several processes: the numbers of one, every image once, one writer, and nobody left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from labkit.data.hashes import file_hashes
from labkit.data.loaders import make_loaders, shared
from labkit.data.readers import read
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation import metrics
from labkit.models.build import build_model, synchronized
from labkit.params import PROJECT, ParameterError, RunParams
from labkit.reporting.sentences import processes_sentence
from labkit.runs.files import read_json
from labkit.runs.fingerprint import run_inputs
from labkit.runs.folder import open_run
from labkit.training import device, processes
from labkit.training.device import machine_facts, refuse_too_many, set_up, threads_of
from labkit.training.loop import fit
from labkit.training.memory import piece_sizes
from labkit.training.predict import predict
from labkit.training.processes import HelperFailed, agree, stop_helpers, together
from labkit.training.step import TrainStep
from labkit.training.stop import Stopped

BASE = RunParams(
    study="t", run="r", image_size=24, batch_size=12, epochs=2, threads=1, device="cpu", rotation=20.0,
    num_processes=2, learning_rate=1e-3, class_weights="balanced", freeze_epochs=1, weights="given",
)  # fmt: skip


@pytest.fixture
def data(image_folder, tmp_path):
    table = read("retinopathy", image_folder).table
    store = build_store(table, file_hashes(table, tmp_path), 24, tmp_path)
    return assign_splits(table, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2), store


@pytest.fixture(autouse=True)
def nobody_is_left():
    yield
    stop_helpers()


def train(data, params, accelerator=None):
    run = open_run(params, run_inputs(params, "d"))
    model, loaders = build_model("resnet18", 5, seed=params.seed), make_loaders(*data, params)
    accelerator = accelerator or set_up(params)
    history = fit(model, loaders, params, accelerator, run, metrics.score("qwk"), "qwk")
    return run, history, model, loaders


def made(run) -> dict[str, bytes]:
    return {name: run.path(name).read_bytes() for name in ("history.csv", "model.safetensors")}


# --- in one process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_the_pieces_of_the_batch_in_its_order_and_know_the_whole_batchs_labels(data, count):
    params = BASE.model_copy(update={"num_processes": count})
    loaders = make_loaders(*data, params)
    for split, loader in loaders.items():
        loader.set_epoch(1)
        whole = list(loader)
        parts = []
        for process in range(count):
            with shared([loader], process, count):
                parts.append(list(loader))
        for batch, *pieces in zip(whole, *parts, strict=True):
            assert "all_labels" not in batch
            for name in batch:
                assert torch.equal(torch.cat([piece[name] for piece in pieces]), batch[name]), (split, name)
            assert all(torch.equal(piece["all_labels"], batch["labels"]) for piece in pieces)
            sizes = [len(piece["labels"]) for piece in pieces]
            if len(batch["labels"]) == params.batch_size:
                assert sizes == piece_sizes(params.batch_size, params.batch_size // count, 2)
            assert min(sizes) >= (2 if split == "train" else 0)
        assert [len(batch["labels"]) for batch in loader] == [len(batch["labels"]) for batch in whole]


@pytest.mark.parametrize(("rest", "count", "dropped"), [(3, 2, True), (4, 2, False), (1, 1, True), (2, 1, False)])
def test_a_last_batch_without_two_images_for_each_process_is_left_out_in_training(data, rest, count, dropped):
    table, store = data
    train = table[table["split"] == "train"].head(24 + rest)
    loaders = make_loaders(train, store, BASE.model_copy(update={"num_processes": count}))
    assert len(loaders["train"]) == 2 + (not dropped)


def test_a_share_may_be_empty_in_prediction(data):
    table, store = data
    one = table[table["split"] == "val"].head(1)
    loader = make_loaders(one, store, BASE.model_copy(update={"augment_test": True}))["val"]
    with shared([loader], 1, 2):
        (batch,) = loader
    assert batch["images"].shape == (0, 24, 24, 3) and len(batch["index"]) == len(batch["angles"]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_processes": 7}, r"^num_processes: got 7, allowed: at most half of batch_size \(12\)"),
        ({"num_processes": 0}, r"^num_processes: got 0, allowed: a whole number, at least 1"),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ParameterError, match=words):
        RunParams.of(BASE.model_dump() | changes)


def test_more_processes_than_gpus_are_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    refuse_too_many(2, "cuda")
    refuse_too_many(8, "cpu")
    with pytest.raises(
        ParameterError, match=r"num_processes: got 3, .*at most 2, one for each GPU.* set device to cpu"
    ):
        refuse_too_many(3, "cuda")


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(device.os, "cpu_count", lambda: 8)
    shares = [threads_of(BASE.model_copy(update={"threads": 0, "num_processes": n})) for n in (1, 3, 16)]
    assert shares == [8, 2, 1] and threads_of(BASE) == 1


def test_their_number_is_a_part_of_the_fingerprint():
    one = run_inputs(BASE.model_copy(update={"num_processes": 1}), "d")
    assert one != run_inputs(BASE, "d")


def test_the_notebook_says_what_several_processes_change():
    assert processes_sentence(1, 32, "cpu") == processes_sentence(None, 32, "cpu") == ""
    assert "BatchNorm took mean and variance of 16 images" in processes_sentence(2, 32, "cpu")
    assert "on about 10 images each" in processes_sentence(3, 32, "cpu")
    assert "over all of them" in processes_sentence(2, 32, "NVIDIA H100")


@pytest.mark.parametrize("arch", ["resnet50", "tf_efficientnet_lite0"])
def test_synchronized_batchnorms_keep_names_and_values_and_give_the_same_in_evaluation(arch):
    if not arch.startswith("resnet"):
        pytest.importorskip("timm")
    model, other = build_model(arch, 3).eval(), synchronized(build_model(arch, 3)).eval()
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in other.modules())
    states = model.state_dict(), other.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(images), other(images), atol=1e-5)


# --- in two, really spawned -------------------------------------------------------------------------------------------


def pids(accelerator) -> list[int]:
    from accelerate.utils import gather_object

    return gather_object([os.getpid()])


def breaks(accelerator, how: str, met: bool = True) -> None:
    if accelerator.process_index == 1:
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {"is wrong": ValueError, "a parameter": ParameterError}[how]("the second one's")
    if met:
        accelerator.wait_for_everyone()


def test_two_processes_compute_together_and_what_goes_wrong_in_one_is_said(capfd):
    accelerator = set_up(BASE)
    assert machine_facts(accelerator)["num_processes"] == 2 and torch.get_num_threads() == 1
    assert "WORLD_SIZE" not in os.environ and "OMP_NUM_THREADS" not in capfd.readouterr().err
    us, other = together(accelerator, pids)
    assert us == os.getpid() and psutil.Process(other).ppid() == us
    with pytest.raises(HelperFailed, match=r"^process 2 of 2 failed: ValueError: the second one's") as caught:
        together(accelerator, breaks, "is wrong")
    assert "in breaks" in caught.value.__notes__[0] and not psutil.pid_exists(other)
    with pytest.raises(ParameterError, match=r"run the cell with set_up\(params\) again"):
        together(accelerator, pids)
    assert set_up(BASE.model_copy(update={"num_processes": 1})).num_processes == 1


@pytest.mark.slow
def test_a_helper_that_is_killed_is_missed_and_what_another_says_is_passed_on():
    with pytest.raises(HelperFailed, match=r"^process 2 of 2 has ended \(exit code -9\); was it killed"):
        together(set_up(BASE), breaks, "dies")
    with pytest.raises(ParameterError, match=r"^the second one's$"):
        together(set_up(BASE), breaks, "a parameter")
    with pytest.raises(HelperFailed, match=r"^process 2 of 2 failed: ValueError"):
        together(set_up(BASE), breaks, "is wrong", False)  # nothing fails here, before its answer is missed


@pytest.mark.slow
def test_setting_up_again_ends_the_helpers_of_before():
    first = together(set_up(BASE), pids)[1]
    accelerator = set_up(BASE)
    assert not psutil.pid_exists(first)
    assert together(accelerator, pids)[1] != first


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_shares(data):
    """Frozen phase, class weights, augmentation, and a last batch that is shorter: the same losses, to 1e-4."""
    run, two, _, loaders = train(data, BASE)
    assert len(loaders["train"].dataset) % BASE.batch_size >= 4
    alone = BASE.model_copy(update={"num_processes": 1, "run": "alone"})
    in_pieces = TrainStep.__post_init__

    def halved(self):
        in_pieces(self)
        self.micro_batch = 6

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(TrainStep, "__post_init__", halved)
        patches.setattr("labkit.training.step.piece_sizes", lambda count, *_: [count - count // 2, count // 2])
        _, one, _, _ = train(data, alone)
    assert two["train_loss"].to_numpy() == pytest.approx(one["train_loss"].to_numpy(), abs=1e-4)
    assert two["train_accuracy"].tolist() == pytest.approx(one["train_accuracy"].tolist(), abs=0.05)
    assert list(two["phase"]) == ["head", "all"] and run.manifest["micro_batch"] == 12


@pytest.mark.slow
def test_they_give_the_same_bytes_twice_predict_every_image_once_and_only_the_kernel_writes(data, tmp_path):
    accelerator = set_up(BASE)
    run, _, model, _ = train(data, BASE, accelerator)
    first = made(run)
    files = {path.name for path in run.folder.iterdir()}
    assert files == {".lock", "checkpoint.pt", "history.csv", "model.safetensors", "params.yaml", "run.json"}
    assert read_json(run.path("run.json"))["attempts"] == 1
    loader = make_loaders(*data, BASE)["test"]
    loader.batch_sampler.batch_size = loader.made_of["batch_size"] = 19
    assert len(loader.dataset) % 19 == 1  # in the last batch there is one image for two
    together_ = predict(model, loader, BASE.normalize, accelerator)
    alone = predict(model, loader, BASE.normalize)
    assert together_.shape == (len(loader.dataset), 5) and np.allclose(together_, alone, atol=1e-4)
    again, *_ = train(data, BASE.model_copy(update={"run": "again"}), accelerator)
    assert made(again) == first
    assert not list(Path(tmp_path).rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 6])
def test_asked_to_stop_they_stop_after_the_same_step_and_go_on_to_the_same_bytes(data, monkeypatch, number):
    whole, *_ = train(data, BASE.model_copy(update={"run": "whole"}))
    step, done = TrainStep.__call__, []

    def asked(self, batch, seed):
        done.append(seed)
        if len(done) == number:
            os.kill(processes._helpers[0].pid, signal.SIGTERM)  # to every process, as SLURM does
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, seed)

    with monkeypatch.context() as patches:
        patches.setattr(TrainStep, "__call__", asked)
        with pytest.raises(Stopped, match=r"saved after .*step .* of epoch [12]"):
            train(data, BASE)
    resumed, *_ = train(data, BASE)
    assert made(resumed) == made(whole)


KERNEL = """
import sys
sys.path.insert(0, "tests")
from test_processes import BASE, pids, together, set_up
print(together(set_up(BASE), pids)[1], flush=True)
input()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_helpers_end_with_their_kernel_however_it_ends(number):
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    helper = psutil.Process(int(kernel.stdout.readline()))
    kernel.send_signal(number)
    kernel.communicate()
    psutil.wait_procs([helper], timeout=30)
    assert not helper.is_running()


def test_the_kernel_says_what_it_has_agreed_with_itself_alone():
    assert agree(set_up(BASE.model_copy(update={"num_processes": 1})), "on") == "on"
    assert processes._helpers == []
