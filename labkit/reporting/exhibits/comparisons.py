"""Pairs of variants that differ in one thing: the table of differences, and for each factor a figure and sentences."""

from collections.abc import Iterable, Iterator

import pandas as pd

from labkit.format import DASH, NBSP, fixed, listing, metric, missing, signed_difference, word
from labkit.reporting.exhibits.scores import VERDICTS
from labkit.reporting.results import Comparison, StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import parameter_text

WORDS = {
    "arch": "network",
    "normalize": "normalisation",
    "freeze epochs": "frozen epochs",
    "augment test": "augmentation of test images",
}


def ablation_sentence(one: Comparison) -> str:
    """What the factor changed from `a` to `b`, and what differs besides."""
    factor = factor_in_words(one.factor)
    place = f"one of {word(len(one.also) + 1)} differences" if one.also else "the only difference"
    compared = compare_sentence(one)
    if compared.startswith("The "):
        compared = f"t{compared[1:]}"
    text = f"With the {factor} as {place}, {compared}"
    if one.also:
        others = [
            f"{factor_in_words(name)} ({parameter_text(in_a)} and {parameter_text(in_b)})"
            for name, in_a, in_b in one.also
        ]
        text += f" They also differ in {listing(others)}, so the {factor} alone may not explain the difference."
    return text


def factor_in_words(name: str) -> str:
    """A parameter as prose has it: 'class_weights' -> 'class weights', 'arch' -> 'network'."""
    words = name.replace("_", " ")
    return WORDS.get(words, words)


def compare_sentence(one: Comparison) -> str:
    """Two variants on the same images: which scores higher, with the interval of the difference and its verdict."""
    a, b, named = one.a, one.b, metric(one.metric)
    if missing(one.difference):
        return f"The {named.name} of {a} and {b} cannot be compared: one of them is unknown."
    same = named.difference(one.difference) == named.difference(0.0)
    side = "higher" if one.difference > 0 else "lower"
    text = f"The {named.name} of {b} is {named.difference(one.difference)} {side} than that of {a}"
    if same:
        text = f"{a} and {b} have the same {named.name}"
    if one.verdict == "equal":
        return f"{text}: equal predictions."
    if missing(one.low) or missing(one.high):
        return f"{text}." if same else f"{text}; without an interval it is open whether that is more than noise."
    scale, digits, unit = (100, 1, f"{NBSP}points") if named.percent else (1, 3, "")
    ends = f"{fixed(one.low * scale, digits)} to {fixed(one.high * scale, digits)}{unit}"
    text += f" (95 % interval of the difference {ends})"
    if one.verdict in ("noise", "too few"):
        return f"{text}: {'no difference is seen' if same else VERDICTS[one.verdict]}."
    how = "the better of these two networks (one seed each)" if one.seeds == 1 else f"better over {one.seeds:.0f} seeds"
    return f"{text}: more than noise, {b if one.verdict == 'higher' else a} is {how}."


def comparison_table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Paired differences, with intervals that hold for all pairs of the study together, and p values."""
    rows = []
    for one in comparisons:
        text = signed_difference(one.metric, one.difference, one.low, one.high).removesuffix("]")
        difference, _, ends = text.partition(" [")
        ends = "equal predictions" if one.differing == 0 else ends
        row = {"variant": one.b, "against": one.a, "metric": metric(one.metric).name, "difference": difference}
        rows.append(row | {"95 % interval": ends or DASH, "p": p_value(one.p), "p (Holm)": p_value(one.p_holm)})
    return pd.DataFrame(rows)


def p_value(p: float) -> str:
    """0.0312 -> '0.031', below a thousandth '< 0.001'."""
    return fixed(p, 3) if missing(p) or p >= 0.001 else "< 0.001"


def differences(results: StudyResults) -> Iterator[Exhibit]:
    """Every pair of variants that differs in one setting: the table, and what each setting changed in sentences."""
    pairs = list(results.comparisons())
    if not pairs:
        yield Exhibit(text="No two variants differ in one setting only.")
        return
    n = results.runs[0]["n"]
    caption = f"Differences between variants, {n:,} test images; intervals hold for all pairs together{results.stamp}"
    text = (
        "p is that of an exact McNemar test on accuracy (of the first seeds), Holm's corrected for the pairs of this "
        "table; it takes the images as independent of each other, which the intervals do not."
    )
    yield Exhibit(table=comparison_table(pairs), caption=caption, label="differences", text=text)
    lines = [ablation_sentence(one) for one in pairs if one.metric == results.score]
    yield Exhibit(text="\n".join(f"- {line}" for line in lines))
