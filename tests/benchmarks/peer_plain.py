"""The loop of five course reports: PIL, torchvision's transforms, a Dataset, batches of eight, `.item()` in each step.

It is their own code, put together: a Dataset that opens a file per item, `ToTensor` at the end, SGD with momentum,
float32, and a similar loop over the test set, with the `torch.no_grad()` and `model.eval()` of the better ones.
"""

import torch
from measuring import Pass
from PIL import Image
from tasks import Files, Photographs, Steps, network, sgd, training_loop
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from labkit.data.augment import IMAGENET_MEAN, IMAGENET_STD

BATCH = 8  # of the course reports' loop
TO_FLOAT = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]


def load(task: Files) -> Pass:
    """One epoch of batches."""
    last = [transforms.PILToTensor()] if task.to == "uint8" else TO_FLOAT
    dataset = Photographs(task, Image.open, task.random(transforms, *last))
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True)
    return lambda: task.drain(loader)


def train(task: Steps) -> Pass:
    """Training steps, always in float32."""

    model, look = network(task), lambda outputs, labels, loss: (loss.item(), (outputs.argmax(1) == labels).sum().item())
    return training_loop(model, sgd(model), task.floats(), False, look)


def evaluate(task: Files) -> Pass:
    """Files to logits in batches of eight."""
    loader = DataLoader(Photographs(task, Image.open, task.middle(transforms, *TO_FLOAT)), batch_size=BATCH)
    model = network(task)

    @torch.no_grad()
    def once() -> Tensor:
        correct, kept = 0, []
        model.eval()
        for images, labels in loader:
            outputs = model(images.to(task.device))
            correct += (outputs.argmax(1) == labels.to(task.device)).sum().item()
            kept.append(outputs.cpu())
        return torch.cat(kept)

    return once
