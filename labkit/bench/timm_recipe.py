"""timm's loader (`create_loader`, its prefetcher included) and the steps of its train.py and validate.py."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import transforms

from labkit.bench.tasks import CLASSES, DECAY, MOMENTUM, RATE, InputTask, StepTask, TestTask, drain
from labkit.bench.timing import Pass


def load(task: InputTask) -> Pass:
    """One epoch of batches. Its own random resized crop is replaced by the crop that all cut here.

    Bytes are what its `fast_collate` makes; its prefetcher normalises whole batches of them.
    """
    from timm.data.dataset import ImageDataset
    from timm.data.loader import create_loader
    from timm.data.transforms import ToNumpy

    dataset = ImageDataset(task.folder)
    loader: Any = create_loader(
        dataset, task.crop, task.batch_size, is_training=True, num_workers=0, device=torch.device("cpu")
    )
    steps: list = [transforms.RandomRotation(task.rotation)] if task.rotation else []
    steps += [transforms.RandomCrop(task.crop), transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
    dataset.transform = transforms.Compose([*steps, ToNumpy()])
    batches = loader if task.to == "float32" else loader.loader

    return lambda: drain(batches, task)


def train(task: StepTask, channels_last: bool = False) -> Pass:
    """The step of train.py; the loss is fetched at its log interval of 50 steps, so here once a pass."""
    import timm
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    model = timm.create_model(task.arch, num_classes=CLASSES).to(task.device)
    batches = task.floats()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        batches = [(images.contiguous(memory_format=torch.channels_last), labels) for images, labels in batches]
    optimizer = create_optimizer_v2(model, "momentum", RATE, weight_decay=DECAY, momentum=MOMENTUM)
    criterion = nn.CrossEntropyLoss()

    def once() -> float:
        model.train()
        optimizer.zero_grad()
        loss = torch.zeros(())
        for images, labels in batches:
            with torch.autocast(task.device.type, torch.bfloat16, enabled=task.precision == "bf16"):
                outputs = model(images)
                loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    return once


def train_channels_last(task: StepTask) -> Pass:
    """As `train`, with what `--channels-last` does."""
    return train(task, channels_last=True)


def test(task: TestTask) -> Pass:
    """Files to logits as validate.py has them, through its loader; given the table's order by its own reader."""
    import timm
    from timm.data.dataset import ImageDataset
    from timm.data.loader import create_loader
    from timm.data.transforms import ToNumpy

    dataset = ImageDataset("", reader=_Listed(task.paths, task.labels))
    loader = create_loader(dataset, task.crop, task.batch_size, num_workers=0, device=task.device)
    steps: list = [transforms.Resize(task.resize)] if task.resize else []
    dataset.transform = transforms.Compose([*steps, transforms.CenterCrop(task.crop), ToNumpy()])
    model = timm.create_model(task.arch, num_classes=CLASSES)
    model.load_state_dict(task.weights)
    model = model.to(task.device)

    @torch.inference_mode()
    def once() -> Tensor:
        model.eval()
        return torch.cat([model(images).cpu() for images, _ in loader])

    return once


class _Listed:
    """A reader of timm's kind: open file and label of each image."""

    def __init__(self, paths: list[str], labels: list[int]):
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        return self.paths[index], self.labels[index]
