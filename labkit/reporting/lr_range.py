"""Before training: the first loss, and the learning-rate range test."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from labkit.format import fixed, plural, rate, times
from labkit.params import RunParams
from labkit.reporting.frames import floats
from labkit.reporting.style import COLORS, FAINT, GREY, new_figure, styled
from labkit.training.loss import expected_first_loss
from labkit.training.lr_finder import suggested_rate


@styled
def range_test_figure(tested: pd.DataFrame, used: float) -> Figure:
    """Loss against the rising learning rate: faint as measured, strong smoothed, the suggestion ringed, `used` dashed.

    `tested`: as `training.lr_finder.range_test`. Raises ValueError where nothing was tested.
    """
    if tested.empty:
        raise ValueError("range_test got no step; the loss is no number from the first batch on")
    rates, losses, smoothed = (floats(tested, name) for name in ("learning_rate", "loss", "smoothed"))
    ax = (fig := new_figure(height=2.9)).subplots()
    ax.plot(rates, losses, color=FAINT, linewidth=1)
    ax.plot(rates, smoothed, color=COLORS[0])
    # The valley is what is looked for: a loss that explodes runs out of the picture instead of flattening it.
    depth = max(smoothed[0] - smoothed.min(), 0.05 * smoothed[0], 1e-9)
    limits = smoothed.min() - depth, smoothed.min() + 3.5 * depth
    ax.set(xscale="log", ylim=limits, xlabel="learning rate", ylabel="training loss")
    ax.axvline(used, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    beside: Any = {"textcoords": "offset points", "va": "bottom", "fontsize": 8.5}
    ax.annotate(f"this run: {rate(used)}", (used, 0), (4, 3), ax.get_xaxis_transform(), color=GREY, **beside)
    if found := suggested_rate(tested):
        y = float(np.interp(np.log(found), np.log(rates), smoothed))
        ax.plot(found, y, "o", markersize=9, markerfacecolor="none", markeredgewidth=1.6, color=COLORS[1], zorder=5)
        ax.annotate(f"suggested: {rate(found)}", (found, y), (8, 8), color=COLORS[1], **beside)
    ax.grid(axis="y")
    return fig


def first_loss_sentence(loss: float, params: RunParams, labels: Tensor, n_classes: int) -> str:
    """The loss of a batch before training, and what it should be."""
    expected, said = expected_first_loss(params, labels, n_classes), "the head that was kept is trained already"
    if expected is not None and params.loss == "ordinal":
        said = f"always predicting grade 0 would give {fixed(expected, 3)}, the mean square of its grades"
    elif expected is not None:
        said = f"it should be near ln {n_classes} = {fixed(expected, 3)}, the loss of predicting all classes equally"
    return f"Before training the loss of a batch is {fixed(loss, 3)}; {said}."


def range_test_sentence(tested: pd.DataFrame, used: float) -> str:
    """What the range test suggests, and how far the run's own rate is from it."""
    steps = plural(len(tested), "mini-batch", "mini-batches")
    if not (found := suggested_rate(tested)):
        return f"Over {steps} of rising learning rate the loss never falls for long: there is nothing to suggest."
    verdict = "which is of that order"
    if used > 3 * found:
        verdict = f"{times(used / found)} as large: check that its loss is stable"
    elif used < found / 3:
        verdict = f"{times(found / used)} smaller: it may learn slowly"
    return f"Over {steps} the loss suggests a learning rate of {rate(found)}. This run uses {rate(used)}, {verdict}."
