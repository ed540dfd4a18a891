"""The sentence on light networks: which variants are worth their cost, and what the lightest gives up."""

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.format import NBSP, article, fixed, listing, metric, missing, word
from labkit.reporting.frames import floats, mean, parts
from labkit.reporting.sentences_results import compare_sentence
from labkit.reporting.tables import COST, estimates

COSTS = {  # key of a run -> its words after a number
    "flops": "multiply-adds",
    "parameters": "parameters",
    "milliseconds": "milliseconds an image",
    "file_mb": "MB on disk",
}

Costs = Mapping[str, float]


def light_sentence(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    """Which variants are worth their cost, and what the lightest gives up against the best.

    Rows as in `plots.light`: run dicts with `run`, the score, [flops], [parameters], [milliseconds], [file_mb]; seeds
    are averaged. Costs are compared as the table prints them, and only where both are known.
    """
    scores = {
        run: float(floats(part, "estimate").mean()) for run, part in parts(estimates(rows, [score]), "run").items()
    }
    costs = _costs(rows, list(scores))
    if not scores:
        return f"No variant has a known {metric(score).name}."
    if len(scores) == 1:
        (run, value), mine = *scores.items(), next(iter(costs.values()))
        known_costs = [_amount(key, cost) for key, cost in mine.items()]
        cost = f" and costs {listing(known_costs)}" if known_costs else "; what it costs is unknown"
        return f"The only variant, {run}, has {article(metric(score).name)} of {metric(score).text(value)}{cost}."
    text = f"{_best_and_lightest(scores, costs, score)} {_front(scores, costs, score)}"
    gaps = [words for key, words in COSTS.items() if 0 < sum(key in cost for cost in costs.values()) < len(costs)]
    return text if not gaps else f"{text} Not known of every variant, and compared where known: {listing(gaps)}."


def _costs(rows: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> dict[str, dict[str, float]]:
    """Run -> known costs, seeds averaged. Equal networks at an equal size compute the same: their times are pooled."""
    table = {}
    for run in runs:
        mine = [row for row in rows if str(row["run"]) == run]
        values = {key: mean(float(row[key]) for row in mine if not missing(row.get(key))) for key in COSTS}
        table[run] = {key: value for key, value in values.items() if not missing(value)}
    alike: dict[tuple[float, float], list[str]] = {}
    for run, costs in table.items():
        if {"flops", "parameters", "milliseconds"} <= costs.keys():
            alike.setdefault((costs["flops"], costs["parameters"]), []).append(run)
    for some in alike.values():
        time = mean(table[run]["milliseconds"] for run in some)
        table |= {run: table[run] | {"milliseconds": time} for run in some}
    return table


def _amount(key: str, value: float) -> str:
    """A cost as the table prints it, with its unit."""
    _, divisor, digits = COST[key]
    prefix = {"flops": "G ", "parameters": "M "}.get(key, "")
    return f"{fixed(value / divisor, digits)}{NBSP}{prefix}{COSTS[key]}"


def _printed(key: str, value: float) -> float:
    _, divisor, digits = COST[key]
    return round(value / divisor, digits)


def _best_and_lightest(scores: Mapping[str, float], costs: Mapping[str, Costs], score: str) -> str:
    named, goodness = metric(score), _goodness(scores, score)
    winners = [run for run in scores if goodness[run] == max(goodness.values())]
    best, value = winners[0], named.text(scores[winners[0]])
    text = f"The best is {best} with {article(named.name)} of {value}"
    if len(winners) > 1:
        text = f"The best, with {article(named.name)} of {value} each, are {listing(winners)}"
    lightest, by = _lightest(costs, goodness)
    if not lightest:
        return f"{text}; which is the lightest is open: no cost is known of every variant."
    if lightest in winners:
        return f"{text}; no variant is lighter than {lightest}{by}."
    gains = listing(
        [_times(key, costs[best][key], costs[lightest][key]) for key in _both(costs[best], costs[lightest])]
    )
    compared = compare_sentence(best, lightest, score, scores[lightest] - scores[best])
    lighter = f"the lightest{by} is {lightest} with {named.text(scores[lightest])}: against {best}, {gains}"
    return f"{text}; {lighter}. {compared}"


def _goodness(scores: Mapping[str, float], score: str) -> dict[str, float]:
    """The scores as printed, turned so that more is better."""
    return {run: round(value if metric(score).higher_is_better else -value, 3) for run, value in scores.items()}


def _lightest(costs: Mapping[str, Costs], goodness: Mapping[str, float]) -> tuple[str, str]:
    """The lightest variant, of several the best; where costs disagree, by the first one, which is then named."""
    shared = [key for key in COSTS if all(key in cost for cost in costs.values())]
    if not shared:
        return "", ""
    least = []
    for key in shared:
        values = {run: _printed(key, cost[key]) for run, cost in costs.items()}
        least.append({run for run, value in values.items() if value == min(values.values())})
    agreed = set.intersection(*least)
    runs = [run for run in costs if run in (agreed or least[0])]
    return max(runs, key=lambda run: goodness[run]), "" if agreed else f" in {COSTS[shared[0]]}"


def _both(one: Costs, other: Costs) -> list[str]:
    return [key for key in COSTS if key in one and key in other]


def _times(key: str, heavy: float, light: float) -> str:
    """'10 times fewer multiply-adds'; the other way round where the lightest is the heavier one in this cost."""
    if _printed(key, heavy) == _printed(key, light):
        return f"as many {COSTS[key]}"
    ratio = heavy / light
    if fixed(max(ratio, 1 / ratio), 1) == "1.0":
        return f"nearly as many {COSTS[key]}"
    if ratio < 1:
        return f"{fixed(1 / ratio, 1)} times as many {COSTS[key]}"
    return f"{fixed(ratio, 1 if ratio < 10 else 0)} times fewer {COSTS[key]}"


def _front(scores: Mapping[str, float], costs: Mapping[str, Costs], score: str) -> str:
    goodness = _goodness(scores, score)

    def dominates(one: str, other: str) -> bool:
        pairs = [
            (_printed(key, costs[one][key]), _printed(key, costs[other][key]))
            for key in _both(costs[one], costs[other])
        ]
        pairs.append((-goodness[one], -goodness[other]))
        return len(pairs) > 1 and all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    front = [run for run in scores if not any(dominates(other, run) for other in scores)]
    compared = [words for key, words in COSTS.items() if any(key in cost for cost in costs.values())]
    if not compared:
        return "No cost is known, so there is no front of score against cost."
    who = listing(front) if len(front) < len(scores) else "Both" if len(front) == 2 else f"All {word(len(front))}"
    return (
        f"{who} {'lies' if len(front) == 1 else 'lie'} on the Pareto front of {metric(score).name} against "
        f"{listing(compared)}: no variant is at least as good in all of these and better in one."
    )
