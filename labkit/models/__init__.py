"""Networks: what a residual network is, how one is built, what it costs."""

from labkit.models.build import (
    ARCHS,
    WeightsError,
    backbone_parameters,
    build_model,
    freeze_backbone,
    head_parameters,
    load_weights,
    train_mode,
    unfreeze_backbone,
)
from labkit.models.describe import architecture_table, flops, layer_table, parameters

__all__ = [
    "ARCHS",
    "WeightsError",
    "architecture_table",
    "backbone_parameters",
    "build_model",
    "flops",
    "freeze_backbone",
    "head_parameters",
    "layer_table",
    "load_weights",
    "parameters",
    "train_mode",
    "unfreeze_backbone",
]
