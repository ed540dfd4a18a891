"""Weights from a file or from torchvision. Whether they fit a network is checked in `build`."""

import pickle
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from labkit.params import OneLine
from labkit.runs.files import sha256

StateDict = dict[str, Tensor]


class WeightsError(OneLine, RuntimeError):
    """The requested weights are missing, unreadable or do not fit. Training never falls back to random weights."""


def read_file(path: Path) -> StateDict:
    """The state dict in a .safetensors, .pt or .pth file, without a wrapping dict and DataParallel's prefix."""
    if not path.is_file():
        cure = "give a .safetensors, .pt or .pth file, IMAGENET1K_V1, IMAGENET1K_V2, or nothing (from scratch)"
        raise WeightsError(f"weights: {path} is not a file; {cure}")
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightsError(f"weights: {path} ends in {path.suffix!r}, not in .safetensors, .pt or .pth")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"weights: {path} holds Python objects, or is damaged; save model.state_dict()") from error
    except Exception as error:  # each format raises its own errors; the user needs the name of the file
        reason = " ".join(str(error).split())[:200]  # torch's messages have many lines
        raise WeightsError(f"weights: {path} cannot be read ({reason}); save it again") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"weights: {path} holds no state dict; save model.state_dict()")
    for name, tensor in content.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(f"weights: {path}: {name} holds NaN or infinity: its training failed; use other weights")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def torchvision_weights(version: str, arch: str) -> tuple[StateDict, str]:
    """torchvision's published weights, from TORCH_HOME or downloaded, and a description of their source."""
    from torchvision.models import get_model_weights

    published = get_model_weights(arch)
    names = [member.name for member in published]
    if version not in names:
        raise WeightsError(f"weights: {version} does not exist for {arch}; there is {', '.join(names)}")
    member = published[version]
    name = Path(urlparse(member.url).path).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    # torchvision compares the hash in the file's name after a download only, not if the file was there already.
    if file.exists() and not (found := sha256(file)).startswith(file.stem.rpartition("-")[2]):
        raise WeightsError(f"weights: {file} is damaged (its sha256 begins with {found[:8]}); remove it and run again")
    try:
        state_dict = member.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # no network, no permission to write, a proxy's page in place of the file …
        told = f"{version} of {arch} is not at {file} and cannot be downloaded from {member.url} ({error})"
        cure = f"download it elsewhere and put it there (TORCH_HOME/hub/checkpoints/{name})"
        raise WeightsError(f"weights: {told}; {cure}") from error
    return dict(state_dict), f"torchvision {version} ({name})"
