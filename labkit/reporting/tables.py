"""Tables ready to print: one row per variant, numbers written out; `show.show_table` displays them.

A *run dict* is flat: `run`, `seed` (0 if absent), the scores of `evaluation.metrics.evaluate` (`n`, `accuracy`, …;
None or absent = unknown) and, where there are any, `intervals`: a DataFrame with columns low and high, by metric.
Rows of one `run` with several seeds become one row, mean ± standard deviation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labkit.evaluation.intervals import too_few
from labkit.evaluation.metrics import METRICS, metric, with_interval
from labkit.format import DASH, listing, missing, plural, whole, word

# One table of all scores would not fit a page.
MAIN, FURTHER = ([name for name, one in METRICS.items() if one.table == part] for part in ("main", "further"))
BASELINE = "majority class"
NAN = float("nan")
Run = Mapping[str, Any]


def counted(images: float, groups: float = float("inf")) -> str:
    """'7,026', or '11, too few'."""
    return whole(images) + (", too few" if too_few(images, groups) else "")


def results_table(
    runs: Sequence[Run],
    baseline: Run | None = None,
    metrics: Sequence[str] = MAIN,
    with_intervals: Sequence[str] = ("accuracy", "qwk"),
    over_seeds: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Columns variant, n, [seeds], and one per metric; the last row is the majority baseline, if given.

    `baseline`: scores by metric, `n` if known; `over_seeds`: as `StudyResults.over_seeds`.
    """
    metrics = [key for key in metrics if any(key in run for run in runs)]  # unordered classes have no kappa
    names = list(dict.fromkeys(str(run["run"]) for run in runs))
    several = len(runs) > len(names)
    rows = []
    for name in names:
        mine = [run for run in runs if str(run["run"]) == name]
        n, known, alone = (mine[0].get(key, NAN) for key in ("n", "n_groups", "n_without_group"))
        row = {"variant": name, "n": counted(n, known + alone)} | ({"seeds": str(len(mine))} if several else {})
        for key in metrics:
            row[metric(key).short] = _estimate(mine, (over_seeds or {}).get(name), key, key in with_intervals)
        rows.append(row)
    if baseline is not None:
        row = {"variant": BASELINE, "n": whole(baseline.get("n"))} | ({"seeds": ""} if several else {})
        for key in metrics:  # of constant predictions: a kappa of 0, without spread
            ends = [0, 0] if key == "qwk" and baseline.get(key) == 0 else []
            row[metric(key).short] = with_interval(key, baseline.get(key), *ends)
        rows.append(row)
    return pd.DataFrame(rows)


def _estimate(mine: Sequence[Run], of_mean: pd.DataFrame | None, key: str, shown: bool) -> str:
    """'82.3 % [81.4–83.2]'; of several seeds '82.3 % ± 0.4 [81.4–83.2]', with the interval of their mean."""
    if not (known := [run for run in mine if not missing(run.get(key))]):
        return DASH
    values, several = [float(run[key]) for run in known], len(known) > 1
    intervals = of_mean if several else known[0].get("intervals")
    ends = [] if intervals is None or key not in intervals.index else list(intervals.loc[key, ["low", "high"]])
    spread = float(np.std(values, ddof=1)) if several else None
    return with_interval(key, float(np.mean(values)), *(ends if shown or ends == [0, 0] else ()), spread=spread)


def variants_table(runs: Mapping[str, Run], ignore: Sequence[str] = ()) -> pd.DataFrame:
    """What makes each run a variant: `runs` is name -> parameters; one column per parameter in which any two differ."""
    keys = dict.fromkeys(key for run in runs.values() for key in run if key not in ignore)
    differing = [key for key in keys if len({parameter_text(run.get(key)) for run in runs.values()}) > 1]
    rows = [{"variant": name} | {key: parameter_text(run.get(key)) for key in differing} for name, run in runs.items()]
    return pd.DataFrame(rows)


def parameters_table(runs: Mapping[str, Run], defaults: Run, ignore: Sequence[str] = ()) -> pd.DataFrame:
    """Columns parameter, default, and value of what any run sets otherwise: that of most runs, then others by run."""
    rows = []
    for key, default in defaults.items():
        values: dict[str, list[str]] = {}
        for name, run in runs.items():
            values.setdefault(parameter_text(run.get(key)), []).append(name)
        if key in ignore or list(values) == [parameter_text(default)]:
            continue
        most = max(values, key=lambda value: len(values[value]))
        others = [f"{value}: {', '.join(names)}" for value, names in values.items() if value != most]
        rows.append({"parameter": key, "default": parameter_text(default), "value": "; ".join([most, *others])})
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


def variants_sentence(variants: pd.DataFrame) -> str:
    """In what the variants differ; `variants`: `tables.variants_table`."""
    differing = [str(name).replace("_", " ") for name in variants.columns[1:]]
    number = word(len(variants)).capitalize()
    if len(variants) == 1:
        return "There is one variant only, so nothing is compared."
    if not differing:
        return f"{number} variants do not differ in any parameter."
    return f"{number} variants differ in {listing(differing)}."


def runs_sentence(runs: Sequence[Mapping[str, Any]]) -> str:
    """How often test was looked at, and how many runs were interrupted."""
    often = [f"{run['run']}, seed {run['seed']}" for run in runs if run["test_predictions"] != 1]
    again = sum(run["attempts"] > 1 for run in runs)
    text = f"{'Every run' if len(runs) > 1 else 'The run'} predicted the test images once"
    if often:
        text = f"Not every run predicted the test images just once: {listing(often)} did not"
    return f"{text}; {plural(again, 'run') if again else 'no run'} {'was' if again <= 1 else 'were'} interrupted."
