"""Sentences on curves: which variant ranks best, and how that compares with chance."""

import pandas as pd

from labkit.format import fixed, listing, percent, plural
from labkit.reporting.frames import floats, only, parts

NAMES = {"roc": "AUROC", "pr": "average precision"}


def question_sentence(curves: pd.DataFrame, of: str) -> str:
    """The best variant for one question by AUROC and by average precision, against chance; `curves`: of `curves`."""
    table = only(curves, "of", of)
    if table.empty:
        return f"There is no curve for {of}: the test images are all of one kind."
    share, images = float(floats(table, "share")[0]), float(floats(table, "images")[0])
    said = []
    for kind, name in NAMES.items():
        best, winners = _best(only(table, "kind", kind))
        chance = 0.5 if kind == "roc" else share
        who = listing(winners) if len(winners) < 4 else f"{len(winners)} variants"
        said.append(f"the highest {name} is {best} ({who}), where chance gives {fixed(chance, 3)}")
    text = f"Of the test images {percent(share)} ({plural(images, 'image')}) are positive for {of}"
    return f"{text}: {'; '.join(said)}."


def class_curves_sentence(curves: pd.DataFrame, classes: list[str], kind: str = "roc") -> str:
    """Which class is ranked worst and which best, by the mean area of all variants."""
    table = only(curves, "kind", kind)
    means = {name: _areas(part) for name, part in parts(table, "of").items() if name in classes}
    averages = {name: sum(areas.values()) / len(areas) for name, areas in means.items()}
    missing = [name for name in classes if name not in averages]
    left = f" {listing(missing)} cannot be drawn: all images are, or none is, of this kind." if missing else ""
    if not averages:
        return left.strip()
    worst, best = min(averages, key=lambda name: averages[name]), max(averages, key=lambda name: averages[name])
    of = "mean over the variants" if len(next(iter(means.values()))) > 1 else "one variant"
    if fixed(averages[worst], 3) == fixed(averages[best], 3):
        return f"All classes have the same {NAMES[kind]}, {fixed(averages[best], 3)} ({of}).{left}"
    text = f"By {NAMES[kind]} ({of}) {best} is told from the other classes best ({fixed(averages[best], 3)})"
    return f"{text}, {worst} worst ({fixed(averages[worst], 3)}).{left}"


def _areas(table: pd.DataFrame) -> dict[str, float]:
    return {run: float(floats(part, "area")[0]) for run, part in parts(table, "run").items()}


def _best(table: pd.DataFrame) -> tuple[str, list[str]]:
    areas = _areas(table)
    best = fixed(max(areas.values()), 3)  # compared as printed
    return best, [run for run, area in areas.items() if fixed(area, 3) == best]
