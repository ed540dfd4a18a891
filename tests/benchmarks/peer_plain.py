"""The loop of five course reports: PIL, torchvision's transforms, a Dataset, batches of eight, `.item()` in each step.

It is their own code, put together: a Dataset that opens a file per item, `ToTensor` at the end, SGD with momentum,
float32, accuracy and loss fetched in each step, and a similar loop over the test set. Evaluation has the
`torch.no_grad()` and `model.eval()` of the better ones.
"""

from collections.abc import Iterator

import torch
from measuring import Pass
from PIL import Image
from tasks import PLAIN_BATCH, Files, Photographs, Steps, network, sgd, training_loop
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from labkit.data.augment import IMAGENET_MEAN, IMAGENET_STD

TO_FLOAT = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]


def load(task: Files) -> Pass:
    """One epoch of batches; RandomRotation has its default, the nearest pixel."""
    last = [transforms.PILToTensor()] if task.to == "uint8" else TO_FLOAT
    dataset = Photographs(task, Image.open, transforms.Compose([*task.random(transforms), *last]))
    loader = DataLoader(dataset, batch_size=PLAIN_BATCH, shuffle=True)
    return lambda: task.drain(loader)


def train(task: Steps) -> Pass:
    """Training steps, always in float32."""

    def look(outputs: Tensor, labels: Tensor, loss: Tensor) -> tuple[float, float]:
        return loss.item(), (outputs.argmax(dim=1) == labels).sum().item()

    model = network(task)
    return training_loop(model, sgd(model), task.floats(), False, look)


def evaluate(task: Files) -> Pass:
    """Files to logits in batches of eight."""
    dataset = Photographs(task, Image.open, transforms.Compose([*task.middle(transforms), *TO_FLOAT]))
    loader = DataLoader(dataset, batch_size=PLAIN_BATCH)
    model = network(task)

    def batches() -> Iterator[Tensor]:
        correct = 0
        model.eval()
        with torch.no_grad():
            for images, labels in loader:
                outputs = model(images.to(task.device))
                correct += (outputs.argmax(dim=1) == labels.to(task.device)).sum().item()
                yield outputs.cpu()

    return lambda: torch.cat(list(batches()))
