"""timm's loader (`create_loader`, its prefetcher included) and the steps of its train.py and validate.py."""

from functools import partial
from typing import Any

import timm
import torch
from measuring import Pass
from tasks import CLASSES, DECAY, MOMENTUM, RATE, Files, Steps, logits_loop, training_loop
from timm.data.dataset import ImageDataset
from timm.data.loader import create_loader
from timm.data.transforms import ToNumpy
from timm.optim import create_optimizer_v2
from torchvision import transforms


def load(task: Files) -> Pass:
    """One epoch of batches, by the crop that all use; `fast_collate` makes bytes, its prefetcher normalises them."""
    dataset, train = ImageDataset(task.folder), {"is_training": True, "num_workers": 0, "device": task.device}
    loader: Any = create_loader(dataset, task.crop, task.batch_size, **train)
    dataset.transform = task.random(transforms, ToNumpy())
    batches = loader if task.to == "float32" else loader.loader
    return lambda: task.drain(batches)


def train(task: Steps, layout: torch.memory_format = torch.contiguous_format) -> Pass:
    """The step of train.py; the loss is fetched at its log interval of 50 steps, so here once a pass."""
    model = timm.create_model(task.arch, num_classes=CLASSES).to(task.device, memory_format=layout)
    optimizer = create_optimizer_v2(model, "momentum", RATE, weight_decay=DECAY, momentum=MOMENTUM)
    return training_loop(model, optimizer, task.floats(layout), task.precision == "bf16")


train_channels_last = partial(train, layout=torch.channels_last)


def evaluate(task: Files) -> Pass:
    """Files to logits as in validate.py, through its loader; a list as its reader keeps the table's order."""
    dataset = ImageDataset("", reader=list(zip(task.paths, task.labels, strict=True)))
    loader = create_loader(dataset, task.crop, task.batch_size, num_workers=0, device=task.device)
    dataset.transform = task.middle(transforms, ToNumpy())
    model = timm.create_model(task.arch, num_classes=CLASSES)
    model.load_state_dict(task.weights)
    return logits_loop(model.to(task.device), loader, task.device)
