"""Scores of the variants: dots with intervals, which is best, and whether it beats the majority baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.format import article, listing, metric, missing, percent, plural, with_interval, word
from labkit.reporting.frames import floats, known, mean, only, parts
from labkit.reporting.labels import wrap
from labkit.reporting.style import GREY, Palette, new_figure, row_axis, styled, value_axis
from labkit.reporting.tables import BASELINE

NEARLY = 0.005  # half a point of accuracy: what "nearly the majority class" means
CONSTANT = 0.98  # share of equal predictions from which a model is nearly constant


@styled
def result_dots(
    results: pd.DataFrame, palette: Palette, *, metrics: Sequence[str], baseline: Mapping[str, float]
) -> Figure:
    """Each variant's estimate with its interval, one panel per metric, beside the majority baseline.

    `results`: as `tables.estimates`; percent metrics as fractions. Several seeds of a run are several thinner dots in
    its row, and the number written is their mean. `baseline`: value by metric, a dashed line through the panel.
    """
    panels = [Panel(only(results, "metric", name), name, metric(name).short, baseline.get(name)) for name in metrics]
    return dot_panels(panels, palette, palette.ordered(results["run"]), 2 if len(panels) in (1, 2, 4) else 3)


@dataclass(frozen=True)
class Panel:
    """One panel of dots; `rows`: columns run, estimate, [low, high]."""

    rows: pd.DataFrame
    metric: str
    title: str
    baseline: float | None = None

    def of(self, run: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Known estimates of a run, one per seed, with the ends of their intervals (NaN = none)."""
        rows = only(known(self.rows, "estimate"), "run", run)
        return floats(rows, "estimate"), floats(rows, "low"), floats(rows, "high")


def dot_panels(panels: list[Panel], palette: Palette, runs: list[str], columns: int, values: bool = True) -> Figure:
    """Panels of dots that share one list of runs; `values`: with the numbers written beside them."""
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
                _value(ax, row, _text(panel, run, long=columns <= 2), "black")
        if panel.baseline is not None:
            ax.axvline(panel.baseline, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        if values and len(names) > len(runs):
            _value(ax, len(runs), metric(panel.metric).text(panel.baseline), GREY)
        ax.set_title(panel.title)
        row_axis(ax, [wrap(name) for name in names])
        ax.tick_params(axis="y", labelleft=place % columns == 0)
        ax.margins(x=0.08)
        value_axis(ax.xaxis, metric(panel.metric).percent, ticks=5 if columns <= 2 else 4)
    return fig


def _dots(ax: Axes, panel: Panel, row: int, run: str, palette: Palette) -> None:
    style = palette[run]
    estimates, lows, highs = panel.of(run)
    one_only = len(estimates) == 1
    shifts = [0.0] if one_only else np.linspace(-0.22, 0.22, len(estimates))
    for y, estimate, low, high in zip(row + np.array(shifts), estimates, lows, highs, strict=True):
        ax.plot([low, high], [y, y], color=style.color, linewidth=1.6 if one_only else 1)  # draws nothing where NaN
        ax.plot(estimate, y, **style.dot(6 if one_only else 4))


def _text(panel: Panel, run: str, long: bool) -> str:
    estimates, lows, highs = panel.of(run)
    text = metric(panel.metric).text(mean(estimates))
    if not long or not len(estimates):
        return text
    if len(estimates) > 1:
        return f"{text} (mean of {len(estimates)})"
    return with_interval(panel.metric, estimates[0], lows[0], highs[0])


def _value(ax: Axes, row: int, text: str, color: str) -> None:
    ax.text(1.03, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5, color=color)


def best_variant_sentence(results: pd.DataFrame, score: str, baseline: float | None = None) -> str:
    """Which variant is best on the test images by one score, and how that compares with the majority baseline.

    `results`: as `tables.estimates`; an unknown estimate (NaN) is never compared.
    """
    named, where = metric(score), "on the test images"
    of_run = seed_means(results, score)
    if not of_run:
        return f"No variant has a known {named.name} {where}."
    values = [found.estimate for found in of_run.values()]
    best = named.text(max(values) if named.higher_is_better else min(values))
    # Compared as printed: two variants with the same digits are a tie.
    winners = [run for run, found in of_run.items() if named.text(found.estimate) == best]
    first = of_run[winners[0]]
    value = with_interval(score, first.estimate, first.low, first.high)
    if first.seeds > 1:
        value += f" (mean of {plural(first.seeds, 'seed')})"
    superlative = "highest" if named.higher_is_better else "lowest"
    if len(of_run) == 1:
        some = f" with a known {named.name}" if len(parts(results, "run")) > 1 else ""
        text = f"The only variant{some}, {winners[0]}, has {article(named.name)} of {value} {where}"
    elif len(winners) == len(of_run):
        text = f"{_all(winners, winners)} have the same {named.name} {where}, {best}"
    elif len(winners) > 1:
        text = f"{listing(winners)} share the {superlative} {named.name} {where}, {best}"
    else:
        text = f"{winners[0]} has the {superlative} {named.name} {where}, {value}"
    if baseline is None or missing(baseline):
        return f"{text}."
    level = f"the majority baseline ({named.text(baseline)})"
    if best == named.text(baseline):
        return f"{text}, the same as {level}."
    difference = first.estimate - baseline
    text += f", {named.difference(difference)} {'above' if difference > 0 else 'below'} {level}"
    if len(winners) == 1 and first.low <= baseline <= first.high:
        text += ", which lies inside its 95 % interval: within noise"
    return f"{text}."


def majority_sentence(
    results: pd.DataFrame, majority_class: str, baseline: float, n: int, shares: Mapping[str, float]
) -> str:
    """What always predicting the majority class scores, and which variants do no better than that.

    `baseline`: its accuracy (fraction); `n`: test images; `shares`: run -> share of its most frequent prediction (1: a
    constant model, which may also have chosen another class; its accuracy is then another one).
    """
    of_run = seed_means(results, "accuracy")
    names = list(of_run)
    groups: dict[str, list[str]] = {"constant": [], "above": [], "noise": [], "not above": []}
    for name, found in of_run.items():
        if shares[name] >= CONSTANT and abs(found.estimate - baseline) <= 1 - CONSTANT + NEARLY:
            groups["constant"].append(name)
        else:
            side = "not above" if found.estimate <= baseline else "noise" if found.low <= baseline else "above"
            groups[side].append(name)
    said = [
        f"Always predicting “{majority_class}” scores {percent(baseline)} accuracy on the {plural(n, 'test image')}."
    ]
    if constant := groups["constant"]:
        verb, each = ("does", "it") if len(constant) == 1 else ("do", "each")
        said.append(f"{_all(constant, names)} {verb} no better: {each} predicts just this for (nearly) every image.")
    for words, group in (("above it", groups["above"]), ("above it only within noise", groups["noise"])):
        if group:
            said.append(f"{_all(group, names)} {'is' if len(group) == 1 else 'are'} {words}.")
    if below := groups["not above"]:
        verb = f"{listing(below)} {'is' if len(below) == 1 else 'are'} not"
        if len(below) == len(names) > 1:
            verb = f"{'Neither' if len(names) == 2 else 'No'} variant is"
        said.append(f"{verb} above it.")
    return " ".join(said)


def _all(some: Sequence[str], names: Sequence[str]) -> str:
    if len(some) < len(names) or len(names) == 1:
        return listing(list(some))
    return "Both variants" if len(names) == 2 else f"All {word(len(names))} variants"


@dataclass(frozen=True)
class SeedMean:
    """A score of a run, as the mean over its seeds."""

    estimate: float
    low: float  # NaN where unknown
    high: float
    seeds: int


def seed_means(results: pd.DataFrame, score: str) -> dict[str, SeedMean]:
    """Per run, in order of appearance, the mean over its seeds; runs whose value is unknown are left out."""
    of_run = {}
    for run, part in parts(only(known(results, "estimate"), "metric", score), "run").items():
        values, low, high = (floats(part, name) for name in ("estimate", "low", "high"))
        if len(values) > 1:  # a mean of ends is no interval; `estimates` knows that of the mean
            low, high = floats(part, "mean_low"), floats(part, "mean_high")
        of_run[run] = SeedMean(float(values.mean()), float(low[0]), float(high[0]), len(values))
    return of_run
