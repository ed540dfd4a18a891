"""Rows of training: what the loader adds to the steps, the step beside the peers', the frozen phase, and the use of a
device."""

from collections.abc import Iterator
from typing import Any

import ours
import torch
from measuring import Bench, Pass, Row, compared, row
from tasks import CLASSES, PEERS, Steps, eyes, ready

from labkit.data.loaders import Batch, EpochLoader, make_loaders
from labkit.models.build import build_model
from labkit.models.describe import flops

ALL = tuple((arch, px) for arch in ("resnet18", "resnet50") for px in (64, 128, 224))
OPERATIONS = 6  # a multiply-add is two; the backward pass computes two products for each of the forward's
NOTES = {
    "plain loop": "float32; ours normalises its bytes inside the step, all peers are handed floats",
    "Lightning Trainer": "each pass is a call of fit, with its start",
    "fastai": "each pass is a call of fit, with its start; its own SGD",
}


class Place:
    """A network and a size of images, with as many steps as take seconds on this device."""

    def __init__(self, bench: Bench, arch: str, px: int):
        self.bench, self.arch, self.px = bench, arch, px
        self.batch, self.steps = {64: (32, 8), 128: (32, 4)}.get(px, (16, 3))
        self.precision = "fp32"
        if bench.device == "cuda":
            self.batch, self.steps = 64, 40
            # What ours trains in by default; the peers are given the same.
            self.precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        if bench.quick:
            self.batch, self.steps = 4, 2
        self.words = f"{arch}, {px} px, batch {self.batch}, {self.precision}"
        self.params = ours.params_for(px, self.batch, device=bench.device, precision=self.precision)

    def loader(self) -> EpochLoader:
        """Our training loader over just as many photographs as the steps of a pass take."""
        table = eyes(self.bench.folder, self.batch * self.steps, self.px)
        store = ours.store_of(table, self.px, self.bench.folder)
        return make_loaders(table, store, self.params, self.bench.device)["train"]

    def task(self) -> Steps:
        """Batches of random bytes: a step takes as long whatever it sees."""
        device, draw = torch.device(self.bench.device), torch.Generator().manual_seed(0)
        batches = []
        for _ in range(self.steps):
            images = torch.randint(256, (self.batch, self.px, self.px, 3), generator=draw, dtype=torch.uint8)
            batches.append((images.to(device), torch.randint(CLASSES, (self.batch,), generator=draw).to(device)))
        return Steps(self.arch, batches, device, self.precision)


def places(bench: Bench, *full: tuple[str, int]) -> list[Place]:
    """These networks and sizes; a tiny one in their place for `--quick`."""
    return [Place(bench, arch, px) for arch, px in ((("resnet18", 32),) if bench.quick else full)]


def epoch_rows(bench: Bench) -> Iterator[Row]:
    """An epoch through store and loader against the same steps on tensors that are in memory."""
    for place in places(bench, *ALL):
        training, loader = ours.Training(place.arch, place.params), place.loader()
        found = epochs(bench, place, {"epoch": (training, loader), "steps": (training, on_device(loader, training))})
        told = {"goal": "≤ 1.03 ×", "note": "steps: the same ones, on bytes that are on the device already"}
        names = "epoch, store to last step", place.words, "s"
        yield compared(*names, found["epoch"], "its own steps", found["steps"], **told)


def frozen_rows(bench: Bench) -> Iterator[Row]:
    """An epoch that trains only the head against one that trains all."""
    for place in places(bench, ("resnet18", 128), ("resnet50", 128)):
        params, loader = place.params, place.loader()
        frozen, whole = ours.Training(place.arch, params, frozen=True), ours.Training(place.arch, params)
        found = epochs(bench, place, {"head": (frozen, loader), "all": (whole, loader)})
        names = "frozen phase, an epoch", place.words, "s"
        yield compared(*names, found["head"], "training all", found["all"], goal="≤ 0.3 ×")


def epochs(bench: Bench, place: Place, contestants: dict[str, tuple[ours.Training, Any]]) -> dict[str, Any]:
    """Times of an epoch of each (training, batches)."""
    passes: dict[str, Pass] = {
        name: lambda training=training, batches=batches: training.epoch(batches)
        for name, (training, batches) in contestants.items()
    }
    return bench.times(f"epochs, {place.words}", passes)


def on_device(loader: EpochLoader, training: ours.Training) -> list[Batch]:
    """All batches of an epoch, as the loop takes them, in the device's memory."""
    loader.set_epoch(1)
    device = training.accelerator.device
    return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in loader]


def step_rows(bench: Bench) -> Iterator[Row]:
    """Training steps in memory beside every peer's: same network, batch, precision and optimizer."""
    for place in places(bench, *(one for one in ALL if one[1] != 128)):
        task, what = place.task(), "training step"
        passes, reasons = ready("train", task)
        mine = ours.train(task)
        mine()
        found = bench.times(f"{what}, {place.words}", {ours.NAME: mine} | passes, warm=False) | reasons
        for peer in [name for name in PEERS if name in found]:
            told = {"goal": "≥ 1 ×", "note": NOTES.get(peer, ""), "count": place.batch * place.steps}
            yield compared(what, place.words, "images/s", found[ours.NAME], peer, found[peer], **told)


def device_rows(bench: Bench) -> Iterator[Row]:
    """Achieved TFLOP/s of the step, and the loader's images a second beside the step's."""
    for place in places(bench, *ALL):
        task, loader, setting = place.task(), place.loader(), place.words
        passes = {"loader": lambda loader=loader: [None for _ in loader], "step": ours.train(task)}
        found = bench.times(f"device, {setting}", passes)
        note = f"{place.params.num_workers} workers; below 1 × the device waits"
        told = {"count": place.batch * place.steps, "note": note}
        beside = compared("loader", setting, "images/s", found["loader"], "training step", found["step"], **told)
        achieved = beside["theirs"] * OPERATIONS * flops(build_model(place.arch, CLASSES), place.px) / 1e12
        note = "6 operations a multiply-add of the forward pass; convolutions and linear layers"
        yield row("training step, achieved", setting, "TFLOP/s", achieved, rounds=bench.rounds, note=note)
        yield beside
