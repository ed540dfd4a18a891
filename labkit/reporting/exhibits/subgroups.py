"""Scores by subgroup."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from labkit.evaluation.metrics import metric, signed_difference, with_interval
from labkit.evaluation.subgroups import by_subgroup, gaps
from labkit.format import listing, missing, percent, plural
from labkit.reporting.frames import floats, parts
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import COLORS, GREY, new_figure, row_axis, styled, value_axis
from labkit.reporting.tables import counted


@styled
def subgroup_dots(table: pd.DataFrame, score: str, overall: float) -> Figure:
    """One panel per factor, a dot with its interval per part; `table`: of `by_subgroup`; `overall`: of all, dashed."""
    panels = parts(table, "factor")
    heights = [len(part) for part in panels.values()]
    fig = new_figure(height=0.25 * sum(heights) + 0.42 * len(panels) + 0.5)
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (factor, part) in zip(axes, panels.items(), strict=True):
        values, low, high = (floats(part, name) for name in ("estimate", "low", "high"))
        for row, (value, start, end) in enumerate(zip(values, low, high, strict=True)):
            ax.plot([start, end], [row, row], color=COLORS[0])
            ax.plot(value, row, "o", color=COLORS[0], markersize=6)
            text = with_interval(score, value, start, end)
            ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
        ax.axvline(overall, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        counts = zip(part["part"], part["range"], part["n"], part["groups"], strict=True)
        row_axis(ax, [f"{name}{span and f', {span}'} (n = {counted(n, groups)})" for name, span, n, groups in counts])
        ax.set_title(factor)
    value_axis(axes[-1].xaxis, metric(score).percent)
    axes[-1].set_xlabel(metric(score).name)
    return fig


def subgroup_sentence(table: pd.DataFrame, gaps: pd.DataFrame, score: str) -> str:
    """The widest gap among the parts of one factor that are not too few, and whether anything else may explain it.

    `table`: of `by_subgroup`; `gaps`: of the function of this name.
    """
    gaps = gaps.dropna(subset=["difference"])
    if gaps.empty:
        return "There are no two subgroups with enough images to compare."
    gap: Any = gaps.iloc[0]
    if metric(score).difference(gap["difference"]) == metric(score).difference(0):
        return f"{metric(score).title} does not differ by {listing(list(dict.fromkeys(gaps['factor'])), 'or')}."
    ends = table.set_index(["factor", "part"])[["estimate", "low", "high", "share"]]
    high, low = (ends.loc[(gap["factor"], gap[side])].tolist() for side in ("best", "worst"))
    noun = _noun(gap["factor"])
    told = [f"{with_interval(score, *row[:3])} on {gap[side]} {noun}" for row, side in ((high, "best"), (low, "worst"))]
    text = f"{metric(score).title} differs most by {gap['factor']}: {told[0]} against {told[1]}, a gap of "
    text += signed_difference(score, *gap[["difference", "low", "high"]]).removeprefix("+")
    if missing(gap["low"]):
        return f"{text}, without an interval."
    together = f" (simultaneous interval of {plural(len(gaps), 'pair')} of subgroups)" if len(gaps) > 1 else ""
    if gap["low"] > 0:
        mix = f"most frequent class: {percent(high[3])} against {percent(low[3])}"
        return f"{text}{together}: more than random variation, but the class mix matters, too ({mix})."
    return f"{text}{together}: this may be random variation."


def one_class_sentence(table: pd.DataFrame, score: str, classes: Sequence[str]) -> str:
    """Which parts have no kappa because all their images are of one class; `table`: of `by_subgroup`."""
    undefined = table.loc[table["estimate"].isna() & table["only"].notna()]
    said = [
        f"{row['part']} {_noun(row['factor'])} are all {classes[int(row['only'])]}"
        for row in undefined.to_dict("records")
    ]
    where = "there" if len(said) == 1 else "in these subgroups"
    text = f"{listing(said)}, so {metric(score).name} says nothing {where}. "
    return f"{text[:1].upper()}{text[1:]}" if said else ""


def constant_sentence(table: pd.DataFrame, score: str, name: str, predicted: str) -> str:
    """What is said in place of a gap, of a model that predicts one class for every image."""
    text = f"{name} predicts “{predicted}” for every image, so "
    if score == "qwk":
        other = "other " if np.isnan(floats(table, "estimate")).any() else ""
        return f"{text}its {metric(score).name} is 0 in every {other}subgroup."
    return f"{text}its {metric(score).name} depends only on the class mix of a subgroup."


def _noun(factor: str) -> str:
    return "eyes" if factor == "eye" else "images"


MEASURED = (
    "Brightness is the mean luminance of an image, sharpness the variance of its Laplacian, both at the size that the "
    "network sees; thirds of the test images. "
)


def subgroups(results: StudyResults) -> Exhibit:
    """The chosen variant's score by side, brightness and sharpness of the image."""
    test, run = results.tests[results.chosen], results.firsts[results.chosen]
    quality = results.pixels.quality(test["image_id"].tolist()) if results.pixels else pd.DataFrame()
    asked = (test, quality, len(results.classes), results.score, run.get("further", ()))
    parts = by_subgroup(*asked)
    predicted = test["prediction"].unique()
    said = one_class_sentence(parts, results.score, results.classes)
    if len(parts) and len(predicted) == 1:
        said += constant_sentence(parts, results.score, results.chosen, results.classes[predicted[0]])
    else:
        said += subgroup_sentence(parts, gaps(*asked), results.score)
    text = MEASURED * (results.pixels is not None) + said
    if parts.empty:
        return Exhibit(text=text)
    results.shown.add("subgroups")
    caption = f"{metric(results.score).title} by subgroup, with the range of what is measured; 95 % intervals by "
    caption += f"{results.unit}; dashed: all test images{results.by_chosen}{results.once}"
    figure = subgroup_dots(parts, results.score, run[results.score])
    alt = f"Dot plots with intervals: {metric(results.score).name} (x) of each subgroup (rows), a panel per factor."
    return Exhibit(figure=figure, caption=caption, alt=alt, text=text)
