"""fastai's vision_learner and its data blocks, with its own optimizer; without its bars and printed tables."""

from functools import partial

import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.optimizer import SGD
from fastai.torch_core import noop
from fastai.vision import augment
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageBlock
from fastai.vision.learner import vision_learner
from measuring import Pass
from tasks import CLASSES, DECAY, MOMENTUM, RATE, Files, Steps, network
from torch import nn


def load(task: Files) -> Pass:
    """One epoch of batches; an item is cropped and flipped by DihedralItem, which also makes quarter turns.

    With a rotation, everything but the crop is one warp of the batch. ValueError for rotated bytes.
    """
    if task.rotation and task.to == "uint8":
        raise ValueError("rotates batches of floats alone")
    items, batch = [augment.RandomCrop(task.crop)], [Normalize.from_stats(*imagenet_stats, cuda=False)]
    if task.rotation:
        one_warp = {"max_zoom": 1, "max_lighting": 0, "max_warp": 0, "p_affine": 1}
        batch = [*augment.aug_transforms(flip_vert=True, max_rotate=task.rotation, **one_warp), *batch]
    else:
        items += [augment.DihedralItem()]
    loader = loaders(task, items, batch).train
    if task.to == "uint8":
        loader.after_batch = lambda images: images  # its step to floats works on a batch, and is left out here
    return lambda: task.drain(loader)


def train(task: Steps) -> Pass:
    """`fit` for one epoch; no validation, no metrics."""
    batches = DataLoader(task.floats(), bs=None, device=task.device)
    learner = learner_of(task, DataLoaders(batches, DataLoader([], bs=None, device=task.device)))
    if task.precision == "bf16":
        learner.to_bf16()
    return lambda: learner.fit(1, RATE)


def evaluate(task: Files) -> Pass:
    """Files to logits by `get_preds`."""
    items = [*([augment.Resize(task.resize)] if task.resize else []), augment.CropPad(task.crop)]
    batches = loaders(task, items, [Normalize.from_stats(*imagenet_stats, cuda=task.device.type == "cuda")])
    learner = learner_of(task, batches)
    test = partial(batches.test_dl, task.paths, num_workers=0)
    return lambda: torch.as_tensor(learner.get_preds(dl=test(), act=noop)[0])


def loaders(task: Files, items: list, batch: list) -> DataLoaders:
    """Its data block of these files, with these transforms for items and for batches."""
    label, blocks = dict(zip(task.paths, task.labels, strict=True)).get, [ImageBlock, CategoryBlock]
    block = DataBlock(blocks, get_y=label, splitter=IndexSplitter([]), item_tfms=items, batch_tfms=batch)
    return block.dataloaders(task.paths, bs=task.batch_size, num_workers=0, device=task.device, drop_last=False)


def learner_of(task: Files | Steps, batches: DataLoaders):
    """vision_learner on the network that all use: its own head of two layers would be another one."""
    model = network(task)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.fc)  # type: ignore[arg-type]
    options = {"normalize": False, "n_out": CLASSES, "pretrained": False, "cut": -2, "init": None, "custom_head": head}
    options |= {"loss_func": nn.CrossEntropyLoss(), "opt_func": partial(SGD, mom=MOMENTUM), "wd": DECAY}
    learner = vision_learner(batches, lambda **_: model, **options)
    learner.logger = noop
    learner.model.to(task.device)
    return learner
