"""Reliability diagrams: how sure a variant is against how often it is right, before and after its temperature."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labkit.evaluation.calibration import Calibration
from labkit.format import fixed
from labkit.reporting.frames import floats, parts
from labkit.reporting.labels import wrap
from labkit.reporting.style import GREY, Palette, VariantStyle, new_figure, styled
from labkit.reporting.tables import TOO_FEW

COLUMNS = 3


@styled
def reliability_diagrams(found: Mapping[str, Calibration], palette: Palette | None = None) -> Figure:
    """A panel a variant: accuracy of the answers in each bin of confidence, and below it the images in each bin.

    Hollow: as predicted; filled: with the temperature fitted on validation, where there is one. A model that is right
    as often as it says lies on the grey diagonal. Bins of fewer than 30 images are small dots that no line joins.
    """
    if not found:
        raise ValueError("reliability_diagrams got no calibration")
    palette = palette or Palette(found)
    names = palette.ordered(found)
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    titles = [wrap(name, 20) for name in names]
    title_height = 0.16 * (max(title.count("\n") for title in titles) + 1)
    fig = new_figure(height=0.3 + lines * (2.75 + title_height), width=0.6 + 2.13 * columns)
    grid = fig.subplots(2 * lines, columns, squeeze=False, sharex=True, height_ratios=[4, 1] * lines)
    for place, name in enumerate(names):
        line, column = divmod(place, columns)
        top, bottom = grid[2 * line, column], grid[2 * line + 1, column]
        _diagram(top, found[name], palette[name])
        _images(bottom, found[name], palette[name])
        top.set_title(titles[place])
        top.set_yticks([0, 0.5, 1], ["0", "50", "100"] if column == 0 else [])
        if column == 0:
            top.set_ylabel("right (%)")
            bottom.set_ylabel("images")
    for ax in grid[:, 0]:
        ax.set_xlim(-0.04, 1.04)
        ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    for place in range(len(names), lines * columns):
        line, column = divmod(place, columns)
        for ax in grid[2 * line : 2 * line + 2, column]:
            ax.set_axis_off()
        grid[2 * line - 1, column].tick_params(labelbottom=True)
    fig.align_ylabels(grid[:, 0])
    fig.supxlabel("confidence in the answer (%)", fontsize=9)
    return fig


def _diagram(ax: Axes, one: Calibration, style: VariantStyle) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    for when, table in parts(one.bins, "when").items():
        n, said, true = (floats(table, name) for name in ("n", "confidence", "accuracy"))
        many = n >= TOO_FEW
        face = "white" if when == "before" else style.color
        width = 1.0 if when == "before" and one.temperature else 1.6
        ax.plot(said[many], true[many], color=style.color, linewidth=width, linestyle="-")
        for some, size in ((many, 6), ((n > 0) & ~many, 3)):
            dots = {"color": style.color, "markersize": size, "markerfacecolor": face, "zorder": 3}
            ax.plot(said[some], true[some], "o", **dots)
    text = " → ".join(fixed(score, 3) for score in one.scores["ece"])
    temperature = f"\nT = {fixed(one.temperature, 2)}" if one.temperature else ""
    # In the corner that the dots leave free: below the diagonal where the model is right more often than it says.
    above = np.nansum(floats(one.bins, "n") * (floats(one.bins, "accuracy") - floats(one.bins, "confidence"))) > 0
    x, y, side, height = (0.97, 0.04, "right", "bottom") if above else (0.03, 0.98, "left", "top")
    ax.text(x, y, f"ECE {text}{temperature}", ha=side, va=height, fontsize=8.5, color=style.ink)
    ax.set_ylim(-0.04, 1.04)
    ax.grid()


def _images(ax: Axes, one: Calibration, style: VariantStyle) -> None:
    for when, table in parts(one.bins, "when").items():
        low, high, n = (floats(table, name) for name in ("low", "high", "n"))
        if when == "before":
            ax.stairs(n, np.append(low, high[-1]), color=style.color, linewidth=1)
        else:
            ax.bar(low, n, width=high - low, align="edge", color=style.color, alpha=0.45, linewidth=0)
    ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    ax.set_ylim(bottom=0)
