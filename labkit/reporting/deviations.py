"""What each deviation from the network of He et al. changes, in scores and in size."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from labkit.format import DASH, NBSP, fixed, metric, missing, percent, signed_difference
from labkit.models.build import DEVIATIONS, RESNETS
from labkit.reporting.cost import COST
from labkit.reporting.frames import means
from labkit.reporting.results import StudyResults
from labkit.reporting.tables import parameter_text

Row = dict[str, Any]


def deviation_rows(results: StudyResults) -> list[Row]:
    """One row for each pair of a proper network and one that deviates.

    `deviation`, `proper`, `deviating` (names of runs), `sizes`: cost -> (proper, deviating), `metrics`: metric ->
    (proper value, deviating value, difference, low, high), means over seeds; `also`: (what else differs, in proper, in
    deviating), ….
    """
    first = results.firsts
    rows: dict[tuple[str, str], Row] = {}
    for one in results.comparisons():
        if one.factor != "deviation":
            continue
        proper, other, sign = (one.a, one.b, 1) if first[one.a]["params"].deviation == "none" else (one.b, one.a, -1)
        if first[proper]["params"].deviation != "none":
            continue  # two deviations against each other say nothing of the proper network
        pair = (proper, other)
        new = {
            "deviation": first[other]["params"].deviation,
            "proper": proper,
            "deviating": other,
            "sizes": {key: tuple(first[name][key] for name in pair) for key in ("parameters", "flops")},
            "metrics": {},
            "also": one.also if sign == 1 else tuple((key, b, a) for key, a, b in one.also),
        }
        ends = sorted((sign * one.low, sign * one.high))
        values = (*(results.mean(name, one.metric) for name in pair), sign * one.difference, *ends)
        rows.setdefault(pair, new)["metrics"][one.metric] = values
    return list(rows.values())


def deviation_table(rows: Sequence[Row]) -> pd.DataFrame:
    """What each deviation from the proper network changed, with one budget; `rows` as `deviation_rows` gives them."""
    table = []
    for row in rows:
        cells = {
            "deviation": f"{row['deviation'].replace('_', ' ')}: {DEVIATIONS[row['deviation']]}",
            "runs": f"{row['proper']} → {row['deviating']}",
        }
        for key, (proper, deviating, *change) in row["metrics"].items():
            cells[metric(key).short] = f"{metric(key).text(proper)} → {metric(key).text(deviating)}"
            if not missing(change[0]):
                cells[metric(key).short] += f": {signed_difference(key, *change).replace(' ', NBSP)}"
        for key, values in row["sizes"].items():
            head, divisor, digits = COST[key]
            cells[head] = " → ".join(dict.fromkeys(fixed(value / divisor, digits) for value in values))
        if any(other["also"] for other in rows):
            also = [f"{name.replace('_', ' ')} {parameter_text(a)} → {parameter_text(b)}" for name, a, b in row["also"]]
            cells["differs, too"] = "; ".join(also) or DASH
        table.append(cells)
    return pd.DataFrame(table)


def degradation_sentence(results: StudyResults) -> str:
    """How training accuracy changes with depth, with shortcuts and without; empty without plain networks of two depths.

    He et al. (2016, figure 4): 34 plain layers learn their training images worse than 18, 34 residual ones better.
    """
    named = {(run["params"].deviation, run["params"].arch): name for name, run in results.firsts.items()}
    depths = [arch for arch in RESNETS if ("none", arch) in named and ("no_shortcut", arch) in named]
    if len(depths) < 2:
        return ""
    epochs = results.history.groupby("run")["epoch"]
    reached = means(results.history.loc[results.history["epoch"] == epochs.transform("max")], "run", "train_accuracy")
    clauses = []
    for deviation, how in (("none", "with shortcuts"), ("no_shortcut", "without")):
        shallow, deep = named[deviation, depths[0]], named[deviation, depths[-1]]
        by = signed_difference("accuracy", reached[deep] - reached[shallow])
        clauses.append(f"{by} {how} ({percent(reached[shallow])} {shallow}, {percent(reached[deep])} {deep})")
    return f"Training accuracy of the last epoch, {depths[-1]} against {depths[0]}: {' and '.join(clauses)}."
