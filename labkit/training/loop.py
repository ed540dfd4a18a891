"""The training loop: epochs, frozen phase, learning-rate schedule, steps, evaluation and the choice of the epoch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from labkit.data.loaders import Batch, EpochLoader
from labkit.models.build import num_classes, train_mode
from labkit.params import ParameterError, RunParams
from labkit.runs.files import read_csv
from labkit.runs.folder import Run
from labkit.training.checkpoint import Progress, load_checkpoint, restore
from labkit.training.launch import launch
from labkit.training.loss import make_criterion
from labkit.training.optim import build_optimizer, learning_rate_at
from labkit.training.predict import prepare
from labkit.training.progress import Bar, Stopped, StopRequest, stop_requests
from labkit.training.recorder import Recorder, Score
from labkit.training.step import TrainStep

Loaders = dict[str, EpochLoader]
Weights = Sequence[float] | None  # of the classes in the loss
AGAIN = "run the notebook's cells again, from the"


def fit(
    model: nn.Module,
    loaders: Loaders,
    params: RunParams,
    accelerator: Accelerator,
    run: Run,
    score: Score,
    watch: Callable[[pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Train, leave the chosen epoch's weights in ``model`` and in the run folder, and return the history.

    It has one row per epoch: ``epoch, phase, learning_rate, train_loss, train_accuracy`` (of the augmented images while
    the epoch runs; of classes only) and, of val and under ``select_on: test`` of test, ``<split>_loss`` and what
    ``score`` gives. The epoch is chosen by `Recorder.choose`. ``watch`` is called with the history after every epoch.

    A killed run continues after its last full epoch, one that was asked to stop (SIGTERM) after its last step; a
    finished one is replayed from its folder. Raises Stopped where it was asked to stop, FloatingPointError when the
    loss is no longer a number, and ParameterError without memory for one image, or as `refuse_stale` does.
    """
    refuse_stale(model, loaders, params, accelerator, run, score)
    if run.finished:
        print(f"{run.folder.name} is finished: its history is replayed from {run.folder}")
        return load_training(model, run)
    if params.num_processes > accelerator.num_processes:
        launch(run, model, (loaders, score), accelerator.device.type == "cuda", watch)
        return load_training(prepare(accelerator, model), run)
    train, weights = loaders["train"], class_weights(loaders["train"].labels, params.class_weights, score.n_classes)
    for loader in loaders.values():
        loader.restart(accelerator.process_index, accelerator.num_processes)
    recorder = Recorder(run, params, score, weights, len(train), watch, accelerator.is_main_process)
    group = dist.new_group(backend="gloo") if accelerator.num_processes > 1 else None
    network = prepare(accelerator, model)
    with stop_requests() as stop:
        until = partial(until_asked, stop=stop, group=group)
        step, progress = begin(network, accelerator, recorder)
        bar = Bar((params.epochs - len(progress.history)) * len(train) - progress.steps, params.epochs)
        for epoch in range(len(progress.history) + 1, params.epochs + 1):
            started, frozen = time.monotonic() - progress.spent, epoch <= params.freeze_epochs
            if 1 < epoch == params.freeze_epochs + 1 and not progress.steps:  # the backbone is freed
                step = make_step(network, params, accelerator, weights, epoch, step.micro_batch)
            row: dict[str, Any] = {"epoch": epoch, "phase": "head" if frozen else "all"}
            row["learning_rate"] = learning_rate_at(params, epoch - 1)
            train_mode(network, frozen)
            train.set_epoch(epoch, progress.steps)
            batches = bar.epoch(train, epoch, progress.steps, len(train))
            try:
                row |= train_one_epoch(step, until(batches), len(train), epoch, progress)
                row |= recorder.evaluate(step, loaders, epoch, until)
            except Stopped:
                raise recorder.stopped(step, progress, time.monotonic() - started) from None
            recorder.choose(row, progress, network)
            progress.end_epoch(row, time.monotonic() - started)
            recorder.end_epoch(step, progress)
        network.load_state_dict(progress.best_weights)
        recorder.finish(progress, num_processes=accelerator.num_processes)
        if stop.asked:
            raise Stopped("stopped as asked, with all epochs done; the same command goes on from there")
    return pd.DataFrame(progress.history)


def refuse_stale(
    model: nn.Module, loaders: Loaders, params: RunParams, accelerator: Accelerator, run: Run, score: Score
) -> None:
    """Raises ParameterError where a cell of a notebook has made something with other parameters.

    What a person has made by other means says nothing, and is taken.
    """
    images, network = "heading Images", "heading Network"
    made = [("accelerator", "cell `accelerator = set_up(params)`", vars(accelerator).get("made_from", {}))]
    made += [("loaders", images, loader.made_from) for loader in loaders.values()]
    made += [("score", images, vars(score)["table"].attrs.get("made_from", {}))] if hasattr(score, "table") else []
    made += [("model", network, vars(model).get("made_from", {})), ("run", network, run.params.model_dump())]
    for thing, place, values in made:
        for name, value in values.items():
            if (wanted := getattr(params, name)) != value:
                other = f"got {wanted!r}, but `{thing}` was made with {value!r}"
                raise ParameterError(f"{name}: {other}; {AGAIN} {place} on")
    if params.outputs(score.n_classes) != (outputs := num_classes(model)):
        said = f"loss: {params.loss} of {score.n_classes} classes does not fit {outputs} outputs"
        raise ParameterError(f"{said}; {AGAIN} {network} on")


def begin(network: nn.Module, accelerator: Accelerator, recorder: Recorder) -> tuple[TrainStep, Progress]:
    """The step to go on with, and what was done before it: by the checkpoint, else nothing.

    An interrupt in the notebook may have left the network in the middle of a step. Raises ParameterError where it has
    been trained and no checkpoint of this run can put back its state.
    """
    run = recorder.run
    saved = load_checkpoint(run.path("checkpoint.pt"), run.fingerprint)
    trained = vars(network).get("trained_in")
    if trained and not (saved and trained == run.fingerprint):
        raise ParameterError(f"model: it has been trained since it was made; {AGAIN} heading Network on")
    progress = Progress(**saved["progress"]) if saved else Progress()
    # The phase that the checkpoint was written in; the next one begins with an optimizer of its own.
    phase = max(len(progress.history) + (progress.steps > 0), 1)
    step = make_step(network, recorder.params, accelerator, recorder.weights, phase, progress.micro_batch)
    network.zero_grad(set_to_none=True)  # a step that was cut off has left its gradients
    if saved:
        restore(saved, network, step.optimizer, accelerator.scaler)
    else:  # the start is saved, too: a run killed in its first epoch must not continue half-trained
        recorder.save(step, progress)
    vars(network)["trained_in"] = run.fingerprint
    if progress.history or progress.steps:
        print(f"going on {recorder.how_far(progress)}, from {run.path('checkpoint.pt')}")
    return step, progress


def train_one_epoch(
    step: TrainStep, batches: Iterable[Batch], step_count: int, epoch: int, progress: Progress | None = None
) -> dict[str, float]:
    """One pass: its ``train_loss`` (mean per image) and, of classes, ``train_accuracy``; copies nothing to the host.

    ``progress``: which of the epoch's ``step_count`` steps are done, before and afterwards, also after Stopped.
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
            progress.steps = number + 1
    finally:
        progress.sums, progress.micro_batch = totals.tolist(), step.micro_batch
    loss, correct, images = progress.sums
    if not math.isfinite(loss):
        cure = f"lower learning_rate (it is {params.learning_rate:g})"
        raise FloatingPointError(f"epoch {epoch}: the training loss is no longer a number; {cure}")
    accuracy = {} if params.loss == "ordinal" else {"train_accuracy": correct / images}
    return {"train_loss": loss / images} | accuracy


def until_asked(batches: Iterable[Batch], stop: StopRequest, group: Any) -> Iterator[Batch]:
    """The batches; raises Stopped before the next one where a process of the ``group`` was asked to."""
    for batch in batches:
        asked = torch.tensor(int(stop.asked))
        if group is not None:
            dist.all_reduce(asked, group=group)  # between CPUs: nobody waits for a GPU
        if asked:
            raise Stopped
        yield batch


def make_step(
    network: nn.Module, params: RunParams, accelerator: Accelerator, weights: Weights, epoch: int, micro_batch: int
) -> TrainStep:
    """The step of an epoch's phase: only the head's weights learn while the backbone is frozen, else all of them."""
    optimizer = build_optimizer(network, params, frozen=epoch <= params.freeze_epochs)
    optimizer = accelerator.prepare_optimizer(optimizer)  # which scales gradients in fp16
    criterion = make_criterion(params, weights).to(accelerator.device)
    if accelerator.num_processes > 1:
        device_ids = [accelerator.local_process_index] if accelerator.device.type == "cuda" else None
        # Else it rearranges its sums after the first step, and three processes would resume to other last bits.
        network = DistributedDataParallel(network, device_ids, find_unused_parameters=True)
    return TrainStep(network, criterion, optimizer, params, accelerator, micro_batch)


def class_weights(labels: np.ndarray, choice: str | list[float], num_classes: int) -> list[float] | None:
    """Weights of the loss, one a class.

    ``balanced``: N / (C n_c) (King & Zeng 2001, as scikit-learn), 0 for no image. ``complement``: 1 - n_c / N, scaled
    to 1 for the first class: far milder, since it never exceeds N / (N - n_0).
    """
    if choice == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    if choice == "balanced":
        return [float(len(labels) / (num_classes * n)) if n else 0.0 for n in counts]
    if choice == "complement":
        if (rest := len(labels) - counts)[0] == 0:
            raise ParameterError("class_weights: got 'complement', but every training image is of the first class")
        return [float(count / rest[0]) for count in rest]
    if len(choice) != num_classes:
        raise ParameterError(f"class_weights: got {choice}, allowed: one number for each of the {num_classes} classes")
    return [float(weight) for weight in choice]


def load_training(model: nn.Module, run: Run) -> pd.DataFrame:
    """History and, into ``model``, the weights of a run whose training is over."""
    model.load_state_dict(load_file(run.path("model.safetensors")))
    vars(model)["trained_in"] = run.fingerprint
    return read_csv(run.path("history.csv"))
