"""Pairs of variants that differ in one thing: the table of differences, and what else differs."""

from collections.abc import Iterable, Iterator

import pandas as pd

from labkit.evaluation.metrics import metric, signed_difference
from labkit.format import DASH, fixed, listing, missing, plural
from labkit.reporting.exhibits.scores import TOO_SMALL
from labkit.reporting.results import Comparison, StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import parameter_text

WORDS = {
    "arch": "network",
    "normalize": "normalisation",
    "freeze epochs": "frozen epochs",
    "augment test": "augmentation of test images",
    "compile": "compilation",
    "deviation": "network design",
    "select by": "choice of the epoch",
    "start": "starting weights",
    "model": "the model",
}


def factor_in_words(name: str) -> str:
    """A parameter as prose has it: 'class_weights' -> 'class weights', 'arch' -> 'network'."""
    words = name.replace("_", " ")
    return WORDS.get(words, words)


def compare_clause(one: Comparison) -> str:
    """'b scores 0.124 lower than a [−0.262 to −0.011]'; what is no more than noise, or unknown, is called so."""
    named = metric(one.metric)
    if missing(one.difference):
        return f"{one.b} cannot be compared with {one.a}: a score is unknown"
    if one.verdict == "equal":
        return f"{one.b} predicts the same as {one.a}"
    size, side = named.difference(one.difference), "higher" if one.difference > 0 else "lower"
    text = f"{one.b} scores {'the same as' if size == named.difference(0) else f'{size} {side} than'} {one.a}"
    if missing(one.low):
        return f"{text}, without an interval: whether that is more than noise is not known"
    note = {"noise": ", within noise", "too few": f", {TOO_SMALL}"}.get(one.verdict, "")
    return f"{text} {_with_ends(one)[1]}{note}"


def _with_ends(one: Comparison) -> tuple[str, str]:
    """'+5.0 points' and '[+1.0 to +9.0]', '[no spread]' or ''."""
    difference, _, ends = signed_difference(one.metric, one.difference, one.low, one.high).partition(" ")
    return difference, ends


def also_sentence(one: Comparison) -> str:
    """What differs between the two besides the factor, so that this alone may not explain their difference."""
    factor = factor_in_words(one.factor)
    others = [
        f"{factor_in_words(name)} ({parameter_text(in_a)} and {parameter_text(in_b)})" for name, in_a, in_b in one.also
    ]
    text = f"{one.a} and {one.b} differ in {factor}, but also in {listing(others)}: so the {factor} alone"
    return f"{text} may not explain their difference."


def comparison_table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Paired differences, with intervals that hold for all pairs of the study together, and p values."""
    rows = []
    for one in comparisons:
        difference, ends = _with_ends(one)
        ends = "equal predictions" if one.differing == 0 else ends.strip("[]") or DASH
        row = {"variant": one.b, "against": one.a, "metric": metric(one.metric).name, "difference": difference}
        rows.append(row | {"95 % interval": ends, "p": p_value(one.p), "p (Holm)": p_value(one.p_holm)})
    return pd.DataFrame(rows)


def p_value(p: float) -> str:
    """0.0312 -> '0.031', below a thousandth '< 0.001'."""
    return fixed(p, 3) if missing(p) or p >= 0.001 else "< 0.001"


def differences(results: StudyResults) -> Iterator[Exhibit]:
    """Every pair of variants that differs in one setting, and what else differs between the two."""
    pairs = list(results.comparisons())
    if not pairs:
        yield Exhibit(text="No two variants differ in one setting only.")
        return
    which = "Pairs of models" if not results.trained else "Pairs of variants that differ in one setting"
    text = f"{which}, on the same test images{'; what else differs is said' * results.trained}."
    table = comparison_table(pairs)
    drawn = int(table["95 % interval"].str.contains(" to ").sum())
    together = drawn > 1 and len(pairs) > 2  # a pair has two rows
    text += " All intervals of this table are right at the same time with about 95 % probability." * together
    alone = " With one seed each they tell which of two trained networks is better, not which setting."
    yield Exhibit(text=text + alone * (results.trained and results.n_seeds.startswith("1 ")))
    caption = f"Differences between variants, {plural(results.runs[0]['n'], 'test image')}"
    caption += "; intervals hold for all pairs together" * together + results.stamp
    text = "p is that of an exact McNemar test on accuracy"
    text += " (of the first seeds)" * results.trained + ", Holm's corrected for the pairs of this table; it takes the "
    text += "images as independent of each other"
    text += (", which the intervals do not; where the two disagree, trust these" if drawn else "") + "."
    yield Exhibit(table=table, caption=caption, text=text)
    lines = [also_sentence(one) for one in pairs if one.metric == results.score and one.also]
    yield Exhibit(text="\n".join(f"- {line}" for line in lines))
