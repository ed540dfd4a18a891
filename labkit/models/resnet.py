"""ResNet-18/34/50/101/152, written by hand (He et al. 2015, arXiv:1512.03385).

A plain deep stack of layers is hard to train: each layer has to pass on what the earlier layers found. A residual block
learns only a *correction* F(x) and adds it to its input, y = ReLU(F(x) + x). So a block that changes nothing is easy to
learn, and the gradient reaches the first layer through the additions.

    image (N, 3, H, W) -> conv1 bn1 relu maxpool -> layer1 … layer4 -> avgpool -> fc -> logits (N, num_classes)

Attributes and state-dict names are torchvision's, so weights can be exchanged. DEVIATIONS are known mistakes and habits
of networks that are called ResNet elsewhere; a run with one, beside a run without it, measures its effect.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

DEVIATIONS: dict[str, str] = {
    "flat_head": "AvgPool2d(7, stride 1), not a mean over all positions: fc has 51,200 inputs at 512 px, not 512",
    "linear_bottleneck": "no ReLU between a bottleneck's convolutions and no BatchNorm after the last",
    "no_shortcut": "a plain network (He et al. 2016, figure 4): no block adds its input to its output",
    "small_stem": "for images of 28 px: the first convolution is 3×3 with stride 1, and no max-pool follows",
}


def conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of `size` x `size` positions that keeps height and width at stride 1."""
    # No convolution has a bias: the BatchNorm after it subtracts the mean, and any bias with it.
    return nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """The shortcut where a block changes the shape of its input; None where x itself can be added (option B)."""
    changes = stride != 1 or in_channels != out_channels
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)) if changes else None


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: the block of ResNet-18 and -34. (N, in, H, W) -> (N, channels, H/stride, W/stride)."""

    expansion = 1  # channels out = channels * expansion
    shortcut = True  # False: a block of a plain network

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = projection(in_channels, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, channels, H/stride, W/stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))  # no ReLU here: a correction must be able to be negative
        if self.shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1 narrows, 3x3 works, 1x1 widens fourfold: the block of ResNet-50, -101 and -152.

    The stride sits on the 3x3, not on the first 1x1 as in the paper ("ResNet v1.5", as torchvision and NVIDIA do it):
    a strided 1x1 never sees three quarters of its input. It costs about 0.3 × 10⁹ more multiply-adds at 224 px.
    """

    expansion = 4
    shortcut = True

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, 4 · channels, H/stride, W/stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class LinearBottleneck(Bottleneck):
    """Of the deviation 'linear_bottleneck': without a ReLU between, three convolutions can do no more than one 3x3."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        del self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as Bottleneck's."""
        out = self.conv3(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """Normalised images (N, 3, H, W) -> logits (N, num_classes). Any H, W from 32 px (the network divides them by 32).

    Only the deviation 'flat_head' uses `image_size`. ValueError on one that is unknown or does not fit the blocks.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        deviation: str = "none",
        image_size: int = 224,
    ) -> None:
        super().__init__()
        if deviation not in ("none", *DEVIATIONS):
            raise ValueError(f"deviation: {deviation!r} is not one of none, {', '.join(DEVIATIONS)}")
        if deviation == "linear_bottleneck":
            if block is not Bottleneck:
                told = f"deviation: {deviation!r} changes bottleneck blocks, and this network has none"
                raise ValueError(f"{told}; set arch: resnet50, resnet101 or resnet152")
            block = LinearBottleneck
        # The stem: from the photograph to 64 channels at a quarter of its width.
        self.conv1 = conv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        # Four stages: each of the last three halves the width and doubles the channels.
        self.layer1 = stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = stage(block, 64 * block.expansion, 128, depths[1], stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, depths[2], stride=2)
        self.layer4 = stage(block, 256 * block.expansion, 512, depths[3], stride=2)
        # The head: the mean over what is left of the image, then one linear layer.
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        if deviation == "small_stem":
            self.conv1 = conv(3, 64, 3)  # layer1 sees the image at full width (as in MedMNIST's networks)
            self.maxpool = nn.Identity()  # keeps the name, so that forward and the state dict do not change
        elif deviation == "no_shortcut":
            for part in self.modules():
                if isinstance(part, BasicBlock | Bottleneck):
                    part.shortcut, part.downsample = False, None
        elif deviation == "flat_head":
            self.avgpool, self.fc = flat_head(self.fc, image_size)
        for module in self.modules():  # He (arXiv:1502.01852) in torchvision's order: equal seeds, equal networks
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) -> logits (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)


def stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, channels: int, depth: int, stride: int
) -> nn.Sequential:
    """`depth` blocks in a row; only the first changes the shape."""
    blocks: list[nn.Module] = [block(in_channels, channels, stride)]
    blocks += [block(channels * block.expansion, channels) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def flat_head(fc: nn.Linear, image_size: int) -> tuple[nn.AvgPool2d, nn.Linear]:
    """The replacements of avgpool and fc. The network then takes images of this size only.

    `AvgPool2d(7, stride=1)` is the mean over all positions at 224 px, where layer4 returns 7×7. At 512 px its window
    slides over 16×16: 10×10 means of each channel, so fc has 51,200 inputs (204,800 with bottlenecks). At other sizes
    the window covers the same share of the side, round(7/16 · side) and at least 1.
    """
    side = -(-image_size // 32)  # of layer4's output: five strides of 2, each rounds up
    window = max(1, round(7 / 16 * side))
    means = (side - window + 1) ** 2
    return nn.AvgPool2d(window, stride=1), nn.Linear(fc.in_features * means, fc.out_features)


# Each is called with (num_classes, deviation, image_size). The name counts conv1, the blocks' convolutions and fc:
# 18 = 1 + 2·(2+2+2+2) + 1, 50 = 1 + 3·(3+4+6+3) + 1. Parameters at 1000 classes are those of He et al. 2016, table 1.
RESNETS: dict[str, Callable[..., ResNet]] = {
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2, 2)),  # 11.7 M
    "resnet34": partial(ResNet, BasicBlock, (3, 4, 6, 3)),  # 21.8 M
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3)),  # 25.6 M
    "resnet101": partial(ResNet, Bottleneck, (3, 4, 23, 3)),  # 44.5 M
    "resnet152": partial(ResNet, Bottleneck, (3, 8, 36, 3)),  # 60.2 M
}
