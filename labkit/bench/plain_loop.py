"""The loop of five course reports: PIL, torchvision's transforms, a Dataset, batches of eight, `.item()` each step.

Their own words, put together: a Dataset that opens a file an item, `ToTensor` at the end, SGD with momentum, float32,
accuracy and loss fetched each step, and the test set predicted by a loop of the same look. Evaluation has the
`torch.no_grad()` and `model.eval()` that the better ones have.
"""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from labkit.bench.tasks import (
    DECAY,
    MOMENTUM,
    PLAIN_BATCH,
    RATE,
    InputTask,
    StepTask,
    TestTask,
    drain,
    torchvision_network,
)
from labkit.bench.timing import Pass
from labkit.data.augment import IMAGENET_MEAN, IMAGENET_STD


class Photographs(Dataset):
    """A file an item, opened when it is asked for."""

    def __init__(self, paths: list[str], labels: list[int], transform):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.open(self.paths[index])), self.labels[index]


def load(task: InputTask) -> Pass:
    """One epoch of batches; rotated by RandomRotation as it comes, to the nearest pixel."""
    steps: list = [transforms.RandomRotation(task.rotation)] if task.rotation else []
    steps += [transforms.RandomCrop(task.crop), transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
    if task.to == "uint8":
        steps += [transforms.PILToTensor()]
    else:
        steps += [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    dataset = Photographs(task.paths, task.labels, transforms.Compose(steps))
    loader = DataLoader(dataset, batch_size=PLAIN_BATCH, shuffle=True)

    return lambda: drain(loader, task)


def train(task: StepTask) -> Pass:
    """Training steps, always in float32."""
    model = torchvision_network(task.arch).to(task.device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    batches = task.floats()

    def once() -> float:
        model.train()
        total, correct = 0.0, 0
        for images, labels in batches:
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
            correct += (outputs.argmax(dim=1) == labels).sum().item()
        return total

    return once


def test(task: TestTask) -> Pass:
    """Files to logits in batches of eight."""
    steps: list = [transforms.Resize(task.resize)] if task.resize else []
    steps += [
        transforms.CenterCrop(task.crop),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    dataset = Photographs(task.paths, task.labels, transforms.Compose(steps))
    loader = DataLoader(dataset, batch_size=PLAIN_BATCH)
    model = torchvision_network(task.arch, task.weights).to(task.device)

    def batches() -> Iterator[Tensor]:
        correct = 0
        model.eval()
        with torch.no_grad():
            for images, labels in loader:
                outputs = model(images.to(task.device))
                correct += (outputs.argmax(dim=1) == labels.to(task.device)).sum().item()
                yield outputs.cpu()

    return lambda: torch.cat(list(batches()))
