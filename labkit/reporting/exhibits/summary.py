"""Page one of a report: the answer in at most three lines, the picture it is read from, and whether to trust it."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.data.source import PHANTOMS
from labkit.evaluation.compare import verdict
from labkit.evaluation.decide import is_ordinal
from labkit.evaluation.intervals import FEW_GROUPS
from labkit.evaluation.metrics import metric, with_interval
from labkit.format import article, listing, percent, plural, signed, some
from labkit.reporting.exhibits.comparisons import compare_clause, factor_in_words
from labkit.reporting.exhibits.confusion import confusion_matrices, confusion_sentence
from labkit.reporting.exhibits.scores import CONSTANT, TOO_SMALL
from labkit.reporting.labels import wrap
from labkit.reporting.results import Comparison, StudyResults, intervals_over_seeds
from labkit.reporting.show import Exhibit
from labkit.reporting.style import COLORS, GREY, new_figure, row_axis, styled, value_axis
from labkit.reporting.tables import BASELINE

MOST_PAIRS = 10  # rows of the forest plot
MOST_CLAUSES = 2  # pairs that one line of the answer tells of
SCRATCH = "from scratch"
BESIDE = {
    "noise": "the difference is within noise",
    "too few": TOO_SMALL,
    "equal": "the same images are right and wrong",
}
SEEN = ("higher", "lower")  # verdicts: the difference is more than noise


def answer(results: StudyResults) -> list[str]:
    """At most three lines: what the first two settings asked about do, and the chosen variant beside the baseline."""
    by_factor: dict[str, list[Comparison]] = {}
    for one in _pairs(results):
        by_factor.setdefault(one.factor, []).append(one)
    told = sorted(by_factor, key=lambda factor: not any(one.verdict in SEEN for one in by_factor[factor]))
    lines = [_factor_line(factor, by_factor[factor], results) for factor in told[:2]]
    if rest := [factor_in_words(factor) for factor in told[2:]]:
        lines[1] += f" Also compared, in the table of differences: {some(rest, 3, 'and')}."
    if not lines and len(results.tests) > 1:
        lines = ["No two variants differ in one setting only, so what a setting does is not known."]
    if only := _only_class(results):
        images = (
            f"All {results.scored} images are" if results.runs[0]["n"] > 1 else f"The only {results.scored} image is"
        )
        told = f"{images} of one class, “{only}”: kappa is then 0 or undefined (shown as 0)"
        lines = [f"{told}, and compares no variants."]
    return [*lines, _best_line(results)]


def _only_class(results: StudyResults) -> str:
    """The class of all scored images, where there is one and the score is a kappa; else empty."""
    held = np.flatnonzero(results.matrices[results.chosen].any(axis=1))
    return results.classes[held[0]] if results.score == "qwk" and len(held) == 1 else ""


def _best_line(results: StudyResults) -> str:
    name, part = results.chosen, results.scored
    key = "accuracy" if _only_class(results) else results.score
    who, score = results.by_chosen.removeprefix(", by "), _value(results.of(name), key)
    seeds = f" (mean of {plural(len(results.of(name)), 'seed')})" if len(results.of(name)) > 1 else ""
    text = f"{who} has {article(metric(key).name)} of {score} on {part}{seeds}{_beside(results, key)}"
    if key != "accuracy":
        text += f" Its accuracy is {percent(results.mean(name, 'accuracy'))}{_beside(results, 'accuracy')}"
    if repeated := results.honest.get(name):
        text += f" Trained again with {results.group_name}s kept apart, it has {_value(repeated, key)} on other images."
    if is_ordinal(results.tests[name]) and "best" in who:
        text += " It was chosen on the images that its cuts between grades were fitted on, which favours it."
    held = results.matrices[name].sum(axis=1)
    found = np.array([run["sensitivity"] for run in results.runs], float)  # NaN where a class has no test image
    if never := [f"{kind} (n = {held[at]})" for at, kind in enumerate(results.classes) if (found[:, at] == 0).all()]:
        who = f"{name} finds no" if len(results.tests) == 1 else "No variant finds any"
        text += f" {who} {part} image of {some(never, 3, 'or')}."
    return text + _constant(results)


def _value(mine: list[dict[str, Any]], score: str) -> str:
    """The mean of a variant's runs, with its interval."""
    ends = intervals_over_seeds(mine).loc[score]
    return with_interval(score, float(np.mean([run[score] for run in mine])), ends["low"], ends["high"])


def _beside(results: StudyResults, key: str) -> str:
    """'; always predicting “a” has 0.000 (the difference is more than noise).': the baseline beside the best."""
    row = results.against_majority[results.chosen].loc[key]
    baseline, found = (metric(key).text(row[of]) for of in "ab")
    scores = f"“{results.majority_class}” {'scores the same' if baseline == found else f'has {baseline}'}"
    return (
        f"; always predicting {scores} ({BESIDE.get(verdict(row), 'taken alone, the difference is more than noise')})."
    )


def _constant(results: StudyResults) -> str:
    """' 2 of 3 seeds of a each predict one class for every image.': the runs that are (nearly) constant."""
    who, shares = [], []
    for name in results.tests:
        seeds = [run["majority_share"] for run in results.of(name)]
        if high := [share for share in seeds if share >= CONSTANT]:
            who.append(name if len(seeds) == 1 else f"{len(high)} of {len(seeds)} seeds of {name}")
            shares += high
    images = "every image" if min(shares, default=0) == 1 else f"at least {percent(CONSTANT, 0)} of the images"
    predict = "predicts" if len(shares) == 1 else "each predict"
    return f" {some(who, 3, 'and')} {predict} one class for {images}." if who else ""


def _pairs(results: StudyResults) -> list[Comparison]:
    return [_turned(one, results) for one in results.comparisons() if one.metric == results.score]


def _turned(one: Comparison, results: StudyResults) -> Comparison:
    """The pair, told so that the deeper or the pretrained network is `b`."""
    if not results.trained:
        return one
    of = [results.firsts[name] for name in (one.a, one.b)]
    deeper = [int("".join(re.findall(r"^resnet(\d+)", run["params"].arch)) or 0) for run in of]
    starts = [run["start"] == SCRATCH for run in of]
    return one.reverse() if (starts == [False, True] if one.factor == "start" else deeper[0] > deeper[1] > 0) else one


def _factor_line(factor: str, pairs: list[Comparison], results: StudyResults) -> str:
    """'Deeper networks scored lower in 1 of 2 pairs (accuracy, one seed each): b scores 1.2 points lower than a …'."""
    n, verdicts = len(pairs), [one.verdict for one in pairs]
    names = {name for one in pairs for name in (one.a, one.b)}
    blind = {name for name in names if all(run["majority_share"] >= CONSTANT for run in results.of(name))}
    empty = [one for one in pairs if one.verdict == "equal" and {one.a, one.b} <= blind]  # nothing was learnt
    up, down, unjudged = (verdicts.count(side) for side in (*SEEN, "too few"))
    unjudged += len(empty)
    counts = {"higher": up, "lower": down}
    if factor == "model":  # of predictions from elsewhere nothing more is known
        subject, counts = "The models", {"differently": up + down}
    elif factor == "arch" and all(results.firsts[name]["params"].arch.startswith("resnet") for name in names):
        subject = "The deeper network" if n == 1 else "Deeper networks"
    elif factor == "start" and all(results.firsts[one.a]["start"] == SCRATCH for one in pairs):
        subject = f"{'The network that starts' if n == 1 else 'Networks that start'} from trained weights"
    else:  # no side of another factor is "more"
        subject, counts = f"Variants that differ in {factor_in_words(factor)}", {"differently": up + down}
    if not up + down:
        counts = {"no difference beyond noise": n - unjudged}
    sides = ", ".join(f"{side} in {count}" if n > 1 else side for side, count in counts.items() if count)
    said = f"{'scored' if up + down else 'showed'} {sides}" + f" of {plural(n, 'pair')}" * (n > 1)
    said = "gave the same predictions" if set(verdicts) == {"equal"} and not empty else said
    said += f"; {unjudged} cannot be judged" if unjudged else ""
    pairs = sorted(pairs, key=lambda one: one.verdict not in SEEN)
    clauses = [
        f"{one.b} and {one.a} both predict one class" if one in empty else compare_clause(one) + _aside(one, blind)
        for one in pairs
    ]
    notes, once = metric(results.score).name, [name for name in names if len(results.of(name)) == 1]
    seeds = ", one seed each" if len(once) == len(names) else ", some with one seed" if once else ""
    notes += seeds * results.trained
    if unjudged == n:
        said = "cannot be judged"
        notes = f"{TOO_SMALL}; {notes}" if len(empty) < n else notes
        clauses = [clause.replace(f", {TOO_SMALL}", "") for clause in clauses]
    more = f"; {plural(n - MOST_CLAUSES, 'more pair')} in the table of differences" if n > MOST_CLAUSES else ""
    return f"{subject} {said} ({notes}): {'; '.join(clauses[:MOST_CLAUSES])}{more}."


def _aside(one: Comparison, blind: set[str]) -> str:
    """What weakens a comparison, in brackets: a variant that predicts one class, other settings that differ."""
    notes = [f"{name} predicts one class" for name in (one.b, one.a) if name in blind]
    notes += ["other settings differ, too"] if one.also else []
    return f" ({'; '.join(notes)})" if notes else ""


def page_one(results: StudyResults) -> Iterator[Exhibit]:
    """The answer, the scores and differences that it is read from, and the chosen variant's confusion matrix."""
    yield Exhibit(text="\n".join(f"- {line}" for line in answer(results)))
    named, pairs, who = metric(results.score), len(_pairs(results)), results.by_chosen.removeprefix(", by ")
    tested = plural(results.runs[0]["n"], f"{results.scored} image")
    caption = (
        f"{named.title} on {tested}, 95 % intervals by {results.drawn_over}; dashed: always “{results.majority_class}”"
    )
    caption += f"; blue: {who}" + "; right: differences, with intervals for all pairs together" * bool(pairs)
    caption += (f"; the {MOST_PAIRS} largest of {pairs} pairs" if pairs > MOST_PAIRS else "") + results.stamp
    value, best = max((results.mean(name, results.score), name) for name in results.tests)
    alone = sum(results.mean(name, results.score) == value for name in results.tests) == 1
    alt = f"Forest plot, one row per variant ({len(results.tests)}); x axis: {named.name}, with intervals; highest: "
    alt += f"{best} with {named.text(value)}." if alone else f"{named.text(value)}, of several."
    alt += f" Right: {plural(min(pairs, MOST_PAIRS), 'difference')} between variants." if pairs else ""
    yield Exhibit(figure=forest(results), alt=alt, caption=caption)
    matrix = results.matrices[results.chosen]
    alt = f"Confusion matrix{results.of_first}. {confusion_sentence(matrix, results.classes, results.chosen)}"
    caption = f"Confusion matrix, by {who}: rows are true, columns predicted{results.once}"
    yield Exhibit(figure=confusion_matrices({results.chosen: matrix}, results.classes), alt=alt, caption=caption)


@styled
def forest(results: StudyResults) -> Figure:
    """Left: the score of each variant with its interval; right: the differences of pairs; the chosen one in colour."""
    named, names, pairs = metric(results.score), list(results.tests), _pairs(results)
    largest = sorted(range(len(pairs)), key=lambda place: -abs(np.nan_to_num(pairs[place].difference)))[:MOST_PAIRS]
    pairs = [pairs[place] for place in sorted(largest)]
    fig = new_figure(height=0.65 + 0.3 * max(len(names) + 1, len(pairs)))
    axes = fig.subplots(1, 2 if pairs else 1, squeeze=False)[0]
    for row, name in enumerate(names):
        ends = intervals_over_seeds(results.of(name)).loc[results.score]
        _mark(axes[0], row, results.mean(name, results.score), ends["low"], ends["high"], name == results.chosen)
    level = results.baseline[results.score]
    axes[0].plot(level, len(names), "|", color=GREY, markersize=10)
    axes[0].axvline(level, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    row_axis(axes[0], [*(wrap(name, 22) for name in names), BASELINE])
    axes[0].set_title(named.title)
    value_axis(axes[0].xaxis, named.percent, ticks=5)
    for row, one in enumerate(pairs):
        _mark(axes[1], row, one.difference, one.low, one.high, results.chosen in (one.a, one.b))
    if pairs:
        row_axis(axes[1], [f"{one.b}\n− {one.a}" for one in pairs])
        axes[1].tick_params(axis="y", labelsize=7.5)
        axes[1].axvline(0, color=GREY, linewidth=1, zorder=1)
        axes[1].set_title("Difference")
        scale, digits = (100, 0) if named.percent else (1, 1)
        axes[1].xaxis.set_major_formatter(lambda at, _: signed(at * scale, digits))
    return fig


def _mark(ax: Axes, row: int, value: float, low: float, high: float, chosen: bool) -> None:
    color = COLORS[0] if chosen else GREY
    ax.plot([low, high], [row, row], color=color)  # draws nothing where NaN
    ax.plot(value, row, "o", color=color, markersize=6)


def trust(results: StudyResults) -> list[tuple[bool, str]]:
    """What a reader must know before believing the answer: (holds, in words), from the runs' manifests."""
    run, group, part = results.runs[0], results.group_name, results.scored
    n, groups, unknown = (run[key] for key in ("n", "n_groups", "n_without_group"))
    once = [name for name in results.tests if len(results.seeds(name)) == 1]
    of = f" of {some(once, 3, 'or')}" if len(once) < len(results.tests) else ""
    looks = max(one.get("test_predictions", 1) for one in results.runs)
    select = {one["params"].select_on for one in results.runs} if results.trained else set()
    tested = part == "test"  # else validation: each epoch predicts it, and its groups count as met
    epoch = {"val": "chosen on validation", "test": "chosen on test", "last": "the last one"}
    epoch |= {} if tested else {"val": "chosen on the very images that are scored"}
    fair = select <= ({"val", "last"} if tested else {"last"})
    seen = int(np.any([one["touched"] for one in results.runs], axis=0).sum()) if tested else 0
    show = f"show {group}s seen in training, or are copies of training images"
    show = f"shows a {group} seen in training, or is a copy of a training image" if seen == 1 else show
    twice = run.get("audit", {}).get("n_conflicting", 0)
    held = zip(results.classes, results.matrices[results.chosen], strict=True)
    rare, absent = results.rare_classes, [kind for kind, row in held if not row.any()]
    blind = not results.trained
    checks = [  # whether there is anything to say, whether it holds, and in words
        (blind, False, "from elsewhere: how often test was predicted and how epochs were chosen is not known"),
        (run.get("unseen"), False, f"training images not listed: a test {group} may have been seen in training"),
        (tested and not seen and not unknown and not run.get("unseen"), True, f"no {group} in both training and test"),
        (seen, False, f"{seen:,} of {plural(n, 'test image')} {show}"),
        (unknown, False, f"{unknown:,} of {plural(n, f'{part} image')} without a known {group}"),
        (not blind, fair, f"epoch: {listing([epoch[one] for one in sorted(select)])}"),
        (tested and not blind, looks == 1, f"test images predicted {'once' if looks == 1 else f'{looks} times'}"),
        (
            not blind,
            not once,
            f"{results.n_seeds} per variant" + f": nothing is known of another seed{of}" * bool(once),
        ),
        (groups == 1, False, f"only one {part} {group}: nothing is known of others"),
        (1 < groups < FEW_GROUPS, False, f"only {groups} {part} {group}s: the intervals are too narrow"),
        (rare, False, f"too few {part} images of {some(rare, 3, 'and')} for a verdict"),
        (absent, False, f"no {part} image of {some(absent, 3, 'or')}"),
        (twice, False, f"{plural(twice, 'image')} labelled in two ways"),
        (run["params"].data in PHANTOMS, False, "synthetic images: nothing is said about patients"),
        (results.external, True, f"also tested on {listing([*results.external])}"),
        (not results.external, False, "one data set: other cameras and clinics are unknown"),
    ]
    return [(holds, text) for told, holds, text in checks if told]
