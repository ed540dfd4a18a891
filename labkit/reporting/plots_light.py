"""What a score costs at prediction: against multiply-adds, parameters, milliseconds an image and file size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from labkit.format import metric, missing
from labkit.reporting.frames import floats, mean, parts
from labkit.reporting.labels import EndLabel, label_line_ends, wrap
from labkit.reporting.style import Palette, new_figure, styled, value_axis
from labkit.reporting.tables import estimates

QUANTITIES = {  # key of a run -> words of its axis, divisor
    "flops": ("FLOPs (G)", 1e9),
    "parameters": ("parameters (M)", 1e6),
    "milliseconds": ("milliseconds an image, on the CPU", 1),
    "file_mb": ("file (MB)", 1),
}
ROOM = 0.08  # of the decades between the dots, left and right of them


@styled
def light(runs: Sequence[Mapping[str, Any]], palette: Palette, *, score: str) -> Figure:
    """Score against each quantity that is known, up to four panels with one score axis; quantities are logarithmic.

    Run dicts with `run`, the score, [intervals], [flops: multiply-adds of one image], [parameters], [milliseconds],
    [file_mb]; seeds are averaged and then have no interval. Raises ValueError where no quantity is known.
    """
    scores = {run: _estimate(part) for run, part in parts(estimates(runs, [score]), "run").items()}
    names = palette.ordered(scores)
    costs = {key: {name: _cost(runs, name, key) for name in names} for key in QUANTITIES}
    keys = [key for key, values in costs.items() if any(value > 0 for value in values.values())]
    if not keys:
        raise ValueError(f"no run with a known {metric(score).name} has a known {', '.join(QUANTITIES)}")
    lines, columns = -(-len(keys) // 2), min(2, len(keys))
    fig = new_figure(height=0.3 + lines * min(4.4, 1.9 + 0.22 * len(names)))
    axes = fig.subplots(lines, columns, sharey=True, squeeze=False)
    for ax in axes.flat[len(keys) :]:
        ax.set_axis_off()
    axes[0, 0].margins(y=0.15)
    for ax, key in zip(axes.flat, keys, strict=False):
        for name in names:
            _dot(ax, costs[key][name], *scores[name], palette, name)
        _logarithmic(ax, [value for value in costs[key].values() if value > 0])
        ax.set_xlabel(QUANTITIES[key][0])
        ax.grid()
        value_axis(ax.yaxis, metric(score).percent)
    for ax in axes[:, 0]:
        ax.set_ylabel(metric(score).name)
    drawn = [name for name in names if any(costs[key][name] > 0 for key in keys)]
    ends = [EndLabel(scores[name][0], _label(palette[name].glyph, name), palette[name].ink) for name in drawn]
    for line in range(lines):  # the panels of a line share their heights, so the names stand once, right of the last
        label_line_ends(fig, axes.flat[min((line + 1) * columns, len(keys)) - 1], ends)
    return fig


def _label(glyph: str, name: str) -> str:
    return f"{glyph} " + wrap(name, 20).replace("\n", "\n    ")


def _estimate(rows: Any) -> tuple[float, float, float]:
    """Mean over seeds, with the ends of its interval: NaN with several seeds, as a mean of ends is no interval."""
    values, low, high = (floats(rows, name) for name in ("estimate", "low", "high"))
    ends = (float(low[0]), float(high[0])) if len(values) == 1 else (float("nan"), float("nan"))
    return float(values.mean()), *ends


def _cost(runs: Sequence[Mapping[str, Any]], name: str, key: str) -> float:
    """Mean over seeds in the unit of the axis, NaN if unknown."""
    mine = (run.get(key) for run in runs if str(run["run"]) == name)
    return mean(float(value) for value in mine if value is not None and not missing(value)) / QUANTITIES[key][1]


def _dot(ax: Axes, cost: float, value: float, low: float, high: float, palette: Palette, name: str) -> None:
    if not cost > 0:  # unknown: it would stretch the axis
        return
    style = palette[name]
    ax.plot([cost, cost], [low, high], color=style.color, linewidth=1.2, alpha=0.5, zorder=1)  # nothing where NaN
    edge = {"markersize": 7, "markerfacecolor": style.face, "markeredgewidth": 1.4}
    ax.plot(cost, value, style.marker, color=style.color, **edge)


def _logarithmic(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with some room on both sides and round ticks."""
    low, high = np.log10(min(values)), np.log10(max(values))
    room = max(0.15, ROOM * (high - low))
    low, high = low - room, high + room
    decades = np.arange(np.floor(low), np.ceil(high) + 1)
    steps = (1, 1.5, 2, 3, 4, 5, 7) if high - low < 0.7 else (1, 2, 5) if high - low < 3.2 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    ax.set_xscale("log")
    ax.set_xlim(10**low, 10**high)
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= np.log10(tick) <= high]))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,g}" if value < 1e4 else f"{value:,.0f}")
    ax.xaxis.set_minor_locator(NullLocator())
