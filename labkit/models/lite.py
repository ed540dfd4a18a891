"""EfficientNet-Lite0 (Google, 2020), timm's: a network for phones and CPUs, a tenth of a ResNet-50's multiply-adds.

timm is optional (`pip install -e ".[light]"`) and imported only where this network is built.
"""

from __future__ import annotations

from typing import Any

from torch import nn

LITE0 = "tf_efficientnet_lite0"  # tf: convolutions pad as TensorFlow's do, as its published weights expect


def tf_efficientnet_lite0(num_classes: int = 1000, deviation: str = "none", image_size: int = 224) -> nn.Module:
    """Images (N, 3, H, W) -> logits (N, num_classes); of any size, so `image_size` changes nothing.

    Its published weights expect images normalised with mean 0.5 and standard deviation 0.5. Raises ValueError on a
    deviation, which only ResNets have, and where timm is not installed.
    """
    if deviation != "none":
        raise ValueError(f"deviation: {deviation!r} is one of a ResNet's; with arch: {LITE0}, set deviation: none")
    try:
        import timm
    except ImportError as error:
        raise ValueError(f'arch: {LITE0} needs timm, which is not installed; run pip install -e ".[light]"') from error
    model: Any = timm.create_model(LITE0, pretrained=False)
    # A linear layer as torch initialises it, and as a ResNet's fc is: timm draws it the larger the fewer classes there
    # are (±1/√classes), and a network of two would begin near certain of one of them.
    model.reset_classifier(num_classes)
    return model
