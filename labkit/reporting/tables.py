"""Tables ready to print: one row a variant, numbers written out; `show.show_table` displays them.

A *run dict* is flat: `run`, `seed` (0 if absent), the scores of `evaluation.metrics.evaluate` (`n`, `accuracy`, …;
None or absent = unknown) and, where there are any, `intervals`: a DataFrame with columns metric, low, high,
or a dict metric -> (low, high). Rows of one `run` with several seeds become one row, mean ± standard deviation.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from labkit.format import DASH, METRICS, fixed, metric, missing, percent, signed, whole, with_interval
from labkit.format import interval as bracketed
from labkit.reporting.frames import floats, mean, parts

RESULT_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "qwk", "macro_auroc")
COST = {  # column -> header, divisor, digits
    "minutes": ("training (min)", 1, 1),
    "images_per_second": ("images/s", 1, 0),
    "parameters": ("parameters (M)", 1e6, 1),
    "flops": ("FLOPs (G)", 1e9, 2),
    "milliseconds": ("ms an image, CPU", 1, 1),
    "file_mb": ("file (MB)", 1, 1),
}
BASELINE = "majority class"
TOO_FEW = 30  # images: a share of fewer says little

Run = Mapping[str, Any]


def estimates(
    runs: Iterable[Run], metrics: Sequence[str] | None = None, over_seeds: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Run dicts -> one row a run, seed and metric: columns run, seed, metric, estimate, low, high.

    `over_seeds`: run -> low and high of its mean over seeds, by metric (`StudyResults.over_seeds`), for two columns
    more: mean_low, mean_high. This is what `plots.result_dots` and the sentences read. Unknown scores are left out;
    unknown ends are NaN.
    """
    rows = []
    for run in runs:
        ends = _intervals(run.get("intervals"))
        of_mean = _intervals((over_seeds or {}).get(str(run["run"])))
        for name in metrics or [key for key in METRICS if key in run]:
            value: Any = run.get(name)
            if not missing(value):
                low, high = ends.get(name, (float("nan"), float("nan")))
                mean_ends = of_mean.get(name, (float("nan"), float("nan")))
                rows.append(
                    (str(run["run"]), run.get("seed", 0), name, float(value), float(low), float(high), *mean_ends)
                )
    columns = ["run", "seed", "metric", "estimate", "low", "high", "mean_low", "mean_high"]
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    return table.drop(columns=columns[-2:]) if over_seeds is None else table


def _intervals(given: Any) -> dict[str, tuple[float, float]]:
    if given is None:
        return {}
    if isinstance(given, pd.DataFrame):
        names = given["metric"] if "metric" in given.columns else given.index
        return dict(zip(map(str, names), zip(floats(given, "low"), floats(given, "high"), strict=True), strict=True))
    return {name: tuple(ends) for name, ends in given.items()}


def sensitivities(runs: Iterable[Run], classes: Sequence[str], images: Sequence[int] | None = None) -> pd.DataFrame:
    """Run dicts -> one row a run, seed and class: columns run, seed, class, sensitivity, low, high, [images: of it].

    `run["sensitivity"]` is a list in the order of `classes` or a dict by class name; None is unknown. Intervals, where
    there are any: `run["sensitivity_intervals"]`, a DataFrame by class.
    """
    rows = []
    for run in runs:
        ends = _intervals(run.get("sensitivity_intervals"))
        values = run.get("sensitivity") or [None] * len(classes)
        for place, name in enumerate(classes):
            value = values.get(name) if isinstance(values, Mapping) else values[place]
            row = {"run": str(run["run"]), "seed": run.get("seed", 0), "class": name}
            row["sensitivity"] = float("nan") if value is None else float(value)
            row["low"], row["high"] = ends.get(name, (float("nan"), float("nan")))
            rows.append(row | ({"images": images[place]} if images is not None else {}))
    return pd.DataFrame(rows)


def results_table(
    runs: Sequence[Run],
    baseline: Run | None = None,
    metrics: Sequence[str] = RESULT_METRICS,
    with_intervals: Sequence[str] = ("accuracy", "qwk"),
    over_seeds: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Columns variant, n, [seeds], and one per metric; the last row is the majority baseline, if given.

    `baseline`: scores by metric, `n` if known. Intervals are written for the metrics in `with_intervals`; `over_seeds`
    as in `estimates`.
    """
    names = list(dict.fromkeys(str(run["run"]) for run in runs))
    several = len(runs) > len(names)
    rows = []
    for name in names:
        mine = [run for run in runs if str(run["run"]) == name]
        row = {"variant": name, "n": whole(mine[0].get("n"))} | ({"seeds": str(len(mine))} if several else {})
        for key in metrics:
            row[metric(key).short] = _estimate(estimates(mine, [key], over_seeds), key, key in with_intervals)
        rows.append(row)
    if baseline is not None:
        row = {"variant": BASELINE, "n": whole(baseline.get("n"))} | ({"seeds": ""} if several else {})
        rows.append(row | {metric(key).short: metric(key).text(baseline.get(key)) for key in metrics})
    return pd.DataFrame(rows)


def _estimate(table: pd.DataFrame, key: str, interval: bool) -> str:
    values, low, high = (floats(table, name) for name in ("estimate", "low", "high"))
    if len(values) == 0:
        return DASH
    if len(values) > 1:
        text = f"{metric(key).text(values.mean())} ± {metric(key).text(values.std(ddof=1), unit=False)}"
        ends = (floats(table, "mean_low")[0], floats(table, "mean_high")[0]) if interval else (None, None)
        return f"{text} {bracketed(key, *ends)}".strip()
    return with_interval(key, values[0], *((low[0], high[0]) if interval else ()))


def sensitivity_table(sensitivity: pd.DataFrame) -> pd.DataFrame:
    """Variants by classes. `sensitivity`: columns run, class, sensitivity, [images: of the class], [seed: averaged]."""
    columns = parts(sensitivity, "class")
    rows = []
    for name, run in parts(sensitivity, "run").items():
        row = {"variant": name}
        for label, part in columns.items():
            images = f" (n = {number_of_images(floats(part, 'images')[0])})" if "images" in part else ""
            of_class = parts(run, "class").get(label)
            value = None if of_class is None else mean(floats(of_class, "sensitivity"))
            row[f"{label}{images}"] = percent(value)
        rows.append(row)
    return pd.DataFrame(rows)


def number_of_images(number: float) -> str:
    """'7,026', or '27, too few' where a share of them says little."""
    return f"{whole(number)}{', too few' if number < TOO_FEW else ''}"


def cost_table(runs: Sequence[Run], costs: Sequence[str] = (*COST, "device")) -> pd.DataFrame:
    """Columns variant and, of `costs`, those that any run knows: the headers of `COST`, and device.

    Each run: `run`, [minutes], [images_per_second], [parameters], [flops: multiply-adds of one image], [milliseconds:
    of one image on the CPU], [file_mb: of the weights], [device]; seeds are averaged.
    """
    known = [key for key in costs if key in COST and any(not missing(run.get(key)) for run in runs)]
    rows = []
    for name in dict.fromkeys(str(run["run"]) for run in runs):
        mine = [run for run in runs if str(run["run"]) == name]
        row = {"variant": name}
        for key in known:
            head, divisor, digits = COST[key]
            value = mean(float(run[key]) for run in mine if not missing(run.get(key)))
            row[head] = fixed(value / divisor, digits)
        if "device" in costs and any(run.get("device") for run in runs):
            row["device"] = ", ".join(dict.fromkeys(str(run["device"]) for run in mine if run.get("device"))) or DASH
        rows.append(row)
    return pd.DataFrame(rows)


def variants_table(runs: Mapping[str, Run], ignore: Sequence[str] = ()) -> pd.DataFrame:
    """What makes each run a variant: `runs` is name -> parameters; one column per parameter in which any two differ."""
    keys = dict.fromkeys(key for run in runs.values() for key in run if key not in ignore)
    differing = [key for key in keys if len({parameter_text(run.get(key)) for run in runs.values()}) > 1]
    rows = [{"variant": name} | {key: parameter_text(run.get(key)) for key in differing} for name, run in runs.items()]
    return pd.DataFrame(rows)


def parameters_table(runs: Mapping[str, Run], defaults: Run, ignore: Sequence[str] = ()) -> pd.DataFrame:
    """Every parameter that any run sets otherwise than its default: columns parameter, default, and value.

    `runs` is name -> parameters. A value that all share stands alone, others with the runs that have them.
    """
    rows = []
    for key, default in defaults.items():
        values: dict[str, list[str]] = {}
        for name, run in runs.items():
            values.setdefault(parameter_text(run.get(key)), []).append(name)
        if key in ignore or list(values) == [parameter_text(default)]:
            continue
        shared = len(values) == 1
        texts = [value if shared else f"{value}: {', '.join(names)}" for value, names in values.items()]
        rows.append({"parameter": key, "default": parameter_text(default), "value": "; ".join(texts)})
    return pd.DataFrame(rows, columns=["parameter", "default", "value"])


def parameter_text(value: Any) -> str:
    """A parameter's value as a reader would write it: none, on, 0.0001; of several, those that are set."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(parameter_text(one) for one in value if one is not None) or "none"
    return str(value)


def class_counts_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts (rows: classes, columns: splits) -> 'count (percent of the split)', with a row of totals."""
    table = {"class": [*map(str, counts.index), "all"]}
    for split in counts.columns:
        numbers = floats(counts, split)
        total = numbers.sum()
        cells = [f"{whole(count)} ({percent(count / total)})" if total else "0" for count in numbers]
        table[str(split)] = [*cells, whole(total)]
    return pd.DataFrame(table)


def comparison_table(comparisons: Iterable[Run]) -> pd.DataFrame:
    """Paired differences. Each: `a`, `b`, `metric`, `difference` (b - a), `low`, `high`, [`p`], [`p_holm`]."""
    rows = []
    for one in comparisons:
        named = metric(one["metric"])
        value, low, high = (_signed_difference(one.get(name), named.percent) for name in ("difference", "low", "high"))
        row = {"variant": one["b"], "against": one["a"], "metric": named.name, "difference": value}
        row["95 % interval"] = DASH if DASH in (low, high) else f"{low} to {high}"
        if named.percent and value != DASH:
            row["difference"] += " points"
        p_values = {"p": "p", "p (Holm)": "p_holm"}
        rows.append(row | {head: p_value(one[name]) for head, name in p_values.items() if name in one})
    return pd.DataFrame(rows)


def _signed_difference(value: float | None, in_percent: bool) -> str:
    if value is None or missing(value):
        return DASH
    return signed(value * 100, 1) if in_percent else signed(value, 3)


def p_value(p: float | None) -> str:
    """0.0312 -> '0.031', below a thousandth '< 0.001'."""
    return fixed(p, 3) if missing(p) or float(p) >= 0.001 else "< 0.001"  # type: ignore[arg-type]


def versions_table(versions: Mapping[str, Any]) -> pd.DataFrame:
    """Environment: name -> version or value; an unknown one is shown as a dash."""
    cells = [DASH if value in (None, "") else str(value) for value in versions.values()]
    return pd.DataFrame({"component": list(map(str, versions)), "version": cells})
