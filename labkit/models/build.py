"""From a name, a number of classes and a source of weights to a network; and which part of it learns."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from labkit.models.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152

ARCHS: dict[str, Callable[[int], ResNet]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
}

StateDict = dict[str, Tensor]


class WeightsError(RuntimeError):
    """Weights were asked for and cannot be had as asked: never answered by training from scratch instead."""


def build_model(
    arch: str,
    num_classes: int,
    state_dict: StateDict | None = None,
    head: Literal["new", "keep"] = "new",
    seed: int = 0,
) -> ResNet:
    """A network on the CPU, in train mode; logits (N, num_classes).

    The same seed gives the same network and the same new head, whatever else was drawn before (torch's own random
    state is left as it was). `state_dict` as `load_weights` returns it: 'new' takes its backbone and puts a fresh
    head on it, 'keep' takes the head too. Raises ValueError on an unknown arch, head or class count and
    WeightsError where the weights do not fit.
    """
    _check_arch(arch)
    if num_classes < 2:
        raise ValueError(f"num_classes: {num_classes} is less than 2, and a classifier needs two classes")
    if head not in ("new", "keep"):
        raise ValueError(f"head: {head!r} is not one of 'new', 'keep'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ARCHS[arch](num_classes)
    if state_dict is None:
        return model
    check_fit(state_dict, arch, "the state dict")
    if head == "new":
        state_dict = {name: tensor for name, tensor in state_dict.items() if not _is_head(name)}
    else:
        _check_head(state_dict, model)
    missing, _ = model.load_state_dict(state_dict, strict=False)
    # check_fit has seen to it that nothing else is missing; this guards the two lines above against change.
    assert all(_is_head(name) for name in missing), missing
    return model


def load_weights(weights: str | Path | None, arch: str) -> tuple[StateDict | None, str]:
    """The weights to start from, checked to fit `arch` (but for the head), and words that say where they came from.

    None -> (None, 'from scratch'). 'IMAGENET1K_V1' | 'IMAGENET1K_V2' -> torchvision's, from TORCH_HOME or downloaded.
    Anything else is a file: .safetensors, .pt or .pth holding a state dict, also wrapped as {'state_dict': …} or
    {'model': …}, also with DataParallel's 'module.' before its names. Raises WeightsError.
    """
    _check_arch(arch)
    if weights is None:
        return None, "from scratch"
    name = str(weights)
    if name.startswith("IMAGENET1K_"):
        state_dict, where = _torchvision_weights(name, arch)
    elif name.startswith("run:"):
        raise WeightsError(f"weights: {name!r} names a run of a study; run it by `labkit run`, which finds its file")
    else:
        state_dict, where = _read_file(Path(name)), name
    check_fit(state_dict, arch, where)
    return state_dict, where


def backbone_parameters(model: ResNet) -> list[nn.Parameter]:
    """All but the head's."""
    return [parameter for name, parameter in model.named_parameters() if not _is_head(name)]


def head_parameters(model: ResNet) -> list[nn.Parameter]:
    return list(model.fc.parameters())


def freeze_backbone(model: ResNet) -> None:
    """Only the head learns from here on. Call `train_mode(model, frozen=True)` at each epoch's start with it."""
    for parameter in backbone_parameters(model):
        parameter.requires_grad_(False)
        parameter.grad = None  # an optimizer would go on applying the last gradient (momentum, weight decay)


def unfreeze_backbone(model: ResNet) -> None:
    for parameter in backbone_parameters(model):
        parameter.requires_grad_(True)


def train_mode(model: ResNet, frozen: bool) -> None:
    """model.train(), except that a frozen backbone stays in eval mode: its BatchNorms would otherwise go on
    replacing their running statistics, and "frozen" features would change without a gradient."""
    model.train(not frozen)
    model.fc.train()


def check_fit(state_dict: StateDict, arch: str, where: str) -> None:
    """Raises WeightsError unless every tensor of `arch` but the head's is there, in its shape, and nothing else is."""
    mismatch = _first_mismatch(state_dict, arch)
    if mismatch is None:
        return
    fitting = [other for other in ARCHS if _first_mismatch(state_dict, other) is None]
    cure = f"it is a {fitting[0]}: set arch: {fitting[0]}" if fitting else "give weights of this architecture"
    raise WeightsError(f"weights: {where} does not fit {arch}: {mismatch}; {cure}")


def _first_mismatch(state_dict: StateDict, arch: str) -> str | None:
    with torch.device("meta"):  # shapes only: no memory, no random draws
        expected = ARCHS[arch](2).state_dict()
    for name, tensor in expected.items():
        if _is_head(name) or name.endswith("num_batches_tracked"):  # absent in files of before PyTorch 0.4
            continue
        if name not in state_dict:
            return f"{name} is missing"
        if state_dict[name].shape != tensor.shape:
            return f"{name} has shape {tuple(state_dict[name].shape)}, not {tuple(tensor.shape)}"
    unknown = next((name for name in state_dict if name not in expected), None)
    return None if unknown is None else f"{unknown} is not one of its tensors"


def _check_head(state_dict: StateDict, model: ResNet) -> None:
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


def _is_head(name: str) -> bool:
    return name.startswith("fc.")


def _read_file(path: Path) -> StateDict:
    if not path.is_file():
        raise WeightsError(
            f"weights: {path} is not a file; give a .safetensors, .pt or .pth file, "
            "IMAGENET1K_V1, IMAGENET1K_V2, or nothing (from scratch)"
        )
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightsError(f"weights: {path} ends in {path.suffix!r}, not in .safetensors, .pt or .pth")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights: {path} holds Python objects, or is damaged; save model.state_dict() in its place"
        ) from error
    except Exception as error:  # each format has errors of its own; what matters is which file it was
        raise WeightsError(f"weights: {path} cannot be read ({error}); save it again") from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> StateDict:
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"weights: {path} holds no state dict; save model.state_dict() in its place")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _torchvision_weights(version: str, arch: str) -> tuple[StateDict, str]:
    from torchvision.models import get_model_weights

    published = get_model_weights(arch)
    names = [member.name for member in published]
    if version not in names:
        raise WeightsError(f"weights: {version} does not exist for {arch}; there is {', '.join(names)}")
    member = published[version]
    name = Path(urlparse(member.url).path).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        if file.exists():
            _check_hash(file)
        state_dict = member.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # no network, no right to write, a proxy's page in place of the file …
        raise WeightsError(
            f"weights: {version} of {arch} is not at {file} and cannot be downloaded from {member.url} ({error}); "
            f"download it elsewhere and put it there (TORCH_HOME/hub/checkpoints/{name})"
        ) from error
    return dict(state_dict), f"torchvision {version} ({name})"


def _check_hash(file: Path) -> None:
    """torchvision checks the eight digits in the file's name after a download only, not on a file put there by hand."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(file.stem.rpartition("-")[2]):
        raise WeightsError(f"weights: {file} is damaged (its sha256 begins with {found[:8]}); remove it and run again")
