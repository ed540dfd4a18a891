"""Rows of the device: how much of it the training step uses, and by how much the loader is faster than the step."""

from collections.abc import Iterator

from labkit.bench import ours
from labkit.bench.rows import Row, figure_row, rate_row
from labkit.bench.setting import Setting
from labkit.bench.training_rows import PLACES, PLACES_QUICK, Size, loader_for, precision_of, step_task, where
from labkit.models.build import build_model
from labkit.models.describe import flops

OPERATIONS = 6  # a multiply-add is two; the backward pass computes two products for each of the forward's


def rows(setting: Setting) -> Iterator[Row]:
    """Achieved TFLOP/s of the step, and the loader's images a second beside the step's."""
    for arch, px in PLACES_QUICK if setting.quick else PLACES:
        size, precision = Size.of(setting, px), precision_of(setting)
        task = step_task(setting, arch, px, size, precision)
        params = ours.params_for(px, size.batch, device=setting.device, precision=precision)
        loader = loader_for(setting, px, size, params)
        passes = {"loader": lambda: [None for _ in loader], "step": ours.train(task)}  # noqa: B023
        place = where(arch, px, size, precision)
        times = setting.times(f"device, {place}", passes)
        step = rate_row("", place, "images/s", task.count, times["step"])
        achieved = step.ours * OPERATIONS * flops(build_model(arch, 5), px) / 1e12
        note = "6 operations a multiply-add of the forward pass; convolutions and linear layers"
        yield figure_row("training step, achieved", place, "TFLOP/s", achieved, rounds=step.rounds, note=note)
        note = f"{params.num_workers} workers; below 1 × the device waits"
        yield rate_row(
            "loader", place, "images/s", task.count, times["loader"], "training step", times["step"], note=note
        )
