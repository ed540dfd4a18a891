"""The figure of one ablation: pairs of variants that differ in one thing, and what it changed."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labkit.format import NBSP, fixed, metric, signed
from labkit.reporting.frames import known, only, parts
from labkit.reporting.labels import named_glyph, wrap
from labkit.reporting.style import GREY, Palette, new_figure, row_axis, styled

MOST = 4  # pairs in one figure: what a page holds
SPLITS = {"val_accuracy": "validation", "test_accuracy": "test"}
INK = "#333333"
Pair = tuple[str, str]


@styled
def ablation_figure(pairs: pd.DataFrame, sensitivities: pd.DataFrame, palette: Palette, *, score: str) -> Figure:
    """For each of at most MOST pairs (a, b) a row: sensitivity of each class in both, and the difference b - a.

    `pairs`: columns a, b, metric, difference, low, high (fractions), a row for accuracy and one for `score`; unknown
    ends are NaN. `sensitivities`: columns run, class, sensitivity (fraction), [seed]. Of several seeds the first is
    drawn, while differences are those of means.
    """
    names: list[Pair] = list(dict.fromkeys(zip(pairs["a"], pairs["b"], strict=True)))
    classes = list(parts(sensitivities, "class"))
    fig = new_figure(height=0.7 + len(names) * (0.75 + 0.24 * max(2, len(classes))))
    axes = fig.subplots(len(names), 2, squeeze=False, sharex="col", width_ratios=[1.6, 1])
    for (a, b), (dots, change) in zip(names, axes, strict=True):
        title = f"{named_glyph(palette, b, 60)}\nagainst {named_glyph(palette, a, 52)}"
        dots.set_title(title, fontweight="normal", fontsize=9, color=INK)
        _dumbbells(dots, sensitivities, classes, (a, b), palette)
        _change(change, only(only(pairs, "a", a), "b", b), list(dict.fromkeys(["accuracy", score])))
    axes[-1, 0].set_xlabel("sensitivity (%)")
    axes[-1, 1].set_xlabel("difference, " + ("points" if metric(score).percent else "points or hundredths"))
    widest = max(1.0, float(np.nanmax([0.0, *pairs[["difference", "low", "high"]].abs().to_numpy(float).flat])) * 100)
    axes[0, 1].set_xlim(-1.12 * widest, 1.12 * widest)  # zero in the middle, one scale for all pairs
    axes[0, 1].xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    axes[0, 1].xaxis.set_major_formatter(lambda at, _: signed(at, 0) if at % 1 == 0 else fixed(at, 1))
    return fig


def solid_column(history: pd.DataFrame) -> str:
    """The column to show beside training accuracy: validation, else test; '' where neither is known."""
    return next((column for column in SPLITS if len(known(history, column))), "")


def _dumbbells(ax: Axes, sensitivities: pd.DataFrame, classes: list[str], pair: Pair, palette: Palette) -> None:
    """Two dots per class; b is the smaller one, so that a is seen behind it where they are equal."""
    first = sensitivities.drop_duplicates(["class", "run"]).set_index(["class", "run"])["sensitivity"]
    for row, name in enumerate(classes):
        values = [first[name, run] for run in pair]
        ax.plot(values, [row, row], color=GREY, linewidth=1, zorder=1)  # draws nothing where one is NaN
        for run, value, size in zip(pair, values, (7, 4.5), strict=True):
            ax.plot(value, row, **palette[run].dot(size, edge=1))
    row_axis(ax, [wrap(name, 14) for name in classes])
    ax.set_xlim(-0.05, 1.05)
    ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])


def _change(ax: Axes, rows: pd.DataFrame, metrics: list[str]) -> None:
    """Differences in hundredths, so that points of accuracy and a score that is no share have one zero line."""
    texts = []
    for row, name in enumerate(metrics):
        value, low, high = only(rows, "metric", name)[["difference", "low", "high"]].to_numpy(float)[0] * 100
        ax.plot([low, high], [row, row], color=INK)
        ax.plot(value, row, "o", color=INK, markersize=5.5)
        text = f"{signed(value, 1)}{NBSP}points" if metric(name).percent else signed(value / 100, 3)
        texts.append(f"{wrap(metric(name).short, 11)}\n{'unknown' if np.isnan(value) else text}")
    ax.axvline(0, color=GREY, linewidth=1, zorder=1)
    row_axis(ax, texts)
