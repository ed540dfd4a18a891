"""Rows of the input pipeline: JPEGs of 512 px to batches of random crops of 480, on one processor core."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import ours
from measuring import Bench, Row, compared
from tasks import PEERS, Files, eyes, one_thread, ready

ROTATION = 20.0  # degrees either way
FILL = 0.3  # seconds: our own epoch of so few images takes milliseconds
NOTES = {
    "plain loop": "batches of 8",
    "timm": "its random resized crop replaced by RandomCrop",
    "fastai": "flips as DihedralItem, with quarter turns; rotates a batch of floats in one warp, flips with it",
}


def rows(bench: Bench) -> Iterator[Row]:
    """Crop and flips, to bytes and to normalised floats; ours from epoch 2 on, when the store is there."""
    yield from one_batch_type(bench, "uint8", 0.0, {"plain loop": "≥ 10 ×"}, "≥ 3 ×")
    yield from one_batch_type(bench, "float32", 0.0, {"plain loop": "≥ 4 ×"}, "≥ 3 ×")


def rotated_rows(bench: Bench) -> Iterator[Row]:
    """The same, rotated by up to 20° either way, on a CPU."""
    goals = {"plain loop": "≥ 2 ×", "torchvision recipe": "≥ 3 ×"}
    yield from one_batch_type(bench, "uint8", ROTATION, goals, "")
    yield from one_batch_type(bench, "float32", ROTATION, goals, "")


def one_batch_type(
    bench: Bench, to: Literal["uint8", "float32"], rotation: float, goals: dict[str, str], other: str
) -> Iterator[Row]:
    """A row for each peer that can load images; ``other`` is the goal for peers that have none of their own."""
    size, crop = bench.size(512, 64), bench.size(480, 56)
    table = eyes(bench.folder, bench.size(96, 8), size)
    folder = Path(table["path"].iloc[0]).parents[1].as_posix()
    task = Files(table, size, crop, folder, to, rotation, batch_size=bench.size(32, 4))
    turned = f", rotation ±{rotation:g}°" if rotation else ""
    what, setting = f"input, to a {to} batch", f"{size} px JPEG, RandomCrop {crop}, flips{turned}"
    count = len(table)
    with one_thread():
        mine = ours.load(task, ours.store_of(table, size, bench.folder))
        passes, reasons = ready("load", task, lambda n: "" if n == count else f"made {n} of {count} images")
        fill = 0 if bench.quick else FILL
        found = bench.times(f"{what}, {setting}", {ours.NAME: mine} | passes, fill=fill) | reasons
    for peer in [name for name in PEERS if name in found]:
        told = {"goal": goals.get(peer, other), "note": NOTES.get(peer, ""), "count": count, "clock": "cpu"}
        yield compared(what, setting, "images/s per core", found[ours.NAME], peer, found[peer], **told)
