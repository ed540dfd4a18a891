"""What a network looks like and what it costs, worked out from the network itself.

But for `cpu_milliseconds` nothing here computes with real numbers: the network is run on torch's meta device, which
knows shapes only, so even a ResNet-152 at 512 px takes a fraction of a second and no memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.models.build import ARCHS, RESNETS
from labkit.models.resnet import BasicBlock, Bottleneck

STAGES = ("layer1", "layer2", "layer3", "layer4")


def parameters(model: nn.Module) -> int:
    """Number of parameters, the frozen ones included; BatchNorm's running statistics are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops(model: nn.Module, image_size: int) -> int:
    """Multiply-adds of one image (3, image_size, image_size): what papers and torchvision call FLOPs.

    Convolutions and linear layers only, as everywhere; torch counts a multiply-add as two operations, hence the half.
    ResNet-18/34/101/152 at 224 px come to the paper's 1.8/3.6/7.6/11.3 × 10⁹ within 4 %. ResNet-50 has 4.1 × 10⁹ where
    the paper has 3.8: our bottleneck strides on the 3×3 (see resnet.Bottleneck), which adds the same amount to each of
    the deep three, and the most in proportion to the smallest.
    """
    return _Walk(model, image_size).total


def cpu_milliseconds(model: nn.Module, image_size: int) -> float:
    """Milliseconds that one image (a batch of one) takes in eval mode and float32 on this machine's CPU: the median.

    Of five passes at least, and of more (fifty at most) until a second is spent, after three that are not counted; with
    as many threads as torch is set to use. A copy is timed, in the plain memory format whatever it was trained in; the
    model stays where and as it is.
    """
    copy = deepcopy(model).cpu().float().to(memory_format=torch.contiguous_format).eval()
    image = torch.zeros(1, 3, image_size, image_size)
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(3):
            copy(image)
        while len(seconds) < 5 or (len(seconds) < 50 and sum(seconds) < 1):
            start = time.perf_counter()
            copy(image)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1000


def costs(model: nn.Module, image_size: int) -> dict[str, float]:
    """What one image costs at prediction, for the manifest: `parameters, flops` (multiply-adds) and `milliseconds`."""
    return {
        "parameters": parameters(model),
        "flops": flops(model, image_size),
        "milliseconds": cpu_milliseconds(model, image_size),
    }


def layer_table(model: nn.Module, image_size: int) -> pd.DataFrame:
    """The layer print-out: `name, type, output shape, parameters, multiply-adds`, a row a layer in order of use.

    For one image; shapes are (channels, height, width). A layer used again (a block's relu) has a row for each use, its
    parameters and multiply-adds on the first, so that both columns add up. A layer is what has parameters of its own or
    no parts: timm's BatchNorm with its activation inside is one.
    """
    walk = _Walk(model, image_size)
    rows = []
    seen: set[str] = set()
    for call in walk.calls:
        first = call.name not in seen
        seen.add(call.name)
        rows.append(
            {
                "name": call.name,
                "type": type(call.module).__name__,
                "output shape": call.shape,
                "parameters": parameters(call.module) if first else 0,
                "multiply-adds": walk.multiply_adds(call.name) if first else 0,
            }
        )
    return pd.DataFrame(rows, columns=["name", "type", "output shape", "parameters", "multiply-adds"])


def summary_table(layers: pd.DataFrame) -> pd.DataFrame:
    """`layer_table` in short, a row a part of the network: `part, layers, output shape, parameters, multiply-adds`.

    A part is what a layer's name begins with (layer1 of layer1.0.conv1); its output shape is that of its last layer.
    """
    parts = layers.assign(part=layers["name"].str.split(".").str[0]).groupby("part", sort=False)
    counts = parts.agg(layers=("name", "size"), shape=("output shape", "last"), parameters=("parameters", "sum"))
    counts["multiply-adds"] = parts["multiply-adds"].sum()
    return counts.rename(columns={"shape": "output shape"}).reset_index()


def architecture_table(image_size: int, num_classes: int, archs: tuple[str, ...] = RESNETS) -> pd.DataFrame:
    """Table 1 of the ResNet paper for this image size and number of classes: a column a ResNet, all cells text."""
    with torch.device("meta"):
        models = {arch: ARCHS[arch](num_classes) for arch in archs}
    walks = {arch: _Walk(model, image_size) for arch, model in models.items()}
    sizes = next(iter(walks.values())).sizes  # the same for all depths
    table = {"layer name": _ROW_NAMES, "output size": [sizes[name] for name in _ROW_MODULES] + ["", ""]}
    for arch, model in models.items():
        column = ["7×7, 64, stride 2", "3×3 max pool, stride 2"]
        column += [_stage_text(getattr(model, stage)) for stage in STAGES]
        column += [f"average pool, {num_classes}-d fc, softmax"]
        column += [f"{parameters(model):,}", _billions(walks[arch].total)]
        table[f"{arch.removeprefix('resnet')}-layer"] = column
    return pd.DataFrame(table)


_ROW_NAMES = ["conv1", "", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "", "parameters", "FLOPs"]
_ROW_MODULES = ["conv1", "maxpool", *STAGES, "avgpool"]


def _stage_text(stage: nn.Sequential) -> str:
    """`[3×3, 64; 3×3, 64] × 2`, read from the first block's convolutions."""
    block = stage[0]
    assert isinstance(block, BasicBlock | Bottleneck)
    convs = [block.conv1, block.conv2] + ([block.conv3] if isinstance(block, Bottleneck) else [])
    text = "; ".join(f"{conv.kernel_size[0]}×{conv.kernel_size[1]}, {conv.out_channels}" for conv in convs)
    return f"[{text}] × {len(stage)}"


def _billions(count: int) -> str:
    value = count / 1e9
    return f"{value:.1f}×10⁹" if value >= 1 else f"{value:.2g}×10⁹"


@dataclass(frozen=True)
class _Call:
    name: str
    module: nn.Module
    shape: tuple[int, ...]


class _Walk:
    """One forward pass on the meta device, watched: every module's output shape and multiply-adds."""

    def __init__(self, model: nn.Module, image_size: int) -> None:
        self.root = type(model).__name__
        self.calls: list[_Call] = []
        self.sizes: dict[str, str] = {}
        # Stand-ins without memory take the place of the weights for this one call: the model itself is not touched.
        stand_ins = {name: tensor.to("meta") for name, tensor in _tensors(model)}
        # Two images, since BatchNorm in train mode refuses one image that has come down to 1×1.
        images = torch.empty(2, 3, image_size, image_size, device="meta")
        with self._watch(model), FlopCounterMode(display=False) as self.counter, torch.no_grad():
            torch.func.functional_call(model, stand_ins, (images,))
        self.counts = self.counter.get_flop_counts()

    @property
    def total(self) -> int:
        return self.counter.get_total_flops() // 4  # two images, two operations a multiply-add

    def multiply_adds(self, name: str) -> int:
        return sum(self.counts.get(f"{self.root}.{name}", {}).values()) // 4

    @contextmanager
    def _watch(self, model: nn.Module) -> Iterator[None]:
        layers = set(_layers(model))
        handles = [
            module.register_forward_hook(self._note(name, name in layers))
            for name, module in model.named_modules()
            if name
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, name: str, is_layer: bool):
        def hook(module: nn.Module, _inputs: object, output: Tensor) -> None:
            shape = tuple(output.shape[1:])
            if len(shape) == 3:
                self.sizes[name] = f"{shape[1]}×{shape[2]}"
            if is_layer:
                self.calls.append(_Call(name, module, shape))

        return hook


def _layers(module: nn.Module, name: str = "") -> Iterator[str]:
    """Names of the modules with parameters of their own or without parts; what is inside of one is not another."""
    parts = list(module.named_children())
    if name and (not parts or any(True for _ in module.parameters(recurse=False))):
        yield name
        return
    for part, child in parts:
        yield from _layers(child, f"{name}.{part}" if name else part)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
