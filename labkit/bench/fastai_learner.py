"""fastai's vision_learner and its data blocks, with its own optimizer; bars and printed tables off."""

# pyright: reportMissingImports=false
from functools import partial

import torch
from torch import Tensor, nn

from labkit.bench.tasks import CLASSES, DECAY, MOMENTUM, RATE, InputTask, StepTask, TestTask, drain, torchvision_network
from labkit.bench.timing import Pass
from labkit.models.weights import StateDict


def load(task: InputTask) -> Pass:
    """One epoch of batches; an item is cropped and turned over, by DihedralItem, which also makes quarter turns.

    With a rotation, all but the crop is one warp of the batch. Raises ValueError for rotated bytes: it rotates floats.
    """
    from fastai.data.transforms import Normalize
    from fastai.vision import augment
    from fastai.vision.core import imagenet_stats

    if task.rotation and task.to == "uint8":
        raise ValueError("rotates batches of floats alone")
    items: list = [augment.RandomCrop(task.crop)]
    batch: list = []
    if task.rotation:
        batch += augment.aug_transforms(
            flip_vert=True, max_rotate=task.rotation, max_zoom=1, max_lighting=0, max_warp=0, p_affine=1
        )
    else:
        items += [augment.DihedralItem()]
    batch += [Normalize.from_stats(*imagenet_stats, cuda=False)]
    loader = _loaders(task.paths, task.labels, items, batch, task.batch_size, torch.device("cpu")).train
    if task.to == "uint8":
        loader.after_batch = lambda images: images  # its step to floats is done a batch, and is left out here

    return lambda: drain(loader, task)


def train(task: StepTask) -> Pass:
    """`fit` for one epoch; no validation, no metrics."""
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

    batches = DataLoader(task.floats(), bs=None, device=task.device)
    learner = _learner(DataLoaders(batches, DataLoader([], bs=None, device=task.device)), task.arch)
    learner.model.to(task.device)
    if task.precision == "bf16":
        learner.to_bf16()

    def once() -> None:
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, RATE)

    return once


def test(task: TestTask) -> Pass:
    """Files to logits by `get_preds`."""
    from fastai.data.transforms import Normalize
    from fastai.torch_core import noop
    from fastai.vision import augment
    from fastai.vision.core import imagenet_stats

    items: list = [augment.Resize(task.resize)] if task.resize else []
    items += [augment.CropPad(task.crop)]
    normalise = [Normalize.from_stats(*imagenet_stats, cuda=task.device.type == "cuda")]
    loaders = _loaders(task.paths, task.labels, items, normalise, task.batch_size, task.device)
    learner = _learner(loaders, task.arch, task.weights)
    learner.model.to(task.device)

    def once() -> Tensor:
        with learner.no_bar(), learner.no_logging():
            loader = loaders.test_dl(task.paths, num_workers=0)
            return torch.as_tensor(learner.get_preds(dl=loader, act=noop)[0])

    return once


def _loaders(paths: list[str], labels: list[int], items: list, batch: list, batch_size: int, device: torch.device):
    from fastai.data.block import CategoryBlock, DataBlock
    from fastai.data.transforms import IndexSplitter
    from fastai.vision.data import ImageBlock

    of_path = dict(zip(paths, labels, strict=True))
    block = DataBlock(
        blocks=[ImageBlock, CategoryBlock],
        get_y=lambda path: of_path[path],
        splitter=IndexSplitter([]),
        item_tfms=items,
        batch_tfms=batch,
    )
    return block.dataloaders(paths, bs=batch_size, num_workers=0, device=device, drop_last=False)


def _learner(loaders, arch: str, weights: StateDict | None = None):
    """vision_learner on the network that all have: its own head of two layers would be another one."""
    import fastai.callback.progress  # gives a learner its no_bar  # noqa: F401
    from fastai.optimizer import SGD
    from fastai.vision.learner import vision_learner

    network: nn.Module = torchvision_network(arch, weights)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.fc)  # type: ignore[arg-type]
    return vision_learner(
        loaders,
        lambda **_: network,
        normalize=False,
        n_out=CLASSES,
        pretrained=False,
        cut=-2,
        init=None,
        custom_head=head,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=partial(SGD, mom=MOMENTUM),
        wd=DECAY,
    )
