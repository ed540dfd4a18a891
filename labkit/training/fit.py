"""The training loop: epochs, freezing, schedules, and the choice of the epoch."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from labkit.data.loaders import Batch, EpochLoader
from labkit.disk import read_csv, write_csv
from labkit.models.build import freeze_backbone, head_parameters, num_classes, train_mode, unfreeze_backbone
from labkit.params import ParameterError, RunParams
from labkit.runs import Run
from labkit.training.checkpoint import Progress, load_checkpoint, save_checkpoint, save_weights
from labkit.training.objective import as_logits, losses, make_criterion
from labkit.training.predict import predict
from labkit.training.progress import Estimate, fit_steps
from labkit.training.step import TrainStep

Score = Callable[[np.ndarray, np.ndarray], float]


def fit(
    model: nn.Module,
    loaders: dict[str, EpochLoader],
    params: RunParams,
    accelerator: Accelerator,
    run: Run,
    score: Score,
    score_name: str,
    n_classes: int | None = None,
    watch: Callable[[pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Train, leave the chosen epoch's weights in ``model`` and in the run folder, and return the history.

    The history has one row an epoch: ``epoch, phase, learning_rate, train_loss, train_accuracy`` and, for every split
    that is watched, ``<split>_loss, <split>_accuracy, <split>_<score_name>``. Watched are val, where there is one, and
    test only under ``select_on: test``. Training loss and accuracy are those of the augmented images while the epoch
    runs. The epoch with the best ``score(labels, logits)`` on ``params.select_on`` is chosen, the earlier of two equal
    ones; under ``select_on: last`` it is the last. Under ``loss: ordinal`` the network has one output and
    ``n_classes``, the number of grades, must be given; accuracy and score are then those of the nearest grade.
    ``watch`` is handed the history so far after every epoch, to draw it.

    A run that was interrupted goes on after its last full epoch; a finished one is replayed from its folder. Raises
    FloatingPointError when the loss is no longer a number, and ParameterError where memory does not suffice for the
    smallest part of a batch. How many images were trained on at a time, usually the batch, is the manifest's
    ``micro_batch``.
    """
    if run.finished:
        return replay(model, run)
    watched = [split for split in ("val", "test") if split in loaders and (split == "val" or params.select_on == split)]
    labels = {split: loaders[split].labels for split in ("train", *watched)}
    if params.outputs(2) != min(num_classes(model), 2) or (params.loss == "ordinal" and n_classes is None):
        raise ValueError(f"loss: {params.loss} does not fit {num_classes(model)} outputs and n_classes {n_classes}")
    n_classes = n_classes or num_classes(model)
    weights = class_weights(labels["train"], params.class_weights, n_classes)
    criterion = make_criterion(params, weights).to(accelerator.device)
    # In one process Accelerate hands the network itself back; only several would wrap it.
    model = cast(nn.Module, accelerator.prepare_model(model.to(memory_format=torch.channels_last)))
    progress, optimizer = _resume(model, params, accelerator, run)
    step = TrainStep(model, criterion, optimizer, params, accelerator, n_classes, progress.micro_batch)
    estimate = Estimate((params.epochs - len(progress.history)) * len(loaders["train"]))
    for epoch in range(len(progress.history) + 1, params.epochs + 1):
        started = time.monotonic()
        frozen = epoch <= params.freeze_epochs
        if epoch == params.freeze_epochs + 1 and epoch > 1:
            step.optimizer = make_optimizer(model, params, accelerator, frozen=False)  # the head's own ends here
        loaders["train"].set_epoch(epoch)
        train_mode(model, frozen)
        steps = fit_steps(loaders["train"], epoch, params.epochs, estimate)
        row: dict[str, Any] = {"epoch": epoch, "phase": "head" if frozen else "all"}
        row["learning_rate"] = learning_rate_at(params, epoch - 1)
        row |= train_one_epoch(step, steps, len(loaders["train"]), epoch)
        progress.micro_batch = step.micro_batch
        for split in watched:
            if split == "test":
                run.count_test_prediction()
            loaders[split].set_epoch(epoch)  # matters under augment_test only
            outputs = predict(model, loaders[split], params.normalize)
            row |= evaluate(split, labels[split], outputs, weights, score, score_name, n_classes)
        progress.history.append(row)
        reached = epoch if params.select_on == "last" else row[f"{params.select_on}_{score_name}"]
        progress.consider(epoch, reached, accelerator.unwrap_model(model))
        progress.seconds.append(round(time.monotonic() - started, 2))
        _keep(run, progress, accelerator.unwrap_model(model), step.optimizer, accelerator.scaler)
        if watch is not None:
            watch(pd.DataFrame(progress.history))
        print(epoch_line(row, params.epochs, watched, score_name, progress.seconds[-1]), flush=True)
    accelerator.unwrap_model(model).load_state_dict(progress.best_weights)
    save_weights(run.path("model.safetensors"), progress.best_weights, params.arch)
    run.record(best_epoch=progress.best_epoch, epoch_seconds=progress.seconds, micro_batch=step.micro_batch)
    return pd.DataFrame(progress.history)


def train_one_epoch(step: TrainStep, batches: Iterable[Batch], step_count: int, epoch: int) -> dict[str, float]:
    """One pass; gives ``train_loss`` (mean an image) and ``train_accuracy``; the loop copies nothing to the host."""
    params, device = step.params, step.accelerator.device
    totals = torch.zeros(2, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    count = 0
    for number, batch in enumerate(batches):
        for group in step.optimizer.param_groups:
            group["lr"] = learning_rate_at(params, epoch - 1 + number / step_count)
        # An epoch needs no state from the one before, nor a step.
        totals += step(batch, seed=((params.seed * 100_003 + epoch) * 1_000_003 + number) % 2**63)
        count += len(batch["labels"])
    loss, correct = totals.tolist()
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"epoch {epoch}: the training loss is no longer a number; "
            f"lower learning_rate (it is {params.learning_rate:g})"
        )
    return {"train_loss": loss / count, "train_accuracy": correct / count}


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


def learning_rate_at(params: RunParams, epoch: float) -> float:
    """Learning rate after ``epoch`` epochs (also parts of one): a function, so that a resumed run needs no state."""
    if params.schedule == "step":
        return params.learning_rate * params.gamma ** (int(epoch) // params.step_size)
    if params.schedule == "cosine":  # Loshchilov & Hutter 2017, without restarts
        return params.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / params.epochs))
    return params.learning_rate


def build_optimizer(model: nn.Module, params: RunParams, frozen: bool) -> torch.optim.Optimizer:
    """The optimizer of a phase: the head's parameters alone while the backbone is frozen, else all."""
    if frozen:
        freeze_backbone(model)
    else:
        unfreeze_backbone(model)
    learning = head_parameters(model) if frozen else model.parameters()
    # Fused: one pass over the weights instead of a dozen, 8 ms for 44 of a ResNet-18's AdamW on a core.
    shared = {"lr": params.learning_rate, "weight_decay": params.weight_decay, "fused": True}
    if params.optimizer == "sgd":
        return torch.optim.SGD(learning, momentum=params.momentum, **shared)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[params.optimizer]
    return kind(learning, **shared)


def make_optimizer(
    model: nn.Module, params: RunParams, accelerator: Accelerator, frozen: bool
) -> torch.optim.Optimizer:
    """`build_optimizer`'s, in the accelerator's hands, which scales gradients in fp16."""
    return accelerator.prepare_optimizer(build_optimizer(model, params, frozen))


def class_weights(labels: np.ndarray, choice: str | list[float], num_classes: int) -> list[float] | None:
    """Weights of the loss, one a class.

    ``balanced``: N / (C n_c) (King & Zeng 2001, as scikit-learn), 0 for no image. ``complement``: 1 - n_c / N, scaled
    to 1 for the first class: far milder, since it never exceeds N / (N - n_0).
    """
    if choice == "none":
        return None
    if choice == "balanced":
        counts = np.bincount(labels, minlength=num_classes)
        return [float(len(labels) / (num_classes * n)) if n else 0.0 for n in counts]
    if choice == "complement":
        rest = len(labels) - np.bincount(labels, minlength=num_classes)
        if rest[0] == 0:
            raise ParameterError("class_weights: got 'complement', but every training image is of the first class")
        return [float(count / rest[0]) for count in rest]
    if len(choice) != num_classes:
        raise ParameterError(f"class_weights: got {choice}, allowed: one number for each of the {num_classes} classes")
    return [float(weight) for weight in choice]


def epoch_line(row: dict[str, Any], epochs: int, watched: list[str], score_name: str, seconds: float) -> str:
    """``epoch  3/15  train loss 0.812 accuracy 0.734  val loss …``: one line, no carriage return."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts.append(f"train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}")
    for split in watched:
        values = (row[f"{split}_loss"], row[f"{split}_accuracy"], row[f"{split}_{score_name}"])
        parts.append("{} loss {:.3f} accuracy {:.3f} {} {:.3f}".format(split, *values[:2], score_name, values[2]))
    return "  |  ".join([*parts, f"{seconds:.0f} s"])


def replay(model: nn.Module, run: Run) -> pd.DataFrame:
    """History and weights of a finished run."""
    from safetensors.torch import load_file

    print(f"{run.folder.name} is finished: its history is replayed from {run.folder}")
    model.load_state_dict(load_file(run.path("model.safetensors")))
    return read_csv(run.path("history.csv"))


def _resume(
    model: nn.Module, params: RunParams, accelerator: Accelerator, run: Run
) -> tuple[Progress, torch.optim.Optimizer]:
    """Progress and optimizer: from the checkpoint if there is one, else new."""
    checkpoint = load_checkpoint(run.path("checkpoint.pt"), run.fingerprint)
    done = len(checkpoint["progress"]["history"]) if checkpoint else 0
    optimizer = make_optimizer(model, params, accelerator, frozen=max(done, 1) <= params.freeze_epochs)
    if checkpoint is None:  # the start is kept too: stopped in its first epoch, a run must not go on half-trained
        start = accelerator.unwrap_model(model)
        save_checkpoint(run.path("checkpoint.pt"), run.fingerprint, Progress(), start, optimizer, accelerator.scaler)
        return Progress(), optimizer
    accelerator.unwrap_model(model).load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(checkpoint["scaler"])
    if done:
        print(f"going on after epoch {done}, from {run.path('checkpoint.pt')}")
    return Progress(**checkpoint["progress"]), optimizer


def _keep(run: Run, progress: Progress, model: nn.Module, optimizer: Any, scaler: Any) -> None:
    """History and checkpoint after a full epoch; its seconds go into the manifest, not into the history."""
    write_csv(run.path("history.csv"), pd.DataFrame(progress.history))
    save_checkpoint(run.path("checkpoint.pt"), run.fingerprint, progress, model, optimizer, scaler)
    run.record(epoch_seconds=progress.seconds, micro_batch=progress.micro_batch)
