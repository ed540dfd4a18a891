"""Sensitivity of each class, and how reliable a prediction of it is."""

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from labkit.format import listing, missing, percent, plural, whole
from labkit.reporting.frames import means, parts
from labkit.reporting.labels import wrap
from labkit.reporting.scores import Panel, dot_panels
from labkit.reporting.style import Palette, styled
from labkit.reporting.tables import TOO_FEW, Run


@styled
def sensitivity_dots(sensitivity: pd.DataFrame, palette: Palette) -> Figure:
    """Sensitivity (share of a class's images that were found) of each variant, one panel per class.

    `sensitivity`: as `sensitivities`, with images.
    """
    table = sensitivity.rename(columns={"sensitivity": "estimate"})
    panels = []
    for name, rows in parts(table, "class").items():
        images = int(rows["images"].iloc[0])
        number = f"\n{plural(images, 'image')}" + ("\n(too few)" if images < TOO_FEW else "")
        panels.append(Panel(rows, "sensitivity", wrap(name, 14) + number))
    columns = len(panels) if len(panels) <= 5 else -(-len(panels) // 2)
    fig = dot_panels(panels, palette, palette.ordered(table["run"]), columns, values=False)
    for ax in fig.axes:
        ax.set_xlim(-0.04, 1.04)
        ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    fig.supxlabel("sensitivity (%)", fontsize=9)
    return fig


def sensitivities(runs: Iterable[Run], classes: Sequence[str], images: Sequence[int] | None = None) -> pd.DataFrame:
    """Run dicts -> one row per run, seed and class: columns run, seed, class, sensitivity, low, high, [images: of it].

    `run["sensitivity"]` is a list in the order of `classes`; None is unknown. Intervals, where there are any:
    `run["sensitivity_intervals"]`, a DataFrame by class.
    """
    tables = []
    for run in runs:
        table = pd.DataFrame({"class": list(classes), "sensitivity": pd.Series(run["sensitivity"], dtype=float)})
        table.insert(0, "run", str(run["run"]))
        table.insert(1, "seed", run.get("seed", 0))
        ends = run.get("sensitivity_intervals", pd.DataFrame(columns=["low", "high"], dtype=float))
        table = table.join(ends[["low", "high"]], on="class")
        tables.append(table if images is None else table.assign(images=list(images)))
    return pd.concat(tables, ignore_index=True)


def sensitivity_table(sensitivity: pd.DataFrame) -> pd.DataFrame:
    """Variants by classes, seeds averaged; `sensitivity`: as `sensitivities`, with images."""
    heads = {}
    for name, part in parts(sensitivity, "class").items():
        images = part["images"].iloc[0]
        heads[name] = f"{name} (n = {whole(images)}{', too few' if images < TOO_FEW else ''})"
    rows = []
    for run, part in parts(sensitivity, "run").items():
        of_class = means(part, "class", "sensitivity")
        rows.append({"variant": run} | {head: percent(of_class[name]) for name, head in heads.items()})
    return pd.DataFrame(rows)


def found_sentence(sensitivity: pd.DataFrame) -> str:
    """Which class is found most and least often, on average over the variants; columns class, sensitivity."""
    found = {name: value for name, value in means(sensitivity, "class", "sensitivity").items() if not missing(value)}
    if len(found) < 2:
        return "The sensitivity of fewer than two classes is known."
    best, worst = (percent(end(found.values())) for end in (max, min))
    if best == worst:
        return f"On average over the variants all classes are found equally often ({best})."
    most, least = ([name for name, value in found.items() if percent(value) == end] for end in (best, worst))
    who = f"{listing(most)} {'is' if len(most) == 1 else 'are'} found most often ({best})"
    return f"On average over the variants {who}, {listing(least)} least often ({worst})."


def trust_sentence(shares: pd.DataFrame, run: str) -> str:
    """Which prediction of `run` is right least often; `shares`: `metrics.per_class_table` with the column variant."""
    mine = [row for row in shares.to_dict("records") if row["variant"] == run]
    row = min((row for row in mine if not missing(row["ppv"])), key=lambda row: float(row["ppv"]))
    never = [str(row["class"]) for row in mine if row["predicted"] == 0]
    text = f"The least reliable prediction of {run} is {row['class']}: right in {percent(row['ppv'])}"
    text += f" of {plural(row['predicted'], 'prediction')}"
    return f"{text}; it never predicts {listing(never, 'or')}." if never else f"{text}."
