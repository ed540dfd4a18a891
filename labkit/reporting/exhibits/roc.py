"""ROC and precision-recall curves, one panel per class with all variants; whom the chosen variant finds and misses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.evaluation.intervals import TOO_FEW
from labkit.evaluation.thresholds import WANTED
from labkit.format import fixed, listing, percent, plural, whole
from labkit.reporting.exhibits.worth import thresholds, worth
from labkit.reporting.frames import floats, mean, means, only, parts
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import COLORS, GREY, WIDTH, Palette, new_figure, styled

LINE = 0.17  # inches: a line of the list of names
STEPS = {"roc": "default", "pr": "steps-post"}  # between two points precision is not a straight line
NAMES = {"roc": "AUROC", "pr": "average precision"}
SHORT = {"roc": "AUROC", "pr": "AP"}
A_LINE, MOST_MARKS = 60, 420  # of a pictogram
MARKS = {  # marker, its edge and its fill, which differ in gray print, too
    "found": ("o", COLORS[0], COLORS[0]),
    "missed": ("X", COLORS[1], COLORS[1]),
    "sent without need": ("^", "black", "white"),
    "spared": ("o", GREY, "white"),
}
AXES = {"roc": ("false positives (%)", "sensitivity (%)"), "pr": ("sensitivity (%)", "PPV (%)")}


@styled
def ranking_curves(
    curves: pd.DataFrame, palette: Palette, of: Sequence[str], kinds: Sequence[str] = ("roc",)
) -> Figure:
    """ROC curves, and for the kind 'pr' PPV against sensitivity; dashed: random. `curves`: as `evaluation.curves`.

    One panel for each kind of each of these that `of` names; the variants' names stand once, with their areas where
    all panels are of one thing.
    """
    of = [name for name in parts(curves, "of") if name in of]
    panels = [(name, kind, only(only(curves, "of", name), "kind", kind)) for name in of for kind in kinds]
    if not panels:
        raise ValueError("no class has both positive and negative images, so there is no curve to draw")
    runs = palette.ordered(pd.concat([table["run"] for *_, table in panels]))
    columns = min(3, len(panels) + 1)  # one place more than panels, for the names
    high = -(-(len(panels) + 1) // columns)
    keys = {run: wrap(run, 22) for run in runs}
    if len(of) == 1:
        areas = [(SHORT[kind], means(table, "run", "area")) for _, kind, table in panels]
        said = {run: ", ".join(f"{name} {fixed(area.get(run), 3)}" for name, area in areas) for run in runs}
        keys = {run: f"{text}\n{said[run]}" for run, text in keys.items()}
    needed = LINE * sum(text.count("\n") + 1 for text in keys.values()) + 0.05 * len(keys) + 0.5
    fig = new_figure(height=max(2.3, needed) * high, width=WIDTH if columns == 3 else 5.2)
    axes = fig.subplots(high, columns, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for place, (name, kind, part) in enumerate(panels):
        ax = axes.flat[place]
        _panel(ax, part, palette, runs, kind)
        images, share = floats(part, "images")[0], floats(part, "share")[0]
        few = ", too few" if images < TOO_FEW else ""
        ax.set_title(f"{wrap(name, 20)}\n{plural(images, 'image')} ({percent(share, 0)}{few})", fontsize=8)
        ax.set_xlabel(AXES[kind][0])
        if place % columns == 0 or len(kinds) > 1:
            ax.set_ylabel(AXES[kind][1])
    place, inks = axes.flat[len(panels)], [palette[run].ink for run in runs]
    lines = [place.plot([], [], color=palette[run].color, linestyle=palette[run].linestyle)[0] for run in runs]
    place.legend(lines, keys.values(), loc="upper left", frameon=False, fontsize=8.5, labelcolor=inks, borderaxespad=0)
    return fig


def _panel(ax: Axes, table: pd.DataFrame, palette: Palette, runs: Sequence[str], kind: str) -> None:
    share = float(floats(table, "share")[0])
    random = [0, 1] if kind == "roc" else [share, share]
    ax.plot([0, 1], random, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    of_run = parts(table, "run")
    for run in runs:
        if run in of_run:
            x, y = floats(of_run[run], "x"), floats(of_run[run], "y")
            style = palette[run]
            ax.plot(x, y, color=style.color, linestyle=style.linestyle, linewidth=1.3, drawstyle=STEPS[kind])
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks([0, 0.5, 1], ["0", "50", "100"])
    ax.grid()


def question_sentence(curves: pd.DataFrame, of: str) -> str:
    """The best variant for one question by AUROC and by average precision, against a random score."""
    table = only(curves, "of", of)
    if table.empty:
        return f"There is no curve for {of}: the test images are all of one kind."
    share, images = table.iloc[0][["share", "images"]]
    said = []
    for kind, name in NAMES.items():
        areas = means(only(table, "kind", kind), "run", "area")
        best = fixed(max(areas.values()), 3)  # compared as printed
        winners = [run for run, area in areas.items() if fixed(area, 3) == best]
        who = listing(winners) if len(winners) < 4 else f"{len(winners)} variants"
        random = fixed(0.5 if kind == "roc" else share, 3)
        said.append(f"the highest {name} is {best} ({who}), where a random score has {random}")
    text = f"Of the test images {percent(share)} ({plural(images, 'image')}) are positive for {of}"
    return f"{text}. Each image by itself, {'; '.join(said)}."


def class_curves_sentence(curves: pd.DataFrame, classes: list[str]) -> str:
    """Which class is ranked worst and which best by AUROC, as the mean over the variants; rare classes are left out."""
    table = only(curves, "kind", "roc")
    of_class = {name: part for name, part in parts(table, "of").items() if name in classes}
    few = [name for name, part in of_class.items() if floats(part, "images")[0] < TOO_FEW]
    areas = {name: mean(means(part, "run", "area").values()) for name, part in of_class.items() if name not in few}
    said = ""
    if areas:
        worst, best = min(areas, key=areas.__getitem__), max(areas, key=areas.__getitem__)
        of = "mean over the variants that give probabilities" if len(parts(table, "run")) > 1 else "one variant"
        lowest, highest = fixed(areas[worst], 3), fixed(areas[best], 3)
        said = f"By AUROC ({of}) {best} is told from the other classes best ({highest}), {worst} worst ({lowest})."
        if lowest == highest:
            said = f"AUROC ({of}) of {listing(list(areas))}: {highest}."
    if missing := [name for name in classes if name not in of_class]:
        said += f" {listing(missing)} cannot be drawn: all images are, or none is, of this kind."
    said += f" Not ranked, for fewer than {TOO_FEW} test images: {listing(few)}." if few else ""
    return said.strip()


def screened(points: pd.DataFrame) -> dict[str, int]:
    """Test images of each kind of MARKS at the threshold; `points`: the `operating_points` of one variant."""
    at: Any = points.set_index("metric")
    share, n = at["estimate"].astype(float), at["n"].fillna(0).astype(int)
    ill, well = n["sensitivity"], n["specificity"]
    found, spared = round(share["sensitivity"] * ill), round(share["specificity"] * well)
    return dict(zip(MARKS, (found, ill - found, well - spared, spared), strict=True))


@styled
def pictogram(counts: Mapping[str, int], each: int) -> Figure:
    """A mark for every `each` images of `screened`, at least one of each kind that there is."""
    marks = {kind: np.arange(max(round(count / each), count > 0)) for kind, count in counts.items()}
    lines = {kind: max(1, -(-len(places) // A_LINE)) for kind, places in marks.items()}
    fig = new_figure(height=0.1 + 0.15 * sum(lines.values()) + 0.06 * len(lines))
    ax, at, middles = fig.subplots(), 0.0, []
    for kind, places in marks.items():
        shape, edge, face = MARKS[kind]
        style = {"color": edge, "markerfacecolor": face, "markersize": 5, "markeredgewidth": 1}
        ax.plot(places % A_LINE, at + places // A_LINE, shape, **style)
        middles.append(at + (lines[kind] - 1) / 2)
        at += lines[kind] + 0.4
    ax.set(xlim=(-0.7, A_LINE), ylim=(at - 0.7, -0.7), xticks=[])
    ax.set_yticks(middles, [f"{kind}: {whole(count)}" for kind, count in counts.items()])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def screening(results: StudyResults) -> Iterator[Exhibit]:
    """ROC and precision-recall curves for the question that the classes ask, such as referable disease."""
    found = worth(results)
    if found.question is None or found.question.name not in set(found.curves["of"]):
        return
    text = question_sentence(found.curves, found.question.name)
    figure = ranking_curves(found.curves, results.palette, [found.question.name], list(NAMES))
    caption = f"ROC (left) and precision-recall curves of {found.question.name}; AP: average precision{results.once}"
    alt = "Line plots, a curve per variant: sensitivity (y) against false positives (x), and PPV (y) against "
    alt += "sensitivity (x). Dashed lines show a random score."
    yield Exhibit(figure=figure, caption=caption, alt=alt, text=text)
    if len(found.points) and len(points := found.points.loc[found.points["run"] == results.chosen]):
        counts = screened(points)
        each = -(-sum(counts.values()) // MOST_MARKS)
        caption = f"The test images at the threshold for {percent(WANTED, 0)} sensitivity on validation"
        caption += f"{results.by_chosen}; a mark is {plural(each, 'image')}; found and missed have "
        caption += f"{found.question.name}, the others do not{results.once}"
        alt = "Pictogram of the test images, a row per kind: "
        alt += f"{', '.join(f'{count} {kind}' for kind, count in counts.items())}."
        yield Exhibit(figure=pictogram(counts, each), caption=caption, alt=alt)
    yield from thresholds(results)


def class_curves(results: StudyResults) -> Iterator[Exhibit]:
    """The ROC curve of each class against all others."""
    curves = worth(results).curves
    if not (known := [name for name in results.drawn_classes if name in set(curves["of"])]):
        yield Exhibit(text="No ROC curve of a class: no variant gives probabilities, or test has one class alone.")
        return
    text = class_curves_sentence(curves, results.classes)
    if not (drawn := [name for name in known if name not in results.rare_classes]):  # steps of a few images
        yield Exhibit(text=text)
        return
    caption = f"ROC curve of each class against all others{results.once}{results.of_classes}"
    figure = ranking_curves(curves, results.palette, drawn)
    alt = f"Line plots for {plural(len(drawn), 'class', 'classes')}, a curve per variant: sensitivity (y) against "
    alt += "false positives (x). Dashed lines show a random score."
    yield Exhibit(figure=figure, caption=caption, alt=alt, text=text)
