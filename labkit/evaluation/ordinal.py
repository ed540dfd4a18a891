"""Cuts that turn the output of an ordinal run, a number, into a grade; fitted on validation predictions only.

In the Kaggle competition of 2015, the cuts with the best quadratic weighted kappa were searched by Nelder-Mead or one
cut at a time, from 0.5, 1.5, …. Here they are found exactly. With labels l and predictions a of n images, kappa is

    2 (Σ l a − Σ l Σ a / n) / (Σ l² + Σ a² − 2 Σ l Σ a / n).

A prediction is the number of cuts that the image's output reaches, so each of these sums is a sum over the cuts. The
ratio of two such sums is largest where (above − λ below) is largest, for the right λ, and each estimate of λ gives a
better one (Dinkelbach 1967, Management Science 13(7)). For a given λ the cuts are placed one after another, in order.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FOLDS = 5  # of the validation groups


def refuse_diverged(name: str, bad: NDArray[np.bool_]) -> None:
    """Raises ValueError if any row's outputs are `bad`: NaN or infinite."""
    if bad.any():
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.size} rows are NaN or infinite, first row {int(np.argmax(bad))}; "
            "the training diverged: lower the learning rate, or look for broken images"
        )


@dataclass(frozen=True)
class Cuts:
    """Ascending cuts; the predicted class is the number of cuts that an output reaches. `reason`: None if fitted."""

    values: tuple[float, ...]
    n: int = 0  # validation images used
    reason: str | None = None  # why they are the half-way cuts

    def predict(self, grades: Floats) -> NDArray[np.int64]:
        """Class numbers (n,). Raises ValueError on NaN or infinite grades."""
        refuse_diverged("grade", ~np.isfinite(grades))
        return np.searchsorted(self.values, grades, side="right").astype(np.int64)


def half_way(n_classes: int) -> tuple[float, ...]:
    """0.5, 1.5, …: each output becomes the nearest grade."""
    return tuple(number + 0.5 for number in range(n_classes - 1))


def grade_cuts(predictions: pd.DataFrame, n_classes: int) -> Cuts:
    """The cuts with the best quadratic weighted kappa on the labelled rows whose `split` is val.

    Half-way cuts, with the reason, if there are no such rows or all of them have the same grade.
    """
    rows = predictions.dropna(subset=["label"])
    rows = rows.loc[rows["split"] == "val"] if "split" in rows else rows.iloc[:0]
    if rows.empty:
        return Cuts(half_way(n_classes), reason="there are no labelled validation images to fit them on")
    labels = rows["label"].to_numpy(np.int64)
    if len(set(labels)) < 2:
        return Cuts(half_way(n_classes), len(rows), "all validation images have the same grade")
    return Cuts(best_cuts(rows["grade"].to_numpy(np.float64), labels, n_classes), len(rows))


def graded(predictions: pd.DataFrame, n_classes: int) -> NDArray[np.int64]:
    """Class numbers (n,) of a predictions table with `grade`: the rule by which epochs, runs and test are all scored.

    The cuts are those of `grade_cuts`, but for labelled validation images those of the other folds: scored with cuts
    that were fitted on them, validation would look better than test.
    """
    grades = predictions["grade"].to_numpy(np.float64)
    predicted = grade_cuts(predictions, n_classes).predict(grades)
    places = np.flatnonzero((predictions["split"] == "val") & predictions["label"].notna())
    val = predictions.iloc[places]
    fold = _folds(val)
    for number in range(FOLDS):
        part = fold == number
        predicted[places[part]] = grade_cuts(val.loc[~part], n_classes).predict(grades[places[part]])
    return predicted


def _folds(rows: pd.DataFrame) -> NDArray[np.int64]:
    """The fold (n,) of each row: groups (else images) by worst grade and name, dealt in turn; rows in any order."""
    groups = [str(image if pd.isna(group) else group) for group, image in rows[["group", "image_id"]].to_numpy()]
    worst: dict[str, int] = {}
    for name, label in zip(groups, rows["label"].to_numpy(np.int64), strict=True):
        worst[name] = max(worst.get(name, 0), int(label))
    turn = {name: place % FOLDS for place, name in enumerate(sorted(worst, key=lambda name: (worst[name], name)))}
    return np.array([turn[name] for name in groups], np.int64)


def best_cuts(grades: Floats, labels: NDArray[np.int64], n_classes: int) -> tuple[float, ...]:
    """The C - 1 ascending cuts with the highest possible kappa; the labels must have at least two grades.

    All places between two neighbouring outputs are equally good: the half-way cut if it lies there, else the middle.
    """
    order = np.argsort(grades, kind="stable")
    grades, labels = grades[order], labels[order]
    n, total = len(grades), float(labels.sum())
    # A cut at place p has p images below it; images with equal outputs stay on the same side.
    places = np.flatnonzero(np.r_[True, grades[1:] > grades[:-1], True])
    reached = n - places.astype(np.float64)
    of_labels = total - np.r_[0.0, np.cumsum(labels)][places]  # Σ l of the images that reach the cut
    common = 2 * total * reached / n
    above = 2 * of_labels - common
    below = np.stack([(2 * k - 1) * reached - common for k in range(1, n_classes)])  # a² = 1 + 3 + … + (2a − 1)
    squares = float((labels.astype(np.float64) ** 2).sum())

    kappa, chosen = 0.0, _in_order(np.tile(above, (n_classes - 1, 1)))
    while (better := above[chosen].sum() / (squares + below[np.arange(n_classes - 1), chosen].sum())) > kappa + 1e-12:
        kappa = better
        chosen = _in_order(above - kappa * below)
    return _between(grades, places[chosen], half_way(n_classes))


def _in_order(gains: Floats) -> NDArray[np.int64]:
    """Columns c_1 <= c_2 <= … with the largest Σ gains[k, c_k]; the first if several are. gains: (cuts, places)."""
    best, came_from = gains[0], []
    for gain in gains[1:]:
        highest = np.maximum.accumulate(best)
        first = np.r_[True, highest[1:] > highest[:-1]]
        came_from.append(np.maximum.accumulate(np.where(first, np.arange(len(best)), 0)))
        best = gain + highest
    chosen = [int(best.argmax())]
    for origin in reversed(came_from):
        chosen.append(int(origin[chosen[-1]]))
    return np.array(chosen[::-1])


def _between(grades: Floats, places: NDArray[np.int64], wanted: tuple[float, ...]) -> tuple[float, ...]:
    """A number for each place among the ascending outputs."""
    ends = np.r_[-np.inf, grades, np.inf]
    values = []
    for place, start in zip(places, wanted, strict=True):
        low, high = float(ends[place]), float(ends[place + 1])
        if low < start <= high:
            values.append(start)
        elif np.isinf(low) or np.isinf(high):  # no image below, or none above
            values.append(high if np.isinf(low) else float(np.nextafter(low, np.inf)))
        else:
            values.append((low + high) / 2)
    return tuple(sorted(values))
