"""What happens after an epoch: it is evaluated, written to the run folder and printed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from labkit.data.loaders import EpochLoader
from labkit.params import RunParams
from labkit.runs.files import write_csv
from labkit.runs.folder import Run
from labkit.training.checkpoint import Progress, save_checkpoint, save_weights
from labkit.training.loss import losses
from labkit.training.predict import predict_together
from labkit.training.progress import Stopped
from labkit.training.step import TrainStep


class Score(Protocol):
    """How an epoch is scored: `labkit.evaluation.matrices.EpochScore`, which the notebook hands over."""

    name: str
    n_classes: int

    def __call__(self, outputs: dict[str, np.ndarray]) -> dict[str, float]: ...  # noqa: D102


@dataclass
class Recorder:
    """Writes what a training leaves in its run folder, and prints; of several processes only the first one does."""

    run: Run
    params: RunParams
    score: Score
    step_count: int  # of an epoch
    watch: Callable[[pd.DataFrame], None] | None
    first: bool  # whether this is the first process

    def save(self, step: TrainStep, progress: Progress) -> None:
        """A checkpoint with everything that the steps so far have changed."""
        if self.first:
            model = step.accelerator.unwrap_model(step.model)
            path, scaler = self.run.path("checkpoint.pt"), step.accelerator.scaler
            save_checkpoint(path, self.run.fingerprint, progress, model, step.optimizer, scaler)

    def evaluate(
        self, step: TrainStep, loaders: dict[str, EpochLoader], epoch: int, batches: Callable[[EpochLoader], Any]
    ) -> dict[str, float]:
        """``<split>_loss`` and what the score says, of val and, under ``select_on: test``, of test."""
        outputs, row, network = {}, {}, step.accelerator.unwrap_model(step.model)
        for split in ("val", "test") if self.params.select_on == "test" else ("val",):
            if (loader := loaders.get(split)) is None:
                continue
            if split == "test" and self.first:
                self.run.count_test_prediction()
            loader.set_epoch(epoch)  # matters under augment_test only
            outputs[split] = predict_together(network, batches(loader), self.params.normalize, step.accelerator)
            pair = (torch.from_numpy(part).to(step.accelerator.device) for part in (outputs[split], loader.labels))
            own = float(step.criterion(*pair)) if not hasattr(step.criterion, "made_from") else None
            ours = mean_loss(loader.labels, outputs[split], getattr(step.criterion, "weights", None))
            row[f"{split}_loss"] = ours if own is None else own
        return row | (self.score(outputs) if outputs else {})

    def choose(self, row: dict[str, Any], progress: Progress, network: nn.Module) -> None:
        """Keep a copy of the weights if the epoch is the best so far: by ``select_by`` on ``select_on``, of equal ones
        that with the lower loss, then the earlier; under ``select_on: last`` it is the last."""
        reached = float(row["epoch"]), 0.0
        if self.params.select_on != "last":
            name = self.params.chosen_by(self.score.name)
            score = -row[name] if name.endswith("_loss") else row[name]
            reached = score, -row[f"{self.params.select_on}_loss"]
        better = tuple(-math.inf if math.isnan(value) else value for value in reached)
        if not progress.best_epoch or better > progress.best:
            progress.best_epoch, progress.best = row["epoch"], better
            progress.best_weights = {name: one.detach().cpu().clone() for name, one in network.state_dict().items()}

    def how_far(self, progress: Progress) -> str:
        """``after step 31 of 140 of epoch 2``: where the run is, in words."""
        epoch = len(progress.history) + 1
        if progress.steps == 0:
            return f"after epoch {epoch - 1}" if epoch > 1 else "before its first step"
        if progress.steps == self.step_count:
            return f"after the last step of epoch {epoch}, before it is evaluated"
        return f"after step {progress.steps} of {self.step_count} of epoch {epoch}"

    def stopped(self, step: TrainStep, progress: Progress, seconds: float) -> Stopped:
        """Save how far an epoch is that was asked to stop after so many ``seconds``; what to raise then."""
        if progress.steps:  # else the checkpoint of the epoch before holds everything
            progress.spent = seconds
            self.save(step, progress)
        return Stopped(f"stopped as asked; saved {self.how_far(progress)}, and the same command goes on from there")

    def end_epoch(self, step: TrainStep, progress: Progress, row: dict[str, Any], seconds: float) -> None:
        """Add the epoch to ``progress``; write history, checkpoint and seconds, and print its line."""
        progress.history.append(row)
        progress.seconds.append(round(seconds, 2))
        progress.steps, progress.sums, progress.spent = 0, [0.0, 0.0, 0.0], 0.0
        if not self.first:
            return
        history = pd.DataFrame(progress.history)
        write_csv(self.run.path("history.csv"), history)
        self.save(step, progress)
        self.run.record(epoch_seconds=progress.seconds, micro_batch=progress.micro_batch)
        if self.watch is not None:
            self.watch(history)
        # epoch  3/15  |  train loss 0.812 accuracy 0.734  |  val loss …
        parts = [f"epoch {row['epoch']:>{len(str(self.params.epochs))}}/{self.params.epochs}"]
        for split in ("train", "val", "test"):
            names = dict.fromkeys(("loss", "accuracy", self.params.select_by or self.score.name))
            if shown := [f"{name} {row[f'{split}_{name}']:.3f}" for name in names if f"{split}_{name}" in row]:
                parts.append(" ".join([split, *shown]))
        print("  |  ".join([*parts, f"{progress.seconds[-1]:.0f} s"]), flush=True)

    def finish(self, progress: Progress, **facts: Any) -> None:
        """Write the weights of the best epoch, and what the manifest says about the training."""
        if self.first:
            save_weights(self.run.path("model.safetensors"), progress.best_weights, self.params.arch)
            facts |= {"epoch_seconds": progress.seconds, "micro_batch": progress.micro_batch}
            self.run.record(best_epoch=progress.best_epoch, **facts)


def mean_loss(labels: np.ndarray, outputs: np.ndarray, weights: Sequence[float] | None) -> float:
    """The training criterion of all images at once; outputs: logits (n, C), or grades (n, 1)."""
    of_image = np.ones(len(labels)) if weights is None else np.array(weights)[labels]
    return float((losses(outputs, labels) * of_image).sum() / of_image.sum()) if of_image.any() else math.nan
