"""How well probabilities rank the images, before any threshold is set: AUROC, average precision, and their curves.

With several classes, each is compared with all others, and the mean is over the classes that have images (for AUROC,
also images of other classes); the other classes are listed as left out. Average precision is scikit-learn's sum over
thresholds without interpolation, which would be too optimistic (Davis and Goadrich 2006); a random ranking has the
share of positives, not one half.

An interval of an AUROC comes from a bootstrap over groups, as in `intervals`, but from the probabilities of all images,
not from confusion matrices. Drawing groups with replacement means weighting each image by how often its group was
drawn. The weighted areas of all draws are then cumulative sums over the images in the order of their probabilities
(Mann and Whitney's count of correctly ordered pairs, where a tie counts one half).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from sklearn import metrics as sk

from labkit.evaluation.decide import Floats, Labels, probabilities_of, ranks
from labkit.evaluation.intervals import MANY, group_numbers, middle
from labkit.evaluation.thresholds import Question, question

Flags = NDArray[np.bool_]
COLUMNS = ["run", "of", "kind", "x", "y", "area", "share", "images"]
MOST_POINTS = 2_000  # of a curve; its area is that of all
AT_ONCE = 100  # draws held in memory at a time; the result does not depend on it


def auroc(positive: Flags, scores: Floats) -> float | None:
    """Area under the ROC curve; None unless there are both positives and negatives."""
    return float(sk.roc_auc_score(positive, scores)) if positive.any() and not positive.all() else None


def average_precision(positive: Flags, scores: Floats) -> float | None:
    """Mean precision over the thresholds, weighted by the gain in recall; None without a positive."""
    return float(sk.average_precision_score(positive, scores)) if positive.any() else None


MEASURES = {"auroc": auroc, "average_precision": average_precision}


def one_against_all(decided: pd.DataFrame, classes: Sequence[str]) -> dict[str, tuple[Flags, Floats]]:
    """For each class: which images belong to it, and their probabilities of it. Empty without probabilities."""
    if "p_0" not in decided:
        return {}
    labels, columns = decided["label"].to_numpy(np.int64), probabilities_of(decided).T
    return {name: (labels == number, columns[number]) for number, name in enumerate(classes)}


def ranking_scores(decided: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """macro_auroc, auroc_left_out, macro_average_precision, average_precision_left_out; None without probabilities."""
    asked = one_against_all(decided, classes)
    found: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        values = {one: measure(*asked[one]) for one in asked}
        known = [value for value in values.values() if value is not None]
        found[f"macro_{name}"] = float(np.mean(known)) if known else None
        found[f"{name}_left_out"] = [one for one in classes if values.get(one) is None]
    return found


def referable_scores(decided: pd.DataFrame, classes: Sequence[str], task: str) -> dict[str, float | None]:
    """referable_auroc and referable_average_precision of grades, None if nothing ranks the images; else empty."""
    referable = question(classes, task) if task == "grades" else None
    if referable is None:
        return {}
    if not ranks(decided):
        return {f"referable_{name}": None for name in MEASURES}
    return {f"referable_{name}": measure(*referable.of(decided)) for name, measure in MEASURES.items()}


def curves(tests: Mapping[str, pd.DataFrame], classes: Sequence[str], question: Question | None = None) -> pd.DataFrame:
    """Points of every variant's curves; `tests`: decided predictions by variant.

    Columns run; of: the class, or the question's name; kind: 'roc' (x = 1 - specificity, y = sensitivity) or 'pr'
    (x = sensitivity, y = PPV); area: AUROC or average precision; share: of positives; images: number of positives.
    There is no curve without both positive and negative images.
    """
    tables = []
    for run, table in tests.items():
        asked = one_against_all(table, classes)
        if question is not None and ranks(table):
            asked[question.name] = question.of(table)
        for name, (truth, scores) in asked.items():
            if truth.any() and not truth.all():
                known = {"run": run, "of": name, "share": truth.mean(), "images": int(truth.sum())}
                x, y, _ = sk.roc_curve(truth, scores)
                tables.append(pd.DataFrame(_thinned(x, y) | {"kind": "roc", "area": auroc(truth, scores)} | known))
                y, x, _ = sk.precision_recall_curve(truth, scores)
                area = average_precision(truth, scores)
                tables.append(pd.DataFrame(_thinned(x, y) | {"kind": "pr", "area": area} | known))
    empty = pd.DataFrame(columns=pd.Index(COLUMNS))
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS) if tables else empty


def _thinned(x: Floats, y: Floats) -> dict[str, Floats]:
    """At most MOST_POINTS of a curve's points, its ends among them: what a figure can show."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(np.int64))
    return {"x": x[kept], "y": y[kept]}


def auroc_intervals(
    decided: pd.DataFrame, classes: Sequence[str], task: str = "classes", draws: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Rows macro_auroc and, for grades, referable_auroc: low and high of a decided table; NaN where no draw differs."""
    n_groups = int(group_numbers(decided["group"], len(decided)).max()) + 1
    if len(decided) > MANY and draws is None:
        return _analytic_intervals(decided, classes, task)
    found = auroc_draws(decided, classes, task, draws or 2000, seed)
    ends = {name: middle(of, n_groups if pd.Series(of).nunique() > 1 else 0) for name, of in found.items()}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["low", "high"]).rename_axis("metric")


def _analytic_intervals(decided: pd.DataFrame, classes: Sequence[str], task: str) -> pd.DataFrame:
    """The same from the variance of the groups' placements (Obuchowski 1997, Biometrics 53), without a draw.

    An image's placement is the share of images of the other kind that its score is on the right side of.
    """
    groups, parts = group_numbers(decided["group"], len(decided)), {}
    referable = question(classes, task) if task == "grades" else None
    for name, (truth, scores) in one_against_all(decided, classes).items():
        if truth.any() and not truth.all():
            parts[name] = _placements(truth, scores)
    mean = [np.mean(column, axis=0) for column in zip(*parts.values(), strict=True)]
    means = {"macro_auroc": mean or [np.nan, np.full(len(groups), np.nan)]}
    if referable is not None and ranks(decided):
        means["referable_auroc"] = list(_placements(*referable.of(decided)))
    rows = {}
    for name, (area, influence) in means.items():
        of_groups = np.bincount(groups, influence)
        half = 1.96 * np.sqrt((of_groups**2).sum() * len(of_groups) / (len(of_groups) - 1))
        rows[name] = {"low": float(area - half), "high": float(area + half)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def _placements(truth: Flags, scores: Floats) -> tuple[float, Floats]:
    """The AUROC, and what each image moves it by (n,)."""
    influence = np.empty(len(scores))
    for mine, sign in ((truth, 1), (~truth, -1)):
        others = np.sort(sign * scores[~mine])
        below = [np.searchsorted(others, sign * scores[mine], side) for side in ("left", "right")]
        placed = np.add(*below) / (2 * len(others))
        influence[mine] = (placed - placed.mean()) / mine.sum()
    return float(placed.mean()), influence


def auroc_draws(
    decided: pd.DataFrame, classes: Sequence[str], task: str = "classes", draws: int = 2000, seed: int = 0
) -> pd.Series:
    """macro_auroc and, for grades, referable_auroc of every draw: arrays (draws,) by metric.

    A class without positives or negatives in a draw is left out of that draw's mean. Runs on the same images in the
    same order get the same draws, so their draws can be averaged or subtracted.
    """
    asked = list(one_against_all(decided, classes).values())
    referable = question(classes, task) if task == "grades" else None
    if referable is not None:
        asked.append(referable.of(decided))
    groups = group_numbers(decided["group"], len(decided))
    counted = [_counted(truth, scores, groups) for truth, scores in asked]
    n_groups = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    areas = np.empty((draws, len(asked)))
    for start in range(0, draws, AT_ONCE):
        size = min(AT_ONCE, draws - start)
        drawn = generator.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)
        weights = np.ascontiguousarray(weights.T, dtype=np.float64)  # groups × draws
        for column, (positive, negative) in enumerate(counted):
            areas[start : start + size, column] = _areas(positive @ weights, negative @ weights)
    by_class, known = areas[:, : len(classes)], ~np.isnan(areas[:, : len(classes)])
    means = np.where(known, by_class, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    return pd.Series({"macro_auroc": means} | ({"referable_auroc": areas[:, -1]} if referable is not None else {}))


def _counted(truth: Flags, scores: Floats, groups: Labels) -> list[csr_array]:
    """A group's positive images at each of their distinct scores, and its negative ones below: (values + 1, groups).

    The cumulative sum of the latter's rows is then the number below each value, an equal score counted half. If most
    images are positive, the sides change places and the scores their sign: the same area, from smaller matrices.
    """
    if 2 * truth.sum() > len(truth):
        truth, scores = ~truth, -scores
    values, place = np.unique(scores[truth], return_inverse=True)
    below = np.concatenate([np.searchsorted(values, scores[~truth], side) for side in ("left", "right")])  # a half each
    ends = ((1.0, place, groups[truth]), (0.5, below, np.tile(groups[~truth], 2)))
    shape = len(values) + 1, int(groups.max()) + 1
    return [csr_array(coo_array((np.full(len(row), count), (row, of)), shape=shape)) for count, row, of in ends]


def _areas(positive: Floats, negative: Floats) -> Floats:
    """Drawn images as `_counted`, (values + 1, draws) -> areas (draws,), exact; NaN without positives or negatives."""
    below = np.cumsum(negative, axis=0)
    pairs = positive.sum(axis=0) * below[-1]
    return np.divide(np.einsum("ij,ij->j", positive, below), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
