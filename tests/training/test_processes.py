"""A run in several processes: the loss of one, every image once, one writer, and no process left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from labkit.data.loaders import make_loaders
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation import matrices
from labkit.models.build import build_model, load_weights, synchronized
from labkit.params import PROJECT, ParameterError, RunParams
from labkit.runs.fingerprint import data_fingerprint, run_inputs
from labkit.runs.folder import cache_root, open_run, reports_root
from labkit.training import device, loop, step
from labkit.training.checkpoint import save_weights
from labkit.training.device import set_up
from labkit.training.launch import ProcessFailed
from labkit.training.loop import fit
from labkit.training.predict import predict
from labkit.training.progress import Stopped

BASE = RunParams(
    study="t", run="r", image_size=24, batch_size=12, epochs=2, threads=1, device="cpu", rotation=20.0,
    num_processes=2, learning_rate=1e-3, class_weights="balanced", val_fraction=0.2, test_fraction=0.2,
)  # fmt: skip


def train(data: Path, inputs=None, **changes):
    """What the notebook does."""
    params = BASE.model_copy(update={"data": str(data)} | changes)
    images, hashes = open_data(params, cache_root())
    store = build_store(images.table, hashes, params.image_size, cache_root())
    table = assign_splits(store.keep_readable(images.table), hashes=hashes, **params.split_rule)
    accelerator, loaders = set_up(params), make_loaders(table, store, params)
    run = open_run(params, inputs or run_inputs(params, data_fingerprint(images, hashes)))
    model = build_model("resnet18", 5, load_weights(params.weights, "resnet18")[0], seed=params.seed)
    history = fit(model, loaders, params, accelerator, run, matrices.EpochScore(table, 5, "qwk"))
    return run, history, model, loaders


def launched(by: int | None = None) -> list[psutil.Process]:
    return [one for one in psutil.Process(by).children() if "spawn_main" in " ".join(one.cmdline())]


# --- without starting any -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_a_batch_are_its_images_with_the_same_draws(image_folder, count, monkeypatch):
    monkeypatch.setattr(loop, "launch", lambda *_: None)
    monkeypatch.setattr(loop, "load_training", lambda *_: None)
    loaders = train(image_folder, num_processes=count, augment_test=True)[3]
    for split, loader in loaders.items():
        sampler, passes = loader.batch_sampler, []
        loader.set_epoch(1)
        whole = list(loader)
        for sampler.process in range(count):
            sampler.count = count
            passes.append(list(loader))
        for batch, *shares in zip(whole, *passes, strict=True):
            order = torch.cat([share["index"] for share in shares]).argsort()
            for name in batch:
                together = torch.cat([share[name] for share in shares])[order]
                assert torch.equal(together, batch[name][batch["index"].argsort()])
            assert split != "train" or min(len(share["index"]) for share in shares) >= 2


def test_more_processes_than_gpus_are_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device, "choose_device", lambda _: "cuda")
    with pytest.raises(ParameterError, match=r"num_processes: got 3, .*at most 2, one for each GPU.* device to cpu"):
        set_up(BASE.model_copy(update={"num_processes": 3}))


@pytest.mark.parametrize("arch", ["resnet50", "tf_efficientnet_lite0"])
def test_synchronized_batchnorms_keep_names_and_values(arch):
    pytest.importorskip("timm")
    model, other = build_model(arch, 3), synchronized(build_model(arch, 3))
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in other.modules())
    states = model.state_dict(), other.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_network_of_the_notebooks_own_class_is_refused_with_the_cure(image_folder, monkeypatch):
    monkeypatch.setattr(torch.nn.Conv2d, "__module__", "__main__")
    with pytest.raises(
        ParameterError, match=r"^num_processes: .* cannot see Conv2d, which a cell of this notebook defines; move it"
    ):
        train(image_folder)


def test_a_launchers_variables_reach_neither_this_process_nor_those_that_it_starts(monkeypatch, capsys):
    left = "RANK LOCAL_RANK WORLD_SIZE MASTER_PORT ACCELERATE_GRADIENT_ACCUMULATION_STEPS TORCHELASTIC_RUN_ID PMI_SIZE"
    for name in left.split():
        monkeypatch.setenv(name, "7")
    accelerator = set_up(BASE.model_copy(update={"num_processes": 1}))
    assert accelerator.num_processes == accelerator.gradient_accumulation_steps == 1
    assert "7" not in os.environ.values()
    assert "num_processes alone decides: ACCELERATE_GRADIENT" in capsys.readouterr().out


# --- in two, really started -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_shares(image_folder, tmp_path, monkeypatch):
    """Frozen phase, class weights, augmentation and a last, smaller batch: the same losses, to 1e-4."""
    save_weights(tmp_path / "start.safetensors", build_model("resnet18", 5, seed=1).state_dict(), "resnet18")
    changes = {"weights": str(tmp_path / "start.safetensors"), "freeze_epochs": 1, "select_on": "test"}
    run, two, model, loaders = train(image_folder, **changes)
    assert len(loaders["train"].dataset) % BASE.batch_size >= 4
    assert run.manifest["batch_norm"] == "per process" and run.manifest["num_processes"] == 2
    assert run.manifest["test_predictions"] == 2 and run.manifest["attempts"] == 1
    files = {path.name for path in run.folder.iterdir()}
    assert files == {".lock", "checkpoint.pt", "history.csv", "model.safetensors", "params.yaml", "run.json"}
    logits = predict(model, loaders["test"], BASE.normalize)
    best = two.loc[two["test_qwk"].idxmax()]
    assert (logits.argmax(1) == loaders["test"].labels).mean() == pytest.approx(best["test_accuracy"])
    halves = lambda batch, _: ({name: values[k::2] for name, values in batch.items()} for k in (0, 1))  # noqa: E731
    monkeypatch.setattr(step, "_pieces", halves)
    one = train(image_folder, **changes, num_processes=1, run="alone")[1]
    assert two["train_loss"].to_numpy() == pytest.approx(one["train_loss"].to_numpy(), abs=1e-4)
    assert two["train_accuracy"].to_numpy() == pytest.approx(one["train_accuracy"].to_numpy(), abs=0.05)


def when(ready, act) -> None:
    """Call ``act`` in a thread as soon as ``ready`` gives something, with what it gives."""

    def wait() -> None:
        while not (found := ready()):
            time.sleep(0.02)
        act(found)

    threading.Thread(target=wait, daemon=True).start()


def folder_of(name: str) -> Path:
    return reports_root() / "t" / "runs" / f"{name}-seed0"


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_asked_to_stop_they_save_and_go_on_to_the_same_bytes(image_folder, count):
    changes = {"num_processes": count, "batch_size": 6}
    whole = train(image_folder, **changes, run="whole")[0]
    stopped = folder_of("r") / "checkpoint.pt"
    when(stopped.exists, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match=r"saved (before|after) .* and the same command goes on"):
        train(image_folder, **changes)
    assert torch.load(stopped, weights_only=True)["progress"]["seconds"] == [] and not launched()
    resumed = train(image_folder, **changes)[0]
    for name in ("history.csv", "model.safetensors"):
        assert resumed.path(name).read_bytes() == whole.path(name).read_bytes(), name


@pytest.mark.slow
def test_what_goes_wrong_in_one_of_them_is_one_line_and_ends_all(image_folder):
    history = folder_of("r") / "history.csv"
    when(history.exists, lambda _: launched()[-1].kill())
    with pytest.raises(ProcessFailed, match=r"^one of the 2 processes was killed; was it out of memory\?"):
        train(image_folder, epochs=99)
    when((folder_of("full") / "run.json").exists, lambda _: (folder_of("full") / "history.csv").mkdir())
    with pytest.raises(ProcessFailed, match=r"^process 1 of 2 failed: NotWritten: .*history.csv: cannot be written"):
        train(image_folder, run="full")
    with pytest.raises(ParameterError, match="labkit's code has changed"):
        train(image_folder, run="other", inputs={"other": 1})
    assert not launched()


@pytest.mark.slow
def test_they_end_with_a_notebook_that_is_killed(image_folder):
    code = (
        "import sys; sys.path.insert(0, 'tests/training'); import test_processes as t; t.train(sys.argv[1], epochs=99)"
    )
    notebook = subprocess.Popen([sys.executable, "-c", code, str(image_folder)], cwd=PROJECT)
    while not (folder_of("r") / "history.csv").exists():
        time.sleep(0.1)
    processes = launched(notebook.pid)
    assert len(processes) == 2
    notebook.kill()
    assert psutil.wait_procs(processes, timeout=30)[1] == []
