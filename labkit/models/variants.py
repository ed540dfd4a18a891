"""Deviations: known mistakes and habits of networks that are called ResNet and differ from it, by name.

Compare a run with a deviation to one without it to measure its effect. "none" is torchvision's ResNet.
"""

from torch import nn

DEVIATIONS: dict[str, str] = {
    "flat_head": "AvgPool2d(7, stride 1), not a mean over all positions: fc has 51,200 inputs at 512 px, not 512",
    "linear_bottleneck": "no ReLU between a bottleneck's convolutions and no BatchNorm after the last",
    "no_shortcut": "a plain network (He et al. 2016, figure 4): no block adds its input to its output",
    "small_stem": "for images of 28 px: the first convolution is 3×3 with stride 1, and no max-pool follows",
}


def check_deviation(deviation: str, bottleneck: bool) -> None:
    """Raises ValueError on an unknown deviation, or one that needs `bottleneck` blocks (ResNet-50 and deeper)."""
    if deviation != "none" and deviation not in DEVIATIONS:
        raise ValueError(f"deviation: {deviation!r} is not one of none, {', '.join(DEVIATIONS)}")
    if deviation == "linear_bottleneck" and not bottleneck:
        raise ValueError(
            "deviation: 'linear_bottleneck' changes bottleneck blocks, and this network has none; "
            "set arch: resnet50, resnet101 or resnet152"
        )


def small_stem(network: nn.Module) -> None:
    """Changes the network: layer1 sees the image at full width, not at a quarter of it (as in MedMNIST's networks)."""
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()  # keeps the name, so that forward and the state dict do not change


def flat_head(fc: nn.Linear, image_size: int) -> tuple[nn.AvgPool2d, nn.Linear]:
    """The replacements of avgpool and fc. The network then takes images of this size only.

    `AvgPool2d(7, stride=1)` is the mean over all positions at 224 px, where layer4 returns 7×7. At 512 px its window
    slides over 16×16: 10×10 means of each of fc.in_features channels, so fc has 51,200 inputs (204,800 with
    bottlenecks). At other sizes the window covers the same share of the side, round(7/16 · side) and at least 1; at
    64 px layer4 returns 2×2, the window is 1, and fc has 2048 inputs (8192 with bottlenecks).
    """
    side = -(-image_size // 32)  # of layer4's output: five strides of 2, each rounds up
    window = max(1, round(7 / 16 * side))
    means = (side - window + 1) ** 2
    return nn.AvgPool2d(window, stride=1), nn.Linear(fc.in_features * means, fc.out_features)
