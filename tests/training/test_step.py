"""The training step: fewer images at a time where memory ends, nothing copied to the host, the same names compiled."""

import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from labkit.data.loaders import ahead, make_loaders
from labkit.evaluation import matrices
from labkit.models.build import build_model, freeze_backbone, train_mode
from labkit.params import ParameterError, RunParams
from labkit.reporting.learning import micro_batch_sentence
from labkit.runs.fingerprint import run_inputs
from labkit.runs.folder import open_run
from labkit.training import device as machine
from labkit.training import recorder, step
from labkit.training.device import set_up
from labkit.training.loop import fit
from labkit.training.loss import make_criterion
from labkit.training.optim import make_optimizer
from labkit.training.predict import predict_images
from labkit.training.step import TrainStep, is_out_of_memory, piece_sizes

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
BASE = RunParams(
    image_size=16, batch_size=16, threads=1, device="cpu", optimizer="sgd", learning_rate=0.1, val_fraction=0.2
)
ON_CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch):
    """A full collection takes a fifth of a second here; exceptions hold no cycles, it is for what libraries do."""
    monkeypatch.setattr(step.gc, "collect", lambda *_: 0)


class Holds(nn.Module):
    """Passes images on, but has memory for ``most`` of them only."""

    def __init__(self, most: int, error: Exception | None = None):
        super().__init__()
        self.most, self.failed = most, 0
        self.error = error or torch.OutOfMemoryError("injected")

    def forward(self, x):
        if len(x) > self.most:
            self.failed += 1
            raise type(self.error)(*self.error.args)  # anew: an exception that is kept keeps its frames
        return x


def network(holds: nn.Module, normed: bool = False, outputs: int = 3) -> nn.Sequential:
    """The memory ends behind its first layers."""
    torch.manual_seed(0)
    middle = [nn.BatchNorm2d(4), nn.Dropout(0.3)] if normed else [nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, 4, 3), *middle, holds, nn.Flatten(), nn.Linear(4 * 14 * 14, outputs))


def a_batch(count: int = 16) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(1)
    return {
        "images": torch.from_numpy(rng.integers(0, 256, (count, 16, 16, 3), np.uint8)),
        "labels": torch.from_numpy(rng.integers(0, 3, count)),
        "index": torch.arange(count),
    }


def a_step(model, params=BASE, weights=None, micro_batch=0):
    accelerator = set_up(params)
    model = accelerator.prepare_model(model)
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[params.optimizer]
    optimizer = accelerator.prepare_optimizer(kind(model.parameters(), lr=params.learning_rate, fused=True))
    criterion = make_criterion(params, weights).to(accelerator.device)
    return TrainStep(model, criterion, optimizer, params, accelerator, micro_batch)


def learnt(step) -> list[torch.Tensor]:
    return [tensor.detach().cpu() for tensor in step.model.state_dict().values()]


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 5.0]])
@pytest.mark.parametrize("loss", ["cross_entropy", "ordinal"])
def test_out_of_memory_takes_fewer_at_a_time_to_the_step_of_the_whole_batch(loss, weights, device, capsys, monkeypatch):
    # Convolutions on CUDA use TF32 by default, of 10 bits: another batch size may have another algorithm, whose
    # rounding is 1e-4 of an update. In true float32 it is 1e-6, so 1e-5 is enough and no wrong gradient passes.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    params = BASE.model_copy(update={"loss": loss, "device": device, "learning_rate": 0.01, "precision": "fp32"})
    outputs = params.outputs(3)
    whole = a_step(network(Holds(99), outputs=outputs), params, weights)
    holds = Holds(5)
    small = a_step(network(holds, outputs=outputs), params, weights)
    for seed in range(2):
        expected = whole(a_batch(15), seed).tolist()  # 15 are cut into pieces of different sizes
        assert small(a_batch(15), seed).tolist() == pytest.approx(expected, rel=1e-5)
    assert (whole.micro_batch, small.micro_batch, holds.failed) == (16, 4, 2)  # 15 at once and 8 and 7 failed
    assert capsys.readouterr().out.count("out of memory with") == 2
    for one, other in zip(learnt(whole), learnt(small), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("error", [RuntimeError(ON_CPU), torch.OutOfMemoryError("CUDA out of memory. Tried …")])
def test_a_step_that_was_begun_again_leaves_no_trace_of_the_attempt(error):
    """Running statistics, dropout and gradients are those of a run that began with as few."""
    begun_again = a_step(network(Holds(4, error), normed=True))
    at_once = a_step(network(Holds(4), normed=True), micro_batch=4)
    for seed in range(3):
        assert torch.equal(begun_again(a_batch(), seed), at_once(a_batch(), seed))
    assert begun_again.micro_batch == 4
    assert all(torch.equal(one, other) for one, other in zip(learnt(begun_again), learnt(at_once), strict=True))


@pytest.mark.parametrize(("normed", "fewest"), [(True, 2), (False, 1)])
def test_where_even_the_fewest_do_not_fit_one_line_says_what_to_lower(normed, fewest):
    with pytest.raises(ParameterError, match=rf"^image_size: .* {fewest} images of 16 px .* batch_size 16 .*lower.*$"):
        a_step(network(Holds(0), normed=normed))(a_batch(), 0)


def test_nothing_of_the_failed_attempt_stays_in_memory():
    left = []

    def remember(module, x, out):
        if not left:
            left.append(weakref.ref(out))

    model = network(Holds(8), normed=True)
    model[0].register_forward_hook(remember)
    step = a_step(model)
    freed = []
    model[-1].register_forward_hook(lambda *_: freed.append(left[0]() is None))
    step(a_batch(), 0)
    assert freed == [True, True]


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        a_step(network(Holds(4, RuntimeError("shapes"))))(a_batch(), 0)


@pytest.mark.parametrize(
    ("count", "at_once", "smallest", "sizes"),
    [
        (16, 16, 2, [16]),
        (15, 4, 2, [4, 4, 4, 3]),
        (5, 2, 2, [3, 2]),
        (5, 2, 1, [2, 2, 1]),
        (2, 1, 2, [2]),
        (1, 4, 2, [1]),
    ],
)
def test_pieces_are_few_nearly_equal_and_never_too_small(count, at_once, smallest, sizes):
    assert piece_sizes(count, at_once, smallest) == sizes


def test_predictions_are_made_in_halves_where_memory_ends():
    images, holds = a_batch(20)["images"].numpy(), Holds(3)
    expected = predict_images(network(Holds(99)), images, "imagenet")
    assert predict_images(network(holds), images, "imagenet") == pytest.approx(expected, abs=1e-6)
    assert holds.failed == 3  # 20, 10, 5: those after the first 2 are taken in twos at once
    with pytest.raises(torch.OutOfMemoryError):
        predict_images(network(Holds(0)), images, "imagenet")


def train(data, name, most=99, **changes):
    params = BASE.model_copy(update={"run": name, "image_size": 24, "epochs": 2, "learning_rate": 1e-3} | changes)
    run, accelerator = open_run(params, run_inputs(params, "d")), set_up(params)
    model = build_model("resnet18", 5)
    if most < 99:
        limit = Holds(most)
        model.layer1.register_forward_pre_hook(lambda module, x: limit(x[0]) if module.training else None)
    fit(model, make_loaders(*data, params), params, accelerator, run, matrices.EpochScore(data[0], 5, "qwk"))
    return run


@pytest.mark.slow
def test_a_run_that_ran_out_of_memory_says_so_and_goes_on_as_if_never_stopped(data, monkeypatch):
    whole = train(data, "whole", most=5)
    assert whole.manifest["micro_batch"] == 4
    saved = recorder.save_checkpoint

    def die_after_an_epoch(path, fingerprint, progress, *rest):
        saved(path, fingerprint, progress, *rest)
        if len(progress.history) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "save_checkpoint", die_after_an_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(data, "killed", most=5)
    monkeypatch.setattr(recorder, "save_checkpoint", saved)
    resumed = train(data, "killed")  # what the checkpoint says holds, though memory would now suffice
    assert resumed.manifest["micro_batch"] == 4
    for name in ("history.csv", "model.safetensors"):
        assert resumed.path(name).read_bytes() == whole.path(name).read_bytes(), name


def test_the_notebook_says_what_a_micro_batch_changes():
    assert micro_batch_sentence(32, 32) == micro_batch_sentence(None, 32) == ""
    assert "8 images at a time" in micro_batch_sentence(8, 32) and "BatchNorm" in micro_batch_sentence(8, 32)


WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "item"}


class HostWaits(TorchDispatchMode):
    """Lists what makes the host wait for the device: values read, shapes that depend on values, copies to the host."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [value for value in args if isinstance(value, torch.Tensor)]
        to_host = isinstance(out, torch.Tensor) and out.device.type == "cpu" and any(t.is_cuda for t in tensors)
        if name in WAITS or to_host:
            self.found.append(name)
        return out


def test_several_processes_do_not_halve_but_say_what_to_lower(monkeypatch):
    monkeypatch.setattr(TrainStep, "_processes", 2)
    words = r"^batch_size: out of memory with 16 images of 16 px in each of 2 processes; lower batch_size \(it is 16\)$"
    with pytest.raises(ParameterError, match=words):
        a_step(network(Holds(0)))(a_batch(), 0)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16"}, {"optimizer": "sgd"}, {"loss": "ordinal", "optimizer": "adam"}]
)
def test_a_step_does_not_wait_for_the_device_and_sends_it_no_constants(changes, processes, device, monkeypatch):
    monkeypatch.setattr(TrainStep, "_processes", processes)  # of which the group is this one alone
    params = BASE.model_copy(update={"optimizer": "adamw", "device": device} | changes)
    accelerator = set_up(params)
    model = accelerator.prepare_model(build_model("resnet18", params.outputs(3)))
    optimizer = accelerator.prepare_optimizer(make_optimizer(model, params))
    criterion = make_criterion(params, [1.0, 2.0, 3.0]).to(accelerator.device)
    step = TrainStep(model, criterion, optimizer, params, accelerator)
    batch = {name: values.pin_memory() if device == "cuda" else values for name, values in a_batch().items()}
    step(batch, 0)  # the first one makes what is kept

    def refuse(*arguments, **keywords):
        raise AssertionError("a constant is made in the loop, and copied to the device")

    monkeypatch.setattr(torch, "tensor", refuse)
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        with HostWaits() as waits:
            step(batch, 1)
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert waits.found == []


def test_nothing_of_a_frozen_backbone_is_kept_for_a_gradient():
    model = build_model("resnet18", 3)
    freeze_backbone(model)
    train_mode(model, frozen=True)
    with_graph, saved = [], []
    for name, module in model.named_modules():
        if not name.startswith("fc") and name:
            module.register_forward_hook(
                lambda module, x, out, name=name: with_graph.append(name) if out.grad_fn is not None else None
            )
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(tuple(t.shape)) or t, lambda t: t):
        model(torch.randn(4, 3, 32, 32))
    assert with_graph == []
    assert all(len(shape) <= 2 for shape in saved)  # the head's features and weights, no map of a convolution


def test_batches_gathered_ahead_are_the_same_in_the_same_order(data):
    params = BASE.model_copy(update={"image_size": 24, "crop_size": 20})
    loader = make_loaders(*data, params)["train"]
    loader.set_epoch(3)
    alone = list(loader)
    loader.ahead = True  # as for a GPU
    together = list(loader)
    assert len(together) == len(alone) > 2
    assert all(torch.equal(one[name], other[name]) for one, other in zip(alone, together, strict=True) for name in one)


def test_an_error_of_the_thread_that_gathers_is_not_swallowed():
    def batches():
        yield {"index": torch.zeros(1)}
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(ahead(batches()))
    assert next(ahead(batches())) is not None  # left after its first batch, it ends


def test_without_a_compiler_the_cure_is_one_line(monkeypatch):
    def no_compiler(*arguments, **keywords):
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(machine.torch, "compile", no_compiler)
    with pytest.raises(
        ParameterError, match=r"^compile: .*apt install g\+\+.*set compile to False.*No working.*found$"
    ):
        set_up(BASE.model_copy(update={"compile": True}))


@pytest.mark.slow
def test_a_compiled_step_learns_the_same_and_its_weights_keep_their_names():
    plain = a_step(network(Holds(99)))
    compiled = a_step(network(Holds(99)), BASE.model_copy(update={"compile": True}))
    assert compiled(a_batch(), 0).tolist() == pytest.approx(plain(a_batch(), 0).tolist(), rel=1e-4)
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())
    for one, other in zip(learnt(plain), learnt(compiled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
