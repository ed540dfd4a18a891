"""Which learning rate to begin with: the range test of Smith 2017 (arXiv:1506.01186), as fastai's `lr_find` runs it.

The rate rises from step to step, a hundredfold and more; where it is too small the loss stands still, where it is too
large the loss explodes, and in between lie the rates that train. Nothing that the run itself uses is changed: a copy of
the network learns, on draws that no epoch has, and every random state is put back.
"""

import math
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from labkit.data.loaders import EpochLoader
from labkit.models.build import train_mode
from labkit.params import RunParams
from labkit.training.loop import class_weights
from labkit.training.loss import make_criterion
from labkit.training.optim import build_optimizer
from labkit.training.step import to_device

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100  # fastai's defaults, as the two below
MEMORY = 0.98  # of the running mean that smooths the loss
EXPLODED = 4.0  # times the smallest smoothed loss: what comes after that says nothing
NO_EPOCH = 20_000  # the first of the "epochs" that are drawn here; RunParams allows 10,000


def range_test(
    model: nn.Module, batches: EpochLoader, params: RunParams, accelerator: Accelerator, n_classes: int
) -> pd.DataFrame:
    """A row a mini-batch: ``step, learning_rate, loss, smoothed``; at most STEPS, fewer where the loss explodes.

    Trained is a copy of ``model``, with the run's own optimizer, loss and precision, and with a frozen backbone where
    the run begins with one; ``smoothed`` is the running mean, corrected for its start at 0 as in Adam. Batches are
    drawn anew until there are enough.
    """
    epoch = batches.epoch_sampler.epoch
    with torch.random.fork_rng():  # nothing here draws from Python's or NumPy's random states
        copy = deepcopy(model).to(memory_format=torch.channels_last).to(accelerator.device)  # type: ignore[call-overload]
        frozen = params.freeze_epochs > 0
        optimizer = build_optimizer(copy, params, frozen)
        weights = class_weights(batches.labels, params.class_weights, n_classes)
        criterion = make_criterion(params, weights).to(accelerator.device)
        # Its own: the run's scaler remembers what has overflowed.
        scaler = torch.amp.GradScaler(accelerator.device.type, enabled=accelerator.scaler is not None)
        train_mode(copy, frozen)
        rows: list[dict[str, float]] = []
        mean, best = 0.0, math.inf
        for step, (images, labels) in zip(range(STEPS), _endless(batches, params, accelerator.device), strict=False):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            with accelerator.autocast():
                outputs = copy(images)
            loss = criterion(outputs.float(), labels)
            mean = MEMORY * mean + (1 - MEMORY) * loss.item()
            smoothed = mean / (1 - MEMORY ** (step + 1))
            if not math.isfinite(smoothed) or smoothed > EXPLODED * best:
                break
            best = min(best, smoothed)
            rows.append({"step": step, "learning_rate": rate, "loss": loss.item(), "smoothed": smoothed})
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
    batches.set_epoch(epoch)
    return pd.DataFrame(rows, columns=["step", "learning_rate", "loss", "smoothed"])


def suggested_rates(tested: pd.DataFrame) -> dict[str, float]:
    """``valley`` and ``steepest``, two suggestions from a range test; none where the loss never fell.

    Valley, fastai's default: half-way, in steps, down the longest fall, which may be interrupted by rises, without the
    first tenth of the steps and the last five. Steepest: where the smoothed loss falls fastest over the logarithm of
    the rate, between there and the minimum (fastai looks at all steps, and may find the noise of the first ones).
    """
    part = tested.iloc[STEPS // 10 : -5]
    rates, losses = part["learning_rate"].to_numpy(np.float64), part["smoothed"].to_numpy(np.float64)
    first, last = _longest_fall(losses)
    if last - first < STEPS // 10:
        return {}
    third = (last - first) / 3
    valley = max(0, first + int(third) + int(third / 2))
    slope = (np.diff(losses) / np.diff(np.log(rates)))[valley : max(losses.argmin(), valley + 1)]
    return {"valley": float(rates[valley]), "steepest": float(rates[valley + slope.argmin()])}


def _longest_fall(losses: np.ndarray) -> tuple[int, int]:
    """Of the longest falling subsequence, as fastai counts: last place less length (so -1 or more), and last place."""
    if len(losses) < 2:
        return 0, 0
    length = np.ones(len(losses), int)
    for place, loss in enumerate(losses):
        length[place] += max(length[:place][losses[:place] > loss], default=0)
    last = int(length.argmax())
    return last - int(length[last]), last


def _endless(batches: EpochLoader, params: RunParams, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(NO_EPOCH, NO_EPOCH + STEPS):
        batches.set_epoch(epoch)
        for batch in batches:
            yield to_device(batch, params, device)
