"""What a difference is worth: how sure the first rank is, what a test set can show, and how many patients would do.

All of it is computed after the fact, from predictions: more patients are taken to be like those of the test set, so
that the variance due to them falls as 1 / n; the part that is due to seeds does not (`groups_needed`). The reach of a
test that is to find a true difference with 80 % power is its critical value plus 0.84 (the normal quantile of 80 %);
patients that would show "the difference seen" are those needed if just that is the true one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from labkit.evaluation.compare import FEWEST, Tests, score_draws, verdict
from labkit.evaluation.intervals import LEVEL

POWER = 0.8
GOOD, TWICE_GOOD = (float(stats.norm.ppf(of)) for of in (POWER, (1 + POWER) / 2))  # 0.84; on two sides 1.28
TWO_SIDED, ONE_SIDED = (float(stats.norm.ppf(of)) for of in ((1 + LEVEL) / 2, LEVEL))  # 1.96 and 1.64
REPEATED = TWO_SIDED * sqrt(2)  # standard deviations: 1 in 20 pairs of equal trainings is farther apart (ISO 5725)


def groups_needed(groups: float, reach: float, target: float, of_groups: float, fixed: float = 0.0) -> float:
    """The number n for which reach · sqrt(of_groups · groups / n + fixed) is `target`; infinite if no number would do.

    `of_groups`: the variance due to the `groups` that there are; `fixed`: that which more groups do not lower.
    """
    left = (target / reach) ** 2 - fixed
    return of_groups * groups / left if left > 0 else float("inf")


def of_width(
    tests: Tests, metric: str, n_classes: int, half: float, groups: float, targets: Sequence[float]
) -> list[float]:
    """The groups for which the interval of a variant's mean score, ± `half` today, would be ± each of `targets`."""
    fixed, both = (float(np.std(of[""])) for of in score_draws({"": tests}, metric, n_classes))
    parts = fixed**2, max(both**2 - fixed**2, 0)
    return [groups_needed(groups, half / both, target, *parts) if both else float("nan") for target in targets]


def ranking(
    variants: Mapping[str, Tests], differences: pd.DataFrame, metric: str, n_classes: int, draws: int = 2000
) -> pd.DataFrame:
    """A row per variant, the best score first; `differences`: their `simultaneous_differences`.

    Columns: difference (to the best), verdict; first: the share of draws in which it has the highest score, equal ones
    sharing it (NaN if its predictions are those of the best); shown: the smallest difference to the best that these
    images would show with 80 % power; needed: groups to show the difference seen, FEWEST or more. NaN of too few.

    `first` accounts for the choice of patients (and of seeds, where there are several). 1 - first estimates the chance
    of a false win. By 300 simulated studies each, of 85 patients and true accuracies with a standard deviation of 10, 5
    and 2 points, it was 9, 17 and 22 % for two variants, of which 10, 19 and 28 % were false; 21, 31 and 40 % for five,
    of which 19, 35 and 53 % were. A true difference as large as `shown` was found in about 80 % of studies.
    """
    against = differences.xs(metric, level="metric")
    below: Any = against["difference"] <= 0  # b to a
    best = next(name for name in variants if below.xs(name).all())
    fixed, both = score_draws(variants, metric, n_classes, draws)
    rows: dict[str, dict[str, Any]] = {best: {"difference": 0.0, "verdict": "best"}}
    for name in variants.keys() - {best}:
        row: Any = against.loc[(best, name)]
        rows[name] = {"difference": float(row["difference"]), "verdict": verdict(row)}
        error, of_groups = (float(np.std(of[name] - of[best])) for of in (both, fixed))
        if rows[name]["verdict"] in ("higher", "lower", "noise") and error > 0:
            half = max(row["high"] - row["difference"], row["difference"] - row["low"])  # an end may have been cut
            reach = half / error + GOOD
            apart = (reach, -row["difference"], of_groups**2, max(error**2 - of_groups**2, 0))
            rows[name] |= {"shown": reach * error, "needed": max(groups_needed(row["groups"], *apart), FEWEST)}
    compared = [name for name in variants if rows[name]["verdict"] != "equal"]
    if len(compared) > 1 and against["groups"].iloc[0] >= FEWEST:
        scores = np.round([both[name] for name in compared], 12)
        top = scores == scores.max(axis=0)
        for name, share in zip(compared, (top / top.sum(axis=0)).mean(axis=1), strict=True):
            rows[name]["first"] = share
    table = pd.DataFrame.from_dict({name: rows[name] for name in variants}, orient="index")
    columns = ["difference", "verdict", "first", "shown", "needed"]
    return table.reindex(columns=columns).sort_values("difference", ascending=False, kind="stable")


@dataclass(frozen=True)
class Equivalence:
    """Our score minus another's: the middle 90 % of that difference if `verdict` is equivalent, else the middle 95 %.

    `needed`: groups that would decide with 80 % power if the true difference is as seen; else, or of too few, NaN.
    """

    verdict: Literal["equivalent", "different", "undecided"]
    difference: float
    low: float
    high: float
    needed: float = float("nan")


def equivalence(
    ours: tuple[float, float, float], theirs: float, groups: int, margin: float | None, error=0.0, seeds=0.0
) -> Equivalence:
    """Two one-sided tests at 5 % (Schuirmann 1987) of a score (estimate, low, high of its 95 % interval) and another.

    Equivalent: the 90 % interval of the difference lies within ± `margin`; else different: the 95 % interval leaves
    out 0. `error`: the other score's standard error, taken as independent of ours; `seeds`: the part of our own that is
    due to seeds. Each side of our interval is combined with `error` by itself (MOVER; Donner and Zou 2012). Of fewer
    than FEWEST groups nothing is decided. The number needed for equivalence is that of a true difference of 0, with the
    margin less what was seen (Chow, Shao, Wang 2008), so it is rather too large.
    """
    (estimate, low, high), enough = ours, groups >= FEWEST
    difference, room = estimate - theirs, (margin or 0) - abs(estimate - theirs)
    below, above = (hypot((end - estimate) / TWO_SIDED, error) for end in (low, high))
    narrow, wide = ((difference - z * below, difference + z * above) for z in (ONE_SIDED, TWO_SIDED))
    if enough and margin and -margin < narrow[0] and narrow[1] < margin:
        return Equivalence("equivalent", difference, *narrow)
    if enough and (wide[0] > 0 or wide[1] < 0):
        return Equivalence("different", difference, *wide)
    if not enough:
        return Equivalence("undecided", difference, *wide)
    of_groups = max(((high - low) / (2 * TWO_SIDED)) ** 2 - seeds**2, 0)
    sought = (ONE_SIDED + TWICE_GOOD, room) if room > 0 else (TWO_SIDED + GOOD, abs(difference))
    needed = groups_needed(groups, *sought, of_groups, seeds**2 + error**2)
    return Equivalence("undecided", difference, *wide, max(needed, FEWEST))
