"""What the numbers are worth, from a study's results to tables: ranking, thresholds, calibration, both eyes.

Whatever is fitted is fitted on validation predictions; where a study has none, each table is empty and `reason` says
why. All of it is of each variant's first seed, on the test images that all variants share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.audit import LeakEffect
from labkit.data.catalog import facts
from labkit.evaluation.calibration import Calibration, calibration
from labkit.evaluation.decide import NotFitted
from labkit.evaluation.eyes import join_eyes
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.evaluation.metrics import evaluate
from labkit.evaluation.ranking import curves
from labkit.evaluation.thresholds import RULES, WANTED, Question, operating_points, question
from labkit.format import DASH, NBSP, fixed, listing, metric, percent, signed_difference, whole, with_interval
from labkit.reporting.results import StudyResults
from labkit.reporting.tables import TOO_FEW

BOTH_EYES = " + both eyes"
# Beside the scores of `tables.RESULT_METRICS`, in a second table: one of ten columns does not fit a page.
SCORES = ("weighted_f1", "mcc", "macro_average_precision", "referable_auroc", "referable_average_precision")


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


def worth(results: StudyResults) -> Worth:
    """All that follows from a study's predictions beyond its scores."""
    first = results.firsts
    task = facts(results.runs[0]["params"].dataset).task
    asked = question(results.classes, task)
    points, joined, calibrations, reasons = [], [], {}, {}
    for name, test in results.tests.items():
        decided = pd.concat([first[name]["val"], test], ignore_index=True)
        if asked is not None:
            try:
                points.append(operating_points(decided, asked).assign(run=name))
            except NotFitted as error:
                reasons["operating point"] = str(error)
        try:
            joined.append(_derived(first[name], join_eyes(decided), results.classes, task))
        except NotFitted as error:
            reasons["both eyes"] = str(error)
        try:
            calibrations[name] = calibration(decided)
        except NotFitted as error:
            reasons[f"calibration of {name}"] = str(error)
    return Worth(
        question=asked,
        curves=curves(results.tests, results.classes, asked),
        calibrations=calibrations,
        points=pd.concat(points, ignore_index=True) if points else pd.DataFrame(),
        joined=joined,
        reasons=reasons,
    )


def _derived(run: Mapping[str, Any], test: pd.DataFrame, classes: list[str], task: str) -> dict[str, Any]:
    labelled = test.loc[test["label"].notna()]
    ends = bootstrap_by_group(labelled["label"], labelled["prediction"], labelled["group"], len(classes))
    scores = evaluate(labelled, classes, task)
    return scores | {"run": run["run"] + BOTH_EYES, "seed": run["seed"], "intervals": ends}


def points_table(points: pd.DataFrame) -> pd.DataFrame:
    """A row a variant and rule: threshold, sensitivity on validation, and the four shares on test with intervals.

    Test images with and without what is looked for stand in the headers; of how many were called so, in a cell where
    they are too few.
    """
    rows = []
    for _, part in points.groupby(["run", "rule"], sort=False):
        run, rule = part["run"].tolist()[0], part["rule"].tolist()[0]
        of = {str(row["metric"]): row for row in part.to_dict("records")}
        row = {"variant": str(run), "rule": str(rule), "threshold": fixed(of["sensitivity"]["threshold"], 3)}
        row["on validation"] = percent(of["sensitivity"]["validation"])
        for name, one in of.items():
            few = f"n{NBSP}={NBSP}{whole(one['n'])}" + (", too few" if one["n"] < TOO_FEW else "")
            text = with_interval(name, one["estimate"], one["low"], one["high"])
            if name in ("sensitivity", "specificity"):
                row[f"{metric(name).short} ({few})"] = text
            else:
                row[metric(name).short] = f"{text} ({few})" if one["n"] < TOO_FEW else text
        rows.append(row)
    return pd.DataFrame(rows)


def points_sentence(points: pd.DataFrame, question: Question) -> str:
    """Whether the sensitivity asked for on validation holds on test, and at what price."""
    found: dict[str, dict[str, float]] = {}
    for one in points.loc[points["rule"] == RULES[0]].to_dict("records"):
        found.setdefault(str(one["run"]), {})[str(one["metric"])] = float(one["estimate"])
    kept = [name for name, of in found.items() if of["sensitivity"] > WANTED - 1e-9]
    best = max(found, key=lambda name: found[name]["specificity"])
    text = f"With the threshold that finds {percent(WANTED, 0)} of {question.name} on validation, "
    text += f"{len(kept)} of {len(found)} variants find as much on test" + (f" ({listing(kept)})" if kept else "")
    price = f"{percent(found[best]['specificity'])} of those without it are left alone by {best}"
    return f"{text}; {price}, which finds {percent(found[best]['sensitivity'])}."


def calibration_table(found: Mapping[str, Calibration]) -> pd.DataFrame:
    """A row a variant: temperature, Brier score and ECE before and after, the ECE of a perfectly calibrated model."""
    rows = []
    for name, one in found.items():
        row = {"variant": name, "n": whole(one.n), "temperature": fixed(one.temperature, 2)}
        for key, head in (("brier", "Brier"), ("ece", "ECE"), ("reference", "ECE if perfect")):
            both = [fixed(float(value), 3) for value in one.scores[key]]
            row[f"{head}, before"], row[f"{head}, after"] = both[0], both[1] if len(both) > 1 else DASH
        rows.append(row)
    return pd.DataFrame(rows)


def joined_sentence(joined: list[dict[str, Any]], results: StudyResults) -> str:
    """How much each variant gains by the other eye, in the study's score."""
    first = results.firsts
    named, lines = metric(results.score), []
    for one in joined:
        name = one["run"].removesuffix(BOTH_EYES)
        before, after = first[name][results.score], one[results.score]
        lines.append(f"{name} {named.text(before)}{NBSP}→{NBSP}{named.text(after)}")
    return f"With the other eye's output, {named.name} becomes: {'; '.join(lines)}."


def leak_table(effects: Mapping[str, LeakEffect], score: str) -> pd.DataFrame:
    """A row a variant (`StudyResults.leak_effects`): both parts' scores and how far they are apart."""
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
