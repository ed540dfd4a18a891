"""External test sets: whether scores, thresholds, probabilities and the variants' ranking hold on other images."""

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.catalog import facts_of
from labkit.evaluation.calibration import calibration_line
from labkit.evaluation.compare import mean_of_seeds, unpaired_difference
from labkit.evaluation.decide import NotFitted
from labkit.evaluation.intervals import bootstrap_by_group, group_numbers, too_few
from labkit.evaluation.metrics import evaluate, metric, signed_difference, with_interval
from labkit.evaluation.ranking import Question, question
from labkit.evaluation.thresholds import WANTED, at_threshold, choose_threshold
from labkit.format import DASH, fixed, listing, missing, percent, plural
from labkit.reporting.results import StudyResults, intervals_over_seeds
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import counted

MIX = "A difference is the score there minus the own one, both weighted to the class mix of all images of both sets"
LINE = (
    "Calibration intercept: 0 is right, above it the probabilities are too low; slope: 1 is right, below it they are "
)
LINE += "too extreme; 95 % intervals by logistic regression."


@cache
def external_scores(results: StudyResults, name: str) -> pd.DataFrame:
    """A row per variant: own and there (means over seeds) with low and high, and the difference at one class mix.

    Columns own, own_low, own_high, there, low, high, difference, difference_low, difference_high.
    """
    score, n_classes, task = results.score, len(results.classes), facts_of(results.runs[0]["params"]).task
    rows = {}
    for variant, tables in results.external[name].items():
        mine = results.of(variant)
        own = intervals_over_seeds(mine).loc[score, ["low", "high"]].tolist()
        there = float(np.mean([evaluate(table, results.classes, task)[score] for table in tables]))
        if len(tables) > 1:
            ends = mean_of_seeds(tables, n_classes).loc[score, ["low", "high"]].tolist()
        else:
            first = tables[0]
            drawn = bootstrap_by_group(first["label"], first["prediction"], first["group"], n_classes)
            ends = drawn.loc[score, ["low", "high"]].tolist()
        both = unpaired_difference(results.seeds(variant), tables, n_classes, same_seeds=len(mine) == len(tables))
        apart = both.loc[score, ["difference", "low", "high"]].tolist()
        rows[variant] = [results.mean(variant, score), *own, there, *ends, *apart]
    columns = ["own", "own_low", "own_high", "there", "low", "high"]
    columns += ["difference", "difference_low", "difference_high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def frozen_points(results: StudyResults, name: str, asked: Question) -> dict[str, dict[str, Any]]:
    """Of each variant's first seed: own, there (of `at_threshold`) and line (`calibration_line`), or why there is none.

    The threshold is chosen on the run's own validation images.
    """
    found: dict[str, dict[str, Any]] = {}
    for variant, tables in results.external[name].items():
        run, there, mine = results.firsts[variant], tables[0], found.setdefault(variant, {})
        try:
            if run["val"].empty:
                raise NotFitted("there are no validation images to choose a threshold on")
            threshold = choose_threshold(*asked.of(run["val"]))
            for key, table in (("own", run["test"]), ("there", there)):
                mine[key] = at_threshold(*asked.of(table), threshold, table["group"])
        except NotFitted as error:
            mine["no threshold"] = str(error)
        try:
            if "p_0" not in there:
                raise NotFitted("its grade is no probability")
            mine["line"] = calibration_line(*asked.of(there), there["group"])
        except NotFitted as error:
            mine["no calibration"] = str(error)
    return found


def scores_to_show(table: pd.DataFrame, score: str, name: str, n: str) -> pd.DataFrame:
    """`external_scores` as a reader sees them; `n`: of `counted`."""
    rows = []
    for variant, row in table.iterrows():
        cells = {"variant": variant, f"{metric(score).short}, own test": with_interval(score, *row.iloc[:3])}
        cells[f"on {name} (n = {n})"] = with_interval(score, *row.iloc[3:6])
        rows.append(cells | {"difference at one class mix": signed_difference(score, *row.iloc[6:])})
    return pd.DataFrame(rows)


def points_to_show(found: dict[str, dict[str, Any]], name: str) -> pd.DataFrame:
    """`frozen_points` as a reader sees them: own test, then the external set."""
    rows = []
    for variant, mine in found.items():
        cells = {"variant": variant}
        for key in ("sensitivity", "specificity"):
            cells |= {f"{key}, own test": DASH, f"{key}, {name}": DASH}
            if "there" in mine:
                there = mine["there"].loc[key]
                few = ", too few" if too_few(there["n"], there["groups"]) else ""
                cells[f"{key}, own test"] = percent(mine["own"].loc[key, "estimate"])
                cells[f"{key}, {name}"] = with_interval(key, *there[["estimate", "low", "high"]]) + few
        for key in ("intercept", "slope"):
            value, *ends = mine["line"].loc[key].tolist() if "line" in mine else [None]
            between = f" [{' to '.join(fixed(end, 2) for end in ends)}]" if ends and not missing(ends[0]) else ""
            cells[key] = fixed(value, 2) + between
        rows.append(cells)
    return pd.DataFrame(rows)


def drop_sentence(results: StudyResults, name: str, table: pd.DataFrame, few: bool) -> str:
    """What the variant that the report talks about loses or gains there, and what that interval allows to say."""
    told = results.chosen if results.chosen in table.index else str(table.index[0])
    row, score = table.loc[told], results.score
    text = f"{told}: {metric(score).name} {metric(score).text(row['own'])} on its own test images, "
    text += f"{metric(score).text(row['there'])} on {name}; weighted to one class mix the difference is "
    text += signed_difference(score, *row.iloc[6:])
    if few:
        return f"{text}, from too few images for a verdict."
    if missing(row["difference_low"]):
        return f"{text}, without an interval."
    if row["difference_low"] <= 0 <= row["difference_high"]:
        return f"{text}: this may be random variation."
    return f"{text}: {'lower' if row['difference'] < 0 else 'higher'} there by more than random variation."


def ranking_sentence(table: pd.DataFrame, name: str) -> str:
    """Whether the best variant on its own test images is the best there, and how many pairs keep their order."""
    if len(table) < 2:
        return ""
    own, there = (dict(zip(table.index, table[name].round(12), strict=True)) for name in ("own", "there"))
    pairs = list(combinations(own, 2))
    kept = sum(bool(np.sign(own[a] - own[b]) == np.sign(there[a] - there[b])) for a, b in pairs)
    best, other = (listing([one for one in of if of[one] == max(of.values())]) for of in (own, there))
    head = (
        f"{best} scores highest on its own test images and on {name}"
        if best == other
        else (f"{best} scores highest on its own test images, {other} on {name}")
    )
    return f"{head}; {kept} of {plural(len(pairs), 'pair')} of variants are in the same order on both."


def mix_sentence(results: StudyResults, name: str, there: pd.DataFrame) -> str:
    """The class mix of both sets, and the images that were left out."""
    own, n = results.runs[0]["test"], len(results.classes)
    shares = [np.bincount(one["label"].to_numpy(np.int64), minlength=n) / len(one) for one in (own, there)]
    each = [
        f"{kind} {percent(a)} and {percent(b)}" for kind, a, b in zip(results.classes, *shares, strict=True) if a or b
    ]
    text = f"Class mix of the own test images and of {name}: {', '.join(each)}."
    if seen := there.attrs.get("seen", 0):
        which = f"{plural(seen, 'image')} of {name} {'is' if seen == 1 else 'are'} left out"
        met = f"the same file or {results.group_name}"
        return f"{text} {which}: a run was trained on {met}, or its epoch was chosen by it."
    return f"{text} No file of {name} is one that a run was trained on or chosen by (SHA-256)."


def reasons_sentence(found: dict[str, dict[str, Any]]) -> str:
    """Why a variant has no threshold or no calibration."""
    said: dict[str, list[str]] = {}
    for variant, mine in found.items():
        for what in ("no threshold", "no calibration"):
            if what in mine:
                said.setdefault(f"{what}, {mine[what]}", []).append(variant)
    return " ".join(f"{listing(who)}: {why}." for why, who in said.items())


def performance(results: StudyResults) -> str:
    """For the checklist: the external sets and the chosen variant's score there; '' without one."""
    found = []
    for name, variants in results.external.items():
        table = external_scores(results, name)
        told = results.chosen if results.chosen in table.index else str(table.index[0])
        scored = with_interval(results.score, *table.loc[told, ["there", "low", "high"]])
        n = plural(len(next(iter(variants.values()))[0]), "image")
        found.append(f"{name} ({n}): {metric(results.score).name} by {told}: {scored}")
    return "; ".join(found)


def external(results: StudyResults) -> Iterator[Exhibit]:
    """Every variant on each external test set, beside its own test images; nothing is fitted there."""
    asked = question(results.classes, facts_of(results.runs[0]["params"]).task)
    for name, variants in results.external.items():
        there: pd.DataFrame = next(iter(variants.values()))[0]
        n_groups = int(group_numbers(there["group"], len(there)).max()) + 1
        few = too_few(len(there), n_groups)
        table = external_scores(results, name)
        first = filter(None, [drop_sentence(results, name, table, few), ranking_sentence(table, name)])
        caption = f"On other images, {name}: {metric(results.score).name}; 95 % intervals by {_unit(results, there)}"
        caption += " and seed" * bool(results.of_first)
        shown = scores_to_show(table, results.score, name, counted(len(there), n_groups))
        text = f"{' '.join(first)}\n\n{MIX}. {mix_sentence(results, name, there)}"
        yield Exhibit(table=shown, caption=f"{caption}{results.stamp}", text=text)
        if asked:
            found = frozen_points(results, name, asked)
            caption = f"{name}: {asked.name}, at the threshold for {percent(WANTED, 0)} sensitivity on the run's own "
            caption += f"validation images, and calibration of its probability there{results.once}"
            text = " ".join(filter(None, [LINE, reasons_sentence(found)]))
            yield Exhibit(table=points_to_show(found, name), caption=caption, text=text)


def _unit(results: StudyResults, there: pd.DataFrame) -> str:
    unknown = there["group"].isna().to_numpy(bool)
    if not unknown.any():
        return results.group_name
    return "image" if unknown.all() else f"{results.group_name}, or image where it is unknown"
