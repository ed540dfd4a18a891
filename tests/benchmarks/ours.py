"""labkit's own passes: the same functions that train.ipynb calls, with nothing taken out."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import Pass
from tasks import CLASSES, DECAY, MOMENTUM, RATE, Files, Steps, logits_loop
from torch import nn

from labkit.data.augment import to_float
from labkit.data.hashes import file_hashes
from labkit.data.loaders import Batch, EpochLoader, make_loaders
from labkit.data.store import Store, build_store, load_square
from labkit.models.build import build_model, freeze_backbone, train_mode
from labkit.params import RunParams
from labkit.training.device import set_up
from labkit.training.loop import train_one_epoch
from labkit.training.loss import make_criterion
from labkit.training.optim import make_optimizer
from labkit.training.predict import predict, predict_images
from labkit.training.step import TrainStep, to_device


def store_of(table: pd.DataFrame, size: int, cache: Path) -> Store:
    """The store of these images, made in ``cache`` if it is not there yet."""
    return build_store(table, file_hashes(table, cache), size, cache)


def params_for(px: int, batch_size: int, **others: Any) -> RunParams:
    """Parameters of a run that trains as all contestants: SGD with momentum, a constant rate, ImageNet's statistics."""
    values = {"image_size": px, "batch_size": batch_size, "optimizer": "sgd", "schedule": "constant", "epochs": 10_000}
    return RunParams.of(values | {"learning_rate": RATE, "momentum": MOMENTUM, "weight_decay": DECAY} | others)


def load(task: Files, store: Store) -> Pass:
    """One epoch of batches from a store that is there: epoch 2 of a study's first run, and all that come later."""
    params = params_for(task.size, task.batch_size, crop_size=task.crop, rotation=task.rotation, device="cpu")
    loader, epochs, cpu = make_loaders(task.table, store, params)["train"], count(2), torch.device("cpu")
    given = itemgetter("images", "labels") if task.to == "uint8" else lambda batch: to_device(batch, params, cpu)

    def once() -> int:
        loader.set_epoch(next(epochs))
        return task.drain(map(given, loader))

    return once


@contextmanager
def as_in_a_run(params: RunParams) -> Iterator[Any]:
    """The accelerator, with a run's threads and deterministic algorithms; the peers get torch's own settings back."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    try:
        yield set_up(params)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = benchmark


class Training:
    """A network, its optimizer and what else `train_one_epoch` takes; ``epoch(batches)`` is one call of it."""

    def __init__(self, arch: str, params: RunParams, frozen: bool = False):
        self.params, self.frozen, self.epochs = params, frozen, count(1)
        with as_in_a_run(params) as accelerator:
            model = build_model(arch, CLASSES, seed=params.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.model: nn.Module = accelerator.prepare_model(model)
            freeze_backbone(model, frozen)
            optimizer = accelerator.prepare_optimizer(make_optimizer(model, params))
            criterion = make_criterion(params, None).to(accelerator.device)
            self.step = TrainStep(self.model, criterion, optimizer, params, accelerator)

    def epoch(self, batches: EpochLoader | list[Batch]) -> dict[str, float]:
        """Train on these batches, in the loader's next epoch."""
        epoch = next(self.epochs)
        if isinstance(batches, EpochLoader):
            batches.set_epoch(epoch)
        with as_in_a_run(self.params):
            train_mode(self.model, self.frozen)
            return train_one_epoch(self.step, batches, len(batches), epoch)


def train(task: Steps) -> Pass:
    """Training steps; unlike the peers', each of them also normalises its bytes."""
    images, labels = task.batches[0]
    values = {"device": task.device.type, "precision": task.precision}
    training = Training(task.arch, params_for(images.shape[1], len(labels), **values))
    batches: list[Batch] = [{"images": x, "labels": y} for x, y in task.batches]
    return lambda: training.epoch(batches)


def evaluate_store(task: Files, cache: Path) -> Pass:
    """Logits of files that the store holds already, as after every epoch of a study but its first run's first."""
    size, table = task.resize or task.size, task.table.assign(split="test")
    params, model = params_for(size, task.batch_size, crop_size=task.crop, device=task.device.type), loaded(task)
    loader = make_loaders(table, store_of(table, size, cache), params, task.device.type)["test"]
    return lambda: torch.from_numpy(predict(model, loader, params.normalize))


def evaluate_files(task: Files) -> Pass:
    """Logits of files that were never seen before: decoded anew each time, as `labkit predict` does."""
    predicted = partial(predict_images, loaded(task), normalize="imagenet")
    return lambda: torch.from_numpy(np.concatenate([predicted(images) for images in decoded(task)]))


def evaluate_memory(task: Files) -> Pass:
    """The same network on normalised images that are in memory: no loader can be faster."""
    batches = [(to_float(torch.from_numpy(images), "imagenet"), None) for images in decoded(task)]
    return logits_loop(loaded(task), batches, task.device)


def decoded(task: Files) -> Iterator[np.ndarray]:
    """Batches of images (B, crop, crop, 3) uint8, the middle of each file."""
    edge = ((size := task.resize or task.size) - task.crop) // 2
    for start in range(0, len(task.table), task.batch_size):
        images, _ = load_square(task.paths[start : start + task.batch_size], size)
        yield np.ascontiguousarray(images[:, edge : edge + task.crop, edge : edge + task.crop])


def loaded(task: Files) -> nn.Module:
    """The task's network with its weights, as a run has it."""
    model = build_model(task.arch, CLASSES, task.weights, "keep")
    return model.to(task.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
