"""Saliency maps: Grad-CAM of a network's late convolutions, and whether they depend on what the network has learnt.

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) comes from captum. If a trained network and one with random weights
have similar maps, these show the image rather than the network (Adebayo et al. 2018, arXiv 1810.03292); `agreement`
measures the similarity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn

from labkit.data.augment import to_float
from labkit.models.build import num_classes

Maps = NDArray[np.float32]
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


def agreement(trained: Maps, untrained: Maps) -> float:
    """Mean absolute rank correlation (Spearman) between two networks' maps over the images; 1 is the same order.

    The sign is ignored, since it has no meaning for random weights. Constant maps are left out; NaN if none is left.
    """
    ours, random = (pd.DataFrame(maps.reshape(len(maps), -1)).rank(axis=1) for maps in (trained, untrained))
    return float(ours.corrwith(random, axis=1).abs().mean())
