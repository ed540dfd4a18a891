"""Sensitivity of each class, and how reliable a prediction of it is."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from labkit.evaluation.intervals import FEW_GROUPS, TOO_FEW, too_few
from labkit.evaluation.metrics import per_class_table
from labkit.format import listing, percent, plural
from labkit.reporting.frames import floats, known, mean, only, parts
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import Palette, new_figure, row_axis, styled


@styled
def sensitivity_dots(sensitivity: pd.DataFrame, palette: Palette) -> Figure:
    """Sensitivity of each variant, one panel per class; `sensitivity`: rows of run and class, as of `by_class`."""
    runs, of_class = palette.ordered(sensitivity["run"]), parts(sensitivity, "class")
    columns = len(of_class) if len(of_class) <= 5 else -(-len(of_class) // 2)
    lines = -(-len(of_class) // columns)
    names = [wrap(run, 22) for run in runs]
    row_height = 0.27 if not any("\n" in name for name in names) else 0.34
    fig = new_figure(height=lines * (1.2 + row_height * len(runs)))
    axes = fig.subplots(lines, columns, sharey=True, squeeze=False)
    for ax in axes.flat[len(of_class) :]:
        ax.set_axis_off()
    for place, (ax, (name, rows)) in enumerate(zip(axes.flat, of_class.items(), strict=False)):
        for row, run in enumerate(runs):
            mine, style = known(only(rows, "run", run), "sensitivity"), palette[run]
            shifts = np.linspace(-0.22, 0.22, len(mine)) if len(mine) > 1 else [0.0]
            ends = (floats(mine, column) for column in ("sensitivity", "low", "high"))
            for shift, value, low, high in zip(shifts, *ends, strict=False):
                ax.plot([low, high], [row + shift] * 2, color=style.color, linewidth=1)  # draws nothing where NaN
                ax.plot(value, row + shift, **style.dot(6 if len(mine) == 1 else 4))
        few = "\n(too few)" if too_few(*_counts(rows)) else ""
        ax.set_title(f"{wrap(name, 14)}\n{plural(rows['images'].iloc[0], 'image')}{few}")
        row_axis(ax, names)
        ax.tick_params(axis="y", labelleft=place % columns == 0)
        ax.set_xlim(-0.08, 1.08)  # room for the markers at both ends
        ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    fig.supxlabel("sensitivity (%)", fontsize=9)
    return fig


def _counts(of_class: pd.DataFrame) -> list[float]:
    """Images and groups of a class, NaN where unknown."""
    return [mean(floats(of_class, name)) for name in ("images", "groups")]


def found_sentence(sensitivity: pd.DataFrame) -> str:
    """Which class is found most and least often, on average over the variants, of those with enough images."""
    of_class = parts(sensitivity.dropna(subset=["sensitivity"]), "class")
    few = [name for name, part in of_class.items() if too_few(*_counts(part))]
    found = {name: mean(floats(part, "sensitivity")) for name, part in of_class.items() if name not in few}
    left = f" Not ranked, for fewer than {TOO_FEW} test images or {FEW_GROUPS} groups: {listing(few)}." if few else ""
    if len(found) < 2:
        return f"Fewer than two classes have enough test images to rank their sensitivity.{left}"
    best, worst = (percent(end(found.values())) for end in (max, min))
    if best == worst:
        return f"On average over the variants all these classes are found equally often ({best}).{left}"
    most, least = ([name for name, value in found.items() if percent(value) == end] for end in (best, worst))
    who = f"{listing(most)} {'is' if len(most) == 1 else 'are'} found most often ({best})"
    return f"On average over the variants {who}, {listing(least)} least often ({worst}).{left}"


def trust_sentence(shares: pd.DataFrame, run: str) -> str:
    """Which frequent prediction of `run` is right least often; `shares`: its `per_class_table`."""
    mine = shares.to_dict("records")
    enough = [row for row in mine if row["predicted"] >= TOO_FEW]
    never = [str(row["class"]) for row in mine if row["predicted"] == 0]
    text = f"{run} predicts no class for {TOO_FEW} test images: too few to say which prediction is least reliable"
    if enough:
        row = min(enough, key=lambda row: float(row["ppv"]))
        text = f"Of the classes that {run} predicts at least {TOO_FEW} times, {row['class']} is the least reliable"
        if len(enough) == 1:
            text = f"{row['class']} is the only class that {run} predicts at least {TOO_FEW} times"
        text += f": right in {percent(row['ppv'])} of {plural(row['predicted'], 'prediction')}"
    return f"{text}; it never predicts {listing(never, 'or')}." if never else f"{text}."


def by_class(results: StudyResults) -> Iterator[Exhibit]:
    """How many images of each class each variant finds."""
    counts = results.matrices[results.chosen].sum(axis=1)
    of_runs = [run["sensitivity_intervals"].assign(run=run["run"], images=counts) for run in results.runs]
    found = pd.concat(of_runs).rename_axis("class").reset_index().rename(columns={"estimate": "sensitivity"})
    alt = "Dot plots with intervals, one per class: sensitivity from 0 to 100 % (x) of each variant (rows)."
    caption = f"Share of each class that is found, with 95 % intervals{results.stamp}{results.of_classes}"
    drawn = found.loc[found["class"].isin(results.drawn_classes)]
    figure = sensitivity_dots(drawn, results.palette)
    yield Exhibit(figure=figure, caption=caption, alt=alt, text=found_sentence(found))


def class_tables(results: StudyResults) -> Exhibit:
    """How reliable the chosen variant's prediction of each class is."""
    table = per_class_table(results.tests[results.chosen], results.classes)
    caption = f"Each class against all others: sensitivity, specificity and predictive values{results.by_chosen}"
    return Exhibit(table=table, caption=f"{caption}{results.once}", text=trust_sentence(table, results.chosen))
