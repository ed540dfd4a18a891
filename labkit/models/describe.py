"""What a network looks like and what it costs.

Shapes and multiply-adds come from a pass on torch's meta device, which computes shapes only and needs no memory.
"""

import statistics
import time
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from labkit.models.resnet import RESNETS

STAGES = ("layer1", "layer2", "layer3", "layer4")


def parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included; BatchNorm's running statistics are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops(model: nn.Module, image_size: int) -> int:
    """Multiply-adds of one image in convolutions and linear layers, which papers and torchvision call FLOPs.

    At 224 px the ResNets agree with the paper within 4 %, but for ResNet-50 (see resnet.Bottleneck).
    """
    return int(layer_table(model, image_size)["multiply-adds"].to_numpy().sum())


def cpu_milliseconds(model: nn.Module, image_size: int) -> float:
    """Median milliseconds of one image in eval mode and float32 on this CPU, of 5 to 50 passes after three more."""
    network = deepcopy(model).cpu().float().to(memory_format=torch.contiguous_format).eval()
    image = torch.zeros(1, 3, image_size, image_size)
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(3):
            network(image)
        while len(seconds) < 5 or (len(seconds) < 50 and sum(seconds) < 1):
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1000


def costs(model: nn.Module, image_size: int) -> dict[str, float]:
    """The cost of a prediction for one image: `parameters`, `flops` (multiply-adds) and `milliseconds`."""
    milliseconds = cpu_milliseconds(model, image_size)
    return {"parameters": parameters(model), "flops": flops(model, image_size), "milliseconds": milliseconds}


def layer_table(model: nn.Module, image_size: int) -> pd.DataFrame:
    """One row per layer in order of use: `name, type, output shape, parameters, multiply-adds`, for one image.

    Shapes are (channels, height, width). A layer that is used again has its parameters on the first row alone.
    """
    rows: list[dict[str, Any]] = []
    network = deepcopy(model).to("meta").eval()

    def add_row(name: str, layer: nn.Module, _inputs: object, output: Tensor) -> None:
        counted = isinstance(layer, nn.Conv2d | nn.Linear)
        row = {"name": name, "type": type(layer).__name__, "output shape": tuple(output.shape[1:])}
        row["parameters"] = 0 if any(row["name"] == name for row in rows) else parameters(layer)
        # each output value is a sum over one filter
        row["multiply-adds"] = output[0].numel() * layer.weight[0].numel() if counted else 0
        rows.append(row)

    for name, layer in _layers(network):
        layer.register_forward_hook(partial(add_row, name))
    with torch.no_grad():
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    return pd.DataFrame(rows)


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that have parameters of their own or no children; timm's BatchNorm with its activation is one."""
    for name, child in module.named_children():
        if list(child.parameters(recurse=False)) or not list(child.children()):
            yield prefix + name, child
        else:
            yield from _layers(child, f"{prefix}{name}.")


def summary_table(layers: pd.DataFrame) -> pd.DataFrame:
    """`layer_table` by part (layer1 of layer1.0.conv1); its output shape is that of the part's last layer."""
    parts = layers.assign(part=layers["name"].str.split(".").str[0]).groupby("part", sort=False)
    counts = parts.agg({"name": "size", "output shape": "last", "parameters": "sum", "multiply-adds": "sum"})
    return counts.rename(columns={"name": "layers"}).reset_index()


def architecture_table(image_size: int, num_classes: int) -> pd.DataFrame:
    """Table 1 of the ResNet paper for this image size and number of classes: one column per ResNet, all cells text."""

    def stage_text(stage: nn.Sequential) -> str:
        """`[3×3, 64; 3×3, 64] × 2`, from the convolutions of the stage's first block."""
        convs = [part for part in stage[0].children() if isinstance(part, nn.Conv2d)]
        text = "; ".join(f"{conv.kernel_size[0]}×{conv.kernel_size[1]}, {conv.out_channels}" for conv in convs)
        return f"[{text}] × {len(stage)}"

    names = ["conv1", "", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "", "parameters", "FLOPs"]
    columns: dict[str, list[str]] = {"layer name": names}
    for arch, made in RESNETS.items():
        with torch.device("meta"):
            model = made(num_classes)
        parts = summary_table(layer_table(model, image_size)).set_index("part")
        shapes = parts.loc[["conv1", "maxpool", *STAGES, "avgpool"], "output shape"]  # the same for all depths
        billions = parts["multiply-adds"].to_numpy().sum() / 1e9
        columns["output size"] = [*(f"{height}×{width}" for _, height, width in shapes), "", ""]
        columns[f"{arch.removeprefix('resnet')}-layer"] = [
            "7×7, 64, stride 2",
            "3×3 max pool, stride 2",
            *(stage_text(getattr(model, stage)) for stage in STAGES),
            f"average pool, {num_classes}-d fc, softmax",
            f"{parameters(model):,}",
            f"{billions:.1f}×10⁹" if billions >= 1 else f"{billions:.2g}×10⁹",
        ]
    return pd.DataFrame(columns)
