"""Sentences on single answers: what a grade was cut into, which mistakes are the worst."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from labkit.evaluation.decide import is_ordinal
from labkit.evaluation.ordinal import Cuts
from labkit.format import fixed, listing, metric, missing, percent, plural, whole, with_interval
from labkit.reporting.frames import floats, parts


def cuts_sentence(cuts: Cuts, classes: Sequence[str]) -> str:
    """Where an ordinal run's output turns into the next grade, and what that was fitted on."""
    places = [f"{name} from {fixed(value, 2)}" for name, value in zip(classes[1:], cuts.values, strict=True)]
    how = (
        f"the cuts lie half-way between the grades, since {cuts.reason}"
        if cuts.reason
        else f"the cuts have the best quadratic weighted kappa on {plural(cuts.n, 'validation image')}"
    )
    return f"The network answers with a number: {listing(places)}, below that {classes[0]}; {how}."


def mistake_titles(wrong: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """For rows of `evaluation.decide.mistakes`: file name, true class, the answer and how sure it was."""
    grades = is_ordinal(wrong)
    titles = []
    for row in wrong.to_dict("records"):
        sure = f"grade {fixed(row['grade'], 1)}" if grades else f"{percent(row['confidence'], 0)} sure"
        titles.append(f"{row['image_id']}\n{classes[row['label']]}\nas {classes[row['prediction']]}\n{sure}")
    return titles


def loss_titles(costly: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """For rows of `evaluation.decide.top_losses`: file name, true class, the answer and the loss."""
    return [
        f"{row['image_id']}\n{classes[row['label']]}\nas {classes[row['prediction']]}\nloss {fixed(row['loss'], 2)}"
        for row in costly.to_dict("records")
    ]


def top_losses_sentence(costly: pd.DataFrame, classes: Sequence[str], tenth: float = 0.1) -> str:
    """The costliest test image, and how much of all loss the costliest `tenth` of the images make up."""
    first, losses = costly.iloc[0].to_dict(), floats(costly, "loss")
    some = max(1, round(tenth * len(costly)))
    share = losses[:some].sum() / max(losses.sum(), 1e-12)
    said = f"{first['image_id']} costs most, {fixed(first['loss'], 2)} ({classes[first['label']]}, answered with"
    of_all = (
        f"the costliest {whole(some)} of {plural(len(costly), 'test image')} make up {percent(share, 0)} of the loss"
    )
    return f"{said} {classes[first['prediction']]}); {of_all}."


def mistakes_sentence(wrong: pd.DataFrame, n: int, classes: Sequence[str]) -> str:
    """How many of `n` test images are wrong, and the surest of them; `wrong` as `evaluation.decide.mistakes`."""
    if wrong.empty:
        return f"All {plural(n, 'test image')} are answered correctly."
    first = wrong.iloc[0].to_dict()
    share = f"{whole(len(wrong))} of {plural(n, 'test image')} ({percent(len(wrong) / n)}) are answered wrongly"
    if is_ordinal(wrong):
        how = f"answered with grade {fixed(first['grade'], 1)}, {fixed(first['confidence'], 1)} off"
        return f"{share}; the worst is {first['image_id']}, {classes[first['label']]}, {how}."
    sure = sum(value > 0.9 for value in wrong["confidence"])
    of_them = f", {whole(sure)} of them with a probability above {percent(0.9, 0)}" if sure else ""
    how = f"{classes[first['label']]} taken for {classes[first['prediction']]} ({percent(first['confidence'], 0)})"
    return f"{share}{of_them}; the surest is {first['image_id']}, {how}."


def missed_sentence(test: pd.DataFrame, classes: Sequence[str], label: int) -> str:
    """How much of one class is missed and what it is taken for; `test`: decided."""
    mine = test.loc[(test["label"] == label).fillna(False).to_numpy(bool)]
    missed = mine.loc[mine["prediction"] != label, "prediction"]
    if mine.empty:
        return f"No test image is {classes[label]}."
    if missed.empty:
        return f"All {plural(len(mine), 'test image')} of {classes[label]} are found."
    taken = [f"{classes[int(k)]} ({whole(count)})" for k, count in missed.value_counts(sort=True).items()]
    share = f"{whole(len(missed))} of {plural(len(mine), 'test image')} ({percent(len(missed) / len(mine))})"
    return f"{share} of {classes[label]} are missed: taken for {listing(taken)}."


def gaze_sentence(agreement: float, maps: np.ndarray) -> str:
    """What the check against random weights says of Grad-CAM maps (n, h, w), and how many of them are empty.

    `agreement`: as `evaluation.gradcam.agreement`. Maps that have nothing to do with each other agree by chance by
    about √(2 / π (places − 1)), the mean size of a correlation of so many values.
    """
    n, side = maps.shape[:2]
    size = f"maps of {side} × {side} places (enlarged in the figure)"
    if missing(agreement):
        return f"The check against random weights cannot be made: the {size} are of one value."
    chance = float(np.sqrt(2 / np.pi / max(side**2 - 1, 1)))
    if agreement > 0.7:
        verdict = "what they show is mostly the image, not what was learnt"
    elif agreement > chance + 0.15:
        verdict = "what they show is in part the image and in part what was learnt"
    else:
        verdict = "they depend on what was learnt; they show where, not why, and prove no sign of disease"
    found = f"a rank correlation of {fixed(agreement, 2)} in size (1: equal; {fixed(chance, 2)}: by chance)"
    empty = int(np.count_nonzero(maps.max(axis=(1, 2)) <= 0))
    blank = f" In {whole(empty)} of {plural(n, 'image')} no place speaks for the answer, and none is coloured."
    said = f"Networks of the same build with random weights draw these {whole(n)} {size} with {found}: {verdict}."
    return said + (blank if empty else "")


def subgroup_sentence(table: pd.DataFrame, score: str) -> str:
    """The widest gap among the parts of one factor, and whether their intervals leave room for none."""
    gaps = []
    for factor, part in parts(table, "factor").items():
        known_rows = part.dropna(subset=["estimate"])
        if len(known_rows) > 1:
            ordered = known_rows.sort_values("estimate")
            best, worst = ordered.iloc[-1].to_dict(), ordered.iloc[0].to_dict()
            gaps.append((best["estimate"] - worst["estimate"], str(factor), best, worst))
    if not gaps:
        return "There are no subgroups to compare."
    _, factor, best, worst = max(gaps, key=lambda gap: gap[0])
    noun = "eyes" if factor == "eye" else "images"
    ends = [
        f"{with_interval(score, row['estimate'], row['low'], row['high'])} on {row['part']} {noun}"
        for row in (best, worst)
    ]
    apart = best["low"] > worst["high"]
    verdict = "the intervals do not overlap" if apart else "the intervals overlap, so this may be chance"
    return f"{metric(score).name.capitalize()} differs most by {factor}: {ends[0]} against {ends[1]}; {verdict}."
