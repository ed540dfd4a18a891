"""What a difference is worth: how sure the first rank is, what these test images can show, and how many would do."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from labkit.evaluation.compare import FEWEST
from labkit.evaluation.intervals import too_few
from labkit.evaluation.metrics import metric
from labkit.evaluation.power import of_width, ranking
from labkit.format import DASH, listing, missing, percent, plural, some, whole
from labkit.reporting.exhibits.scores import TOO_SMALL
from labkit.reporting.results import StudyResults, intervals_over_seeds
from labkit.reporting.show import Exhibit

TARGET = 0.05  # the half-width that is asked for
SAID = {"equal": "equal predictions", "too few": "too few", "best": DASH}  # in place of numbers, by verdict
Rows = Mapping[str, Mapping[str, Any]]  # by variant


def about(number: float) -> str:
    """Two digits of what is extrapolated, rounded up: 1,234 -> '1,300'; '–' if unknown, 'none would do' if infinite."""
    if missing(number):
        return DASH
    if np.isinf(number):
        return "none would do"
    step = 10 ** max(len(str(int(number))) - 2, 0)
    return whole(np.ceil(number / step - 1e-9) * step)


def unit_of(results: StudyResults) -> str:
    """What is counted: the data's groups, or images where none is known."""
    return results.group_name if results.runs[0]["n_groups"] else "image"


def widths(results: StudyResults) -> Rows:
    """Half the width of each variant's interval, the groups, and how many would make it TARGET, or half as wide.

    NaN where the interval has no width, and the numbers where there are fewer than FEWEST groups.
    """
    run, rows = results.runs[0], {}
    groups = run["n_groups"] + run["n_without_group"]
    for name in results.tests:
        low, high = intervals_over_seeds(results.of(name)).loc[results.score, ["low", "high"]]
        asked, half = (results.seeds(name), results.score, len(results.classes)), float(high - low) / 2
        known = half > 0 and groups >= FEWEST
        needed = of_width(*asked, half, groups, (TARGET, half / 2)) if known else [np.nan] * 2
        rows[name] = {"half": half if half > 0 else np.nan, "groups": groups, "target": needed[0], "halved": needed[1]}
    return rows


def power_table(wide: Rows, ranked: Rows, score: str, group: str) -> pd.DataFrame:
    """A row per variant; `wide`: `widths`; `ranked`: the rows of `ranking`, none where nothing is compared."""
    named, rows = metric(score), []
    for name in ranked or wide:
        half, target = (wide[name][key] for key in ("half", "target"))
        width = DASH if missing(half) else f"± {named.text(half, unit=False)}"
        row = {"variant": name, f"interval of {named.short}": width}
        row[f"{group}s for ± {named.text(TARGET, unit=False)}"] = about(target)
        if ranked:
            one = ranked[name]
            said = SAID.get(one["verdict"])
            row["first in"] = percent(one["first"], 0)
            row["below the first by"] = named.difference(one["difference"]) if one["verdict"] != "best" else DASH
            row["80 % power from"] = said or named.difference(one["shown"])
            row[f"{group}s to show it"] = said or about(one["needed"])
        rows.append(row)
    return pd.DataFrame(rows)


def rank_sentence(ranked: Rows, score: str, group: str, seeds: bool | None = None, part: str = "test") -> str:
    """How often another variant is first in the draws, and what would tell the first from the second.

    `ranked`: as `power_table`; `seeds`: whether there are several, None of predictions whose training is not known.
    """
    best, named = next(iter(ranked)), metric(score)
    text = f"{best} has the highest {named.name} on {part}"
    if equal := [name for name, one in ranked.items() if one["verdict"] == "equal"]:
        text += f" ({listing(equal)} {'predicts' if len(equal) == 1 else 'predict'} the same)"
    others = [name for name in ranked if name not in (best, *equal)]
    if not others:
        return f"{text}: no other variant predicts anything else."
    if missing(ranked[best]["first"]):
        return f"{text}: {TOO_SMALL}."
    drawn = f"{group}s" + " and seeds" * bool(seeds)
    text += f"; if the {drawn} are drawn anew, another variant is first in {percent(1 - ranked[best]['first'], 0)} of "
    text += "2,000 draws. This estimates the chance of a false win, and is too low if the true scores are nearly equal."
    text += "" if seeds is not False else " What another seed would change is not known."
    second = ranked[others[0]]
    if missing(second["shown"]):
        return text
    shown, seen = (named.difference(second[key]) for key in ("shown", "difference"))
    text += f" A difference of {shown} to the second, {others[0]}, would be found with 80 % power"
    text += ", at the critical value that holds for all pairs together" * (len(ranked) > 2) + f"; {seen} is seen"
    if np.isinf(second["needed"]):
        return text + f", which no number of {group}s would show" + " with as many seeds" * bool(seeds) + "."
    return text + f"; if this is the true one, showing it takes about {about(second['needed'])} {group}s."


def size_sentence(
    wide: Mapping[str, Any], images: Mapping[str, int], who: str, score: str, group: str, part: str = "test"
) -> str:
    """How many images each class has, and how many groups would narrow the interval of `who`; `wide`: its `widths`."""
    held = some([f"{count:,} {name}" for name, count in images.items()], 10, "and")
    text = f"The {part} images are {held}, of {plural(wide['groups'], group)}"
    if rare := [name for name, count in images.items() if too_few(count)]:
        text += f"; too few of {some(rare, 3, 'and')} to say how well they are found"
    text += ". "
    if missing(wide["half"]):
        return f"{text}The score of {who} has no interval with a width, so no number of {group}s follows from it."
    half, target = (metric(score).difference(of) for of in (wide["half"], TARGET))
    text += f"The 95 % interval of {who} is ± {half}: "
    if missing(wide["halved"]):
        return f"{text}of fewer than {FEWEST} {group}s, which is too few to say how many would be enough."
    if np.isinf(wide["halved"]):
        return f"{text}no number of {group}s would make it half as wide with as many seeds."
    return f"{text}half as wide takes about {about(wide['halved'])} {group}s, ± {target} about {about(wide['target'])}."


def power(results: StudyResults) -> Exhibit:
    """What the test set can show, and how many patients would show more."""
    first, score, part, ranked = results.runs[0], results.score, results.scored, {}
    group, wide, variants = unit_of(results), widths(results), {name: results.seeds(name) for name in results.tests}
    counts = np.bincount(first["test"]["label"].astype(int), minlength=len(results.classes)).tolist()
    images = dict(zip(results.classes, counts, strict=True))
    text = size_sentence(wide[results.chosen], images, results.chosen, score, group, part)
    caption = f"What {plural(first['n'], f'{part} image')} of {plural(wide[results.chosen]['groups'], group)} can show"
    if len(variants) > 1:
        found: Any = ranking(variants, results.differences, score, len(results.classes)).to_dict("index")
        ranked = found
        seeds = len(results.runs) > len(variants) if results.trained else None
        text = f"- {rank_sentence(ranked, score, group, seeds, part)}\n- {text}"
        caption += "; first in: the share of bootstrap draws in which a variant is first; 80 % power from: the "
        caption += "smallest difference to the first that would be found so often"
    text += f" All of this is computed after the fact and takes further {group}s to be like these."
    results.shown.add("sample size calculation")
    return Exhibit(table=power_table(wide, ranked, score, group), caption=f"{caption}{results.stamp}", text=text)
