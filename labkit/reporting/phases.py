"""What accuracy does from epoch to epoch: swing at each rate, jump after a frozen phase, plateau, late fall."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from labkit.format import metric, percent, rate, signed_difference
from labkit.reporting.ablation import SPLITS
from labkit.reporting.frames import floats, joined, known, parts

PLATEAU, FALL = 0.005, 0.01  # of accuracy: what counts as no better, and what counts as worse
POINTS = metric("accuracy").difference


def phase_sentences(history: pd.DataFrame) -> list[str]:
    """A sentence for each run whose validation (else test) accuracy jumps, swings, stays or falls; possibly none.

    `history`: columns run, epoch, phase, learning_rate, [seed], val_accuracy or test_accuracy. Means over seeds; a
    swing is the mean size of the change from one epoch to the next, in each seed by itself.
    """
    lines = []
    for run, rows in parts(joined(history), "run").items():
        for column in [name for name in SPLITS if len(known(rows, name))][:1]:
            first, *others = parts(known(rows, column), "seed").values()
            curves = np.array([floats(seed, column) for seed in (first, *others)])
            if clauses := [*_jump(first, curves), *_swings(first, curves), *_end(first, curves.mean(axis=0))]:
                lines.append(f"{run}: {SPLITS[column]} accuracy {'; it '.join(clauses)}.")
    return lines


def _jump(rows: pd.DataFrame, curves: np.ndarray) -> Iterator[str]:
    """From the last epoch in which the head alone learns to the first in which everything does."""
    frozen = list(rows["phase"]).count("head") if "phase" in rows else 0
    if 0 < frozen < len(rows):
        before, after = curves[:, frozen - 1 : frozen + 1].mean(axis=0)
        by = signed_difference("accuracy", after - before)
        yield f"goes from {percent(before)} to {percent(after)} ({by}) in the first epoch after the frozen phase"


def _swings(rows: pd.DataFrame, curves: np.ndarray) -> Iterator[str]:
    """Before and after the first drop of a constant rate, with two changes or more on either side."""
    rates = floats(rows, "learning_rate").tolist()
    drops = [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1]]
    if drops:
        at, end = drops[0], [*drops, len(rates)][1]
        before, after = (np.abs(np.diff(part, axis=1)) for part in (curves[:, :at], curves[:, at:end]))
        if min(before.shape[1], after.shape[1]) >= 2:
            yield (
                f"changes by {POINTS(before.mean())} from epoch to epoch at a rate of {rate(rates[0])} "
                f"and by {POINTS(after.mean())} at {rate(rates[at])}"
            )


def _end(rows: pd.DataFrame, curve: np.ndarray) -> Iterator[str]:
    """Whether nothing is gained in the second half, and how far the last epoch lies below the best."""
    epochs, best = floats(rows, "epoch").astype(int), int(curve.argmax())
    if len(curve) < 4:
        return
    early = int(np.flatnonzero(curve >= curve[best] - PLATEAU)[0])
    if 2 * (early + 1) <= len(curve):
        yield f"gains at most {POINTS(curve[best] - curve[early])} after epoch {epochs[early]} of {epochs[-1]}"
    if curve[best] - curve[-1] > FALL:
        yield f"ends {POINTS(curve[best] - curve[-1])} below its best, {percent(curve[best])} in epoch {epochs[best]}"
