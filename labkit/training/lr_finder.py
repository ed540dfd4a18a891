"""Which learning rate to begin with: the range test of Smith 2017 (arXiv:1506.01186), as fastai's `lr_find` runs it.

A copy of the network learns, on draws that no epoch has, and every random state is put back.
"""

import math
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from labkit.data.loaders import Batch, EpochLoader
from labkit.models.build import freeze_backbone, train_mode
from labkit.params import RunParams
from labkit.training.predict import prepare
from labkit.training.step import TrainStep

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100  # fastai's defaults, as the two below
MEMORY = 0.98  # of the running mean that smooths the loss
EXPLODED = 4.0  # times the smallest smoothed loss: what comes after that says nothing
NO_EPOCH = 20_000  # the first of the "epochs" that are drawn here; RunParams allows 10,000


def range_test(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: EpochLoader,
    params: RunParams,
    accelerator: Accelerator,
) -> pd.DataFrame:
    """``step, learning_rate, loss, smoothed`` (as in Adam) of mini-batches: STEPS, fewer if the loss explodes."""
    epoch, scaler = batches.batch_sampler.epoch, deepcopy(accelerator.scaler and accelerator.scaler.state_dict())
    rows: list[dict[str, float]] = []
    mean, best = 0.0, math.inf
    with torch.random.fork_rng():  # nothing here draws from Python's or NumPy's random states
        copies = deepcopy((model, criterion, optimizer))  # the optimizer's weights are those of the copy
        network = prepare(accelerator, copies[0])
        of_run = params.model_copy(update={"compile": False})
        step = TrainStep(network, copies[1], accelerator.prepare_optimizer(copies[2]), of_run, accelerator)
        freeze_backbone(network, params.freeze_epochs > 0)
        train_mode(network, params.freeze_epochs > 0)
        for number, batch in zip(range(STEPS), _endless(batches), strict=False):
            rate = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
            for group in step.optimizer.param_groups:
                group["lr"] = rate
            total, _, images = step(batch, number).tolist()
            mean = MEMORY * mean + (1 - MEMORY) * total / images
            smoothed = mean / (1 - MEMORY ** (number + 1))
            if not math.isfinite(smoothed) or smoothed > EXPLODED * best:
                break
            best = min(best, smoothed)
            rows.append({"step": number, "learning_rate": rate, "loss": total / images, "smoothed": smoothed})
    if scaler and accelerator.scaler:  # the run's remembers what has overflowed
        accelerator.scaler.load_state_dict(scaler)
    batches.set_epoch(epoch)
    return pd.DataFrame(rows, columns=["step", "learning_rate", "loss", "smoothed"])


def suggested_rate(tested: pd.DataFrame) -> float | None:
    """The "valley" of fastai, half-way down the longest fall, which rises may interrupt; None where nothing fell."""
    part = tested.iloc[STEPS // 10 : -5]
    losses, length = part["smoothed"].to_numpy(np.float64), np.ones(len(part), int)
    for place, loss in enumerate(losses):  # the longest falling subsequence that ends here, as fastai counts
        length[place] += max(length[:place][losses[:place] > loss], default=0)
    if not len(part) or (longest := length.max()) < STEPS // 10:
        return None
    first, third = int(length.argmax()) - int(longest), longest / 3
    return float(part["learning_rate"].iloc[max(0, first + int(third) + int(third / 2))])


def _endless(batches: EpochLoader) -> Iterator[Batch]:
    for epoch in range(NO_EPOCH, NO_EPOCH + STEPS):
        batches.set_epoch(epoch)
        yield from batches
