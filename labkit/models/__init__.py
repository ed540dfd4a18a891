"""Networks: what a residual network is, how one is built, what it costs."""

from labkit.models.build import (
    ARCHS,
    RESNETS,
    backbone_parameters,
    build_model,
    freeze_backbone,
    head_parameters,
    load_weights,
    num_classes,
    train_mode,
    unfreeze_backbone,
)
from labkit.models.describe import architecture_table, cpu_milliseconds, flops, layer_table, parameters
from labkit.models.variants import DEVIATIONS
from labkit.models.weights import WeightsError

__all__ = [
    "ARCHS",
    "DEVIATIONS",
    "RESNETS",
    "WeightsError",
    "architecture_table",
    "backbone_parameters",
    "build_model",
    "cpu_milliseconds",
    "flops",
    "freeze_backbone",
    "head_parameters",
    "layer_table",
    "load_weights",
    "num_classes",
    "parameters",
    "train_mode",
    "unfreeze_backbone",
]
