"""This project's own passes: the same functions that train.ipynb calls, with nothing taken out."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labkit.bench.tasks import CLASSES, DECAY, MOMENTUM, RATE, InputTask, StepTask, TestTask, drain
from labkit.bench.timing import Pass
from labkit.data.augment import to_float
from labkit.data.hashes import file_hashes
from labkit.data.loaders import Batch, EpochLoader, make_loaders
from labkit.data.store import Store, build_store, load_square
from labkit.models.build import build_model, train_mode
from labkit.params import RunParams
from labkit.training.device import set_up
from labkit.training.loop import train_one_epoch
from labkit.training.loss import make_criterion
from labkit.training.optim import build_optimizer
from labkit.training.predict import predict, predict_images
from labkit.training.step import TrainStep, to_device

NAME = "labkit"


def store_of(table: pd.DataFrame, size: int, cache: Path) -> Store:
    """The store of these images, made in ``cache`` if it is not there yet."""
    return build_store(table, file_hashes(table, cache), size, cache)


def params_for(px: int, batch_size: int, **others: Any) -> RunParams:
    """Parameters of a run as all contestants train: SGD with momentum, a constant rate, ImageNet's statistics."""
    told = {"image_size": px, "batch_size": batch_size, "optimizer": "sgd", "schedule": "constant"}
    return RunParams.of(
        told | {"learning_rate": RATE, "momentum": MOMENTUM, "weight_decay": DECAY, "epochs": 10_000} | others
    )


def load(task: InputTask, store: Store) -> Pass:
    """One epoch of batches out of a store that is there: epoch 2 of a study's first run, and all that come later."""
    params = params_for(task.size, task.batch_size, crop_size=task.crop, rotation=task.rotation, device="cpu")
    loader = make_loaders(task.table, store, params)["train"]
    epochs = count(2)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        loader.set_epoch(next(epochs))
        for batch in loader:
            if task.to == "uint8":
                yield batch["images"], batch["labels"]
            else:
                yield to_device(batch, params, torch.device("cpu"))

    return lambda: drain(batches(), task)


@contextmanager
def as_in_a_run(params: RunParams) -> Iterator[Any]:
    """The accelerator, with a run's threads and deterministic algorithms; the peers get torch's own settings back."""
    threads = torch.get_num_threads()
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield set_up(params)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = benchmark


class Training:
    """A network, its optimizer and what else `train_one_epoch` takes; ``epoch(batches)`` is one call of it."""

    def __init__(self, arch: str, params: RunParams, frozen: bool = False):
        self.params, self.frozen = params, frozen
        with as_in_a_run(params) as accelerator:
            self.accelerator = accelerator
            model = build_model(arch, CLASSES, seed=params.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.model: nn.Module = accelerator.prepare_model(model)
            optimizer = accelerator.prepare_optimizer(build_optimizer(model, params, frozen))
            criterion = make_criterion(params, None).to(accelerator.device)
            self.step = TrainStep(self.model, criterion, optimizer, params, accelerator, CLASSES)
        self.epochs = count(1)

    def epoch(self, batches: EpochLoader | list[Batch]) -> dict[str, float]:
        """Train on these batches, in the loader's next epoch."""
        epoch = next(self.epochs)
        if isinstance(batches, EpochLoader):
            batches.set_epoch(epoch)
        with as_in_a_run(self.params):
            train_mode(self.model, self.frozen)
            return train_one_epoch(self.step, batches, len(batches), epoch)


def in_memory(task: StepTask) -> list[Batch]:
    """The task's batches as our loop takes them: bytes, which it normalises itself."""
    rows = zip(task.images, task.labels, strict=True)
    return [{"images": images, "labels": labels, "angles": torch.zeros(len(labels))} for images, labels in rows]


def train(task: StepTask) -> Pass:
    """Training steps; unlike the peers', each of them also normalises its bytes."""
    px, size = task.images[0].shape[1], len(task.labels[0])
    params = params_for(px, size, device=task.device.type, precision=task.precision)
    training, batches = Training(task.arch, params), in_memory(task)
    return lambda: training.epoch(batches)


def test_from_store(task: TestTask, cache: Path) -> Pass:
    """Logits of files that the store holds already, as after every epoch of a study but its first run's first."""
    size = task.resize or task.size
    table = task.table.assign(split="test")
    params = params_for(size, task.batch_size, crop_size=task.crop, device=task.device.type)
    loader = make_loaders(table, store_of(table, size, cache), params, task.device.type)["test"]
    model = _loaded(task)
    return lambda: torch.from_numpy(predict(model, loader, params.normalize))


def network_alone(task: TestTask) -> Pass:
    """The same network on normalised images that are in memory: what no loader can be faster than."""
    images = [load_square(task.paths[at : at + task.batch_size], task.resize or task.size)[0] for at in _starts(task)]
    batches = [
        to_float(torch.from_numpy(np.ascontiguousarray(_middle(part, task.crop))), "imagenet") for part in images
    ]
    model = _loaded(task).eval()

    @torch.inference_mode()
    def once() -> Tensor:
        return torch.cat([model(batch.to(task.device)) for batch in batches]).cpu()

    return once


def test_from_files(task: TestTask) -> Pass:
    """Logits of files that were never seen before: decoded anew each time, as `labkit predict` does."""
    model = _loaded(task)
    size = task.resize or task.size

    def once() -> Tensor:
        outputs = []
        for start in _starts(task):
            images, _ = load_square(task.paths[start : start + task.batch_size], size)
            outputs.append(predict_images(model, np.ascontiguousarray(_middle(images, task.crop)), "imagenet"))
        return torch.from_numpy(np.concatenate(outputs))

    return once


def _starts(task: TestTask) -> range:
    return range(0, len(task.table), task.batch_size)


def _middle(images: np.ndarray, crop: int) -> np.ndarray:
    edge = (images.shape[1] - crop) // 2
    return images[:, edge : edge + crop, edge : edge + crop]


def _loaded(task: TestTask) -> nn.Module:
    model = build_model(task.arch, CLASSES, task.weights, "keep")
    return model.to(task.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def steps_in(images: int, batch_size: int) -> int:
    """Batches of an epoch."""
    return math.ceil(images / batch_size)
