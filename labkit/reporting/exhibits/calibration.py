"""Calibration: confidence against accuracy, before and after a temperature."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labkit.evaluation.calibration import BINS, LOG_T, Calibration, class_calibration
from labkit.evaluation.intervals import TOO_FEW, too_few
from labkit.evaluation.metrics import signed_difference
from labkit.format import fixed, percent, plural, word
from labkit.reporting.exhibits.worth import probable, worth
from labkit.reporting.frames import floats, only, parts
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import GREY, Palette, VariantStyle, new_figure, styled
from labkit.reporting.tables import counted

COLUMNS = 4
CLOSE = 0.01  # a mean confidence this near the accuracy is neither over- nor underconfident, nor is one within chance


@styled
def reliability_diagrams(found: Mapping[str, Calibration], palette: Palette) -> Figure:
    """One panel per variant: accuracy in each bin of confidence, and below it the number of images in each bin.

    Hollow: as predicted; filled: with the temperature. Bins of fewer than 30 images are small dots without a line.
    """
    names = palette.ordered(found)
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    titles = [wrap(name, 16) for name in names]
    title_height = 0.16 * (max(title.count("\n") for title in titles) + 1)
    fig = new_figure(height=0.3 + lines * (2.2 + title_height), width=0.6 + 1.6 * columns)
    grid = fig.subplots(2 * lines, columns, squeeze=False, sharex=True, height_ratios=[4, 1] * lines)
    for place, name in enumerate(names):
        line, column = divmod(place, columns)
        top, bottom = grid[2 * line, column], grid[2 * line + 1, column]
        _diagram(top, found[name], palette[name])
        _images(bottom, found[name], palette[name])
        top.set_title(titles[place])
        top.set_yticks([0, 0.5, 1], ["0", "50", "100"] if column == 0 else [])
        if column == 0:
            top.set_ylabel("right (%)")
            bottom.set_ylabel("images")
    for ax in grid[:, 0]:
        ax.set_xlim(-0.04, 1.04)
        ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    for place in range(len(names), lines * columns):
        line, column = divmod(place, columns)
        for ax in grid[2 * line : 2 * line + 2, column]:
            ax.set_axis_off()
        grid[2 * line - 1, column].tick_params(labelbottom=True)
    fig.align_ylabels(grid[:, 0])
    fig.supxlabel("confidence in the prediction (%)", fontsize=9)
    return fig


def _diagram(ax: Axes, one: Calibration, style: VariantStyle) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    for when, table in parts(one.bins, "when").items():
        n, said, true = (floats(table, name) for name in ("n", "confidence", "accuracy"))
        many = n >= TOO_FEW
        face = "white" if when == "before" else style.color
        width = 1.0 if when == "before" and one.temperature else 1.6
        ax.plot(said[many], true[many], color=style.color, linewidth=width, linestyle="-")
        for some, size in ((many, 6), ((n > 0) & ~many, 3)):
            dots = {"color": style.color, "markersize": size, "markerfacecolor": face, "zorder": 3}
            ax.plot(said[some], true[some], "o", **dots)
    text = " → ".join(fixed(score, 3) for score in one.scores["ece"])
    temperature = f"\nT = {_temperature(one)}" if one.temperature else ""
    # In the corner that the dots leave free: below the diagonal where the model is right more often than it says.
    above = np.nansum(floats(one.bins, "n") * (floats(one.bins, "accuracy") - floats(one.bins, "confidence"))) > 0
    x, y, side, height = (0.97, 0.04, "right", "bottom") if above else (0.03, 0.98, "left", "top")
    ax.text(x, y, f"ECE {text}{temperature}", ha=side, va=height, fontsize=8.5, color=style.ink)
    ax.set_ylim(-0.04, 1.04)
    ax.grid()


def _images(ax: Axes, one: Calibration, style: VariantStyle) -> None:
    for when, table in parts(one.bins, "when").items():
        low, high, n = (floats(table, name) for name in ("low", "high", "n"))
        if when == "before":
            ax.stairs(n, np.append(low, high[-1]), color=style.color, linewidth=1)
        else:
            ax.bar(low, n, width=high - low, align="edge", color=style.color, alpha=0.45, linewidth=0)
    ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    ax.set_ylim(bottom=0)


def calibration_sentence(name: str, found: Calibration) -> str:
    """Confidence against accuracy, whether random variation explains the ECE, and what the temperature does to it."""
    if too_few(found.n):
        return f"{name} cannot be judged on {plural(found.n, 'image')}."
    table = only(found.bins, "when", "before")
    n, said, true = (floats(table, column) for column in ("n", "confidence", "accuracy"))
    confidence, accuracy = (float(np.nansum(column * n) / n.sum()) for column in (said, true))
    gap, random = confidence - accuracy, 1.96 * np.sqrt(np.nansum(n * said * (1 - said))) / n.sum()
    verdict = f"{'over' if gap > 0 else 'under'}confident"
    if abs(gap) <= max(CLOSE, random, found.gap_half):
        verdict = "neither clearly over- nor underconfident on average"
    old, brier = (fixed(found.scores.loc["before", score], 3) for score in ("ece", "brier"))
    text = f"{name} is {verdict}: its mean confidence is {percent(confidence)}, its accuracy {percent(accuracy)} "
    alone = " alone" * ("neither" not in verdict and not _is_more(found, "before"))  # the mean shows more than ten bins
    text += f"(Brier score {brier}). Its ECE of {old}{alone} is {_against_random(found, 'before')}"
    if found.temperature is None:
        return f"{text}. No temperature is fitted: {found.reason}."
    before, after = found.scores["ece"]
    new = fixed(after, 3)
    moved = "leaves it at" if old == new else "lowers it to" if after < before else "raises it to"
    fitted = ", where none fits best," if "bound" in _temperature(found) else ""
    return f"{text}; a temperature of {_temperature(found)}{fitted} {moved} {new}, {_against_random(found, 'after')}."


def _temperature(one: Calibration) -> str:
    at_bound = one.temperature is not None and abs(np.log(one.temperature)) > LOG_T[1] - 1e-6
    return fixed(one.temperature, 2) + (" (bound)" if at_bound else "")


def _against_random(found: Calibration, when: str) -> str:
    return "more than random variation explains" if _is_more(found, when) else "no more than random variation"


def _is_more(found: Calibration, when: str) -> bool:
    return bool(found.scores.loc[when, "ece"] > found.scores.loc[when, "reference_high"])


def class_table(found: pd.DataFrame) -> pd.DataFrame:
    """`class_calibration` in words: a probability above the share is too high."""
    rows = []
    for one in found.to_dict("records"):
        row = {"class": one["class"], "images": counted(one["images"], one["groups"])}
        row |= {"share": percent(one["share"]), "mean probability": percent(one["probability"])}
        ends = one["difference"], one["low"], one["high"]
        rows.append(row | {"difference": signed_difference("accuracy", *ends)})
    return pd.DataFrame(rows)


def reliability(results: StudyResults) -> Iterator[Exhibit]:
    """Whether a probability of 80 % is right in 80 % of cases."""
    found = worth(results).calibrations
    if found:
        results.shown.add("calibration")
        fitted = any(one.temperature for one in found.values())
        filled = ", filled: with a temperature fitted on validation" if fitted else ""
        figure = reliability_diagrams(found, results.palette)
        caption = f"Reliability: accuracy by confidence, and the number of images; hollow: as predicted{filled}; "
        caption += f"ECE over {word(BINS)} bins{results.once}"
        alt = "Line plots, one per variant: share of right predictions (y) against confidence (x), and the diagonal of "
        alt += "perfect calibration; below each a histogram of the confidence."
        text = "\n".join(f"- {calibration_sentence(name, one)}" for name, one in found.items())
        if "ECE" in text:
            text += (
                f"\n\nOver- and underconfidence are tested on the mean confidence, by {results.unit}; random variation "
            )
            text += "of the ECE is that of independent images in ten bins, which shows less than a mean does."
        yield Exhibit(figure=figure, caption=caption, alt=alt, text=text)
    if (told := probable(results)) in found:
        table = class_table(class_calibration(results.tests[told], results.classes))
        caption = "Mean probability of each class less its share of the test images, with 95 % intervals by "
        yield Exhibit(table=table, caption=f"{caption}{results.unit}, of {told}{results.once}")
