"""torchvision's reference recipe for classification: `decode_image`, v2 transforms on tensors, its training step."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from labkit.bench.tasks import DECAY, MOMENTUM, RATE, InputTask, StepTask, TestTask, drain, torchvision_network
from labkit.bench.timing import Pass
from labkit.data.augment import IMAGENET_MEAN, IMAGENET_STD


class Photographs(Dataset):
    """Files decoded straight to uint8 tensors (3, H, W)."""

    def __init__(self, paths: list[str], labels: list[int], transform: v2.Transform):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(decode_image(self.paths[index], mode=ImageReadMode.RGB)), self.labels[index]


def _to_float() -> list[v2.Transform]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))]


def load(task: InputTask) -> Pass:
    """One epoch of batches; rotated to the nearest pixel, its default, as ours."""
    steps: list[v2.Transform] = [v2.RandomRotation([-task.rotation, task.rotation])] if task.rotation else []
    steps += [v2.RandomCrop(task.crop), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    steps += _to_float() if task.to == "float32" else []
    dataset = Photographs(task.paths, task.labels, v2.Compose(steps))
    loader = DataLoader(dataset, batch_size=task.batch_size, shuffle=True)

    return lambda: drain(loader, task)


def train(task: StepTask) -> Pass:
    """The reference's step: loss and accuracy fetched each step for its logger; bfloat16 by autocast, on a GPU."""
    model = torchvision_network(task.arch).to(task.device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    batches = task.floats()

    def once() -> float:
        model.train()
        total, correct = 0.0, 0.0
        for images, labels in batches:
            with torch.autocast(task.device.type, torch.bfloat16, enabled=task.precision == "bf16"):
                outputs = model(images)
                loss = criterion(outputs, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            _, found = outputs.topk(CHECKED, 1, True, True)
            right = found.t().eq(labels[None])
            correct += right[:1].flatten().sum(dtype=torch.float32).item()
            total += loss.item()
        return total

    return once


CHECKED = 5  # accuracy@1 and @5 are logged


def test(task: TestTask) -> Pass:
    """Files to logits under `inference_mode`."""
    steps: list[v2.Transform] = [v2.Resize(task.resize)] if task.resize else []
    steps += [v2.CenterCrop(task.crop), *_to_float()]
    dataset = Photographs(task.paths, task.labels, v2.Compose(steps))
    loader = DataLoader(dataset, batch_size=task.batch_size)
    model = torchvision_network(task.arch, task.weights).to(task.device)

    @torch.inference_mode()
    def once() -> Tensor:
        model.eval()
        return torch.cat([model(images.to(task.device, non_blocking=True)).cpu() for images, _ in loader])

    return once
