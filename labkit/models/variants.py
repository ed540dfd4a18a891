"""How networks that call themselves ResNet deviate from it: mistakes and habits that reports have, by name.

A deviation is there to be measured: one run with it, one without, nothing else changed. "none" is the network of
`resnet`, and torchvision's.
"""

from __future__ import annotations

from torch import nn

DEVIATIONS: dict[str, str] = {
    "flat_head": "AvgPool2d(7, stride 1), not a mean over all positions: fc has 51,200 inputs at 512 px, not 512",
    "linear_bottleneck": "no ReLU between a bottleneck's convolutions and no BatchNorm after the last",
    "small_stem": "for images of 28 px: the first convolution is 3×3 with stride 1, and no max-pool follows",
}


def check_deviation(deviation: str, bottleneck: bool) -> None:
    """Raises ValueError unless a ResNet of such blocks can have it. `bottleneck`: made of Bottlenecks (50 and more)."""
    if deviation != "none" and deviation not in DEVIATIONS:
        raise ValueError(f"deviation: {deviation!r} is not one of none, {', '.join(DEVIATIONS)}")
    if deviation == "linear_bottleneck" and not bottleneck:
        raise ValueError(
            "deviation: 'linear_bottleneck' changes bottleneck blocks, and this network has none; "
            "set arch: resnet50, resnet101 or resnet152"
        )


def small_stem(network: nn.Module) -> None:
    """In place: layer1 sees the image at its full width, not at a quarter of it (as MedMNIST's networks do)."""
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()  # still there by name, so that forward and state dict stay as they are


def flat_head(fc: nn.Linear, image_size: int) -> tuple[nn.AvgPool2d, nn.Linear]:
    """What takes the place of avgpool and fc.

    `AvgPool2d(7, stride=1)` is the mean over all of layer4's 7×7 at 224 px, and at 512 px only a window that slides
    over 16×16: 10×10 means of each of fc.in_features channels, hence 51,200 inputs (204,800 with bottlenecks). To be a
    network at other sizes the window covers the same share of the side, round(7/16 · side) and at least 1: at 512 px
    exactly that 7, at 64 px (2×2 is left, window 1) 2048 inputs (8192 with bottlenecks). The network then takes
    images of this size only.
    """
    side = -(-image_size // 32)  # of layer4's output: each of five strides of 2 rounds up
    window = max(1, round(7 / 16 * side))
    means = (side - window + 1) ** 2
    return nn.AvgPool2d(window, stride=1), nn.Linear(fc.in_features * means, fc.out_features)
