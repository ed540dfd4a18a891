"""What the numbers are worth, from a study's results to tables: ranking, thresholds, calibration, both eyes.

Whatever is fitted is fitted on validation predictions; where a study has none, each table is empty and `reason` says
why. All of it is of each variant's first seed, on the test images that all variants share.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from labkit.audit import LeakEffect, leak_effect_sentence
from labkit.data.catalog import facts_of
from labkit.evaluation.calibration import Calibration, calibration
from labkit.evaluation.decide import NotFitted, ranks
from labkit.evaluation.eyes import OTHER_SIDE, join_eyes
from labkit.evaluation.intervals import MANY, bootstrap_by_group, too_few
from labkit.evaluation.metrics import evaluate, metric, signed_difference, with_interval
from labkit.evaluation.ranking import curves
from labkit.evaluation.thresholds import AS_WANTED, WANTED, Question, operating_points, question
from labkit.format import NBSP, fixed, listing, missing, percent, whole
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import FURTHER, counted, results_table

BOTH_EYES = " + both eyes"


@dataclass(frozen=True)
class Worth:
    """`question`: None where the classes ask none. `points`: `operating_points` with the column run. `joined`: derived
    rows, run dicts like those of the study. `reasons`: why what could not be fitted was not, by what it was.
    """

    question: Question | None
    curves: pd.DataFrame
    calibrations: dict[str, Calibration]
    points: pd.DataFrame
    joined: list[dict[str, Any]]
    reasons: dict[str, str]


@cache
def worth(results: StudyResults) -> Worth:
    """All that follows from a study's predictions beyond its scores."""
    first = results.firsts
    task = facts_of(results.runs[0]["params"]).task
    asked = question(results.classes, task)
    points, joined, calibrations, reasons = [], [], {}, {}
    for name, test in results.tests.items():
        decided = pd.concat([first[name]["val"], test], ignore_index=True)
        if asked is not None and ranks(decided):
            try:
                points.append(operating_points(decided, asked).assign(run=name))
            except NotFitted as error:
                reasons["operating point"] = str(error)
        try:
            calibrations[name] = calibration(decided)
        except NotFitted as error:
            reasons[f"calibration of {name}"] = str(error)
        if not set(decided["side"].dropna()) & OTHER_SIDE.keys():
            continue  # the data has no eyes
        try:
            both = join_eyes(decided).dropna(subset="label")
            ends = bootstrap_by_group(both["label"], both["prediction"], both["group"], len(results.classes))
            of_run = {"run": name + BOTH_EYES, "seed": first[name]["seed"], "intervals": ends}
            joined.append(evaluate(both, results.classes, task) | of_run)
        except NotFitted as error:
            reasons[f"both eyes of {name}"] = str(error)
    return Worth(
        question=asked,
        curves=curves(results.tests, results.classes, asked),
        calibrations=calibrations,
        points=pd.concat(points, ignore_index=True) if points else pd.DataFrame(),
        joined=joined,
        reasons=reasons,
    )


def probable(results: StudyResults) -> str | None:
    """The chosen variant; where it gives no probabilities, the best on validation that does; None if none does."""
    named = {name: results.mean(name, "val_score") for name, test in results.tests.items() if "p_0" in test}
    best = {name: float("-inf") if missing(score) else score for name, score in named.items()}
    return results.chosen if results.chosen in named else max(best, key=best.__getitem__, default=None)


def points_table(points: pd.DataFrame) -> pd.DataFrame:
    """One row per variant: its threshold, sensitivity on validation, four shares on test.

    The number of positive and negative test images is in the headers; that of predicted ones in a cell, where they are
    too few.
    """
    rows = []
    for run, part in points.loc[points["metric"] != AS_WANTED].groupby("run", sort=False):
        first, *_ = shares = part.to_dict("records")
        row = {"variant": run, "threshold": fixed(first["threshold"], 3)}
        row["sensitivity on validation"] = percent(first["validation"])
        for one in shares:
            few = counted(one["n"], one["groups"])
            few = few if few == whole(one["n"]) else few.replace(",", f" in {whole(one['groups'])} groups,", 1)
            name, n = metric(one["metric"]).short, f" (n{NBSP}={NBSP}{few})"
            text = with_interval(one["metric"], one["estimate"], one["low"], one["high"])
            if one["metric"] in ("sensitivity", "specificity"):
                row[name + n] = text
            else:
                row[name] = text + (n if "few" in n else "")
        rows.append(row)
    return pd.DataFrame(rows)


def points_sentence(points: pd.DataFrame, question: Question) -> str:
    """Whether the sensitivity asked for on validation is kept on test, and how the variants compare at it."""
    rows = points.set_index("run")
    found, fair = (rows.loc[rows["metric"] == name] for name in ("sensitivity", AS_WANTED))
    wanted, random = percent(WANTED, 0), percent(1 - WANTED, 0)
    if fair["estimate"].isna().any():
        return f"Test images of one kind only cannot show sensitivity to {question.name} beside specificity."
    ends = dict.fromkeys(percent(end) for end in (found["estimate"].min(), found["estimate"].max()))
    below = [str(run) for run in found.index[found["high"] < WANTED]]
    kept = f"The interval{'s' if len(below) > 1 else ''} of {listing(below)} lie{'s' if len(below) == 1 else ''} wholly"
    kept = f"{kept} below {wanted}" if below else f"No interval lies wholly below {wanted}"
    if any(too_few(n, groups) for n, groups in zip(found["n"], found["groups"], strict=True)):
        kept = f"These are too few images or patients to say whether that is below {wanted}"
    fair = fair.sort_values("estimate", ascending=False, kind="stable")
    each = zip(fair.index, fair["estimate"], fair["low"], fair["high"], strict=True)
    each = listing([f"{run} {with_interval('specificity', *share)}" for run, *share in each])
    useless = [str(run) for run in fair.index[fair["low"] <= 1 - WANTED]]
    return (
        f"At thresholds set for {wanted} sensitivity to {question.name} on validation, sensitivity on test is "
        f"{' to '.join(ends)}. {kept}. To compare the variants, thresholds are also set for {wanted} sensitivity on "
        f"test, anew in each bootstrap draw. There specificity is: {each}; a random score has {random}"
        + (f", and {listing(useless)} cannot be told apart from that." if useless else ".")
    )


def leak_table(effects: Mapping[str, LeakEffect], score: str) -> pd.DataFrame:
    """One row per variant (`StudyResults.leak_effects`): both parts' scores and how far they are apart."""
    rows = []
    for run, effect in effects.items():
        row = {"variant": run, "n leaked": whole(effect.n_leaked), "n clean": whole(effect.n_clean)}
        for name in dict.fromkeys(("accuracy", score)):
            one, named = effect.scores.loc[name], metric(name)
            row[named.short] = f"{named.text(one['leaked'])} against {named.text(one['clean'])}"
            ends = float(one["difference"]), float(one["low"]), float(one["high"])
            row[f"{named.short}, difference"] = signed_difference(name, *ends)
        rows.append(row)
    return pd.DataFrame(rows)


def further_scores(results: StudyResults) -> Exhibit:
    """Scores that few ask for, and those of both eyes joined."""
    found, first = worth(results), results.runs[0]
    wanted = [results.score, *FURTHER]
    baseline, told = results.baseline | {"n": first["n"]}, (results.score, "referable_auroc")
    table = results_table([*results.runs, *found.joined], baseline, wanted, told, results.over_seeds())
    joint = (
        f"; both eyes: predicted from both, by a model fitted on validation{results.of_first}" if found.joined else ""
    )
    shown = listing([metric(name).name for name in told if not missing(first.get(name))])
    return Exhibit(table=table, caption=f"Further scores; intervals of {shown} alone{joint}{results.stamp}")


def leaks(results: StudyResults) -> Iterator[Exhibit]:
    """Each model on the test images of patients seen in training, and on the others."""
    effects = results.leak_effects()
    if effects:
        told = results.chosen if results.chosen in effects else next(iter(effects))
        text = f"{told}: {leak_effect_sentence(effects[told], results.score)}"
        caption = "Each model on the leaked and the clean part of its test images, weighted to one class mix"
        yield Exhibit(table=leak_table(effects, results.score), caption=f"{caption}{results.stamp}", text=text)
    elif any(run["touched"].any() for run in results.runs):
        yield Exhibit(text=f"Every test image is of a {results.group_name} seen in training.")


def thresholds(results: StudyResults) -> Iterator[Exhibit]:
    """Where each variant says yes to the question that its classes ask, and what it finds there."""
    found = worth(results)
    if (asked := found.question) and len(found.points):
        caption = f"Thresholds for {percent(WANTED, 0)} sensitivity to {asked.name} on validation; the intervals "
        caption += "ignore that the thresholds are estimates"
        few = f"; at {percent(WANTED, 0)} sensitivity on test: 200 draws"
        caption += few * (results.runs[0]["n"] > MANY) + results.once
        text = points_sentence(found.points, asked)
        results.shown.add("decision threshold")
        yield Exhibit(table=points_table(found.points), caption=caption, text=text)
    if found.reasons:
        lines = [f"- {what[:1].upper()}{what[1:]}: not computed, {why}." for what, why in found.reasons.items()]
        yield Exhibit(text="\n".join(lines))
