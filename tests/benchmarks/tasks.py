"""What every contestant is given to do: the same photographs, transforms, network, batches and optimizer."""

import shutil
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import Pass
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import models

from labkit.data.augment import to_float
from labkit.data.phantoms.make import VERSION, Patient, fundus

CLASSES = 5
PLAIN_BATCH = 8  # of the course reports' loop
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4  # SGD, as in the reports
QUALITY = 92  # JPEG quality of the phantoms and of prepared crops

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

    def random(self, kit: Any) -> list:
        """The augmentation, as transforms of torchvision.transforms or of its v2."""
        rotate = [kit.RandomRotation([-self.rotation, self.rotation])] if self.rotation else []
        return [*rotate, kit.RandomCrop(self.crop), kit.RandomHorizontalFlip(), kit.RandomVerticalFlip()]

    def middle(self, kit: Any) -> list:
        """The resizing and the crop of evaluation."""
        return [*([kit.Resize(self.resize)] if self.resize else []), kit.CenterCrop(self.crop)]

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
    batches: list[tuple[Tensor, Tensor]]
    device: torch.device
    precision: str = "fp32"  # or bf16

    def floats(self, layout: torch.memory_format = torch.contiguous_format) -> list[tuple[Tensor, Tensor]]:
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
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: list[tuple[Tensor, Tensor]],
    bf16: bool,
    look: Callable[[Tensor, Tensor, Tensor], Any] = lambda outputs, labels, loss: None,
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


def ready(
    kind: str, task: Files | Steps, refuse: Callable[[Any], str] = lambda _: ""
) -> tuple[dict[str, Pass], dict[str, str]]:
    """Passes of the peers that can do this task, each run once; and for the others the reason, in one line.

    ``kind``: load, train or evaluate. ``refuse`` looks at what the first pass returned and says why it is not the work
    that was asked for. Every error is a reason, because nobody can foresee what another tool's next version does.
    """
    passes, reasons = {}, {}
    for name, (module, kinds, ending) in PEERS.items():
        if kind not in kinds:
            continue
        try:
            once = getattr(import_module(module), kind + ending)(task)
            if reason := refuse(once()):
                reasons[name] = reason
            else:
                passes[name] = once
        except ImportError as error:
            reasons[name] = f"{error.name or error} is not installed (pip install '.[bench]')"
        except Exception as error:
            reasons[name] = in_one_line(error)
    return passes, reasons


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


def eyes(folder: Path, count: int, size: int) -> pd.DataFrame:
    """An image table of ``count`` synthetic photographs, JPEGs of ``size`` px, all ``train``, a folder for each grade.

    The same call gives the same bytes with the same numpy and Pillow; what is there is not drawn again.
    """
    there = folder / f"eyes-{size}px-{count}-v{VERSION}"
    if not there.is_dir():
        unfinished = there.with_name(f".{there.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        for number in range(count):
            path = unfinished / str(number % CLASSES) / f"{number}_left.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            patient = Patient(np.random.default_rng([2, number]))
            pixels = fundus(number % CLASSES, "left", np.random.default_rng([1, number]), patient, size)
            Image.fromarray(pixels).save(path, quality=QUALITY)
        unfinished.rename(there)
    paths = sorted(there.glob("*/*.jpeg"))
    table = pd.DataFrame({"image_id": [path.stem for path in paths], "path": [path.as_posix() for path in paths]})
    table = table.assign(label=[int(path.parent.name) for path in paths], group=pd.NA, side=pd.NA, split="train")
    return table.astype({"label": "Int64", "group": "string", "side": "string", "split": "string"})
