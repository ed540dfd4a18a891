"""From a name, a number of classes and a source of weights to a network; and which part of it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from labkit.models.lite import LITE0, tf_efficientnet_lite0
from labkit.models.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from labkit.models.variants import DEVIATIONS
from labkit.models.weights import StateDict, WeightsError, lite0_weights, read_file, torchvision_weights

# Each is called with (num_classes, deviation, image_size).
ARCHS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    LITE0: tf_efficientnet_lite0,
}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def build_model(
    arch: str,
    num_classes: int,
    state_dict: StateDict | None = None,
    head: Literal["new", "keep"] = "new",
    seed: int = 0,
    deviation: str = "none",
    image_size: int = 224,
) -> nn.Module:
    """A network on the CPU, in train mode; images (N, 3, H, W) -> logits (N, num_classes), or (N, 1) grades.

    The same seed gives the same network and the same new head, whatever else was drawn before (torch's own random
    state is left as it was). `state_dict` as `load_weights` returns it: 'new' takes its backbone and puts a fresh
    head on it, 'keep' takes the head too. `image_size` (px) matters to the deviation 'flat_head' alone. Raises
    ValueError on an unknown arch, deviation, head or class count, on a deviation that this arch cannot have and where
    timm is needed and missing, and WeightsError where the weights do not fit.
    """
    _check_arch(arch)
    if num_classes < 1:
        raise ValueError(f"num_classes: {num_classes} is less than 1; give 1 for a grade, or one output a class")
    if head not in ("new", "keep"):
        raise ValueError(f"head: {head!r} is not one of 'new', 'keep'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ARCHS[arch](num_classes, deviation, image_size)
    if state_dict is None:
        return model
    check_fit(state_dict, arch, "the state dict", deviation, image_size)
    if head == "new":
        state_dict = {name: tensor for name, tensor in state_dict.items() if not _is_head(name)}
    else:
        _check_head(state_dict, model)
    missing, _ = model.load_state_dict(state_dict, strict=False)
    # check_fit has seen to it that nothing else is missing; this guards the two lines above against change.
    assert all(_is_head(name) for name in missing), missing
    return model


def load_weights(
    weights: str | Path | None, arch: str, deviation: str = "none", image_size: int = 224
) -> tuple[StateDict | None, str]:
    """The weights to start from, checked to fit `arch` (but for the head), and words that say where they came from.

    None -> (None, 'from scratch'). 'IMAGENET1K_V1' | 'IMAGENET1K_V2' -> torchvision's, from TORCH_HOME or downloaded;
    EfficientNet-Lite0's ('IMAGENET1K_V1' alone) from a pip package. Anything else is a file: .safetensors, .pt or .pth
    holding a state dict, also wrapped as {'state_dict': …} or {'model': …}, also with DataParallel's 'module.' before
    its names. Raises WeightsError, and ValueError as `build_model` does.
    """
    _check_arch(arch)
    _shapes(arch, deviation, image_size)  # raises what cannot be built before anything is downloaded
    if weights is None:
        return None, "from scratch"
    name = str(weights)
    if name.startswith("IMAGENET1K_"):
        if deviation in ("linear_bottleneck", "small_stem"):
            raise WeightsError(
                f"weights: {name} was trained without deviation: {deviation}, which changes layers of the backbone; "
                "set weights: null (from scratch) or deviation: none"
            )
        state_dict, where = lite0_weights(name) if arch == LITE0 else torchvision_weights(name, arch)
    elif name.startswith("run:"):
        raise WeightsError(f"weights: {name!r} names a run of a study; run it by `labkit run`, which finds its file")
    else:
        state_dict, where = read_file(Path(name)), name
    check_fit(state_dict, arch, where, deviation, image_size)
    return state_dict, where


def num_classes(model: nn.Module) -> int:
    """Number of outputs: logits, or 1 for a grade."""
    return _head(model).out_features


def backbone_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All but the head's."""
    return [parameter for name, parameter in model.named_parameters() if not _is_head(name)]


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Weight and bias of the last linear layer: what learns while the backbone is frozen."""
    return list(_head(model).parameters())


def freeze_backbone(model: nn.Module) -> None:
    """Only the head learns from here on. Call `train_mode(model, frozen=True)` at each epoch's start with it."""
    for parameter in backbone_parameters(model):
        parameter.requires_grad_(False)
        parameter.grad = None  # an optimizer would go on applying the last gradient (momentum, weight decay)


def unfreeze_backbone(model: nn.Module) -> None:
    """Everything learns from here on; undoes `freeze_backbone`."""
    for parameter in backbone_parameters(model):
        parameter.requires_grad_(True)


def train_mode(model: nn.Module, frozen: bool) -> None:
    """model.train(), except that a frozen backbone stays in eval mode: its BatchNorms would otherwise go on
    replacing their running statistics, and "frozen" features would change without a gradient."""
    model.train(not frozen)
    _head(model).train()


def synchronized(model: nn.Module) -> nn.Module:
    """The network, changed in place: on several GPUs its BatchNorms take mean and variance of all of their images.

    Names and values of its state dict stay.
    """
    if any(type(module).__module__.startswith("timm.") for module in model.modules()):
        from timm.layers.norm_act import (
            convert_sync_batchnorm,
        )  # timm's have an activation inside, which torch's would lose

        return convert_sync_batchnorm(model)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def check_fit(state_dict: StateDict, arch: str, where: str, deviation: str = "none", image_size: int = 224) -> None:
    """Raises WeightsError unless every tensor of this network but the head's is there, in its shape, and nothing
    else is."""
    mismatch = _first_mismatch(state_dict, arch, deviation, image_size)
    if mismatch is None:
        return
    wanted = arch if deviation == "none" else f"{arch} with deviation: {deviation}"
    cure = next(_what_fits(state_dict, arch, deviation, image_size), "give weights of this architecture")
    raise WeightsError(f"weights: {where} does not fit {wanted}: {mismatch}; {cure}")


def _what_fits(state_dict: StateDict, arch: str, deviation: str, image_size: int) -> Iterator[str]:
    """Advice: the networks that these weights are of, those first that deviate as asked."""
    for other_deviation in (deviation, "none", *DEVIATIONS):
        for other in ARCHS:
            try:
                if _first_mismatch(state_dict, other, other_deviation, image_size) is not None:
                    continue
            except ValueError:  # a deviation that this arch cannot have; timm is not installed
                continue
            changes = [f"arch: {other}"] if other != arch else []
            changes += [f"deviation: {other_deviation}"] if other_deviation != deviation else []
            yield f"it is a {other}: set {' and '.join(changes)}"


def _first_mismatch(state_dict: StateDict, arch: str, deviation: str, image_size: int) -> str | None:
    expected = _shapes(arch, deviation, image_size)
    for name, tensor in expected.items():
        if _is_head(name) or name.endswith("num_batches_tracked"):  # absent in files of before PyTorch 0.4
            continue
        if name not in state_dict:
            return f"{name} is missing"
        if state_dict[name].shape != tensor.shape:
            return f"{name} has shape {tuple(state_dict[name].shape)}, not {tuple(tensor.shape)}"
    unknown = next((name for name in state_dict if name not in expected), None)
    return None if unknown is None else f"{unknown} is not one of its tensors"


def _shapes(arch: str, deviation: str, image_size: int) -> StateDict:
    with torch.device("meta"):  # shapes only: no memory, no random draws
        return ARCHS[arch](2, deviation, image_size).state_dict()


def _check_head(state_dict: StateDict, model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if not _is_head(name):
            continue
        if name not in state_dict:
            raise WeightsError(f"head: 'keep' needs {name}, which the weights do not have; set head: new")
        if state_dict[name].shape != tensor.shape:
            found, wanted = tuple(state_dict[name].shape), tuple(tensor.shape)
            raise WeightsError(f"head: 'keep' needs {name} in shape {wanted}, the weights have {found}; set head: new")


def _check_arch(arch: str) -> None:
    if arch not in ARCHS:
        raise ValueError(f"arch: {arch!r} is not one of {', '.join(ARCHS)}")


def _head(model: nn.Module) -> nn.Linear:
    """The last linear layer: `fc`, as ours and torchvision's ResNets call it, or what a network of timm's says."""
    network: Any = model
    return network.fc if hasattr(model, "fc") else network.get_classifier()


def _is_head(name: str) -> bool:
    """Whether a parameter belongs to the head: fc, or timm's classifier; no backbone uses these names."""
    return name.startswith(("fc.", "classifier."))
