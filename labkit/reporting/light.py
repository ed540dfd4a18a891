"""What a score costs at prediction: multiply-adds, parameters, milliseconds per image and file size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from labkit.format import NBSP, article, fixed, listing, metric, times, word
from labkit.reporting.comparisons import compare_sentence
from labkit.reporting.cost import COST, cost_table
from labkit.reporting.frames import floats, means, only
from labkit.reporting.labels import EndLabel, label_line_ends, named_glyph
from labkit.reporting.results import Comparison
from labkit.reporting.style import Palette, new_figure, styled, value_axis
from labkit.reporting.tables import estimates, results_table

QUANTITIES = {  # key of a run -> words of its axis, words after a number, prefix of the unit
    "flops": ("FLOPs (G)", "multiply-adds", "G "),
    "parameters": ("parameters (M)", "parameters", "M "),
    "milliseconds": ("milliseconds per image, on the CPU", "milliseconds per image", ""),
    "file_mb": ("file (MB)", "MB on disk", ""),
}
ROOM = 0.08  # of the decades between the dots, left and right of them

Runs = Sequence[Mapping[str, Any]]


@styled
def light_figure(runs: Runs, palette: Palette, *, score: str) -> Figure:
    """Score against each quantity, four panels with one score axis; quantities are logarithmic.

    Run dicts with `run`, the score, `intervals` and the keys of QUANTITIES; seeds are averaged and then have no
    interval.
    """
    table = estimates(runs, [score])
    scores = means(table, "run", "estimate")
    names, costs = palette.ordered(scores), _costs(runs)
    fig = new_figure(height=0.3 + 2 * min(4.4, 1.9 + 0.22 * len(names)))
    axes = fig.subplots(2, 2, sharey=True)
    axes[0, 0].margins(y=0.15)
    for ax, (key, (label, _, _)) in zip(axes.flat, QUANTITIES.items(), strict=True):
        for name in names:
            style, cost, seeds = palette[name], costs.loc[name, key] / COST[key][1], only(table, "run", name)
            if len(seeds) == 1:  # a mean of ends would be no interval
                ax.plot(
                    [cost, cost], seeds[["low", "high"]].iloc[0], color=style.color, linewidth=1.2, alpha=0.5, zorder=1
                )
            ax.plot(cost, scores[name], **style.dot(7))
        _logarithmic(ax, costs.loc[names, key] / COST[key][1])
        ax.set_xlabel(label)
        ax.grid()
        value_axis(ax.yaxis, metric(score).percent)
    for ax in axes[:, 0]:
        ax.set_ylabel(metric(score).name)
    ends = [EndLabel(scores[name], named_glyph(palette, name, 20), palette[name].ink) for name in names]
    # The panels of a line share their heights, so the names stand once, right of the last.
    label_line_ends(fig, [(ax, ends) for ax in axes[:, 1]])
    return fig


def _costs(runs: Runs) -> pd.DataFrame:
    """Mean over seeds of each cost (columns) of each run (index)."""
    table = pd.DataFrame(list(runs))
    return pd.DataFrame({key: means(table, "run", key) for key in QUANTITIES})


def _logarithmic(ax: Axes, values: pd.Series) -> None:
    """A logarithmic x axis with some room on both sides and round ticks."""
    low, high = np.log10(values.min()), np.log10(values.max())
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


def light_table(runs: Runs, score: str) -> pd.DataFrame:
    """Columns variant, the score with its interval, n, [seeds], parameters (M), FLOPs (G), ms per image, file (MB)."""
    scores = results_table(runs, metrics=(score,), with_intervals=(score,))
    first = ["variant", metric(score).short]
    order = [*first, *(name for name in scores.columns if name not in first)]
    return scores[order].merge(cost_table(runs, ("parameters", "flops", "milliseconds", "file_mb")), on="variant")


def light_sentence(runs: Runs, score: str) -> str:
    """Which variants are worth their cost as printed, and what the lightest gives up against the best."""
    scores = means(estimates(runs, [score]), "run", "estimate")
    if not scores:
        return f"No variant has a known {metric(score).name}."
    costs = _costs(runs).reindex(list(scores))
    # Networks with equal size and multiply-adds compute the same: their times are pooled.
    costs["milliseconds"] = costs.groupby(["flops", "parameters"])["milliseconds"].transform("mean")
    if len(scores) == 1:
        ((run, value),) = scores.items()
        amounts = []
        for key, (_, words, unit) in QUANTITIES.items():
            amounts.append(f"{fixed(costs.loc[run, key] / COST[key][1], COST[key][2])}{NBSP}{unit}{words}")
        text = f"The only variant, {run}, has {article(metric(score).name)} of {metric(score).text(value)}"
        return f"{text} and costs {listing(amounts)}."
    return f"{_best_and_lightest(scores, costs, score)} {_front(scores, costs, score)}"


def _printed(costs: pd.DataFrame) -> pd.DataFrame:
    """The costs as the table prints them, which is how they are compared."""
    return pd.DataFrame(
        {key: [round(value / COST[key][1], COST[key][2]) for value in costs[key]] for key in costs}, costs.index
    )


def _best_and_lightest(scores: Mapping[str, float], costs: pd.DataFrame, score: str) -> str:
    named, goodness = metric(score), _goodness(scores, score)
    winners = [run for run in scores if goodness[run] == max(goodness.values())]
    best, value = winners[0], named.text(scores[winners[0]])
    top = "highest" if named.higher_is_better else "lowest"
    text = f"{best} has the {top} {named.name} on test, {value}"
    if len(winners) > 1:
        text = f"{listing(winners)} share the {top} {named.name} on test, {value}"
    lightest, by = _lightest(costs, goodness)
    if lightest in winners:
        return f"{text}; no variant is lighter than {lightest}{by}."
    gains = listing([_times(key, costs.reindex([best, lightest])) for key in QUANTITIES])
    no_interval = float("nan"), float("nan")
    compared = compare_sentence(Comparison(best, lightest, "", score, scores[lightest] - scores[best], *no_interval))
    lighter = f"the lightest{by} is {lightest} with {named.text(scores[lightest])}: against {best}, {gains}"
    return f"{text}; {lighter}. {compared}"


def _goodness(scores: Mapping[str, float], score: str) -> dict[str, float]:
    """The scores as printed, turned so that more is better."""
    return {run: round(value if metric(score).higher_is_better else -value, 3) for run, value in scores.items()}


def _lightest(costs: pd.DataFrame, goodness: Mapping[str, float]) -> tuple[str, str]:
    """The lightest variant, of several the best; where costs disagree, by the first one, which is then named."""
    table = _printed(costs)
    least = {key: {str(run) for run in table.index if table.at[run, key] == table[key].min()} for key in QUANTITIES}
    agreed = set.intersection(*least.values())
    best = max((run for run in goodness if run in (agreed or least["flops"])), key=lambda run: goodness[run])
    return best, "" if agreed else f" in {QUANTITIES['flops'][1]}"


def _times(key: str, pair: pd.DataFrame) -> str:
    """'10 times fewer multiply-adds'; the other way round where the lightest is the heavier one in this cost."""
    words = QUANTITIES[key][1]
    if len(set(floats(_printed(pair), key))) == 1:
        return f"as many {words}"
    heavy, light = floats(pair, key)
    ratio = heavy / light
    if fixed(max(ratio, 1 / ratio), 1) == "1.0":
        return f"nearly as many {words}"
    if ratio < 1:
        return f"{fixed(1 / ratio, 1)} times as many {words}"
    return f"{times(ratio)} fewer {words}"


def _front(scores: Mapping[str, float], costs: pd.DataFrame, score: str) -> str:
    table = _printed(costs).assign(loss=-pd.Series(_goodness(scores, score)))
    front = []
    for run, mine in table.iterrows():
        beaten = (table <= mine).all(axis=1) & (table < mine).any(axis=1)
        front += [] if beaten.any() else [str(run)]
    who = listing(front) if len(front) < len(scores) else "Both" if len(front) == 2 else f"All {word(len(front))}"
    return (
        f"{who} {'lies' if len(front) == 1 else 'lie'} on the Pareto front of {metric(score).name} against "
        f"{listing([words for _, words, _ in QUANTITIES.values()])}: no variant is at least as good in all of these "
        "and better in one."
    )
