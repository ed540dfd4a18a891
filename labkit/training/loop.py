"""The training loop: epochs, freezing, schedules, and the choice of the epoch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from labkit.data.loaders import Batch, EpochLoader, shared
from labkit.models.build import num_classes, synchronized, train_mode
from labkit.params import ParameterError, RunParams
from labkit.runs.files import read_csv
from labkit.runs.folder import Run
from labkit.training.checkpoint import Progress, load_checkpoint, save_weights
from labkit.training.loss import make_criterion
from labkit.training.optim import learning_rate_at, make_optimizer
from labkit.training.predict import predict_share, prepare
from labkit.training.processes import agree, together
from labkit.training.progress import Estimate, fit_steps
from labkit.training.recorder import Keeper, Score
from labkit.training.step import TrainStep, labels_of
from labkit.training.stop import Stopped, how_far, stop_requests


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

    A run that was killed goes on after its last full epoch, one that was asked to stop (SIGTERM) after its last step;
    a finished one is replayed from its folder. Raises Stopped where it is asked to, FloatingPointError when the loss is
    no longer a number, and ParameterError where memory does not suffice for the smallest part of a batch. How many
    images were trained on at a time, usually the batch, is the manifest's ``micro_batch``.
    """
    if run.finished:
        return replay(model, run)
    if params.outputs(2) != min(num_classes(model), 2) or (params.loss == "ordinal" and n_classes is None):
        raise ValueError(f"loss: {params.loss} does not fit {num_classes(model)} outputs and n_classes {n_classes}")
    n_classes = n_classes or num_classes(model)
    saved = load_checkpoint(run.path("checkpoint.pt"), run.fingerprint)
    with stop_requests() as stop:
        keeper = Keeper(run, params, score, score_name, n_classes, watch, stop)
        progress = together(accelerator, learn_share, model, loaders, params, n_classes, saved, here=[keeper])
        prepare(accelerator, model).load_state_dict(progress.best_weights)  # several GPUs have trained a copy
        save_weights(run.path("model.safetensors"), progress.best_weights, params.arch)
        run.record(best_epoch=progress.best_epoch, epoch_seconds=progress.seconds, micro_batch=progress.micro_batch)
        if stop.asked:
            raise Stopped("stopped as asked, with all epochs done; the same command goes on from there")
    return pd.DataFrame(progress.history)


def learn_share(
    accelerator: Accelerator, model: nn.Module, loaders: dict[str, EpochLoader], *arguments: Any
) -> Progress:
    """`learn` from this process's share of every batch."""
    with shared(loaders.values(), accelerator.process_index, accelerator.num_processes):
        return learn(accelerator, model, loaders, *arguments)


def learn(
    accelerator: Accelerator,
    model: nn.Module,
    loaders: dict[str, EpochLoader],
    params: RunParams,
    n_classes: int,
    saved: dict[str, Any] | None,
    keeper: Keeper | None = None,
) -> Progress:
    """All epochs that are left after the checkpoint ``saved``; ``keeper`` is handed each one.

    Of several processes each calls this with the same arguments, and one of them alone has a keeper.
    """
    watched = [split for split in ("val", "test") if split in loaders and (split == "val" or params.select_on == split)]
    labels, train = {split: loaders[split].labels for split in watched}, loaders["train"]
    weights = class_weights(train.labels, params.class_weights, n_classes)
    step, progress = begin(accelerator, model, params, n_classes, weights, saved)
    if keeper and saved is None:  # the start is kept too: killed in its first epoch, a run must not go on half-trained
        keeper.save(step, progress)
    elif keeper and (progress.history or progress.steps):
        place = how_far(len(progress.history) + 1, progress.steps, len(train))
        print(f"going on {place}, from {keeper.run.path('checkpoint.pt')}")
    estimate = Estimate((params.epochs - len(progress.history)) * len(train) - progress.steps)
    for epoch in range(len(progress.history) + 1, params.epochs + 1):
        started = time.monotonic() - progress.spent
        frozen = epoch <= params.freeze_epochs
        if epoch == params.freeze_epochs + 1 and epoch > 1 and not progress.steps:
            step.optimizer = make_optimizer(step.model, params, accelerator, frozen=False)  # the head's own ends here
        row: dict[str, Any] = {"epoch": epoch, "phase": "head" if frozen else "all"}
        row["learning_rate"] = learning_rate_at(params, epoch - 1)
        train_mode(step.model, frozen)
        train.set_epoch(epoch, progress.steps)
        try:
            steps = fit_steps(train, epoch, params.epochs, estimate, progress.steps) if keeper else train
            row |= train_one_epoch(step, until_asked(accelerator, steps, keeper), len(train), epoch, progress)
            outputs = {split: predict_watched(split, loaders[split], step, epoch, keeper) for split in watched}
        except Stopped:
            if keeper and progress.steps:  # else the checkpoint of the epoch before says it all
                progress.spent = time.monotonic() - started
                keeper.save(step, progress)
            place = how_far(epoch, progress.steps, len(train))
            raise Stopped(f"stopped as asked; saved {place}, and the same command goes on from there") from None
        if keeper:
            keeper.end_epoch(row, outputs, labels, weights, step, progress, time.monotonic() - started)
        else:
            progress.end_epoch(row, 0.0)
    return progress


def begin(
    accelerator: Accelerator,
    model: nn.Module,
    params: RunParams,
    n_classes: int,
    weights: Sequence[float] | None,
    saved: dict[str, Any] | None,
) -> tuple[TrainStep, Progress]:
    """The step to train with, and how far training is: at its start, or where the checkpoint ``saved`` was written."""
    criterion = make_criterion(params, weights).to(accelerator.device)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        model = synchronized(deepcopy(model))  # on a CPU each process has BatchNorms of its own, as pieces have
    model = prepare(accelerator, model)
    progress, optimizer = _resume(model, params, accelerator, saved)
    return TrainStep(model, criterion, optimizer, params, accelerator, n_classes, progress.micro_batch), progress


def predict_watched(split: str, loader: EpochLoader, step: TrainStep, epoch: int, keeper: Keeper | None) -> np.ndarray:
    """The network's outputs for a split after an epoch; a look at test is counted before it happens."""
    if keeper and split == "test":
        keeper.run.count_test_prediction()
    loader.set_epoch(epoch)  # matters under augment_test only
    batches = until_asked(step.accelerator, loader, keeper)
    return predict_share(step.accelerator, step.model, batches, step.params.normalize)


def until_asked(accelerator: Accelerator, batches: Iterable[Batch], keeper: Keeper | None) -> Iterator[Batch]:
    """The batches; raises Stopped before the next one, in all processes the same, where the keeper was asked to."""
    for batch in batches:
        if agree(accelerator, keeper is not None and keeper.stop.asked):
            raise Stopped
        yield batch


def train_one_epoch(
    step: TrainStep, batches: Iterable[Batch], step_count: int, epoch: int, progress: Progress | None = None
) -> dict[str, float]:
    """One pass; gives ``train_loss`` (mean an image) and ``train_accuracy``; the loop copies nothing to the host.

    ``progress`` says which of the epoch's ``step_count`` steps were done before, and afterwards, also where the batches
    end in Stopped, which are now.
    """
    progress = progress or Progress()
    params, device = step.params, step.accelerator.device
    totals = torch.tensor(progress.sums, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    try:
        for batch in batches:
            number = progress.steps
            for group in step.optimizer.param_groups:
                group["lr"] = learning_rate_at(params, epoch - 1 + number / step_count)
            # An epoch needs no state from the one before, nor a step.
            totals += step(batch, seed=((params.seed * 100_003 + epoch) * 1_000_003 + number) % 2**63)
            progress.steps, progress.images = number + 1, progress.images + len(labels_of(batch))
    except Stopped:
        progress.sums, progress.micro_batch = totals.tolist(), step.micro_batch
        raise
    loss, correct = progress.sums = totals.tolist()
    progress.micro_batch = step.micro_batch
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"epoch {epoch}: the training loss is no longer a number; "
            f"lower learning_rate (it is {params.learning_rate:g})"
        )
    return {"train_loss": loss / progress.images, "train_accuracy": correct / progress.images}


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


def replay(model: nn.Module, run: Run) -> pd.DataFrame:
    """History and weights of a finished run."""
    from safetensors.torch import load_file

    print(f"{run.folder.name} is finished: its history is replayed from {run.folder}")
    model.load_state_dict(load_file(run.path("model.safetensors")))
    return read_csv(run.path("history.csv"))


def _resume(
    model: nn.Module, params: RunParams, accelerator: Accelerator, saved: dict[str, Any] | None
) -> tuple[Progress, torch.optim.Optimizer]:
    """Progress and optimizer: from the checkpoint if there is one, else new."""
    progress = Progress(**saved["progress"]) if saved else Progress()
    # That of the epoch that the checkpoint was made in: of two phases the second begins with its own.
    epoch = max(len(progress.history) + (progress.steps > 0), 1)
    optimizer = make_optimizer(model, params, accelerator, frozen=epoch <= params.freeze_epochs)
    if saved is not None:
        accelerator.unwrap_model(model).load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(saved["scaler"])
    return progress, optimizer
