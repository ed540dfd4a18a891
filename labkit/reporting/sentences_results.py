"""Sentences on results: which variant is best, by how much, and whether it beats always giving one answer.

`results` is the table of `tables.estimates`: columns run, metric, estimate, [low, high], [seed]; fractions for
percent metrics. NaN counts as unknown and is never compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from labkit.format import NBSP, article, fixed, interval, listing, metric, missing, percent, plural, word
from labkit.reporting.frames import floats, known, only, parts

NEARLY = 0.005  # half a point of accuracy: what "nearly the majority class" means
CONSTANT = 0.98  # share of equal answers from which a model is nearly constant
BLIND = 0.1  # a kappa below this is no agreement worth the name


def best_variant_sentence(
    results: pd.DataFrame, baseline: float | None = None, metric_name: str = "accuracy", where: str = "the test images"
) -> str:
    """Which variant is best by one metric, and how that compares with the majority baseline (same unit)."""
    named = metric(metric_name)
    means = _means(results, metric_name)
    if not means:
        return f"No variant has a known {named.name} on {where}."
    values = [mean.estimate for mean in means.values()]
    best = named.text(max(values) if named.higher_is_better else min(values))
    # Compared as printed: two variants with the same digits are a tie.
    winners = [run for run, mean in means.items() if named.text(mean.estimate) == best]
    first = means[winners[0]]
    value = f"{best} {interval(metric_name, first.low, first.high)}".strip()
    if first.seeds > 1:
        value += f" (mean of {plural(first.seeds, 'seed')})"
    superlative = "highest" if named.higher_is_better else "lowest"
    if len(means) == 1:
        some = f" with a known {named.name}" if len(parts(results, "run")) > 1 else ""
        text = f"The only variant{some}, {winners[0]}, has {article(named.name)} of {value} on {where}"
    elif len(winners) == len(means):
        text = f"{_all(winners, winners)} have the same {named.name} on {where}, {best}"
    elif len(winners) > 1:
        text = f"{listing(winners)} share the {superlative} {named.name} on {where}, {best}"
    else:
        text = f"{winners[0]} has the {superlative} {named.name} on {where}, {value}"
    if baseline is None or missing(baseline):
        return f"{text}."
    return f"{text}, {_against_baseline(first, baseline, metric_name, len(winners) == 1)}."


def _against_baseline(mean: "_Mean", baseline: float, metric_name: str, show_interval: bool) -> str:
    named = metric(metric_name)
    level = f"the majority baseline ({named.text(baseline)})"
    difference = mean.estimate - baseline
    if named.text(mean.estimate) == named.text(baseline):
        return f"the same as {level}"
    text = f"{named.difference(difference)} {'above' if difference > 0 else 'below'} {level}"
    if show_interval and mean.low <= baseline <= mean.high:
        text += ", which lies inside its 95 % interval: within noise"
    return text


def compare_sentence(
    a: str, b: str, metric_name: str, difference: float, low: float | None = None, high: float | None = None
) -> str:
    """Two variants on the same images: `difference` = b - a, with its interval; 'within noise' if that holds 0.

    The direction is that of `evaluation.seeds.paired_difference`.
    """
    named = metric(metric_name)
    if missing(difference):
        return f"The {named.name} of {a} and {b} cannot be compared: one of them is unknown."
    same = named.difference(difference) == named.difference(0.0)
    side = "higher" if difference > 0 else "lower"
    text = (
        f"{a} and {b} have the same {named.name}"
        if same
        else f"The {named.name} of {b} is {named.difference(difference)} {side} than that of {a}"
    )
    if low is None or high is None or missing(low) or missing(high):
        return f"{text}." if same else f"{text}; without an interval it is open whether that is more than noise."
    text += f" (95 % interval of the difference {_ends(low, high, named.percent)})"
    if low <= 0 <= high:
        return f"{text}: {'no difference is seen' if same else 'the difference is within noise'}."
    better = b if (difference > 0) == named.higher_is_better else a
    return f"{text}: more than noise, {better} is better."


def _ends(low: float, high: float, in_percent: bool) -> str:
    scale, digits, unit = (100, 1, f"{NBSP}points") if in_percent else (1, 3, "")
    return f"{fixed(low * scale, digits)} to {fixed(high * scale, digits)}{unit}"


def majority_sentence(
    results: pd.DataFrame,
    majority_class: str,
    baseline: float,
    n: int | None = None,
    answers: Mapping[str, float] | None = None,
) -> str:
    """What always answering the majority class scores, and which variants do no better than that.

    `baseline`: its accuracy (fraction); `n`: test images; `answers`: run -> share of its predictions that are its most
    frequent answer (1 = a constant model). Without it a run counts as the majority class when its accuracy is within
    half a point of the baseline and its kappa, if known, is below 0.1.
    """
    images = f" on the {plural(n, 'test image')}" if n else ""
    text = f"Always answering “{majority_class}” scores {percent(baseline)} accuracy{images}."
    means = _means(results, "accuracy")
    if not means:
        return f"{text} No variant's accuracy is known."
    names = list(means)
    constant = _constant(results, {name: mean.estimate - baseline for name, mean in means.items()}, answers)
    groups: dict[str, list[str]] = {"above": [], "noise": [], "not above": []}
    for name in names:
        if name not in constant:
            mean = means[name]
            side = "not above" if mean.estimate <= baseline else "noise" if mean.low <= baseline else "above"
            groups[side].append(name)
    sentences = [text]
    if constant:
        verb = "does" if len(constant) == 1 else "do"
        sentences.append(f"{_all(constant, names)} {verb} no better: {_blindness(constant, answers)}.")
    for words, group in (("above it", groups["above"]), ("above it only within noise", groups["noise"])):
        if group:
            sentences.append(f"{_all(group, names)} {'is' if len(group) == 1 else 'are'} {words}.")
    if groups["not above"]:
        sentences.append(_not_above(groups["not above"], names))
    return " ".join(sentences)


def _blindness(constant: Sequence[str], answers: Mapping[str, float] | None) -> str:
    """What is known of runs that score like one answer: that they give it only if their answers were counted."""
    one = len(constant) == 1
    if answers is not None and all(name in answers for name in constant):
        return f"{'it answers' if one else 'each answers'} just this for (nearly) every image"
    return f"{'its' if one else 'their'} accuracy is (nearly) that of this one answer"


def _not_above(some: Sequence[str], names: Sequence[str]) -> str:
    if len(some) == len(names) > 1:
        return f"{'Neither' if len(names) == 2 else 'No'} variant is above it."
    return f"{listing(list(some))} {'is' if len(some) == 1 else 'are'} not above it."


def _constant(results: pd.DataFrame, gaps: Mapping[str, float], answers: Mapping[str, float] | None) -> list[str]:
    """Runs that (nearly) always give the majority class; `gaps`: accuracy above the baseline."""
    kappas = _means(results, "qwk")
    found = []
    for name, gap in gaps.items():
        if answers is not None and name in answers:
            # A constant model may also have chosen another class; its accuracy then lies elsewhere.
            if answers[name] >= CONSTANT and abs(gap) <= 1 - CONSTANT + NEARLY:
                found.append(name)
        elif abs(gap) <= NEARLY and (name not in kappas or abs(kappas[name].estimate) < BLIND):
            found.append(name)
    return found


def _all(some: Sequence[str], names: Sequence[str]) -> str:
    if len(some) < len(names) or len(names) == 1:
        return listing(list(some))
    return "Both variants" if len(names) == 2 else f"All {word(len(names))} variants"


@dataclass(frozen=True)
class _Mean:
    estimate: float
    low: float  # NaN where unknown
    high: float
    seeds: int


def _means(results: pd.DataFrame, metric_name: str) -> dict[str, _Mean]:
    """Per run, in order of appearance, the mean over its seeds; runs whose value is unknown are left out."""
    means = {}
    for run, part in parts(only(known(results, "estimate"), "metric", metric_name), "run").items():
        values, low, high = (floats(part, name) for name in ("estimate", "low", "high"))
        if len(values) > 1:  # a mean of ends is no interval; `estimates` knows that of the mean
            low, high = floats(part, "mean_low"), floats(part, "mean_high")
        ends = float(low[0]), float(high[0])
        means[run] = _Mean(float(values.mean()), *ends, len(values))
    return means
