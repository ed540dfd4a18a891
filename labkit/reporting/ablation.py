"""The figure of one ablation: pairs of variants that differ in one thing, how they learnt and what it changed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from labkit.format import NBSP, fixed, metric, signed
from labkit.reporting.frames import floats, joined, known, only, parts
from labkit.reporting.labels import EndLabel, label_line_ends, named_glyph, wrap
from labkit.reporting.style import GREY, Palette, new_figure, row_axis, styled, value_axis

MOST = 4  # pairs in one figure: what a page holds
PAGE = 9.6  # inches
TRAIN = "train_accuracy"
SPLITS = {"val_accuracy": "validation", "test_accuracy": "test"}
INK = "#333333"
Pair = tuple[str, str]


@styled
def ablation_figure(
    pairs: pd.DataFrame, histories: pd.DataFrame, sensitivities: pd.DataFrame, palette: Palette, *, score: str
) -> Figure:
    """For each of at most MOST pairs (a, b) a row: accuracy by epoch, sensitivity of each class, the difference b - a.

    `pairs`: columns a, b, metric, difference, low, high (fractions), a row for accuracy and one for `score`; unknown
    ends are NaN. `histories`: columns run, epoch, train_accuracy, and val_accuracy or test_accuracy, [seed].
    `sensitivities`: columns run, class, sensitivity (fraction), [seed]. Of several seeds the first is drawn, while
    differences are those of means.
    """
    names: list[Pair] = list(dict.fromkeys(zip(pairs["a"], pairs["b"], strict=True)))
    runs = list(dict.fromkeys(run for pair in names for run in pair))
    of_run = {run: part for run, part in parts(joined(histories), "run").items() if run in runs}
    of_run = {run: only(part, "seed", min(part["seed"])) for run, part in of_run.items()}
    classes = list(parts(sensitivities, "class"))
    fig = new_figure(height=min(0.7 + len(names) * max(1.9, 1.0 + 0.26 * len(classes)), PAGE))
    rows = _grid(fig, len(names), _legend(of_run))
    for (a, b), (curves, dots, change) in zip(names, rows, strict=True):
        curves.set_title(wrap(f"{b} against {a}", 80), fontweight="normal", fontsize=9, color=INK)
        _curves(curves, of_run, (a, b), palette)
        _dumbbells(dots, sensitivities, classes, (a, b), palette)
        _change(change, only(only(pairs, "a", a), "b", b), list(dict.fromkeys(["accuracy", score])))
    _same_scales(rows)
    rows[-1][0].set_xlabel("epoch")
    rows[-1][1].set_xlabel("share found (%)")
    rows[-1][2].set_xlabel("points" if metric(score).percent else "points or hundredths", loc="right")
    label_line_ends(fig, [(row[0], _ends(of_run, pair, palette)) for row, pair in zip(rows, names, strict=True)])
    return fig


def _grid(fig: Figure, lines: int, legend: str) -> list[list[Axes]]:
    """Three panels a line, and above them once the heads of the columns."""
    grid = fig.add_gridspec(lines + 1, 3, height_ratios=[0.01] + [1] * lines, width_ratios=[1.8, 1, 1])
    heads = {"Accuracy": legend, "Sensitivity": "of each class", "Difference": "95 % interval"}
    for column, (head, below) in enumerate(heads.items()):
        ax = fig.add_subplot(grid[0, column])
        ax.set_axis_off()
        ax.set_title(head, pad=12)
        ax.text(0, 0, below, transform=ax.transAxes, fontsize=8, color=GREY)
    return [[fig.add_subplot(grid[line + 1, column]) for column in range(3)] for line in range(lines)]


def solid_column(history: pd.DataFrame) -> str:
    """The column to show beside training accuracy: validation, else test; '' where neither is known."""
    return next((column for column in SPLITS if len(known(history, column))), "")


def _solid_words(histories: Mapping[str, pd.DataFrame]) -> str:
    columns = {solid_column(history) for history in histories.values()}
    return " or ".join(word for column, word in SPLITS.items() if column in columns)


def _legend(histories: Mapping[str, pd.DataFrame]) -> str:
    """How the two curves of a run are told apart; of one epoch there are points only."""
    solid = _solid_words(histories)
    lines = any(len(history) > 1 for history in histories.values())
    if not solid:
        return "training"
    return f"{solid} solid, training dashed" if lines else f"{solid} a marker, training a dash"


def _curves(ax: Axes, histories: Mapping[str, pd.DataFrame], pair: Pair, palette: Palette) -> None:
    for run in pair:
        history, style = histories[run], palette[run]
        for column in (TRAIN, solid_column(history)):
            rows = known(history, column)
            epochs, values = floats(rows, "epoch"), floats(rows, column)
            training = column == TRAIN
            ax.plot(
                epochs,
                values,
                color=style.color,
                linestyle=(0, (3, 1.5)) if training else "-",
                linewidth=1 if training else 1.7,
                marker=style.marker if not training else "_" if len(rows) == 1 else "",
                markersize=10 if training else 4.5,
                markerfacecolor=style.face,
                markevery=[-1] if len(rows) else None,
            )
    ax.grid(axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    value_axis(ax.yaxis, in_percent=True)


def _ends(histories: Mapping[str, pd.DataFrame], pair: Pair, palette: Palette) -> list[EndLabel]:
    """The name at the end of the solid line, 'training' at that of the dashed one."""
    several = " or " in _solid_words(histories)
    ends = []
    for run in pair:
        history, name, column = histories[run], named_glyph(palette, run, 15), solid_column(histories[run])
        if several and column:
            name += f"\n    ({SPLITS[column]})"
        training = "training" if column else f"{name}\n    (training)"
        for text, split in ((training, TRAIN), (name, column)):
            values = floats(known(history, split), split)
            if len(values):
                ends.append(EndLabel(values[-1], text, palette[run].ink))
    return ends


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


def _same_scales(rows: list[list[Axes]]) -> None:
    """One scale down each column, so that the pairs can be compared; differences lie round the middle."""
    curves, _, changes = zip(*rows, strict=True)
    lines = [line for ax in curves for line in ax.lines]
    epochs = np.concatenate([[1.0], *[np.asarray(line.get_xdata(), float) for line in lines]])
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines] or [np.array([0.0, 1.0])])
    span = float(epochs.max() - epochs.min())
    before, after = 0.5 + 0.03 * span, 0.05 * (0.5 + span)  # the labels stand right of the last epoch
    low, high = float(np.min(values, initial=1.0)), float(np.max(values, initial=0.0))
    margin = max(0.02, 0.06 * (high - low))
    ends = [np.asarray(line.get_xdata(), float) for ax in changes for line in ax.lines]
    widest = max(1.0, float(np.nanmax(np.abs(np.concatenate([[0.0], *ends])))))
    decade = 10 ** np.floor(np.log10(widest))
    round_part = max(step * decade for step in (1, 2, 5) if step * decade <= widest)  # two numbers fit beside the zero
    for curve, change in zip(curves, changes, strict=True):
        curve.set_xlim(epochs.min() - before, epochs.max() + after)
        curve.set_ylim(low - margin, high + margin)
        change.set_xlim(-1.12 * widest, 1.12 * widest)
        change.xaxis.set_major_locator(FixedLocator([-round_part, 0, round_part]))
        change.xaxis.set_major_formatter(lambda value, _: signed(value, 0) if value % 1 == 0 else fixed(value, 1))
