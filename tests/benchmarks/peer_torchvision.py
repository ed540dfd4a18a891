"""torchvision's reference recipe for classification: `decode_image`, v2 transforms on tensors, its training step."""

from functools import partial

import torch
from measuring import Pass
from tasks import Files, Photographs, Steps, logits_loop, network, sgd, training_loop
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from labkit.data.augment import IMAGENET_MEAN, IMAGENET_STD

READ = partial(decode_image, mode=ImageReadMode.RGB)
TO_FLOAT = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))]
TOP = 5  # accuracy@1 and @5 are logged


def load(task: Files) -> Pass:
    """One epoch of batches."""
    dataset = Photographs(task, READ, task.random(v2, *(TO_FLOAT if task.to == "float32" else [])))
    loader = DataLoader(dataset, batch_size=task.batch_size, shuffle=True)
    return lambda: task.drain(loader)


def train(task: Steps) -> Pass:
    """The reference's step: loss and accuracy fetched in each step for its logger; bfloat16 by autocast, on a GPU."""

    def look(outputs: Tensor, labels: Tensor, loss: Tensor) -> tuple[float, float]:
        right = outputs.topk(TOP, 1, True, True).indices.t().eq(labels[None])
        return right[:1].flatten().sum(dtype=torch.float32).item(), loss.item()

    model = network(task)
    return training_loop(model, sgd(model), task.floats(), task.precision == "bf16", look)


def evaluation_loader(task: Files) -> DataLoader:
    """A test set's batches; Lightning uses them too, because it brings no dataset of its own."""
    return DataLoader(Photographs(task, READ, task.middle(v2, *TO_FLOAT)), batch_size=task.batch_size)


def evaluate(task: Files) -> Pass:
    return logits_loop(network(task), evaluation_loader(task), task.device)
