"""What is done with an epoch once it is computed: it is judged, chosen or not, written down and shown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labkit.params import RunParams
from labkit.runs.files import write_csv
from labkit.runs.folder import Run
from labkit.training.checkpoint import Progress, save_checkpoint
from labkit.training.loss import as_logits, losses
from labkit.training.step import TrainStep
from labkit.training.stop import StopRequest

Score = Callable[[np.ndarray, np.ndarray], float]


@dataclass
class Keeper:
    """Keeps the run folder of a training; hears who asks it to stop."""

    run: Run
    params: RunParams
    score: Score
    score_name: str
    n_classes: int
    watch: Callable[[pd.DataFrame], None] | None
    stop: StopRequest

    def save(self, step: TrainStep, progress: Progress) -> None:
        """A checkpoint of all that the steps so far have made."""
        model, accelerator = step.accelerator.unwrap_model(step.model), step.accelerator
        path = self.run.path("checkpoint.pt")
        save_checkpoint(path, self.run.fingerprint, progress, model, step.optimizer, accelerator.scaler)

    def end_epoch(
        self,
        row: dict[str, Any],
        outputs: dict[str, np.ndarray],
        labels: dict[str, np.ndarray],
        weights: Sequence[float] | None,
        step: TrainStep,
        progress: Progress,
        seconds: float,
    ) -> None:
        """Judge the epoch by the ``outputs`` of the splits that are watched, and leave the run folder as of now."""
        for split, found in outputs.items():
            row |= evaluate(split, labels[split], found, weights, self.score, self.score_name, self.n_classes)
        reached = row["epoch"] if self.params.select_on == "last" else row[f"{self.params.select_on}_{self.score_name}"]
        progress.consider(row["epoch"], reached, step.accelerator.unwrap_model(step.model))
        progress.end_epoch(row, seconds)
        write_csv(self.run.path("history.csv"), pd.DataFrame(progress.history))
        self.save(step, progress)
        # Seconds go into the manifest, not into the history.
        self.run.record(epoch_seconds=progress.seconds, micro_batch=progress.micro_batch)
        if self.watch is not None:
            self.watch(pd.DataFrame(progress.history))
        print(epoch_line(row, self.params.epochs, list(outputs), self.score_name, progress.seconds[-1]), flush=True)


def evaluate(
    split: str,
    labels: np.ndarray,
    outputs: np.ndarray,
    weights: Sequence[float] | None,
    score: Score,
    score_name: str,
    n_classes: int | None = None,
) -> dict[str, float]:
    """Loss (the training criterion's), accuracy and score of one split, over all of its images at once.

    ``outputs``: logits (n, C), or grades (n, 1) of ``n_classes``.
    """
    of_image = np.ones(len(labels)) if weights is None else np.array(weights)[labels]
    mean = float((losses(outputs, labels) * of_image).sum() / of_image.sum()) if of_image.any() else math.nan
    logits = as_logits(outputs, n_classes or outputs.shape[1])
    return {
        f"{split}_loss": mean,
        f"{split}_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        f"{split}_{score_name}": float(score(labels, logits)),
    }


def epoch_line(row: dict[str, Any], epochs: int, watched: list[str], score_name: str, seconds: float) -> str:
    """``epoch  3/15  train loss 0.812 accuracy 0.734  val loss …``: one line, no carriage return."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts.append(f"train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}")
    for split in watched:
        values = (row[f"{split}_loss"], row[f"{split}_accuracy"], row[f"{split}_{score_name}"])
        parts.append("{} loss {:.3f} accuracy {:.3f} {} {:.3f}".format(split, *values[:2], score_name, values[2]))
    return "  |  ".join([*parts, f"{seconds:.0f} s"])
