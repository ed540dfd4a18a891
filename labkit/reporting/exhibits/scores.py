"""Scores of the variants: dots with intervals, and whether they beat the majority baseline."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from labkit.evaluation.compare import verdict
from labkit.evaluation.intervals import MANY
from labkit.evaluation.metrics import signed_difference
from labkit.format import listing, percent, plural
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import results_table

CONSTANT = 0.98  # share of equal predictions from which a model is nearly constant
ENDS = ["difference", "low", "high"]
TOO_SMALL = "too few images or patients for a verdict"
BESIDE = {  # a verdict against the baseline -> what it says of one variant, and of several
    "constant": ("does no better: it predicts just this for every image", "do no better: each predicts just this"),
    "equal": (
        "does no better: the same images are right and wrong",
        "do no better: the same images are right and wrong",
    ),
    "higher": ("is above it", "are above it"),
    "noise": ("cannot be told apart from it", "cannot be told apart from it"),
    "too few": (f"has {TOO_SMALL}", f"have {TOO_SMALL}"),
    "lower": ("is below it", "are below it"),
}


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
    for key, words in BESIDE.items():
        if key in found:
            alone = ", each taken alone" * (key in ("higher", "lower") and len(found[key]) > 1)
            said.append(f"{listing(found[key])} {words[len(found[key]) > 1]}{alone}.")
    if sum(text.count("[") - text.count("[no spread]") for texts in found.values() for text in texts) > 1:
        said.append(
            "Each interval is of one difference alone; intervals that hold for all variants together are wider."
        )
    return " ".join(said)


def scores(results: StudyResults) -> Iterator[Exhibit]:
    """The scores of every variant beside the majority baseline."""
    first = results.runs[0]
    of = f" of {plural(first['n_groups'], results.group_name)}" if first["n_groups"] else ""
    caption = f"Scores on {plural(first['n'], 'test image')}{of}; 95 % intervals by {results.drawn_over}"
    caption += "; those of AUROC by a formula (Obuchowski 1997)" * (first["n"] > MANY) + results.stamp
    baseline, told = results.baseline | {"n": first["n"]}, ("accuracy", results.score)
    table = results_table(results.runs, baseline, with_intervals=told, over_seeds=results.over_seeds())
    text = majority_sentence(results.against_majority, results.majority_class, first["n"], results.as_frequent)
    if results.of_first:
        text += " Of a variant with several seeds, ± is the standard deviation over seeds, and the interval is of "
        text += f"their mean: each draw takes {results.group_name}s and seeds with replacement, and ends beyond what "
        text += "is possible are cut."
    yield Exhibit(table=table, caption=caption, text=text)
