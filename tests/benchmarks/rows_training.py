"""Rows of training: the loader beside the steps, the step beside the peers', the frozen phase, a device's use."""

from collections.abc import Iterator

import ours
import torch
from made_pictures import eyes
from measuring import Bench, Row, compared, row
from tasks import CLASSES, NAME, Steps, beside, ready

from labkit.data.loaders import EpochLoader, make_loaders
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
        self.bench, self.arch, self.px, self.precision = bench, arch, px, "fp32"
        self.batch, self.steps = {64: (32, 8), 128: (32, 4)}.get(px, (16, 3))
        if bench.device == "cuda":
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)  # what ours trains in by default, and so all
            self.batch, self.steps, self.precision = 64, 40, "bf16" if bf16 else "fp32"
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
        made = lambda top, *shape, kind: torch.randint(top, shape, generator=draw, dtype=kind).to(device)  # noqa: E731
        images = [made(256, self.batch, self.px, self.px, 3, kind=torch.uint8) for _ in range(self.steps)]
        labels = [made(CLASSES, self.batch, kind=torch.int64) for _ in images]
        return Steps(self.arch, list(zip(images, labels, strict=True)), device, self.precision)


def places(bench: Bench, *full: tuple[str, int]) -> list[Place]:
    """These networks and sizes; a tiny one in their place for `--quick`."""
    return [Place(bench, arch, px) for arch, px in ((("resnet18", 32),) if bench.quick else full)]


def epoch_rows(bench: Bench) -> Iterator[Row]:
    """An epoch through store and loader against the same steps on tensors that are in memory."""
    for place in places(bench, *ALL):
        training, loader = ours.Training(place.arch, place.params), place.loader()
        loader.set_epoch(1)
        held = [{name: one.to(bench.device) for name, one in batch.items()} for batch in loader]
        passes = {"epoch": lambda: training.epoch(loader), "steps": lambda: training.epoch(held)}  # noqa: B023
        found = bench.times(f"epochs, {place.words}", passes)
        told = {"goal": "≤ 1.03 ×", "note": "steps: the same ones, on bytes that are on the device already"}
        names = "epoch, store to last step", place.words, "s"
        yield compared(*names, found["epoch"], "its own steps", found["steps"], **told)


def frozen_rows(bench: Bench) -> Iterator[Row]:
    """An epoch that trains only the head against one that trains all."""
    for place in places(bench, ("resnet18", 128), ("resnet50", 128)):
        loader, names = place.loader(), ("frozen phase, an epoch", place.words, "s")
        of = {frozen: ours.Training(place.arch, place.params, frozen=frozen) for frozen in (True, False)}
        passes = {"head": lambda: of[True].epoch(loader), "all": lambda: of[False].epoch(loader)}  # noqa: B023
        found = bench.times(f"epochs, {place.words}", passes)
        yield compared(*names, found["head"], "training all", found["all"], goal="≤ 0.3 ×")


def step_rows(bench: Bench) -> Iterator[Row]:
    """Training steps in memory beside every peer's: same network, batch, precision and optimizer."""
    for place in places(bench, *(one for one in ALL if one[1] != 128)):
        task, what = place.task(), "training step"
        passes, reasons = ready("train", task)
        mine = ours.train(task)
        mine()
        found = bench.times(f"{what}, {place.words}", {NAME: mine} | passes, warm=False) | reasons
        told = {"goals": {"": "≥ 1 ×"}, "count": place.batch * place.steps}
        yield from beside(what, place.words, "images/s", found, NOTES, **told)


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
