"""Rows of training: what the loader adds to the steps, the step beside the peers', and the frozen phase."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from labkit.bench import ours
from labkit.bench.peers import STEP, ready
from labkit.bench.photographs import eyes
from labkit.bench.rows import Goal, Row, absent_row, at_least, at_most, figure_row, rate_row, time_row
from labkit.bench.setting import Setting
from labkit.bench.tasks import CLASSES, StepTask
from labkit.data.loaders import Batch, EpochLoader, make_loaders
from labkit.models.build import backbone_parameters

PLACES = (
    ("resnet18", 64),
    ("resnet18", 128),
    ("resnet18", 224),
    ("resnet50", 64),
    ("resnet50", 128),
    ("resnet50", 224),
)
PLACES_QUICK = (("resnet18", 32),)
STEPS_PLACES = (("resnet18", 64), ("resnet18", 224), ("resnet50", 64), ("resnet50", 224))
NOTES = {
    "plain loop": "float32; ours normalises its bytes inside the step, all peers are handed floats",
    "Lightning Trainer": "each pass is a call of fit, with its start",
    "fastai": "each pass is a call of fit, with its start; its own SGD",
}


@dataclass(frozen=True)
class Size:
    """Batch and steps of a pass: on a CPU so few that six networks take minutes."""

    batch: int
    steps: int

    @classmethod
    def of(cls, setting: Setting, px: int) -> "Size":
        """For this many pixels a side."""
        if setting.quick:
            return cls(4, 2)
        if setting.device == "cuda":
            return cls(64, 40)
        return {64: cls(32, 8), 128: cls(32, 4)}.get(px, cls(16, 3))


def precision_of(setting: Setting) -> Any:
    """What ours trains in by default on this device; the peers are given the same."""
    return "bf16" if setting.device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def where(arch: str, px: int, size: Size, precision: str) -> str:
    """Network, pixels, batch and precision, as a row says them."""
    return f"{arch}, {px} px, batch {size.batch}, {precision}"


def epoch_rows(setting: Setting) -> Iterator[Row]:
    """An epoch through store and loader against the same steps on tensors that are in memory."""
    for arch, px in PLACES_QUICK if setting.quick else PLACES:
        size, precision = Size.of(setting, px), precision_of(setting)
        training = ours.Training(arch, _params(setting, px, size, precision))
        loader = loader_for(setting, px, size, training.params)
        batches = on_device(loader, training.accelerator.device)
        what = "epoch, store to last step"
        passes = {"epoch": lambda: training.epoch(loader), "steps": lambda: training.epoch(batches)}  # noqa: B023
        times = setting.times(f"{what}, {arch}, {px} px", passes)
        note = "steps: the same ones, on bytes that are on the device already"
        place = f"{where(arch, px, size, precision)}, {size.steps} steps"
        yield time_row(what, place, times["epoch"], "its own steps", times["steps"], at_most(1.03), note=note)


def step_rows(setting: Setting) -> Iterator[Row]:
    """Training steps in memory beside every peer's: same network, batch, precision and optimizer."""
    for arch, px in PLACES_QUICK if setting.quick else STEPS_PLACES:
        size, precision = Size.of(setting, px), precision_of(setting)
        task = step_task(setting, arch, px, size, precision)
        passes, reasons = ready(STEP, task)
        mine = ours.train(task)
        mine()
        what, place = "training step", where(arch, px, size, precision)
        times = setting.times(f"{what}, {place}", {ours.NAME: mine} | passes, warm=False)
        for peer in STEP:
            if peer in reasons:
                yield absent_row(what, place, "images/s", peer, reasons[peer], at_least(1))
                continue
            theirs, note = times[peer], NOTES.get(peer, "")
            yield rate_row(what, place, "images/s", task.count, times[ours.NAME], peer, theirs, at_least(1), note=note)


def frozen_rows(setting: Setting) -> Iterator[Row]:
    """An epoch in which only the head learns against one in which everything does, and what is kept of the backbone."""
    for arch, px in PLACES_QUICK if setting.quick else (("resnet18", 128), ("resnet50", 128)):
        size, precision = Size.of(setting, px), precision_of(setting)
        params = _params(setting, px, size, precision)
        frozen, whole = ours.Training(arch, params, frozen=True), ours.Training(arch, params)
        loader = loader_for(setting, px, size, params)
        place = f"{where(arch, px, size, precision)}, {size.steps} steps"
        passes = {"head": lambda: frozen.epoch(loader), "all": lambda: whole.epoch(loader)}  # noqa: B023
        times = setting.times(f"frozen phase, {place}", passes)
        yield time_row("frozen phase, an epoch", place, times["head"], "training all", times["all"], at_most(0.30))
        kept = kept_of_backbone(frozen, on_device(loader, frozen.accelerator.device)[0])
        yield figure_row(
            "frozen phase, graph nodes kept of the backbone", place, "nodes", kept, goal=Goal("≤", 0, "ours")
        )


def kept_of_backbone(training: ours.Training, batch: Batch) -> int:
    """Nodes of the graph that lie below the head, of one batch's outputs; and gradients that the backbone has."""
    from labkit.models.build import head_parameters, train_mode
    from labkit.training.step import to_device

    train_mode(training.model, training.frozen)
    images, _ = to_device(batch, training.params, training.accelerator.device)
    head = {id(parameter) for parameter in head_parameters(training.model)}
    nodes, below = [training.model(images).grad_fn], 0
    seen = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        below += type(node).__name__.startswith(BACKBONE_NODES) or (leaf is not None and id(leaf) not in head)
        nodes += [above for above, _ in node.next_functions]
    return below + sum(parameter.grad is not None for parameter in backbone_parameters(training.model))


BACKBONE_NODES = ("Convolution", "MkldnnConvolution", "NativeBatchNorm", "CudnnBatchNorm", "Relu", "MaxPool", "Mean")


def _params(setting: Setting, px: int, size: Size, precision: str):
    return ours.params_for(px, size.batch, device=setting.device, precision=precision)


def loader_for(setting: Setting, px: int, size: Size, params) -> EpochLoader:
    """Our train loader over just as many photographs as the steps of a pass take."""
    table = eyes(setting.folder, size.batch * size.steps, px)
    store = ours.store_of(table, px, setting.folder)
    return make_loaders(table, store, params, setting.device)["train"]


def on_device(loader: EpochLoader, device: torch.device) -> list[Batch]:
    """All batches of an epoch, as the loop takes them, on the device."""
    loader.set_epoch(1)
    return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in loader]


def step_task(setting: Setting, arch: str, px: int, size: Size, precision: Any) -> StepTask:
    """Batches of random bytes: a step takes as long whatever it sees."""
    device = torch.device(setting.device)
    draw = torch.Generator().manual_seed(0)
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for _ in range(size.steps):
        images.append(torch.randint(256, (size.batch, px, px, 3), generator=draw, dtype=torch.uint8).to(device))
        labels.append(torch.randint(CLASSES, (size.batch,), generator=draw).to(device))
    return StepTask(arch, px, images, labels, device, precision)
