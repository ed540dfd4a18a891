"""What a variant costs, and what the cost of training buys."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from labkit.format import fixed, metric, millions, missing, plural, times, word
from labkit.reporting.frames import known, means
from labkit.reporting.labels import EndLabel, label_line_ends, named_glyph
from labkit.reporting.style import Palette, new_figure, styled, value_axis

COST = {  # column -> header, divisor, digits
    "minutes": ("training (min)", 1, 1),
    "images_per_second": ("images/s", 1, 0),
    "parameters": ("parameters (M)", 1e6, 1),
    "flops": ("FLOPs (G)", 1e9, 2),
    "milliseconds": ("ms per image, CPU", 1, 1),
    "file_mb": ("file (MB)", 1, 1),
}
LEAST_SPAN = 0.05  # of the axis of a score


@styled
def cost_figure(costs: pd.DataFrame, palette: Palette, *, score: str) -> Figure:
    """Minutes of training against a score, each variant a dot; right of it names and numbers of parameters.

    `costs`: columns run, minutes, parameters (a count) and the column named by `score`; seeds of a run are averaged.
    The time axis is logarithmic where the longest run took ten times the shortest or more.
    """
    costs = known(costs, score)
    minutes, scores, sizes = (means(costs, "run", name) for name in ("minutes", score, "parameters"))
    runs = palette.ordered(minutes)
    fig = new_figure(height=max(3.4, 0.6 + 0.4 * len(runs)))
    ax = fig.subplots()
    for run in runs:
        ax.plot(minutes[run], scores[run], **palette[run].dot(8, edge=1.5))
    ax.margins(0.1, 0.2)
    times = minutes.values()
    if times and 0 < 10 * min(times) <= max(times):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("training time (minutes)")
    ax.set_ylabel(metric(score).name)
    value_axis(ax.yaxis, metric(score).percent, ticks=10)
    low, high = ax.get_ylim()
    if high - low < LEAST_SPAN:  # what differs by less than a hundredth must not look far apart
        ax.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
    ax.grid()
    texts = [f"{named_glyph(palette, run, 22)}\n    {millions(sizes[run])} parameters" for run in runs]
    ends = [EndLabel(scores[run], text, palette[run].ink) for run, text in zip(runs, texts, strict=True)]
    label_line_ends(fig, [(ax, ends)])
    return fig


def cost_sentence(costs: pd.DataFrame, score: str) -> str:
    """What the most expensive variant buys over the cheapest; `costs`: columns run, minutes, and the score, [seed]."""
    minutes, scores = (means(costs, "run", name) for name in ("minutes", score))
    slow, fast = (best(minutes, key=minutes.__getitem__) for best in (max, min))
    longest, shortest = _duration(minutes[slow]), _duration(minutes[fast])
    if len(minutes) == 1:
        return f"Training {slow} took {longest}."
    if longest == shortest:
        return f"{'Both' if len(minutes) == 2 else f'All {word(len(minutes))}'} variants took {longest} to train."
    factor = times(minutes[slow] / minutes[fast])
    text = f"{slow} took the longest to train, {longest}, {factor} as long as {fast} ({shortest})"
    gain = scores[slow] - scores[fast]
    if missing(gain):
        return f"{text}."
    named = metric(score)
    if named.difference(gain) == named.difference(0.0):
        return f"{text}, for the same {named.name}."
    return f"{text}, and its {named.name} is {named.difference(gain)} {'higher' if gain > 0 else 'lower'}."


def _duration(minutes: float) -> str:
    if minutes < 1:
        return plural(fixed(minutes * 60, 0), "second")
    return plural(fixed(minutes, 1), "minute") if minutes < 120 else plural(fixed(minutes / 60, 1), "hour")


def cost_table(runs: Sequence[Mapping[str, Any]], costs: Sequence[str] = (*COST, "device")) -> pd.DataFrame:
    """Columns variant and each of `costs` (keys of COST, and device); seeds are averaged."""
    rows = []
    for name, mine in pd.DataFrame(list(runs)).groupby("run", sort=False):
        row = {"variant": str(name)}
        for key in costs:
            if key in COST:
                head, divisor, digits = COST[key]
                row[head] = fixed(mine[key].mean() / divisor, digits)
            else:
                row[key] = ", ".join(mine[key].unique())
        rows.append(row)
    return pd.DataFrame(rows)
