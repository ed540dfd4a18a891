"""Sentences on single answers: what a grade was cut into, which mistakes are the worst."""

from collections.abc import Sequence

import pandas as pd

from labkit.evaluation.decide import is_ordinal
from labkit.evaluation.ordinal import Cuts
from labkit.reporting.numbers import fixed, listing, percent, plural


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
        sure = f"grade {fixed(row['grade'], 1)}" if grades else f"{percent(row['sureness'], 0)} sure"
        titles.append(f"{row['image_id']}\n{classes[row['label']]}\nas {classes[row['prediction']]}\n{sure}")
    return titles
