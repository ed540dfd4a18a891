"""Rows of the input pipeline: JPEGs of 512 px to batches of random crops of 480, on one processor core."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from labkit.bench import ours
from labkit.bench.peers import INPUT, ready
from labkit.bench.photographs import eyes
from labkit.bench.rows import Goal, Row, absent_row, at_least, rate_row
from labkit.bench.setting import Setting
from labkit.bench.tasks import ROTATION, InputTask

UNIT = "images/s per core"
FILL = 0.3  # seconds: our epoch of so few images is a matter of milliseconds
NOTES = {
    "plain loop": "batches of 8",
    "timm": "its random resized crop replaced by RandomCrop",
    "fastai": "flips as DihedralItem, with quarter turns; rotates a batch of floats in one warp, flips with it",
}
Bytes = Literal["uint8", "float32"]
BATCHES: tuple[Bytes, ...] = ("uint8", "float32")


def rows(setting: Setting) -> Iterator[Row]:
    """Crop and flips, to bytes and to normalised floats; ours in epoch 2, when the store is there."""
    size, crop = (512, 480) if not setting.quick else (64, 56)
    for to, against_plain in zip(BATCHES, (10, 4), strict=True):
        goals = {"plain loop": at_least(against_plain)}
        yield from _compared(setting, size, crop, to, 0.0, goals, at_least(3))


def rotated_rows(setting: Setting) -> Iterator[Row]:
    """The same, rotated by up to 20° either way, on a CPU."""
    size, crop = (512, 480) if not setting.quick else (64, 56)
    for to in BATCHES:
        goals = {"plain loop": at_least(2), "torchvision recipe": at_least(3)}
        yield from _compared(setting, size, crop, to, ROTATION, goals, None)


def _compared(
    setting: Setting, size: int, crop: int, to: Bytes, rotation: float, goals: dict[str, Goal], other: Goal | None
) -> Iterable[Row]:
    table = eyes(setting.folder, setting.size(96, 8), size)
    folder = Path(table["path"].iloc[0]).parents[1].as_posix()
    task = InputTask(table, folder, size, crop, to, rotation, setting.size(32, 4))
    turned = f", rotation ±{rotation:g}°" if rotation else ""
    what, where = f"input, to a {to} batch", f"{size} px JPEG, RandomCrop {crop}, flips{turned}"
    with one_thread():
        mine = ours.load(task, ours.store_of(table, size, setting.folder))
        passes, reasons = ready(INPUT, task, lambda found: _short(found, len(table)))
        fill = 0 if setting.quick else FILL
        times = setting.times(f"{what}, {where}", {ours.NAME: mine} | passes, fill=fill)
    for peer in INPUT:
        goal = goals.get(peer, other)
        if peer in reasons:
            yield absent_row(what, where, UNIT, peer, reasons[peer], goal)
            continue
        theirs, note = times[peer], NOTES.get(peer, "")
        yield rate_row(what, where, UNIT, len(table), times[ours.NAME], peer, theirs, goal, per_core=True, note=note)


def _short(found: int, wanted: int) -> str | None:
    return None if found == wanted else f"made {found} of {wanted} images"


@contextmanager
def one_thread() -> Iterator[None]:
    """torch and what is built on it compute on one thread; loaders have no workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
