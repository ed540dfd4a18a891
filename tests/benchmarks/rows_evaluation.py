"""Rows of evaluation: a test set's files to the logits of every image."""

from collections.abc import Iterator

import ours
import torch
from made_pictures import eyes
from measuring import Bench, Row, compared
from tasks import CLASSES, Files, beside, ready

from labkit.models.build import build_model

SAME = 2e-3  # logits; float32 in another memory format and batch
FLOOR = "its network alone"


def rows(bench: Bench) -> Iterator[Row]:
    """Photographs of 512 px seen at 128 px, and their middle at 480 px."""
    size, weights = bench.size(512, 64), build_model("resnet18", CLASSES, seed=1).state_dict()
    for resize, crop in ((32, 32), (None, 56)) if bench.quick else ((128, 128), (None, 480)):
        table = eyes(bench.folder, bench.size(96 if resize else 32, 6), size)
        where = {"batch_size": bench.size(64, 4), "device": bench.device}
        task = Files(table, size, crop, resize=resize, weights=weights, **where)
        mine = {
            "evaluation, files that the store holds": ours.evaluate_store(task, bench.folder),
            "evaluation, files never seen": ours.evaluate_files(task),
            FLOOR: ours.evaluate_memory(task),
        }
        logits, *_ = (once() for once in mine.values())
        exactly = resize is None and bench.device == "cpu"  # else every tool resizes or rounds in its own way

        def refuse(found: torch.Tensor, logits: torch.Tensor = logits, exactly: bool = exactly) -> str:
            """Why these logits are not those of the same work."""
            if found.shape != logits.shape:
                return f"gave logits {tuple(found.shape)}, not {tuple(logits.shape)}"
            distance = float((found.float() - logits.float()).abs().max())
            return f"its logits are {distance:.3g} away from ours" if exactly and distance > SAME else ""

        passes, reasons = ready("evaluate", task, refuse)
        setting = f"resnet18, {size} px JPEG, {f'resized to {resize}' if resize else f'its middle {crop}'} px"
        found = bench.times(f"evaluation, {setting}", mine | passes, warm=False) | reasons
        for what in list(mine)[:2]:
            told = {"goal": "≥ 0.9 ×", "note": "on images in memory: nothing is loaded", "count": len(table)}
            yield compared(what, setting, "images/s", found[what], FLOOR, found[FLOOR], **told)
            told = {"goals": {"plain loop": "≥ 2 ×", "": "≥ 1.2 ×"}, "count": len(table), "ours": what}
            yield from beside(what, setting, "images/s", found, {"plain loop": "batches of 8"}, **told)
