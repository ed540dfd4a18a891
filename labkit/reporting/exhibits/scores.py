"""Scores of the variants: dots with intervals, and whether they beat the majority baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.evaluation.compare import verdict
from labkit.format import article, listing, metric, percent, plural, signed_difference, with_interval
from labkit.reporting.frames import floats, known, mean, only
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults, intervals_over_seeds
from labkit.reporting.style import GREY, Palette, new_figure, row_axis, styled, value_axis
from labkit.reporting.tables import BASELINE

CONSTANT = 0.98  # share of equal predictions from which a model is nearly constant
ENDS = ["difference", "low", "high"]
CLASS_MEANS = ("balanced_accuracy", "macro_f1")  # each class weighs alike, however rare it is
TOO_SMALL = "too few images or patients for a verdict"
VERDICTS = {"higher": "more than noise", "lower": "more than noise", "noise": "within noise", "too few": TOO_SMALL}
BESIDE = {  # a verdict against the baseline -> what it says of one variant, and of several
    "constant": ("does no better: it predicts just this for every image", "do no better: each predicts just this"),
    "equal": ("does no better: it is right on the same images", "do no better: each is right on the same images"),
    "higher": ("is above it", "are above it"),
    "noise": ("cannot be told apart from it", "cannot be told apart from it"),
    "too few": (f"has {TOO_SMALL}", f"have {TOO_SMALL}"),
    "lower": ("is below it", "are below it"),
}


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


def chosen_sentence(results: StudyResults, score: str) -> str:
    """The test score of the variant that the report talks about, and what may be said of it against the baseline."""
    named, mine = metric(score), results.of(results.chosen)
    row, ends = results.against_majority[results.chosen].loc[score], intervals_over_seeds(mine).loc[score]
    value = with_interval(score, row["b"], ends["low"], ends["high"])
    if len(mine) > 1:
        value += f" (mean of {plural(len(mine), 'seed')})"
    text = f"{results.by_chosen.removeprefix(', by ')} has {article(named.name)} of {value} on the test images"
    few = results.rare_classes if score in CLASS_MEANS else []
    return f"{text}, {against_baseline(score, row, few)}."


def against_baseline(score: str, row: pd.Series, few: Sequence[str] = ()) -> str:
    """'+7.5 points [+1.3 to +14.4] against the majority baseline (73.1 %)…'; `row`: of `compare.against_constant`.

    `few`: the classes that have too few images for a verdict on a mean over classes.
    """
    level = f"the majority baseline ({metric(score).text(row.to_dict()['a'])})"
    if verdict(row) == "equal":
        return f"the same as {level}"
    said = f"too few images of {listing(list(few))} for a verdict" if few else VERDICTS[verdict(row)]
    return f"{signed_difference(score, *row[ENDS])} against {level}: {said}"


def majority_sentence(
    against: Mapping[str, pd.DataFrame], majority_class: str, n: int, tied: Sequence[str] = ()
) -> str:
    """What the majority baseline scores on `n` images, and each variant beside it; `against`: `against_constant`s.

    `tied`: `as_frequent`, which would have served as well.
    """
    rows = {name: table.loc["accuracy"] for name, table in against.items()}
    level = percent(next(iter(rows.values()))["a"])
    said = [f"Always predicting “{majority_class}” scores {level} accuracy on the {plural(n, 'test image')}."]
    if tied:
        said.append(f"{listing(list(tied))} had as many training images; the first of these classes is the baseline.")
    found: dict[str, list[str]] = {}
    for name, row in rows.items():
        key = verdict(row) if sum(against[name]["differing"]) else "constant"
        text = name if verdict(row) == "equal" else f"{name} ({signed_difference('accuracy', *row[ENDS])})"
        found.setdefault(key, []).append(text)
    said += [f"{listing(found[key])} {words[len(found[key]) > 1]}." for key, words in BESIDE.items() if key in found]
    if len(rows) > 1:
        said.append("Each interval is of one difference alone; those for all pairs of variants together are wider.")
    return " ".join(said)
