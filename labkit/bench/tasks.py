"""What every contestant is given to do: the same images, transforms, network and batches."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from labkit.models.weights import StateDict

CLASSES = 5
PLAIN_BATCH = 8  # of the reports' loop
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4  # SGD, as in the reports
ROTATION = 20.0  # degrees either way


@dataclass(frozen=True)
class InputTask:
    """Files to batches: decode, rotate by up to ``rotation`` degrees, cut ``crop`` px out at random, flip both ways.

    ``to``: what a batch is to hold, bytes or normalised floats. ``folder`` holds a folder a class.
    """

    table: pd.DataFrame
    folder: str
    size: int
    crop: int
    to: Literal["uint8", "float32"]
    rotation: float = 0.0
    batch_size: int = 32

    @property
    def paths(self) -> list[str]:
        """Files of all images, in the table's order."""
        return self.table["path"].tolist()

    @property
    def labels(self) -> list[int]:
        """Grades of all images, in the table's order."""
        return [int(label) for label in self.table["label"]]


@dataclass(frozen=True)
class StepTask:
    """Training steps on batches that are in memory: images (B, H, W, 3) uint8 and labels (B,) on the device."""

    arch: str
    px: int
    images: list[Tensor]
    labels: list[Tensor]
    device: torch.device
    precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def count(self) -> int:
        """Images of one pass."""
        return sum(map(len, self.labels))

    def floats(self) -> list[tuple[Tensor, Tensor]]:
        """Normalised batches (B, 3, H, W), contiguous, as a peer's loader hands them to its loop."""
        from labkit.data.augment import to_float

        return [(to_float(x, "imagenet").contiguous(), y) for x, y in zip(self.images, self.labels, strict=True)]


@dataclass(frozen=True)
class TestTask:
    """Files of a test set to logits (n, CLASSES) in the table's order, by a network with these weights.

    ``resize``: the shorter side, in px, or None where the files have it; then the middle of ``crop`` px.
    """

    table: pd.DataFrame
    size: int  # of the files
    arch: str
    weights: StateDict
    crop: int
    device: torch.device
    resize: int | None = None
    batch_size: int = 64

    @property
    def paths(self) -> list[str]:
        """Files of all images, in the table's order."""
        return self.table["path"].tolist()

    @property
    def labels(self) -> list[int]:
        """Grades of all images, in the table's order."""
        return [int(label) for label in self.table["label"]]


def drain(batches: Iterable, task: InputTask) -> int:
    """Images of one pass over (images, labels); ValueError where they are not what the task asks for."""
    count, images = 0, torch.empty(0)
    for images, _ in batches:
        count += len(images)
    if count and (str(images.dtype) != f"torch.{task.to}" or task.crop not in images.shape[1:]):
        raise ValueError(f"batches hold {images.dtype} {tuple(images.shape)}, not {task.to} of {task.crop} px")
    return count


def torchvision_network(arch: str, weights: StateDict | None = None) -> nn.Module:
    """The network that all peers but timm train: torchvision's own, with a head of CLASSES outputs."""
    from torchvision import models

    model = models.get_model(arch, num_classes=CLASSES)
    if weights is not None:
        model.load_state_dict(weights)
    return model
