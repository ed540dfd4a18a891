"""Before training: the first loss, and the learning-rate range test."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from labkit.format import fixed, plural, rate, times
from labkit.reporting.frames import floats
from labkit.reporting.style import COLORS, FAINT, GREY, new_figure, styled

NAMES = {"valley": "suggested (valley)", "steepest": "steepest"}


@styled
def range_test_figure(tested: pd.DataFrame, found: Mapping[str, float], used: float) -> Figure:
    """Loss against the rising learning rate: faint as measured, strong smoothed, suggestions ringed, `used` dashed.

    `tested`: columns learning_rate, loss, smoothed (`training.lr_finder.range_test`); `found`: rates by NAMES. Raises
    ValueError where nothing was tested.
    """
    if tested.empty:
        raise ValueError("range_test got no step; the loss is no number from the first batch on")
    rates, losses, smoothed = (floats(tested, name) for name in ("learning_rate", "loss", "smoothed"))
    fig = new_figure(height=2.9)
    ax = fig.subplots()
    ax.plot(rates, losses, color=FAINT, linewidth=1)
    ax.plot(rates, smoothed, color=COLORS[0])
    ax.set_xscale("log")
    # The valley is what is looked for: a loss that explodes runs out of the picture instead of flattening it.
    depth = max(smoothed[0] - smoothed.min(), 0.05 * smoothed[0], 1e-9)
    ax.set_ylim(smoothed.min() - depth, smoothed.min() + 3.5 * depth)
    ax.axvline(used, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    top = ax.get_xaxis_transform()
    beside = {"xytext": (4, 3), "textcoords": "offset points", "va": "bottom", "fontsize": 8.5}
    ax.annotate(f"this run: {rate(used)}", (used, 0), xycoords=top, color=GREY, **beside)
    for name, height in (("steepest", 0.93), ("valley", 0.81)):
        if name in found:
            x, color = found[name], COLORS[1] if name == "valley" else COLORS[7]
            y = float(np.interp(np.log(x), np.log(rates), smoothed))
            ax.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgewidth=1.6, color=color, zorder=5)
            arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.8, "shrinkB": 5}
            ax.annotate(
                f"{NAMES[name]}: {rate(x)}", (x, y), xytext=(0.03, height), textcoords="axes fraction",
                color=color, fontsize=8.5, va="center", arrowprops=arrow,
            )  # fmt: skip
    ax.set_xlabel("learning rate")
    ax.set_ylabel("training loss")
    ax.grid(axis="y")
    return fig


def first_loss_sentence(loss: float, expected: float | None, n_classes: int, ordinal: bool, from_scratch: bool) -> str:
    """The loss of a batch before training, and what it should be; `expected` as `training.first_loss` gives it."""
    said = f"Before training the loss of a batch is {fixed(loss, 3)}"
    if expected is None:
        return f"{said}; no value is expected, since the head that was kept is trained already."
    if ordinal:
        return f"{said}; always predicting grade 0 would give {fixed(expected, 3)}, the mean square of its grades."
    uniform = f"ln {n_classes} = {fixed(math.log(n_classes), 3)}, the loss of predicting all classes equally"
    who = "it" if from_scratch else "with a new head on loaded weights, it also"
    return f"{said}; {who} should be near {uniform}."


def range_test_sentence(tested: pd.DataFrame, found: Mapping[str, float], used: float) -> str:
    """Where the loss falls, what that suggests, and how far the run's own rate is from it."""
    steps = plural(len(tested), "mini-batch", "mini-batches")
    if not found:
        return f"Over {steps} of rising learning rate the loss never falls for long: there is nothing to suggest."
    low, high = sorted(found.values())
    verdict = "which is of that order"
    if used > 3 * high:
        verdict = f"{times(used / high)} as large as the larger of the two: check that its loss is stable"
    elif used < low / 3:
        verdict = f"{times(low / used)} smaller than the smaller of the two: it may learn slowly"
    return (
        f"Over {steps} the loss falls fastest at a learning rate of {rate(found['steepest'])}; half-way down its "
        f"longest fall, the usual choice, lies {rate(found['valley'])}. This run uses {rate(used)}, {verdict}."
    )
