"""What every contestant is given to do: the same photographs, transforms, network, batches and optimizer."""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pandas as pd
import torch
from measuring import Pass, compared
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import models

from labkit.data.augment import to_float

Labelled = tuple[Tensor, Tensor]  # images and labels of a batch
Look = Callable[[Tensor, Tensor, Tensor], Any]  # at outputs, labels and loss
NAME = "labkit"
CLASSES = 5
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4  # SGD, as in the reports

PEERS = {  # name in the table: module, what it can do, and the ending of its functions' names
    "plain loop": ("peer_plain", ("load", "train", "evaluate"), ""),
    "torchvision recipe": ("peer_torchvision", ("load", "train", "evaluate"), ""),
    "timm": ("peer_timm", ("load", "train", "evaluate"), ""),
    "timm --channels-last": ("peer_timm", ("train",), "_channels_last"),
    "Lightning Trainer": ("peer_lightning", ("train", "evaluate"), ""),
    "fastai": ("peer_fastai", ("load", "train", "evaluate"), ""),
}


@dataclass
class Files:
    """Photographs of ``size`` px to batches (load), or to logits in the table's order (evaluate).

    ``folder`` holds a folder for each class. To batches: rotate by up to ``rotation`` degrees, crop ``crop`` px at
    random, flip both ways; ``to`` is uint8 or float32, normalised. To logits: make the shorter side ``resize`` px if it
    is given, crop the middle, and predict with ``weights``.
    """

    table: pd.DataFrame
    size: int
    crop: int
    folder: str = ""
    to: str = "float32"
    rotation: float = 0.0
    resize: int | None = None
    batch_size: int = 32
    arch: str = "resnet18"
    weights: Any = None
    device: Any = "cpu"

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        self.paths: list[str] = self.table["path"].tolist()
        self.labels: list[int] = self.table["label"].astype(int).tolist()

    def random(self, kit: Any, *last: Any) -> Any:
        """The augmentation and what comes last, by torchvision.transforms or its v2: the nearest pixel, as ours."""
        rotate = [kit.RandomRotation([-self.rotation, self.rotation])] if self.rotation else []
        flips = kit.RandomHorizontalFlip(), kit.RandomVerticalFlip()
        return kit.Compose([*rotate, kit.RandomCrop(self.crop), *flips, *last])

    def middle(self, kit: Any, *last: Any) -> Any:
        """The resizing and the crop of evaluation, and what comes last."""
        return kit.Compose([*([kit.Resize(self.resize)] if self.resize else []), kit.CenterCrop(self.crop), *last])

    def drain(self, batches: Iterable) -> int:
        """Count the images of one epoch; ValueError for batches that are not what is asked for."""
        count, images = 0, torch.empty(0)
        for images, _ in batches:
            count += len(images)
        if count and (str(images.dtype) != f"torch.{self.to}" or self.crop not in images.shape[1:]):
            raise ValueError(f"batches hold {images.dtype} {tuple(images.shape)}, not {self.to} of {self.crop} px")
        return count


@dataclass
class Steps:
    """Training steps on ``batches`` in the device's memory: images (B, H, W, 3) uint8, labels (B,)."""

    arch: str
    batches: list[Labelled]
    device: torch.device
    precision: str = "fp32"  # or bf16

    def floats(self, layout: torch.memory_format = torch.contiguous_format) -> list[Labelled]:
        """Normalised batches (B, 3, H, W), as a peer's loader hands them to its loop."""
        return [(to_float(x, "imagenet").contiguous(memory_format=layout), y) for x, y in self.batches]


class Photographs(Dataset):
    """One file per item, read when it is asked for."""

    def __init__(self, task: Files, read: Callable[[str], Any], transform: Callable[[Any], Tensor]):
        self.paths, self.labels, self.read, self.transform = task.paths, task.labels, read, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.read(self.paths[index])), self.labels[index]


def network(task: Files | Steps) -> nn.Module:
    """The network of all peers but timm, on its device: torchvision's own, with a head of CLASSES outputs."""
    model = models.get_model(task.arch, num_classes=CLASSES)
    if isinstance(task, Files):
        model.load_state_dict(task.weights)
    return model.to(task.device)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of all contestants, as torch has it."""
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)


def training_loop(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Labelled], bf16: bool, look: Look | None = None
) -> Pass:
    """The steps that all plain loops share; ``look``: what a tool fetches from the device in each of them."""
    criterion = nn.CrossEntropyLoss()

    def once() -> float:
        model.train()
        loss = torch.zeros(())
        for images, labels in batches:
            with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
                outputs = model(images)
                loss = criterion(outputs, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if look:
                look(outputs, labels, loss)
        return loss.item()

    return once


def logits_loop(model: nn.Module, batches: Iterable[tuple[Tensor, Any]], device: torch.device) -> Pass:
    """Logits of all batches under `inference_mode`, on the CPU."""

    @torch.inference_mode()
    def once() -> Tensor:
        model.eval()
        return torch.cat([model(images.to(device, non_blocking=True)).cpu() for images, _ in batches])

    return once


def ready(kind: str, task: Files | Steps, refuse: Callable[[Any], str] = lambda _: "") -> tuple[dict, dict[str, str]]:
    """Passes of the peers that can do this task, each run once; and for the others the reason, in one line.

    ``kind``: load, train or evaluate. ``refuse`` looks at what the first pass returned and says why it is not the work
    that was asked for. Every error is a reason, because nobody can foresee what another tool's next version does.
    """
    passes, reasons = {}, {}
    for name, (module, _, ending) in [(name, how) for name, how in PEERS.items() if kind in how[1]]:
        try:
            passes[name] = getattr(import_module(module), kind + ending)(task)
            reasons[name] = refuse(passes[name]())
        except ImportError as error:
            reasons[name] = f"{error.name or error} is not installed (pip install '.[bench]')"
        except Exception as error:
            reasons[name] = in_one_line(error)
    passes = {name: once for name, once in passes.items() if not reasons[name]}
    return passes, {name: reason for name, reason in reasons.items() if reason}


def beside(what: str, setting: str, unit: str, found: dict[str, Any], notes: dict[str, str], ours=NAME, **told: Any):
    """A row for each peer in ``found``, its seconds or the reason why there are none; ``goals[""]`` is the others'."""
    goals = told.pop("goals")
    for peer in [name for name in PEERS if name in found]:
        more = told | {"goal": goals.get(peer, goals[""]), "note": notes.get(peer, "")}
        yield compared(what, setting, unit, found[ours], peer, found[peer], **more)


def in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def one_thread():
    """torch and what is built on it compute on one thread; loaders have no workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
