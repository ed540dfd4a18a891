"""What a run learns: the class, by cross entropy, or the grade itself, by squared error (`loss: ordinal`).

An error of two grades costs four times one of one, as in kappa; validation fits the cuts (evaluation.ordinal).
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.augment import to_float
from labkit.data.catalog import DatasetFacts
from labkit.data.loaders import Batch
from labkit.params import ParameterError, RunParams


def refuse_unordered(params: RunParams, facts: DatasetFacts) -> None:
    """Raises ParameterError where a run would learn grades, or be chosen by kappa, and the classes have no order."""
    for name, value, instead in (("loss", "ordinal", "cross_entropy"), ("select_by", "qwk", "macro_f1")):
        if getattr(params, name) == value and facts.task != "grades":
            classes = f"the classes of {facts.name} ({', '.join(facts.classes)})"
            raise ParameterError(f"{name}: got {value!r}, but {classes} have no order; allowed here: {instead}")


class SquaredError(nn.Module):
    """(output - grade)² of outputs (N, 1), averaged as torch's cross entropy is: weighted by each image's class."""

    weight: Tensor | None  # named as in torch's losses

    def __init__(self, weights: Sequence[float] | None):
        super().__init__()
        self.register_buffer("weight", None if weights is None else torch.tensor(weights))

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs (N, 1) and grades (N,) -> their mean squared error, a scalar."""
        errors = (outputs.squeeze(1) - labels) ** 2
        if self.weight is None:
            return errors.mean()
        of_image = self.weight[labels]
        return (errors * of_image).sum() / of_image.sum()


def make_criterion(params: RunParams, weights: Sequence[float] | None) -> nn.Module:
    """The training loss, (outputs, labels) -> mean; ``weights``: one a class, or None."""
    ordinal = params.loss == "ordinal"
    tensor = None if weights is None else torch.tensor(weights)
    criterion = SquaredError(weights) if ordinal else nn.CrossEntropyLoss(tensor)
    made = {"weights": weights, "made_from": params.model_dump(include={"loss", "class_weights"})}
    vars(criterion).update(made)  # the weights as they were given, in double precision
    return criterion


def weight_of(criterion: nn.Module, labels: Tensor) -> Tensor:
    """What these images count for in the criterion's mean, a scalar on their device: their number, or their weights."""
    weights = getattr(criterion, "weight", None)
    return torch.full((), float(len(labels)), device=labels.device) if weights is None else weights[labels].sum()


def losses(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The loss of each image (n,) float64, before any weight: cross entropy of (n, C), squared error of (n, 1)."""
    outputs = outputs.astype(np.float64)
    if outputs.shape[1] == 1:
        return (outputs[:, 0] - labels) ** 2
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


@torch.no_grad()
def first_loss(model: nn.Module, batch: Batch, params: RunParams, device: torch.device) -> float:
    """Mean loss of a batch before training, without class weights, of a copy in train mode (BatchNorm is new)."""
    copy = deepcopy(model).to(device).train()
    outputs = copy(to_float(batch["images"].to(device), params.normalize)).float().cpu().numpy()
    return float(losses(outputs, batch["labels"].numpy()).mean())


def expected_first_loss(params: RunParams, labels: Tensor, n_classes: int) -> float | None:
    """What a new head should give: ln C nats, or the mean square of the grades. None for a kept head."""
    if params.weights and params.head == "keep":
        return None
    return float((labels.double() ** 2).mean()) if params.loss == "ordinal" else math.log(n_classes)
