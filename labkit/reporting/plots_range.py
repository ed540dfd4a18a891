"""Figure of a learning-rate range test."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from labkit.format import rate
from labkit.reporting.frames import floats
from labkit.reporting.style import COLORS, FAINT, GREY, new_figure, styled

NAMES = {"valley": "suggested (valley)", "steepest": "steepest"}


@styled
def range_test(tested: pd.DataFrame, found: Mapping[str, float], used: float) -> Figure:
    """Loss against the rising learning rate: faint as measured, strong smoothed, suggestions ringed, `used` dashed.

    `tested`: columns learning_rate, loss, smoothed (`training.range_test.range_test`); `found`: rates by NAMES. Raises
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
