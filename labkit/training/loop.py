"""The training loop: epochs, frozen phase, learning-rate schedule, steps, evaluation and the choice of the epoch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
from labkit.models.build import freeze_backbone, num_classes, train_mode
from labkit.params import ParameterError, RunParams
from labkit.runs.files import read_csv
from labkit.runs.folder import Run
from labkit.training.checkpoint import Progress, load_checkpoint
from labkit.training.launch import launch
from labkit.training.loss import make_criterion
from labkit.training.optim import Scheduler, make_optimizer, make_scheduler
from labkit.training.predict import prepare
from labkit.training.progress import Bar, Stopped, StopRequest, stop_requests
from labkit.training.recorder import Recorder, Score
from labkit.training.step import TrainStep

Loaders = dict[str, EpochLoader]
AGAIN = "run the notebook's cells again, from the"


def fit(
    model: nn.Module,
    loaders: Loaders,
    params: RunParams,
    accelerator: Accelerator,
    run: Run,
    score: Score,
    watch: Callable[[pd.DataFrame], None] | None = None,
    *,
    criterion: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Scheduler | None = None,
) -> pd.DataFrame:
    """Train, leave the chosen epoch's weights in ``model`` and in the run folder, and return the history.

    It has one row per epoch: ``epoch, phase, learning_rate, train_loss, train_accuracy`` (of the augmented images while
    the epoch runs; of classes only) and, of val and under ``select_on: test`` of test, ``<split>_loss`` and what
    ``score`` gives. The epoch is chosen by `Recorder.choose`. ``watch`` is called with the history after every epoch.

    A killed run continues after its last full epoch, one that was asked to stop (Stopped, by SIGTERM) after its last
    step. ParameterError where the loss is no number, memory does not hold one image, or as `refuse_stale` does.
    """
    of_class = class_weights(loaders["train"].labels, params.class_weights, score.n_classes)
    criterion, scheduler = criterion or make_criterion(params, of_class), scheduler or make_scheduler(params)
    made = {"criterion": criterion, "optimizer": optimizer or make_optimizer(model, params), "scheduler": scheduler}
    refuse_stale(params, score, run, loaders, made | {"model": model, "accelerator": accelerator})
    if run.finished:
        print(f"{run.folder.name} is finished: its history is replayed from {run.folder}")
        return load_training(model, run)
    if params.num_processes > accelerator.num_processes:
        launch(run, model, (loaders, score, made), accelerator.device.type == "cuda", watch)
        return load_training(prepare(accelerator, model), run)
    train = loaders["train"]
    for loader in loaders.values():
        loader.restart(accelerator.process_index, accelerator.num_processes)
    recorder = Recorder(run, params, score, len(train), watch, accelerator.is_main_process)
    group = dist.new_group(backend="gloo") if accelerator.num_processes > 1 else None
    network, optimizer = prepare(accelerator, model), accelerator.prepare_optimizer(made["optimizer"])
    one = TrainStep(network, criterion, optimizer, params, accelerator, scheduler=scheduler)
    with stop_requests() as stop:
        until = partial(until_asked, stop=stop, group=group)
        step, progress = begin(network, one, recorder)
        bar = Bar((params.epochs - len(progress.history)) * len(train) - progress.steps, params.epochs)
        for epoch in range(len(progress.history) + 1, params.epochs + 1):
            started, frozen = time.monotonic() - progress.spent, epoch <= params.freeze_epochs
            if 1 < epoch == params.freeze_epochs + 1 and not progress.steps:  # the backbone is freed
                optimizer.state.clear()
                step = make_step(step, epoch, step.micro_batch)
            row: dict[str, Any] = {"epoch": epoch, "phase": "head" if frozen else "all"}
            row["learning_rate"] = step.set_rate(epoch - 1)
            train_mode(network, frozen)
            train.set_epoch(epoch, progress.steps)
            batches = bar.epoch(train, epoch, progress.steps, len(train))
            try:
                row |= train_one_epoch(step, until(batches), len(train), epoch, progress)
                row |= recorder.evaluate(step, loaders, epoch, until)
            except Stopped:
                raise recorder.stopped(step, progress, time.monotonic() - started) from None
            recorder.choose(row, progress, network)
            recorder.end_epoch(step, progress, row, time.monotonic() - started)
        network.load_state_dict(progress.best_weights)
        recorder.finish(progress, num_processes=accelerator.num_processes)
        if stop.asked:
            raise Stopped("stopped as asked, with all epochs done; the same command goes on from there")
    return pd.DataFrame(progress.history)


def refuse_stale(params: RunParams, score: Score, run: Run, loaders: Loaders, others: dict[str, Any]) -> None:
    """ParameterError where a cell has made something with other parameters; what has no `made_from` is taken."""
    images, network = "heading Images", "heading Network"
    made = [("accelerator", "cell `accelerator = set_up(params)`", getattr(others.pop("accelerator"), "made_from", {}))]
    made += [("loaders", images, loader.made_from) for loader in loaders.values()]
    made += [("score", images, vars(score)["table"].attrs.get("made_from", {}))] if hasattr(score, "table") else []
    made += [(name, network, getattr(one, "made_from", {})) for name, one in others.items()]
    made += [("run", network, run.params.model_dump())]
    for thing, place, values in made:
        for name, value in values.items():
            if (wanted := getattr(params, name)) != value:
                other = f"got {wanted!r}, but `{thing}` was made with {value!r}"
                raise ParameterError(f"{name}: {other}; {AGAIN} {place} on")
    learning = {id(one) for group in others["optimizer"].param_groups for one in group["params"]}
    if not learning <= set(map(id, others["model"].parameters())):
        raise ParameterError(f"optimizer: it was made for another network; {AGAIN} {network} on")
    if params.outputs(score.n_classes) != (outputs := num_classes(others["model"])):
        said = f"loss: {params.loss} of {score.n_classes} classes does not fit {outputs} outputs"
        raise ParameterError(f"{said}; {AGAIN} {network} on")


def begin(network: nn.Module, first: TrainStep, recorder: Recorder) -> tuple[TrainStep, Progress]:
    """The step to go on with, and what the checkpoint says is done; ParameterError if the network is of another run."""
    run = recorder.run
    saved = load_checkpoint(run.path("checkpoint.pt"), run.fingerprint)
    trained = vars(network).get("trained_in")
    if trained and not (saved and trained == run.fingerprint):
        raise ParameterError(f"model: it has been trained since it was made; {AGAIN} heading Network on")
    progress = Progress(**saved["progress"]) if saved else Progress()
    # The phase that the checkpoint was written in; the next one begins with an optimizer of its own.
    phase = max(len(progress.history) + (progress.steps > 0), 1)
    step = make_step(first, phase, progress.micro_batch)
    network.zero_grad(set_to_none=True)  # a step that was cut off has left its gradients
    if saved:
        network.load_state_dict(saved["model"])
        step.optimizer.load_state_dict(saved["optimizer"])
        if step.accelerator.scaler is not None:
            step.accelerator.scaler.load_state_dict(saved["scaler"])
    else:  # the start is saved, too: a run killed in its first epoch must not continue half-trained
        recorder.save(step, progress)
    vars(network)["trained_in"] = run.fingerprint
    if progress.history or progress.steps:
        print(f"going on {recorder.how_far(progress)}, from {run.path('checkpoint.pt')}")
    return step, progress


def train_one_epoch(
    step: TrainStep, batches: Iterable[Batch], step_count: int, epoch: int, progress: Progress | None = None
) -> dict[str, float]:
    """``train_loss`` per image and, of classes, ``train_accuracy`` of the steps that ``progress`` has not done yet."""
    progress = progress or Progress()
    params, device = step.params, step.accelerator.device
    totals = torch.tensor(progress.sums, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    try:
        for batch in batches:
            number = progress.steps
            step.set_rate(epoch - 1 + number / step_count)
            # An epoch needs no state from the one before, nor a step.
            totals += step(batch, seed=((params.seed * 100_003 + epoch) * 1_000_003 + number) % 2**63)
            progress.steps = number + 1
    finally:
        progress.sums, progress.micro_batch = totals.tolist(), step.micro_batch
    loss, correct, images = progress.sums
    if not math.isfinite(loss):
        said = f"got {params.learning_rate:g}, but in epoch {epoch} the training loss is no longer a number; lower it"
        raise ParameterError(f"learning_rate: {said}")
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


def make_step(step: TrainStep, epoch: int, micro_batch: int) -> TrainStep:
    """The step of an epoch's phase: only the head's weights learn while the backbone is frozen, else all of them."""
    network, accelerator = step.accelerator.unwrap_model(step.model), step.accelerator
    freeze_backbone(network, epoch <= step.params.freeze_epochs)
    if accelerator.num_processes > 1:
        device_ids = [accelerator.local_process_index] if accelerator.device.type == "cuda" else None
        # Else it rearranges its sums after the first step, and three processes would resume to other last bits.
        network = DistributedDataParallel(network, device_ids, find_unused_parameters=True)
    return replace(step, model=network, micro_batch=micro_batch)


def class_weights(labels: np.ndarray, choice: str | list[float], num_classes: int) -> list[float] | None:
    """One a class; ``balanced``: N / (C n_c), 0 for no image; ``complement``: 1 - n_c / N, the first scaled to 1."""
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
