"""Rows of evaluation: a test set's files to the logits of every image."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from labkit.bench import ours
from labkit.bench.peers import TEST, ready
from labkit.bench.photographs import eyes
from labkit.bench.rows import Row, absent_row, at_least, rate_row
from labkit.bench.setting import Setting
from labkit.bench.tasks import CLASSES, TestTask
from labkit.models.build import build_model

SAME = 2e-3  # logits; float32 in another memory format and batch
FROM_STORE = f"{ours.NAME}, from its store"
FROM_FILES = f"{ours.NAME}, files decoded anew"
FLOOR = "its network alone"
WORDS = {
    FROM_STORE: "evaluation, files that the store holds",
    FROM_FILES: "evaluation, files never seen",
}


def rows(setting: Setting) -> Iterator[Row]:
    """Photographs of 512 px seen at 128 px, and their middle at 480 px."""
    size = 64 if setting.quick else 512
    places = ((32, 32), (None, 56)) if setting.quick else ((128, 128), (None, 480))
    for resize, crop in places:
        table = eyes(setting.folder, setting.size(96 if resize else 32, 6), size)
        model = build_model("resnet18", CLASSES, seed=1)
        device = torch.device(setting.device)
        task = TestTask(table, size, "resnet18", model.state_dict(), crop, device, resize, 4 if setting.quick else 64)
        mine = {FROM_STORE: ours.test_from_store(task, setting.folder), FROM_FILES: ours.test_from_files(task)}
        logits = mine[FROM_STORE]()
        mine[FROM_FILES]()
        passes, reasons = ready(TEST, task, _other_work(logits, exactly=resize is None and device.type == "cpu"))
        place = f"resnet18, {size} px JPEG, {f'resized to {resize}' if resize else f'its middle {crop}'} px"
        floor = {FLOOR: ours.network_alone(task)}
        floor[FLOOR]()
        times = setting.times(f"evaluation, {place}", mine | floor | passes, warm=False)
        for name, what in WORDS.items():
            measured = what, place, "images/s", len(table), times[name]
            yield rate_row(*measured, FLOOR, times[FLOOR], at_least(0.9), note="on images in memory: nothing is loaded")
            for peer in TEST:
                goal = at_least(2 if peer == "plain loop" else 1.2)
                if peer in reasons:
                    yield absent_row(what, place, "images/s", peer, reasons[peer], goal)
                    continue
                note = "batches of 8" if peer == "plain loop" else ""
                yield rate_row(*measured, peer, times[peer], goal, note=note)


def _other_work(logits: torch.Tensor, exactly: bool) -> Callable[[Any], str | None]:
    """Refuses a peer whose logits are not ours; where all resize in their own way, their shape is all that is held."""

    def refuse(found: torch.Tensor) -> str | None:
        if found.shape != logits.shape:
            return f"gave logits {tuple(found.shape)}, not {tuple(logits.shape)}"
        distance = float((found.float() - logits.float()).abs().max())
        return f"its logits are {distance:.3g} away from ours" if exactly and distance > SAME else None

    return refuse
