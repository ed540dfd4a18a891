"""Figures of results: each variant a dot with its interval, one panel per metric or per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.format import interval, metric, missing, plural
from labkit.reporting.frames import floats, known, mean, only, parts
from labkit.reporting.labels import wrap
from labkit.reporting.style import GREY, Palette, new_figure, styled, value_axis
from labkit.reporting.tables import TOO_FEW

BASELINE = "majority class"


@styled
def result_dots(
    results: pd.DataFrame,
    palette: Palette | None = None,
    *,
    metrics: Sequence[str] | None = None,
    baseline: Mapping[str, float] | None = None,
) -> Figure:
    """Each variant's estimate with its interval, one panel per metric, beside the majority baseline.

    `results`: columns run, metric, estimate, [low, high], [seed]; percent metrics as fractions. Several seeds of a
    run are several thinner dots in its row, and the number written is their mean. `baseline`: value by metric,
    a dashed line through the panel.
    """
    results = results.assign(run=results["run"].astype(str))
    palette = palette or Palette(results["run"])
    metrics = list(metrics or dict.fromkeys(results["metric"]))
    panels = [
        _Panel(
            rows=only(results, "metric", name),
            metric=name,
            title=metric(name).short,
            baseline=(baseline or {}).get(name),
        )
        for name in metrics
    ]
    return _dot_panels(panels, palette, palette.ordered(results["run"]), 2 if len(panels) in (1, 2, 4) else 3)


@styled
def sensitivity_dots(
    sensitivity: pd.DataFrame, palette: Palette | None = None, *, classes: Sequence[str] | None = None
) -> Figure:
    """Sensitivity (share of a class's images that were found) of each variant, one panel per class.

    `sensitivity`: columns run, class, sensitivity (fraction), [low, high], [seed], [images: of that class].
    """
    table = sensitivity.assign(run=sensitivity["run"].astype(str)).rename(columns={"sensitivity": "estimate"})
    palette = palette or Palette(table["run"])
    panels = []
    for name in classes or list(parts(table, "class")):
        rows = only(table, "class", name)
        images = floats(rows, "images")[0] if "images" in rows and len(rows) else float("nan")
        number = "" if missing(images) else f"\n{plural(images, 'image')}" + ("\n(too few)" if images < TOO_FEW else "")
        panels.append(_Panel(rows, "sensitivity", wrap(name, 14) + number, None))
    columns = len(panels) if len(panels) <= 5 else -(-len(panels) // 2)
    fig = _dot_panels(panels, palette, palette.ordered(table["run"]), columns, values=False)
    for ax in fig.axes:
        ax.set_xlim(-0.04, 1.04)
        ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    fig.supxlabel("sensitivity (%)", fontsize=9)
    return fig


@dataclass(frozen=True)
class _Panel:
    rows: pd.DataFrame  # run, estimate, [low, high]
    metric: str
    title: str
    baseline: float | None

    def of(self, run: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Known estimates of a run, one per seed, with the ends of their intervals (NaN = none)."""
        rows = only(known(self.rows, "estimate"), "run", run)
        return floats(rows, "estimate"), floats(rows, "low"), floats(rows, "high")


def _dot_panels(panels: list[_Panel], palette: Palette, runs: list[str], columns: int, values: bool = True) -> Figure:
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    names = [*runs, BASELINE] if any(panel.baseline is not None for panel in panels) else runs
    row_height = 0.27 if max(wrap(name).count("\n") for name in names) == 0 else 0.36
    title_height = 0.17 * max(panel.title.count("\n") + 1 for panel in panels)
    fig = new_figure(height=lines * (0.68 + title_height + row_height * len(names)))
    axes = fig.subplots(lines, columns, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for place, (ax, panel) in enumerate(zip(axes.flat, panels, strict=False)):
        for row, run in enumerate(runs):
            _dots(ax, panel, row, run, palette)
            if values:
                _value(ax, row, _text(panel, run, with_interval=columns <= 2), "black")
        if panel.baseline is not None:
            ax.axvline(panel.baseline, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        if values and len(names) > len(runs):
            _value(ax, len(runs), metric(panel.metric).text(panel.baseline), GREY)
        ax.set_title(panel.title)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0, labelleft=place % columns == 0)
        ax.spines["left"].set_visible(False)
        ax.margins(x=0.08)
        value_axis(ax.xaxis, metric(panel.metric).percent, ticks=5 if columns <= 2 else 4)
    axes[0, 0].set_yticks(range(len(names)), [wrap(name) for name in names])
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    return fig


def _dots(ax: Axes, panel: _Panel, row: int, run: str, palette: Palette) -> None:
    style = palette[run]
    estimates, lows, highs = panel.of(run)
    one_only = len(estimates) == 1
    shifts = [0.0] if one_only else np.linspace(-0.22, 0.22, len(estimates))
    for y, estimate, low, high in zip(row + np.array(shifts), estimates, lows, highs, strict=True):
        ax.plot([low, high], [y, y], color=style.color, linewidth=1.6 if one_only else 1)  # draws nothing where NaN
        ax.plot(
            estimate,
            y,
            style.marker,
            color=style.color,
            markersize=6 if one_only else 4,
            markerfacecolor=style.face,
            markeredgewidth=1.4,
        )


def _text(panel: _Panel, run: str, with_interval: bool) -> str:
    estimates, lows, highs = panel.of(run)
    text = metric(panel.metric).text(mean(estimates))
    if not with_interval or not len(estimates):
        return text
    if len(estimates) > 1:
        return f"{text} (mean of {len(estimates)})"
    return f"{text} {interval(panel.metric, lows[0], highs[0])}".strip()


def _value(ax: Axes, row: int, text: str, color: str) -> None:
    ax.text(1.03, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5, color=color)
