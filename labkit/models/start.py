"""Where a network starts, in words: always with what its weights were trained on, never a bare ``pretrained``."""

from pathlib import Path

from labkit.data.source import PHANTOMS
from labkit.params import RunParams
from labkit.runs.folder import read_params


def start_in_words(params: RunParams) -> str:
    """``from scratch``, ``from IMAGENET1K_V1``, or ``from resnet18-source-seed0, trained on …``; weights resolved."""
    if params.weights is None:
        return "from scratch"
    if params.parent is None:
        return f"from {params.weights}"
    folder = Path(params.weights).parent
    parent = read_params(folder)
    return f"from {folder.name}, trained on {PHANTOMS.get(parent.data, parent.data)}"
