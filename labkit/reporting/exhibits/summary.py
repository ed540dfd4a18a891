"""Page one of a report: the answer in at most three lines, the picture it is read from, and whether to trust it."""

import re
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.data.source import PHANTOMS
from labkit.evaluation.compare import verdict
from labkit.evaluation.intervals import FEW_GROUPS
from labkit.format import article, listing, metric, percent, plural, signed, with_interval
from labkit.reporting.exhibits.comparisons import compare_clause, factor_in_words
from labkit.reporting.exhibits.confusion import confusion_matrices, confusion_sentence
from labkit.reporting.exhibits.scores import CONSTANT
from labkit.reporting.labels import wrap
from labkit.reporting.results import Comparison, StudyResults, intervals_over_seeds
from labkit.reporting.show import Exhibit
from labkit.reporting.style import COLORS, GREY, new_figure, row_axis, styled, value_axis
from labkit.reporting.tables import BASELINE

MOST_PAIRS = 10  # rows of the forest plot
MOST_CLAUSES = 2  # pairs that one line of the answer tells of
SCRATCH = "from scratch"
BESIDE = {"higher": "higher by more than noise", "lower": "lower by more than noise", "equal": "the same"}
BESIDE |= {"noise": "within noise", "too few": "too few images or patients for a verdict"}


def answer(results: StudyResults) -> list[str]:
    """At most three lines: what the first two settings asked about do, and the chosen variant beside the baseline."""
    by_factor: dict[str, list[Comparison]] = {}
    for one in _pairs(results):
        by_factor.setdefault(one.factor, []).append(one)
    lines = [_factor_line(factor, pairs, results) for factor, pairs in by_factor.items()]
    return [*lines[:2], _best_line(results)]


def _best_line(results: StudyResults) -> str:
    name, named, rows = results.chosen, metric(results.score), results.against_majority[results.chosen]
    row, ends = rows.loc[results.score], intervals_over_seeds(results.of(name)).loc[results.score]
    value = with_interval(results.score, row["b"], ends["low"], ends["high"])
    text = f"{results.by_chosen.removeprefix(', by ')} has {article(named.name)} of {value} on test, against "
    text += f"{named.text(row['a'])} of the majority baseline: {BESIDE[verdict(row)]}."
    if results.score != "accuracy":
        row = rows.loc["accuracy"]
        text += f" Its accuracy is {percent(row['b'])}, against {percent(row['a'])}: {BESIDE[verdict(row)]}."
    held = results.matrices[name].sum(axis=1)
    found = np.array([run["sensitivity"] for run in results.runs], float)  # NaN where a class has no test image
    if never := [f"{kind} (n = {held[at]})" for at, kind in enumerate(results.classes) if (found[:, at] == 0).all()]:
        who = f"{name} finds no" if len(results.tests) == 1 else "No variant finds any"
        text += f" {who} test image of {listing(never, 'or')}."
    if blind := [run for run in results.tests if results.mean(run, "majority_share") >= CONSTANT]:
        each = "predicts" if len(blind) == 1 else "each predict"
        text += f" {listing(blind)} {each} one class for at least {percent(CONSTANT, 0)} of the images."
    return text


def _pairs(results: StudyResults) -> list[Comparison]:
    return [_turned(one, results) for one in results.comparisons() if one.metric == results.score]


def _turned(one: Comparison, results: StudyResults) -> Comparison:
    """The pair, told so that the deeper or the pretrained network is `b`."""
    of = [results.firsts[name] for name in (one.a, one.b)]
    deeper = [int("".join(re.findall(r"^resnet(\d+)", run["params"].arch)) or 0) for run in of]
    starts = [run["start"] == SCRATCH for run in of]
    return one.reverse() if (starts == [False, True] if one.factor == "start" else deeper[0] > deeper[1] > 0) else one


def _factor_line(factor: str, pairs: list[Comparison], results: StudyResults) -> str:
    """'A deeper network is worse in 1 of 2 pairs (one seed each): resnet50 scores 0.124 lower than resnet18 […]'."""
    name = f"A change of {factor_in_words(factor)}"
    archs = [results.firsts[run]["params"].arch for one in pairs for run in (one.a, one.b)]
    if deeper := factor == "arch" and all(arch.startswith("resnet") for arch in archs):
        name = "A deeper network"
    if started := factor == "start" and all(results.firsts[one.a]["start"] == SCRATCH for one in pairs):
        name = "Starting from trained weights"
    verdicts = [one.verdict for one in pairs]
    better, worse = verdicts.count("higher"), verdicts.count("lower")
    of = f" in {better + worse} of {plural(len(pairs), 'pair')}" if better + worse < len(pairs) else ""
    said = f"is better{of}" if better else f"is worse{of}" if worse else "makes no difference that is seen"
    if (better and worse) or ((better or worse) and not (deeper or started)):  # no side of another factor is "more"
        said = f"makes a difference{of}"
    told = sorted(pairs, key=lambda one: one.verdict not in ("higher", "lower"))
    clauses = [compare_clause(one) for one in told[:MOST_CLAUSES]]
    seeds = "" if all(one.seeds > 1 for one in pairs) else " (one seed each)"
    more = f"; {plural(len(told) - MOST_CLAUSES, 'more pair')} below" if len(told) > MOST_CLAUSES else ""
    return f"{name} {said}{seeds}: {'; '.join(clauses)}{more}."


def page_one(results: StudyResults) -> Iterator[Exhibit]:
    """The answer, the scores and differences that it is read from, and the chosen variant's confusion matrix."""
    lines, named = answer(results), metric(results.score)
    yield Exhibit(text="\n".join(f"- {line}" for line in lines))
    n = results.runs[0]["n"]
    figure, pairs = forest(results), len(_pairs(results))
    caption = f"{named.title} of each variant on {n:,} test images, with 95 % intervals by {results.unit}"
    caption += "; right: differences, whose intervals hold for all pairs together" if pairs else ""
    kept = f"; the {MOST_PAIRS} largest of {pairs} pairs" if pairs > MOST_PAIRS else ""
    alt = f"Forest plot: {named.name} of {plural(len(results.tests), 'variant')} and {plural(pairs, 'difference')}."
    yield Exhibit(figure=figure, alt=alt, caption=f"{caption}{kept}{results.stamp}", label="forest")
    matrix = results.matrices[results.chosen]
    alt = confusion_sentence(matrix, results.classes, results.chosen)
    caption = f"Confusion matrix{results.by_chosen}: rows are true, columns predicted{results.once}"
    yield Exhibit(figure=confusion_matrices({results.chosen: matrix}, results.classes), alt=alt, caption=caption)


@styled
def forest(results: StudyResults) -> Figure:
    """Left: the score of each variant with its interval; right: the differences of pairs; the chosen one in colour."""
    named, names = metric(results.score), list(results.tests)
    pairs = _pairs(results)
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
    run, group, tests = results.runs[0], results.group_name, results.tests
    audit = run.get("audit", {})
    twice = re.findall(r"(\d[\d,]* images?) (?:is|are) labelled in two ways", audit.get("duplicates", ""))
    once = [name for name in tests if len(results.seeds(name)) == 1]
    looks = max(one.get("test_predictions", 1) for one in results.runs)
    select = {one["params"].select_on for one in results.runs}
    epoch = {"val": "chosen on validation", "test": "chosen on test", "last": "the last one"}
    apart = (True, f"no {group} in both training and test")
    if run["n_without_group"]:
        apart = (False, f"{group}s unknown: the same one may be in training and test")
    if any(one["touched"].any() for one in results.runs):
        apart = (False, f"test shows {group}s seen in training")
    checks = [
        apart,
        ("test" not in select, f"epoch: {listing([epoch[one] for one in sorted(select)])}"),
        (looks == 1, "test images predicted once" if looks == 1 else f"test images predicted {looks} times"),
        (not once, f"{results.n_seeds} per variant" + (": nothing is known of another seed" if once else "")),
    ]
    if run["n_groups"] and run["n_groups"] < FEW_GROUPS:
        checks.append((False, f"only {plural(run['n_groups'], f'test {group}')}: the intervals are too narrow"))
    if results.rare_classes:
        checks.append((False, f"too few test images of {listing(results.rare_classes)} for a verdict"))
    checks += [(False, f"{found} labelled in two ways") for found in twice]
    if run["params"].data in PHANTOMS:
        checks.append((False, "synthetic images: nothing is said about patients"))
    return [*checks, (False, "one data set: other cameras and clinics are unknown")]
