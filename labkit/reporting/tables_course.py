"""Tables that a course's report asks for: published numbers beside ours, deviations, class weights, small networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from labkit.format import DASH, NBSP, fixed, interval, metric, missing, percent, plural, signed, whole, with_interval
from labkit.reporting.tables import COST, cost_table, parameter_text, results_table

Row = Mapping[str, Any]


def class_weights_table(
    classes: Sequence[str], counts: Sequence[int], weights_by_run: Mapping[str, Sequence[float] | None]
) -> pd.DataFrame:
    """A row a class: its training images with their share, and its weight in the loss of each run.

    `counts`: training images per class, as they are. `weights_by_run`: run -> weight per class, None: all equal.
    """
    total = sum(counts)
    table = {
        "class": list(classes),
        "training images": [f"{whole(n)} ({percent(n / total)})" if total else "0" for n in counts],
    }
    for run, weights in weights_by_run.items():
        table[run] = [fixed(weight, 3) for weight in weights] if weights else [DASH] * len(classes)
    return pd.DataFrame(table)


AS_IT_CAME, HONEST = "ours, as the data came", "ours, patients kept apart"


def published_table(rows: Sequence[Row], *, metric: str) -> pd.DataFrame:
    """A report's number of each variant beside ours under two protocols; each cell names the images it is of.

    Rows: `run`; `published`: None, or `score` (None: left open), `data`, [n], [majority], [source], [given: whether the
    report has this variant at all, True if absent]; `course`, `honest`: None (not run), or `estimate`, `data`, [low],
    [high], [n], [majority], [seeds], [spread: their standard deviation]. `majority` is the share of the test images'
    most frequent class. A column that no row has anything in is left out, but for the first of ours.
    """
    table = [
        {
            "variant": row["run"],
            "published": _published(row.get("published"), metric),
            AS_IT_CAME: _ours(row.get("course"), metric),
            HONEST: _ours(row.get("honest"), metric),
        }
        for row in rows
    ]
    of_head = {"published": "published", AS_IT_CAME: "course", HONEST: "honest"}
    filled = [head for head, key in of_head.items() if any(row.get(key) for row in rows)]
    ours = [] if {AS_IT_CAME, HONEST} & set(filled) else [AS_IT_CAME]
    return pd.DataFrame(table, columns=["variant", *filled, *ours])


def _published(cell: Row | None, key: str) -> str:
    if cell is None or not cell.get("given", True):
        return DASH
    if missing(cell["score"]):
        return "left open"
    source = f" ({cell['source']})" if cell.get("source") else ""
    return f"{metric(key).text(cell['score'])} · {_images(cell)}{source}"


def _ours(cell: Row | None, key: str) -> str:
    if cell is None or missing(cell["estimate"]):
        return "not run"
    seeds = int(cell.get("seeds") or 1)
    if seeds > 1:
        spread = f" ± {metric(key).text(cell['spread'], unit=False)}" if not missing(cell.get("spread")) else ""
        ends = f" {interval(key, cell.get('low'), cell.get('high'))}".rstrip()
        return f"{metric(key).text(cell['estimate'])}{spread}{ends}, mean of {plural(seeds, 'seed')} · {_images(cell)}"
    return f"{with_interval(key, cell['estimate'], cell.get('low'), cell.get('high'))} · {_images(cell)}"


def _images(cell: Row) -> str:
    """'EyePACS, the course's test images, n = 7,025, majority 73.4 %'; data without a name are called so."""
    texts = [str(cell.get("data") or "images not stated")]
    if not missing(cell.get("n")):
        texts.append(f"n{NBSP}={NBSP}{whole(cell['n'])}")
    if not missing(cell.get("majority")):
        texts.append(f"majority{NBSP}{percent(cell['majority'])}")
    return ", ".join(texts)


def deviation_table(rows: Sequence[Row]) -> pd.DataFrame:
    """What each deviation from the proper network changed, in scores (means over seeds) and in size, with one budget.

    Rows: `deviation`, `reason` (a line), `proper`, `deviating` (names of runs), `metrics`: metric -> (proper value,
    deviating value, difference, low, high), `parameters_proper`, `parameters_deviating`, `flops_proper`,
    `flops_deviating` (None: unknown), [`also`: (what else differs, in proper, in deviating), …].
    """
    table = []
    keys = list(dict.fromkeys(key for row in rows for key in row["metrics"]))
    for row in rows:
        cells = {
            "deviation": f"{row['deviation'].replace('_', ' ')}: {row['reason']}",
            "runs": f"{row['proper']} → {row['deviating']}",
        }
        cells |= {metric(key).short: _changed(key, row["metrics"].get(key)) for key in keys}
        cells |= {COST[key][0]: _sizes(key, row) for key in ("parameters", "flops")}
        if any(other.get("also") for other in rows):
            also = [
                f"{name.replace('_', ' ')} {parameter_text(a)} → {parameter_text(b)}"
                for name, a, b in row.get("also") or ()
            ]
            cells["differs, too"] = "; ".join(also) or DASH
        table.append(cells)
    return pd.DataFrame(table)


def _changed(key: str, values: Sequence[float | None] | None) -> str:
    """'82.3 % → 80.1 %: −2.2 points [−3.1 to −1.3]'."""
    if values is None:
        return DASH
    proper, deviating, difference, low, high = values
    text = f"{metric(key).text(proper)} → {metric(key).text(deviating)}"
    if difference is None or missing(difference):
        return text
    size = plural(signed(100 * difference, 1), "point") if metric(key).percent else signed(difference, 3)
    return f"{text}: {size} {interval(key, low, high).replace(' ', NBSP)}".strip()


def _sizes(key: str, row: Row) -> str:
    _, divisor, digits = COST[key]
    values = (row[f"{key}_{side}"] for side in ("proper", "deviating"))
    texts = [DASH if missing(value) else fixed(value / divisor, digits) for value in values]
    return " → ".join(dict.fromkeys(texts))


def light_table(runs: Sequence[Row], score: str) -> pd.DataFrame:
    """Columns variant, the score with its interval, n, [seeds], parameters (M), FLOPs (G), ms an image, CPU, file (MB).

    Run dicts as in `tables.results_table` and `tables.cost_table`; a cost that no run knows has no column.
    """
    scores = results_table(runs, metrics=(score,), with_intervals=(score,))
    costs = cost_table(runs, ("parameters", "flops", "milliseconds", "file_mb"))
    first = ["variant", metric(score).short]
    order = [*first, *(name for name in scores.columns if name not in first)]
    return scores[order].merge(costs, on="variant")
