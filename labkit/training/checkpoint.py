"""What a killed run needs to go on as if nothing had happened, and the weights that a finished one leaves."""

import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from labkit.params import ParameterError
from labkit.runs.files import write_whole


@dataclass
class Progress:
    """How far a run is: a history row and the seconds of every epoch, and the best epoch and its weights so far.

    ``micro_batch``: images that memory holds in training at a time; 0 before the first step. Of an epoch left in its
    middle: the ``steps`` done, the ``sums`` of their losses, correct predictions and images, and the ``spent`` seconds.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best: tuple[float, ...] = (-math.inf, -math.inf)  # score and negative loss of the best epoch
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    micro_batch: int = 0
    steps: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    spent: float = 0.0


def save_checkpoint(
    path: Path, fingerprint: str, progress: Progress, model: nn.Module, optimizer: Any, scaler: Any = None
) -> None:
    """Everything after a step; schedules and draws need no state. ``scaler`` is fp16's gradient scaler, else None."""
    content = {
        "fingerprint": fingerprint,
        "progress": vars(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler and scaler.state_dict(),
    }
    write_whole(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint if it has this fingerprint, else None; ParameterError for what is damaged, or would run code."""
    if not path.is_file():
        return None
    try:
        whole = zipfile.ZipFile(path).testzip() is None  # torch.load does not look at the CRCs of its file
        content = torch.load(path, map_location="cpu", weights_only=True) if whole else {}
        complete = content.keys() >= {"fingerprint", "progress", "model", "optimizer", "scaler"}
    except OSError:
        raise
    except Exception:  # UnpicklingError, EOFError, RuntimeError …: as many as there are ways to be damaged
        complete = False
    if not complete:
        cure = "remove it, and the run starts again from its first epoch"
        raise ParameterError(f"{path}: damaged, or no checkpoint of labkit's; {cure}")
    return content if content["fingerprint"] == fingerprint else None


def save_weights(path: Path, weights: dict[str, Tensor], arch: str) -> None:
    """safetensors; one metadata key only, since several are written in random order and would change the bytes."""
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata={"arch": arch}))
