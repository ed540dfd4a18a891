"""Rows that say what each means of speed gives on this device: with it against without, all else as we train."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from labkit.bench.rows import Row, absent_row, rate_row
from labkit.bench.setting import Setting
from labkit.bench.tasks import CLASSES, DECAY, MOMENTUM, RATE, StepTask
from labkit.bench.timing import Pass
from labkit.bench.training_rows import Size, precision_of, step_task, where
from labkit.models.build import build_model


def rows(setting: Setting) -> Iterator[Row]:
    """channels_last, a fused optimizer, torch.compile and bfloat16, one at a time."""
    for arch, px in (("resnet18", 32),) if setting.quick else (("resnet18", 64), ("resnet18", 224), ("resnet50", 128)):
        size, precision = Size.of(setting, px), precision_of(setting)
        task = step_task(setting, arch, px, size, precision)
        place = where(arch, px, size, precision)
        for name, with_it, without in options(precision):
            what = f"training step, {name}"
            try:
                passes = {"with": steps(task, **with_it), "without": steps(task, **without)}
                passes["without"]()
                started = time.perf_counter()
                passes["with"]()
                first = time.perf_counter() - started
            except Exception as error:  # a compiler that is not there, a device that cannot
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                yield absent_row(what, place, "images/s", "without it", reason)
                continue
            times = setting.times(f"{what}, {place}", passes, warm=False)
            note = f"the first pass, in which it compiles, took {first:.0f} s" if "compiled" in with_it else ""
            rate = (task.count, times["with"], "without it", times["without"])
            yield rate_row(what, place, "images/s", *rate, note=note)


def options(precision: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, and what is set with it and without it; the rest as `steps` has it by default."""
    listed: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("channels_last", {}, {"channels_last": False}),
        ("fused SGD", {"fused": True}, {}),
        ("torch.compile", {"compiled": True}, {}),
    ]
    if precision == "fp32":
        listed.append(("bfloat16 autocast", {"precision": "bf16"}, {}))
    return listed


def steps(
    task: StepTask, channels_last: bool = True, fused: bool = False, compiled: bool = False, precision: str = ""
) -> Pass:
    """Bare training steps on normalised floats, with what is asked for."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model: nn.Module = build_model(task.arch, CLASSES).to(task.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, fused=fused or None)
    batches = [(images.contiguous(memory_format=layout), labels) for images, labels in task.floats()]
    call: Callable[..., torch.Tensor] = torch.compile(model) if compiled else model
    half = (precision or task.precision) == "bf16"

    def once() -> None:
        model.train()
        for images, labels in batches:
            with torch.autocast(task.device.type, torch.bfloat16, enabled=half):
                loss = nn.functional.cross_entropy(call(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return once
