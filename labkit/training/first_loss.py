"""What the loss should be before anything is learnt: the cheapest look at whether network and loss fit together."""

import math
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from labkit.data.augment import to_float
from labkit.data.loaders import Batch
from labkit.params import RunParams
from labkit.training.loss import losses

# In nats. Measured in train mode on photographs of 24 to 224 px, all depths, 2 to 8 classes, 8 images a batch: a
# ResNet without deviation (or with small_stem) and Lite0 begin within 0.9 of ln C, the deep ones on the smallest
# images furthest off; a head that is drawn wrongly is several nats off.
TOLERANCE = 2.0


@torch.no_grad()
def first_loss(model: nn.Module, batch: Batch, params: RunParams, device: torch.device) -> float:
    """Mean loss of a batch before training, without class weights; the model itself stays where and as it is.

    Of a copy in train mode: in eval mode BatchNorm would use statistics that it has not gathered yet, and the loss of
    an untrained ResNet-152 was 7.6 above ln C.
    """
    copy = deepcopy(model).to(device).train()
    outputs = copy(to_float(batch["images"].to(device), params.normalize)).float().cpu().numpy()
    return float(losses(outputs, batch["labels"].numpy()).mean())


def expected_first_loss(params: RunParams, labels: np.ndarray, n_classes: int) -> float | None:
    """What a fresh head should give: ln C nats, since all classes are alike to it, or the mean square of the grades.

    None where that cannot be said: a kept head has learnt already.
    """
    if params.weights and params.head == "keep":
        return None
    return float(np.square(labels).mean()) if params.loss == "ordinal" else math.log(n_classes)


def starts_at_chance(params: RunParams) -> bool:
    """Whether ln C must hold, within TOLERANCE: cross entropy, from scratch, and a head behind one mean a channel."""
    return params.weights is None and params.loss == "cross_entropy" and params.deviation in ("none", "small_stem")
