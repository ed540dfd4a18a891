"""Figures of training: learning curves of all variants, what a score costs."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from labkit.format import metric, millions, missing, percent
from labkit.reporting.frames import chosen_epoch, floats, joined, known, mean, parts
from labkit.reporting.labels import EndLabel, label_line_ends, label_points, wrap
from labkit.reporting.style import GREY, Palette, new_figure, styled, value_axis

PANELS = {"train": "training", "val": "validation", "test": "test"}
CHOSEN = "○ chosen epoch"
LEAST_SPAN = 0.05  # of the axis of a score


@styled
def learning_curves(
    history: pd.DataFrame | Iterable[pd.DataFrame],
    palette: Palette | None = None,
    *,
    quantity: str = "accuracy",
    baseline: float | Mapping[str, float] | None = None,
    score: str | None = None,
) -> Figure:
    """Training | validation (| test) curves of all variants on one scale, labelled at their ends.

    `history`: columns run, epoch, [seed], and `<split>_<quantity>` for the splits train, val, test (fractions for
    'accuracy'; 'loss' works too); a panel for each of these that holds numbers. `baseline`: accuracy of the
    majority class, one for all or by split, drawn dashed grey. The chosen epoch gets a ring: from a boolean column
    `chosen`, else the first maximum of the column `score`. Several seeds of a run are thin lines.
    """
    history = joined(history)
    palette = palette or Palette(history["run"])
    columns = {f"{split}_{quantity}": title for split, title in PANELS.items()}
    columns = {name: title for name, title in columns.items() if len(known(history, name))}
    if not columns:
        raise ValueError(f"the history has no column train_{quantity}, val_{quantity} or test_{quantity} with numbers")
    return _curves(history, palette, columns, quantity, baseline if quantity == "accuracy" else None, score)


@styled
def score_curves(
    history: pd.DataFrame | Iterable[pd.DataFrame], palette: Palette | None = None, *, score: str = "val_qwk"
) -> Figure:
    """One panel: the column `score` (that the epoch was chosen by) against the epoch; columns as `learning_curves`."""
    history = joined(history)
    palette = palette or Palette(history["run"])
    split = PANELS.get(score.split("_")[0], "")
    return _curves(history, palette, {score: split}, score, None, score)


def _curves(
    history: pd.DataFrame,
    palette: Palette,
    columns: Mapping[str, str],
    quantity: str,
    baseline: float | Mapping[str, float] | None,
    score: str | None,
) -> Figure:
    of_run = parts(history, "run")
    runs = palette.ordered(of_run)
    fig = new_figure(height=max(2.9, 0.9 + 0.3 * len(runs)))
    axes = fig.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    named = metric(quantity)
    marked = False
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        for run in runs:
            marked |= _draw_run(ax, of_run[run], column, palette, run, score)
        level = _level(baseline, column)
        if level is not None:
            ax.axhline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        ax.set_title(title)
        ax.grid(axis="y")
        ax.set_xlabel("epoch")
    epochs = floats(history, "epoch")
    pad = max(0.5, 0.03 * (epochs.max() - epochs.min()))
    axes[0].set_xlim(epochs.min() - pad, epochs.max() + pad)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_ylabel(named.name)
    value_axis(axes[0].yaxis, named.percent, ticks=10)
    if marked:
        axes[-1].set_title(CHOSEN, loc="right", fontweight="normal", fontsize=8.5, color=GREY)
    last = list(columns)[-1]
    ends = [EndLabel(_end(of_run[run], last), _named(palette, run), palette[run].ink) for run in runs]
    level = _level(baseline, last)
    if level is not None:
        ends.append(EndLabel(level, f"majority class\n{percent(level)}", GREY))
    label_line_ends(fig, axes[-1], [end for end in ends if np.isfinite(end.y)])
    return fig


def _level(baseline: float | Mapping[str, float] | None, column: str) -> float | None:
    return baseline.get(column.split("_")[0]) if isinstance(baseline, Mapping) else baseline


def _draw_run(ax: Axes, history: pd.DataFrame, column: str, palette: Palette, run: str, score: str | None) -> bool:
    """Draw the seeds of one run; True if a chosen epoch was marked."""
    style = palette[run]
    seeds = parts(history, "seed")
    marked = False
    for seed in seeds.values():
        part = known(seed, column)
        epochs, values = floats(part, "epoch"), floats(part, column)
        step = max(1, len(part) // 6)
        ax.plot(
            epochs,
            values,
            color=style.color,
            linestyle=style.linestyle,
            marker=style.marker,
            markersize=4,
            markerfacecolor=style.face,
            markevery=(palette.names.index(run) % step, step),  # markers of different runs at different epochs
            linewidth=0.9 if len(seeds) > 1 else 1.6,
            alpha=0.75 if len(seeds) > 1 else 1,
        )
        chosen = epochs == chosen_epoch(part, score)
        if chosen.any():
            ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
            ax.plot(epochs[chosen], values[chosen], "o", color=style.color, zorder=5, **ring)
            marked = True
    return marked


def _named(palette: Palette, run: str) -> str:
    return f"{palette[run].glyph} " + wrap(run).replace("\n", "\n    ")


def _end(run: pd.DataFrame, column: str) -> float:
    """Mean over seeds of the last value that is there."""
    seeds = parts(known(run, column), "seed").values()
    return mean(floats(seed, column)[-1] for seed in seeds)


@styled
def cost(costs: pd.DataFrame, palette: Palette | None = None, *, score: str = "qwk") -> Figure:
    """Minutes of training against a score, each variant a dot labelled with its name and number of parameters.

    `costs`: columns run, minutes, parameters (a count; may be missing) and the column named by `score`; seeds of a
    run are averaged. The time axis is logarithmic where the longest run took ten times the shortest or more.
    """
    means = {
        run: [mean(floats(part, name)) for name in ("minutes", score, "parameters")]
        for run, part in parts(known(known(costs, "minutes"), score), "run").items()
    }
    palette = palette or Palette(means)
    runs = palette.ordered(means)
    fig = new_figure(height=3.4)
    ax = fig.subplots()
    for run in runs:
        style, (minutes, value, _) = palette[run], means[run]
        edge = {"markersize": 8, "markerfacecolor": style.face, "markeredgewidth": 1.5}
        ax.plot(minutes, value, style.marker, color=style.color, **edge)
    ax.margins(0.18, 0.2)
    times = [means[run][0] for run in runs]
    if times and 0 < 10 * min(times) <= max(times):
        _logarithmic(ax)
    ax.set_xlabel("training time (minutes)")
    ax.set_ylabel(metric(score).name)
    value_axis(ax.yaxis, metric(score).percent, ticks=10)
    low, high = ax.get_ylim()
    if high - low < LEAST_SPAN:  # what differs by less than a hundredth must not look far apart
        ax.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
    ax.grid()
    texts = [wrap(run, 22) + _parameters(means[run][2]) for run in runs]
    points = np.array([means[run][:2] for run in runs]).reshape(-1, 2)
    label_points(fig, ax, points, texts, [palette[run].ink for run in runs])
    return fig


def _parameters(count: float) -> str:
    return "" if missing(count) else f"\n{millions(count)} parameters"


def _logarithmic(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_locator(NullLocator())
