"""A finished run's network, from its folder."""

from pathlib import Path

from torch import nn

from labkit.models.build import build_model, load_weights
from labkit.runs.files import read_json
from labkit.runs.folder import read_params


def load_trained(folder: Path) -> nn.Module:
    """The network on the CPU with the chosen epoch's weights, as `params.yaml` and `run.json` describe it.

    Raises WeightsError where the weights are not there or do not fit.
    """
    params, n_classes = read_params(folder), len(read_json(folder / "run.json")["classes"])
    design = {"deviation": params.deviation, "image_size": params.input_size}
    weights, _ = load_weights(folder / "model.safetensors", params.arch, **design)
    return build_model(params.arch, params.outputs(n_classes), weights, head="keep", **design)
