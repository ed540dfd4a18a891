"""Rows of the input pipeline: JPEGs of 512 px to batches of random crops of 480, on one processor core."""

from collections.abc import Iterator
from pathlib import Path
from time import process_time

import ours
from made_pictures import eyes
from measuring import Bench, Row
from tasks import NAME, Files, beside, one_thread, ready

ROTATION = 20.0  # degrees either way
FILL = 0.3  # seconds: our own epoch of so few images takes milliseconds
NOTES = {
    "plain loop": "batches of 8",
    "timm": "its random resized crop replaced by RandomCrop",
    "fastai": "flips as DihedralItem, with quarter turns; rotates a batch of floats in one warp, flips with it",
}


def rows(bench: Bench) -> Iterator[Row]:
    """Crop and flips, to bytes and to normalised floats; ours from epoch 2 on, when the store is there."""
    for to, plain in (("uint8", "≥ 10 ×"), ("float32", "≥ 4 ×")):
        yield from one_batch_type(bench, to, 0.0, {"plain loop": plain, "": "≥ 3 ×"})


def rotated_rows(bench: Bench) -> Iterator[Row]:
    """The same, rotated by up to 20° either way, on a CPU."""
    for to in ("uint8", "float32"):
        yield from one_batch_type(bench, to, ROTATION, {"plain loop": "≥ 2 ×", "torchvision recipe": "≥ 3 ×", "": ""})


def one_batch_type(bench: Bench, to: str, rotation: float, goals: dict[str, str]) -> Iterator[Row]:
    """A row for each peer that can load images."""
    size, crop, count = bench.size(512, 64), bench.size(480, 56), bench.size(96, 8)
    table = eyes(bench.folder, count, size)
    folder = Path(table["path"].iloc[0]).parents[1].as_posix()
    task = Files(table, size, crop, folder, to, rotation, batch_size=bench.size(32, 4))
    turned = f", rotation ±{rotation:g}°" if rotation else ""
    what, setting = f"input, to a {to} batch", f"{size} px JPEG, RandomCrop {crop}, flips{turned}"
    with one_thread():
        mine = ours.load(task, ours.store_of(table, size, bench.folder))
        passes, reasons = ready("load", task, lambda n: "" if n == count else f"made {n} of {count} images")
        fill = 0 if bench.quick else FILL
        found = bench.times(f"{what}, {setting}", {NAME: mine} | passes, fill=fill, clock=process_time) | reasons
    yield from beside(what, setting, "images/s per core", found, NOTES, count=count, goals=goals)
