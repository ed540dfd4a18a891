"""Sentences on ablations: what one difference between two variants changed, and what it did not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.format import NBSP, fixed, interval, listing, missing, plural, signed, signed_difference, word
from labkit.format import metric as named
from labkit.reporting.frames import floats, known
from labkit.reporting.sentences_results import compare_sentence
from labkit.reporting.sentences_training import OVERFIT
from labkit.reporting.tables import parameter_text

WORDS = {
    "arch": "network",
    "normalize": "normalisation",
    "freeze epochs": "frozen epochs",
    "augment test": "augmentation of test images",
}
SPLITS = {"val_accuracy": "validation", "test_accuracy": "test"}


def ablation_sentence(
    question: str,
    a: str,
    b: str,
    metric: str,
    difference: float,
    low: float | None = None,
    high: float | None = None,
    history: Mapping[str, pd.DataFrame] | None = None,
    also: Sequence[tuple[str, Any, Any]] = (),
) -> str:
    """What the factor `question` ('augmentation', 'class weights', …) changed from `a` to `b`.

    `difference`: b - a of `metric`, with the ends of its interval. `also`: what differs besides (name, in a, in b).
    `history`: run -> columns epoch, train_accuracy, val_accuracy or test_accuracy, of one seed; with it a second
    sentence tells whose training accuracy runs further ahead.
    """
    factor = factor_in_words(question)
    place = f"one of {word(len(also) + 1)} differences" if also else "the only difference"
    compared = compare_sentence(a, b, metric, difference, low, high)
    if compared.startswith(f"The {named(metric).name} of "):
        compared = f"t{compared[1:]}"
    text = f"With the {factor} as {place}, {compared}"
    if also:
        others = [
            f"{factor_in_words(name)} {_differ(name)}: {parameter_text(one)} and {parameter_text(other)}"
            for name, one, other in also
        ]
        text += f" Besides, {'; '.join(others)}. So the {factor} alone may not explain what is seen."
    return text if history is None else f"{text} {_over_fitting(a, b, history)}"


def factor_in_words(name: str) -> str:
    """A parameter as prose has it: 'class_weights' -> 'class weights', 'arch' -> 'network'."""
    words = name.replace("_", " ")
    return WORDS.get(words, words)


def _differ(name: str) -> str:
    return "differ" if name.endswith("s") else "differs"


@dataclass(frozen=True)
class _Gap:
    size: float  # training minus `split` accuracy, a fraction
    split: str
    epoch: int

    @property
    def points(self) -> str:
        return plural(signed(100 * self.size, 1), "point")


def _over_fitting(a: str, b: str, history: Mapping[str, pd.DataFrame]) -> str:
    """The gap of training over validation (else test) accuracy in the last epoch of each, and which is larger."""
    gaps = {run: gap for run in (a, b) if (gap := _gap(history.get(run))) is not None}
    if not gaps:
        return "How far either over-fits is unknown: training accuracy has no other accuracy beside it."
    splits, epochs = {gap.split for gap in gaps.values()}, {gap.epoch for gap in gaps.values()}
    texts = []
    for run, gap in gaps.items():
        notes = [f"{gap.split} images"] * (len(splits) > 1) + [f"epoch {gap.epoch}"] * (len(epochs) > 1)
        texts.append(f"{gap.points} for {run}" + (f" ({', '.join(notes)})" if notes else ""))
    words = listing(sorted(splits, reverse=True), "or")
    text = f"In the last epoch, training minus {words} accuracy is {' and '.join(texts)}"
    if len(gaps) == 1:
        return f"{text}; for {b if a in gaps else a} it is unknown."
    if gaps[a].points == gaps[b].points:
        return f"{text}: the same gap."
    wide = max(gaps, key=lambda run: gaps[run].size)
    if gaps[wide].size > OVERFIT:
        return f"{text}: {wide} over-fits more."
    return f"{text}: larger for {wide}, but no over-fitting to speak of."


def _gap(history: pd.DataFrame | None) -> _Gap | None:
    """The gap of the last epoch; None where either accuracy is unknown."""
    if history is None or history.empty:
        return None
    last = history.sort_values("epoch").tail(1)
    column = next((name for name in SPLITS if len(known(last, name))), None)
    if column is None or not len(known(last, "train_accuracy")):
        return None
    gap = floats(last, "train_accuracy")[0] - floats(last, column)[0]
    return _Gap(float(gap), SPLITS[column], int(floats(last, "epoch")[0]))


def protocol_sentence(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    """How far the score as the data came lies above that with patients kept apart, and what may not be concluded.

    Rows: `run`, `metric`, `course`, `honest` (values of the metric or None), [gap: difference, low, high]. Rows of
    other metrics than `score` are left out.
    """
    rows = [row for row in rows if row["metric"] == score]
    gaps = {row["run"]: row["course"] - row["honest"] for row in rows if not _unknown(row, "course", "honest")}
    if not gaps:
        return f"No variant's {named(score).name} is known under both protocols, so they cannot be compared."
    text = _protocols(gaps, score)
    intervals = {row["run"]: row["gap"] for row in rows if row["run"] in gaps and row.get("gap")}
    if intervals:
        text += f" With 95 % intervals: {'; '.join(_with_ends(run, gap, score) for run, gap in intervals.items())}."
    if without := [row["run"] for row in rows if row["run"] not in gaps]:
        text += f" Of {listing(without)} it is not known under both."
    return text + (
        " The test images differ between the protocols, so the difference is not paired, "
        "and part of it may be which images were tested."
    )


def _with_ends(run: str, gap: Sequence[float], score: str) -> str:
    """'lite0 +0.050 [−0.010 to +0.110], which includes zero'."""
    text = f"{run} {signed_difference(score, *gap)}"
    if missing(gap[1]):
        return f"{text} (one group only, no interval)"
    return f"{text}, {'above zero' if gap[1] > 0 else 'below zero' if gap[2] < 0 else 'which includes zero'}"


def published_sentence(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    """Whether each published value lies inside our interval, and which are of other data.

    Rows: `run`, `metric`, `published` (a value or None), `same_data` (whether it is of the same images as ours),
    `interval` (low, high of ours, or None). Empty where nothing is published in this metric.
    """
    rows = [row for row in rows if row["metric"] == score and not _unknown(row, "published")]
    same = [row for row in rows if row["same_data"] and row["interval"] and not missing(row["interval"][0])]
    clauses = []
    for row in same:
        low, high = row["interval"]
        place = "above" if row["published"] > high else "below" if row["published"] < low else "inside"
        ends = interval(score, low, high)
        clauses.append(f"{named(score).text(row['published'])} of {row['run']} lies {place} {ends}")
    text = f"The published {named(score).name} against our interval: {'; '.join(clauses)}." if clauses else ""
    if foreign := [row["run"] for row in rows if not row["same_data"]]:
        values = "value" if len(foreign) == 1 else "values"
        text += f" The published {values} of {listing(foreign)} {_is(foreign)} on other data: not comparable with ours."
    return text.strip()


def _protocols(gaps: Mapping[str, float], score: str) -> str:
    """For how many variants the data as it came gives more, for how many less and for how many the same, as printed."""
    metric = named(score)
    same = [run for run, gap in gaps.items() if metric.difference(gap) == metric.difference(0.0)]
    sides = {
        "higher": [gap for run, gap in gaps.items() if run not in same and gap > 0],
        "lower": [-gap for run, gap in gaps.items() if run not in same and gap < 0],
    }
    clauses = [(side, len(sizes), f", by {_range(sizes, score)}") for side, sizes in sides.items() if sizes]
    clauses += [("the same", len(same), "")] if same else []
    texts = [f"{side} for {word(n) if place else _of(n, len(gaps))}{by}" for place, (side, n, by) in enumerate(clauses)]
    return f"The {metric.name} as the data came, against that with patients kept apart, is {'; '.join(texts)}."


def _of(some: int, total: int) -> str:
    if total == 1:
        return "the one variant that has both"
    if some == total:
        return "both variants" if total == 2 else f"all {word(total)} variants"
    return f"{word(some)} of {word(total)} variants"


def _range(sizes: Sequence[float], score: str) -> str:
    """'1.2 points', or '1.2 to 3.4 points'."""
    low, high = (named(score).difference(end(sizes)) for end in (min, max))
    return high if low == high else f"{low.split(NBSP)[0]} to {high}"


def _unknown(row: Mapping[str, Any], *keys: str) -> bool:
    return any(missing(row[key]) for key in keys)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def oversampling_sentence(before: Sequence[int], after: Sequence[int], classes: Sequence[str]) -> str:
    """What repeating images changed; `before`, `after`: images per class of one epoch."""
    before, after = [int(n) for n in before], [int(n) for n in after]
    total_before, total_after = sum(before), sum(after)
    text = f"An epoch has {plural(total_after, 'image')} instead of {plural(total_before, 'image')}"
    if before == after:
        return f"No image is repeated: the classes have equally many already ({plural(total_before, 'image')} in all)."
    factors = [new / old if old else 0.0 for old, new in zip(before, after, strict=True)]
    most = max(range(len(factors)), key=factors.__getitem__)
    text += f": every image of {classes[most]} is drawn {fixed(factors[most], 1)} times on average"
    kept = [classes[place] for place, factor in enumerate(factors) if factor == 1]
    if kept:
        text += f", one of {listing(kept, 'or')} once"
    absent = [classes[place] for place, count in enumerate(before) if count == 0]
    return f"{text}; there is no image of {listing(absent, 'or')} to repeat." if absent else f"{text}."
