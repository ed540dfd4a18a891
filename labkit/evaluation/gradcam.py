"""Saliency maps: Grad-CAM of a network's late convolutions, and whether they depend on what the network has learnt.

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) comes from captum. If a trained network and one with random weights
have similar maps, these show the image rather than the network (Adebayo et al. 2018, arXiv 1810.03292).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label
from torch import Tensor, nn

from labkit.data.augment import to_float
from labkit.models.build import num_classes

Maps = NDArray[np.float32]
BLACK = 16  # of 255: a pixel whose channels are all below it is black
PAIRINGS = 999  # random ones, for the spread of the agreement by chance
SMALLEST = 4  # positions per side: layer4 of a ResNet has 7 × 7 at 224 px, but 2 × 2 at 64 px, too few to show anything


def explained_block(model: nn.Module, images: Tensor) -> nn.Module:
    """The last block (of a ResNet's layer1 … layer4) with at least SMALLEST positions per side, else the first."""
    network: Any = model
    if hasattr(model, "layer4"):
        blocks = [network.layer1, network.layer2, network.layer3, network.layer4]
    else:
        blocks = list(network.blocks)
    sides: list[int] = []
    hooks = [block.register_forward_hook(lambda _, __, found: sides.append(min(found.shape[-2:]))) for block in blocks]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    fitting = [block for block, side in zip(blocks, sides, strict=True) if side >= SMALLEST]
    return fitting[-1] if fitting else blocks[0]


def grad_cam(model: nn.Module, images: np.ndarray, classes: np.ndarray, normalize: str, batch_size: int = 16) -> Maps:
    """Evidence for (above 0) and against a class at each position of the explained block: (n, h, w), unscaled.

    `images`: uint8 (n, H, W, 3), cropped as for the network; `classes` (n,): the classes to explain. For a network with
    one output, the grade, the map shows what raises the grade. The model is left in eval mode.
    """
    model.eval()
    device = next(model.parameters()).device
    first = to_float(torch.from_numpy(np.ascontiguousarray(images[:1])).to(device), normalize)
    explain = LayerGradCam(model, explained_block(model, first))
    one_output = num_classes(model) == 1
    maps = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        inputs = to_float(torch.from_numpy(np.ascontiguousarray(images[part])).to(device), normalize)
        targets = torch.tensor(classes[part].tolist(), device=device)
        found: Any = explain.attribute(inputs, target=torch.zeros_like(targets) if one_output else targets)
        maps.append(found[:, 0].detach().float().cpu().numpy())
    return np.concatenate(maps)


def heat(maps: Maps) -> Maps:
    """Only the evidence for the class, each map scaled from 0 to 1; a map without any stays 0."""
    kept = np.maximum(maps, 0)
    highest = kept.max(axis=(1, 2), keepdims=True)
    return np.divide(kept, highest, out=np.zeros_like(kept), where=highest > 0)


class Agreement(NamedTuple):
    """Mean absolute rank correlation of a trained network's maps with untrained networks' (1: the same order) of the
    `same` images, of two `others`, which is chance, and `highest`: the 95th percentile over random pairings."""

    same: float
    others: float
    highest: float


def agreement(trained: Maps, untrained: Sequence[Maps]) -> Agreement:
    """How alike the maps (n, h, w) of a trained network and of each of several untrained ones are.

    The sign of a correlation is ignored, since it has no meaning for random weights; constant maps are left out.
    """
    ours, *theirs = (_standardised(maps) for maps in (trained, *untrained))
    pairs = np.ma.masked_invalid(np.mean([np.abs(ours @ maps.T) for maps in theirs], axis=0))
    n = len(pairs)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(n), (PAIRINGS, 1)), axis=1)
    by_chance = np.ma.filled(pairs[np.arange(n), order].mean(axis=1), np.nan)
    off = np.ma.masked_array(pairs, np.ma.getmaskarray(pairs) | np.eye(n, dtype=bool))
    same, others = (float(np.ma.filled(part.mean(), np.nan)) for part in (pairs.diagonal(), off))
    return Agreement(same, others, float(np.nanquantile(by_chance, 0.95)) if np.isfinite(others) else np.nan)


def _standardised(maps: Maps) -> np.ndarray:
    """Ranks (n, h · w) of each map's places, of mean 0 and length 1; a constant map becomes NaN."""
    ranks = pd.DataFrame(maps.reshape(len(maps), -1)).rank(axis=1).to_numpy()
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.divide(ranks, length, out=np.full_like(ranks, np.nan), where=length > 0)


def enlarged(heat_map: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map (h, w) from 0 to 1 at the size of its image, interpolated smoothly."""
    image = Image.fromarray(heat_map.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


class OnBackground(NamedTuple):
    """`heat`, `pixels`: shares of both that lie on the black background; `hottest`: in how many of the `n` maps with
    any heat the hottest pixel lies there."""

    heat: float
    pixels: float
    hottest: int
    n: int


def on_background(maps: Maps, images: np.ndarray) -> OnBackground:
    """How much of the heat of maps (n, h, w) lies on the black around what was photographed; images (n, H, W, 3).

    The background is what is black (channels below BLACK) and connected with the border of the image.
    """
    dark = [_background(image) for image in images]
    hot = [enlarged(one, *image.shape[:2]) for one, image in zip(heat(maps), images, strict=True)]
    hottest = [bool(black.flat[one.argmax()]) for one, black in zip(hot, dark, strict=True) if one.any()]
    share = float(np.sum(np.multiply(hot, dark)) / np.sum(hot)) if hottest else float("nan")
    return OnBackground(share, float(np.mean(dark)), sum(hottest), len(hottest))


def _background(image: np.ndarray) -> np.ndarray:
    """bool (H, W)."""
    labelled: Any = label(image.max(axis=2) < BLACK)
    parts = labelled[0]
    outermost = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, outermost[outermost > 0])
