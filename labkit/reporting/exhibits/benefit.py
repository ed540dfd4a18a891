"""What decisions by the predictions are worth: net benefit, a threshold with a guarantee, referring unsure images."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.evaluation.benefit import abstention, expected_cost, guaranteed_threshold, net_benefit, predictive_values
from labkit.evaluation.decide import NotFitted, ranks, validation_of
from labkit.evaluation.intervals import LEVEL
from labkit.evaluation.matrices import CHOOSING
from labkit.evaluation.metrics import METRICS, metric, with_interval
from labkit.evaluation.ranking import Question
from labkit.evaluation.thresholds import AS_WANTED, WANTED, at_threshold
from labkit.format import fixed, listing, missing, percent, plural
from labkit.params import ParameterError
from labkit.reporting.exhibits.worth import probable, worth
from labkit.reporting.frames import floats
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import GREY, Palette, new_figure, styled, value_axis

NINE = 0.10  # the threshold that is told: a missed case is as bad as nine needless referrals
TWO = ("sensitivity", "specificity", "ppv", "npv")
TOLD = 0.20  # the share of referred images that is told
Tables = Mapping[str, pd.DataFrame]


@styled
def benefit_panels(benefits: Tables, abstained: Tables, chosen: str, palette: Palette, score: str) -> Figure:
    """Net benefit by threshold, and the score by the share of referred images, where there is such a table.

    A line per variant; bands of the chosen one alone.
    """
    panels = [(of, draw) for of, draw in ((benefits, _benefit), (abstained, _abstained)) if of]
    runs = palette.ordered({*benefits, *abstained})
    names = [wrap(run, 20) for run in runs]
    needed = 0.5 + 0.17 * sum(name.count("\n") + 1 for name in names)
    fig = new_figure(height=max(2.4, needed), width=7.0 if len(panels) == 2 else 5.2)
    *axes, place = fig.subplots(1, len(panels) + 1, width_ratios=[1.3] * len(panels) + [1])
    for ax, (of, draw) in zip(axes, panels, strict=True):
        draw(ax, of, chosen, palette)
        ax.grid()
        value_axis(ax.xaxis, in_percent=True, ticks=5)
    if abstained:
        axes[-1].set_ylabel(f"{metric(score).short} of the others")
        value_axis(axes[-1].yaxis, in_percent=metric(score).percent)
    place.set_axis_off()
    lines = [place.plot([], [], color=palette[run].color, linestyle=palette[run].linestyle)[0] for run in runs]
    inks = [palette[run].ink for run in runs]
    if benefits:
        lines += place.plot([], [], color=GREY, linestyle=(0, (4, 3))) + place.plot([], [], color=GREY, linestyle=":")
        names, inks = [*names, "refer all", "refer none"], [*inks, GREY, GREY]
    place.legend(lines, names, loc="upper left", frameon=False, fontsize=8.5, labelcolor=inks, borderaxespad=0)
    return fig


def _lines(ax: Axes, tables: Tables, x: str, chosen: str, palette: Palette) -> None:
    for run in palette.ordered(tables):
        style, table = palette[run], tables[run]
        places = floats(table, x)
        ax.plot(places, floats(table, "estimate"), color=style.color, linestyle=style.linestyle, linewidth=1.4)
        if run == chosen:
            ends = floats(table, "low"), floats(table, "high")
            ax.fill_between(places, *ends, color=style.color, alpha=0.15, linewidth=0)


def _benefit(ax: Axes, tables: Tables, chosen: str, palette: Palette) -> None:
    _lines(ax, tables, "threshold", chosen, palette)
    first = next(iter(tables.values()))
    ax.plot(floats(first, "threshold"), floats(first, "all"), color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    ax.axhline(0, color=GREY, linestyle=":", linewidth=1.2)
    top = max(np.nanmax(floats(table, name)) for table in tables.values() for name in ("estimate", "high", "all"))
    ax.set(xlim=(0, 0.5), ylim=(-0.2 * top, 1.05 * top), xlabel="threshold probability", ylabel="net benefit")


def _abstained(ax: Axes, tables: Tables, chosen: str, palette: Palette) -> None:
    _lines(ax, tables, "referred", chosen, palette)
    ax.set(xlim=(0, 0.5), xlabel="least confident images referred")


def stretches(thresholds: Sequence[float], where: np.ndarray) -> str:
    """'5 % to 20 % and 30 %': the stretches of neighbouring thresholds for which `where` holds."""
    held = np.flatnonzero(where)
    parts = np.split(held, np.flatnonzero(np.diff(held) > 1) + 1) if len(held) else []
    ends = [dict.fromkeys(percent(thresholds[end], 0) for end in (part[0], part[-1])) for part in parts]
    return listing([" to ".join(one) for one in ends])


def benefit_sentence(name: str, table: pd.DataFrame) -> str:
    """Where the net benefit is known to be higher or lower than that of the better of referring all and none."""
    at = list(floats(table, "threshold"))
    said = []
    for where, word in ((floats(table, "gain_low") > 0, "higher"), (floats(table, "gain_high") < 0, "lower")):
        if where.any():
            said.append(f"{word} at thresholds of {stretches(at, where)}")
    one = table.iloc[int(np.argmin(np.abs(np.array(at) - NINE)))]
    compared = f"is known to be {listing(said)}" if said else "is at no threshold known to differ"
    text = f"Against the better of referring all images and none, the net benefit of {name} {compared}"
    ends = f" [{fixed(one['low'], 3)} to {fixed(one['high'], 3)}]" if not missing(one["low"]) else ""
    return (
        f"{text} (95 % intervals at each threshold). At {percent(NINE, 0)}, where a missed case is as bad as nine "
        f"needless referrals, it is {fixed(one['estimate'], 3)}{ends}, where referring all has {fixed(one['all'], 3)}."
    )


def abstention_sentence(name: str, table: pd.DataFrame, score: str, classes: Sequence[str]) -> str:
    """The score without the least confident images, and how much of each class is left."""
    at = table.set_index("referred")
    one = at.loc[TOLD]
    text = f"Without the {percent(TOLD, 0)} of images that {name} is least confident about, its {metric(score).name} "
    text += f"is {with_interval(score, one['estimate'], one['low'], one['high'])} in place of "
    text += metric(score).text(at.loc[0.0, "estimate"])
    left = {name: float(one[f"kept_{k}"]) for k, name in enumerate(classes) if not missing(one[f"kept_{k}"])}
    if len(left) > 6:
        left = {of(left, key=left.__getitem__): of(left.values()) for of in (min, max)}
    kept = listing([f"{percent(share, 0)} of {name}" for name, share in left.items()])
    return f"{text}. It then decides {kept}; the other class mix moves the score, too."


def _row(at: pd.DataFrame, threshold: float, prevalence: float | None) -> dict[str, str]:
    """A threshold's cells; `at`: rows of `thresholds.at_threshold`."""
    shares = at.loc[list(TWO), ["estimate", "low", "high"]].astype(float)
    if prevalence is not None:
        found, spared = shares.loc[["sensitivity", "specificity"]].to_numpy()
        values = predictive_values(found, spared, prevalence)
        shares.loc[list(values)] = np.array([*values.values()])
    cells = {metric(name).short: with_interval(name, *shares.loc[name]) for name in TWO}
    return {"threshold": fixed(threshold, 3)} | cells


def guarantee(results: StudyResults, asked: Question, prevalence: float | None) -> Iterator[Exhibit]:
    """The threshold with the wanted sensitivity on validation beside the one with a guarantee, on test."""
    name, test = results.chosen, results.tests[results.chosen]
    mine = worth(results).points
    mine = mine.loc[mine["run"] == name] if len(mine) else mine
    if mine.empty:
        why = worth(results).reasons.get("operating point")
        if why:
            yield Exhibit(text=f"No threshold is chosen, and none can be guaranteed: {why}.")
        return
    first = mine.loc[mine["metric"] != AS_WANTED].set_index("metric")
    wanted, rows = percent(WANTED, 0), {}
    rows[f"{wanted} sensitivity on validation"] = _row(first, float(first["threshold"].iloc[0]), prevalence)
    try:
        val = validation_of(results.firsts[name]["val"])
        threshold, n = guaranteed_threshold(*asked.of(val), val["group"])
        at = at_threshold(*asked.of(test), threshold, test["group"])
        rows[f"{wanted} sensitivity with {percent(LEVEL, 0)} confidence"] = _row(at, threshold, prevalence)
        text = _guaranteed(results, n, first, at)
    except NotFitted as error:
        text = f"No threshold can be guaranteed: {error}."
    if len(rows) == 1 and prevalence is None:  # nothing that the table of all variants' thresholds does not show
        yield Exhibit(text=text)
        return
    table = pd.DataFrame([{"chosen for": of} | cells for of, cells in rows.items()])
    positive = float(asked.of(test)[0].mean())
    share = f"their share in test, {percent(positive)}" if prevalence is None else f"{percent(prevalence)}, as was set"
    caption = f"Thresholds for {asked.name}, on test{results.by_chosen}; PPV and NPV where the prevalence is {share}"
    caption += "; their intervals are from those of sensitivity and specificity, and rather too wide" * bool(prevalence)
    yield Exhibit(table=table, caption=f"{caption}{results.once}", text=text)


def _guaranteed(results: StudyResults, n: int, first: pd.DataFrame, at: pd.DataFrame) -> str:
    """What the guarantee says, what it costs on test, and what weakens it."""
    before, after = (float(of.loc["specificity", "estimate"]) for of in (first, at))
    groups, images = f"{results.group_name}s", plural(n, "positive validation image")
    whose, bound = f"positive images of new {groups} (one image each)", f"{images} of different {groups}"
    if not results.runs[0]["n_groups"]:
        whose, bound = "new positive images", f"{images}; {groups} are unknown, so images count as independent"
    text = f"The second threshold finds at least {percent(WANTED, 0)} of the {whose} with {percent(LEVEL, 0)} "
    text += f"confidence (exact binomial bound; {bound}). "
    if not missing(before) and not missing(after):
        cost = f"{METRICS['specificity'].difference(before - after)} of" if after < before else "no"
        text += f"On test it costs {cost} specificity."
    chose = ["the epoch"] * (results.trained and results.runs[0]["params"].select_on == "val")
    chose += ["the variant"] * (len(results.tests) > 1)
    if chose:
        text += f" Since validation also chose {listing(chose)}, the guarantee is approximate."
    return text if results.trained else f"{text} It requires that validation was not used to train or choose a model."


def costs_table(results: StudyResults, costs: Sequence[Sequence[float]]) -> Exhibit:
    """The mean cost of an image of each variant. ParameterError if the matrix is of other classes."""
    if len(costs) != len(results.classes):
        raise ParameterError(f"cost_matrix: got {len(costs)} rows, allowed: one for each of {listing(results.classes)}")
    found = {name: expected_cost(test, costs) for name, test in results.tests.items()}
    rows = []
    for name, one in found.items():
        ends = "" if missing(one["low"]) else f" [{fixed(one['low'], 3)} to {fixed(one['high'], 3)}]"
        row = {"variant": name, "cost of an image": f"{fixed(one['estimate'], 3)}{ends}"}
        rows.append(row | {"predicting the class of least expected cost": fixed(one["cheapest"], 3)})
    last = next(iter(found.values()))
    answer = f"always {results.classes[int(last['always'])]}"
    constant = {"variant": answer, "cost of an image": fixed(last["constant"], 3)}
    rows.append(dict.fromkeys(rows[0], "") | constant)
    given = "; ".join(", ".join(f"{cost:g}" for cost in row) for row in costs)
    caption = f"Mean cost of a test image by the cost matrix {given} (rows true, columns predicted); last row: the "
    caption += f"cheapest constant prediction{results.once}"
    return Exhibit(table=pd.DataFrame(rows), caption=caption)


def benefit(
    results: StudyResults, prevalence: float | None = None, cost_matrix: Sequence[Sequence[float]] | None = None
) -> Iterator[Exhibit]:
    """Net benefit and abstention, a guaranteed threshold, and what the errors cost; `prevalence`: of the positives."""
    asked, told, score = worth(results).question, probable(results), results.score
    benefits, abstained = {}, {}
    for run, test in results.tests.items():
        draws = 0 if run == told else 1  # no band
        if "p_0" not in test:
            continue
        if asked and not missing((table := _net(asked, test, prevalence, draws))["estimate"].iloc[0]):
            benefits[run] = table
        if test.filter(regex=r"^p_\d+$").max(axis=1).nunique() > 1:  # else none is less confident than another
            abstained[run] = abstention(test, len(results.classes), CHOOSING[score], draws)
    if told and (benefits or abstained):
        parts, alt, text = [], [], []
        if told != results.chosen:
            text.append(f"{results.chosen} gives no probabilities; this is about {told}.")
        if asked and benefits:
            at = "as in test" if prevalence is None else f"set to {percent(prevalence)}"
            parts.append(f"net benefit of referring images for {asked.name} by their probability, the prevalence {at}")
            alt.append("net benefit (y) against the threshold probability (x), with referring all and none")
            text += [benefit_sentence(told, benefits[told])] if told in benefits else []
        if abstained:
            parts.append(f"{metric(score).name} without the least confident images")
            alt.append(f"{metric(score).name} (y) against the share of images referred (x)")
            if told in abstained:
                text.append(abstention_sentence(told, abstained[told], score, results.classes))
        caption = "; ".join([*parts, f"band: 95 % interval of {told}, by {results.unit}"])
        caption = f"{caption[:1].upper()}{caption[1:]}{results.once}"
        figure, alt = benefit_panels(benefits, abstained, told, results.palette, score), "; ".join(alt)
        yield Exhibit(
            figure=figure, caption=caption, alt=f"Line plots, one line per variant: {alt}.", text=" ".join(text)
        )
    if asked and ranks(results.tests[results.chosen]):
        yield from guarantee(results, asked, prevalence)
    if cost_matrix is not None:
        yield costs_table(results, cost_matrix)


def _net(asked: Question, test: pd.DataFrame, prevalence: float | None, draws: int) -> pd.DataFrame:
    return net_benefit(*asked.of(test), test["group"], prevalence, draws)
