"""Pairs of variants that differ in one thing: the table of differences, and for each factor a figure and sentences."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labkit.format import DASH, NBSP, fixed, listing, metric, missing, plural, signed, signed_difference, word
from labkit.reporting.exhibits.scores import VERDICTS
from labkit.reporting.frames import known, only, parts
from labkit.reporting.labels import named_glyph, wrap
from labkit.reporting.learning import OVERFIT, SPLITS, solid_column
from labkit.reporting.results import Comparison, StudyResults
from labkit.reporting.style import GREY, Palette, new_figure, row_axis, styled
from labkit.reporting.tables import parameter_text

MOST = 4  # pairs in one figure: what a page holds
INK = "#333333"
WORDS = {
    "arch": "network",
    "normalize": "normalisation",
    "freeze epochs": "frozen epochs",
    "augment test": "augmentation of test images",
}


@dataclass(frozen=True)
class Ablation:
    """One question that a study asks: the pairs of variants that differ in this factor, at most one figure of them."""

    name: str  # the factor in words, 'class weights', or 'network (1 of 2)' where the pairs fill several figures
    comparisons: list[Comparison]  # two a pair: on the study's score and on accuracy

    @property
    def pairs(self) -> pd.DataFrame:
        """Columns a, b, metric, difference, low, high, for `ablation_figure`."""
        return pd.DataFrame([vars(comparison) for comparison in self.comparisons])


def ablations(results: StudyResults) -> list[Ablation]:
    """All comparisons of a study by the factor that differs, in the order in which the study's table brings them."""
    by_factor: dict[str, dict[tuple[str, str], list[Comparison]]] = {}
    for one in results.comparisons():
        by_factor.setdefault(one.factor, {}).setdefault((one.a, one.b), []).append(one)
    found = []
    for factor, of_factor in by_factor.items():
        pairs = list(of_factor.values())
        figures = [pairs[start : start + MOST] for start in range(0, len(pairs), MOST)]
        for number, figure in enumerate(figures, 1):
            part = f" ({number} of {len(figures)})" if len(figures) > 1 else ""
            found.append(Ablation(factor_in_words(factor) + part, [one for pair in figure for one in pair]))
    return found


@styled
def ablation_figure(pairs: pd.DataFrame, sensitivities: pd.DataFrame, palette: Palette, *, score: str) -> Figure:
    """For each of at most MOST pairs (a, b) a row: sensitivity of each class in both, and the difference b - a.

    `pairs`: columns a, b, metric, difference, low, high (fractions), a row for accuracy and one for `score`; unknown
    ends are NaN. `sensitivities`: columns run, class, sensitivity (fraction), [seed]. Of several seeds the first is
    drawn, while differences are those of means.
    """
    names: list[tuple[str, str]] = list(dict.fromkeys(zip(pairs["a"], pairs["b"], strict=True)))
    classes = list(parts(sensitivities, "class"))
    fig = new_figure(height=0.7 + len(names) * (0.75 + 0.24 * max(2, len(classes))))
    axes = fig.subplots(len(names), 2, squeeze=False, sharex="col", width_ratios=[1.6, 1])
    for (a, b), (dots, change) in zip(names, axes, strict=True):
        title = f"{named_glyph(palette, b, 60)}\nagainst {named_glyph(palette, a, 52)}"
        dots.set_title(title, fontweight="normal", fontsize=9, color=INK)
        _dumbbells(dots, sensitivities, classes, (a, b), palette)
        _change(change, only(only(pairs, "a", a), "b", b), list(dict.fromkeys(["accuracy", score])))
    axes[-1, 0].set_xlabel("sensitivity (%)")
    axes[-1, 1].set_xlabel("difference, " + ("points" if metric(score).percent else "points or hundredths"))
    widest = max(1.0, float(np.nanmax([0.0, *pairs[["difference", "low", "high"]].abs().to_numpy(float).flat])) * 100)
    axes[0, 1].set_xlim(-1.12 * widest, 1.12 * widest)  # zero in the middle, one scale for all pairs
    axes[0, 1].xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    axes[0, 1].xaxis.set_major_formatter(lambda at, _: signed(at, 0) if at % 1 == 0 else fixed(at, 1))
    return fig


def _dumbbells(ax: Axes, found: pd.DataFrame, classes: list[str], pair: tuple[str, str], palette: Palette) -> None:
    """Two dots per class; b is the smaller one, so that a is seen behind it where they are equal."""
    first = found.drop_duplicates(["class", "run"]).set_index(["class", "run"])["sensitivity"]
    for row, name in enumerate(classes):
        values = [first[name, run] for run in pair]
        ax.plot(values, [row, row], color=GREY, linewidth=1, zorder=1)  # draws nothing where one is NaN
        for run, value, size in zip(pair, values, (7, 4.5), strict=True):
            ax.plot(value, row, **palette[run].dot(size, edge=1))
    row_axis(ax, [wrap(name, 14) for name in classes])
    ax.set_xlim(-0.05, 1.05)
    ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])


def _change(ax: Axes, rows: pd.DataFrame, metrics: list[str]) -> None:
    """Differences in hundredths, so that points of accuracy and a score that is no share have one zero line."""
    texts = []
    for row, name in enumerate(metrics):
        value, low, high = only(rows, "metric", name)[["difference", "low", "high"]].to_numpy(float)[0] * 100
        ax.plot([low, high], [row, row], color=INK)
        ax.plot(value, row, "o", color=INK, markersize=5.5)
        text = f"{signed(value, 1)}{NBSP}points" if metric(name).percent else signed(value / 100, 3)
        texts.append(f"{wrap(metric(name).short, 11)}\n{'unknown' if np.isnan(value) else text}")
    ax.axvline(0, color=GREY, linewidth=1, zorder=1)
    row_axis(ax, texts)


def ablation_sentences(ablation: Ablation, results: StudyResults) -> list[str]:
    """One sentence per pair, on the study's score, with how far each over-fits.

    Not so for oversampling: its training accuracy is that of balanced classes and cannot be compared with the other.
    """
    first = results.history.drop_duplicates(["run", "epoch"])  # first seeds
    histories = {str(run): part for run, part in first.groupby("run")}
    return [
        ablation_sentence(one, histories if one.factor != "sampling" else None)
        for one in ablation.comparisons
        if one.metric == results.score
    ]


def ablation_sentence(one: Comparison, histories: Mapping[str, pd.DataFrame] | None) -> str:
    """What the factor changed from `a` to `b`, and what differs besides.

    `histories`: run -> columns epoch, train_accuracy, val_accuracy or test_accuracy, of one seed; with it a second
    sentence tells whose training accuracy runs further ahead.
    """
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
    if one.factor == "start":
        text += " A start from weights includes what those have learnt from other images."
    return text if histories is None else f"{text} {_over_fitting(one.a, one.b, histories)}"


def factor_in_words(name: str) -> str:
    """A parameter as prose has it: 'class_weights' -> 'class weights', 'arch' -> 'network'."""
    words = name.replace("_", " ")
    return WORDS.get(words, words)


def _over_fitting(a: str, b: str, histories: Mapping[str, pd.DataFrame]) -> str:
    """The gap of training over validation (else test) accuracy in the last epoch of each, and which is larger."""
    gaps, splits, epochs = {}, {}, {}
    for run in (a, b):
        last = histories[run].sort_values("epoch").tail(1)
        if (column := solid_column(last)) and len(known(last, "train_accuracy")):  # which ordinal runs do not have
            gaps[run] = (last["train_accuracy"] - last[column]).item()
            splits[run], epochs[run] = SPLITS[column], last["epoch"].item()
    if not gaps:
        return "How far either over-fits is unknown: training accuracy has no other accuracy beside it."
    points = {run: plural(signed(100 * gap, 1), "point") for run, gap in gaps.items()}
    texts = []
    for run in gaps:
        notes = [f"{splits[run]} images"] * (len(set(splits.values())) > 1)
        notes += [f"epoch {epochs[run]}"] * (len(set(epochs.values())) > 1)
        texts.append(f"{points[run]} for {run}" + (f" ({', '.join(notes)})" if notes else ""))
    words = listing(sorted(set(splits.values()), reverse=True), "or")
    text = f"In the last epoch, training minus {words} accuracy is {' and '.join(texts)}"
    if len(gaps) == 1:
        return f"{text}; {b if a in gaps else a} has no training accuracy."
    if points[a] == points[b]:
        return f"{text}: the same gap."
    wide = max(gaps, key=gaps.__getitem__)
    if gaps[wide] > OVERFIT:
        return f"{text}: {wide} over-fits more."
    return f"{text}: larger for {wide}, but no over-fitting to speak of."


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
