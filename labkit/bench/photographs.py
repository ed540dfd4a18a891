"""The photographs that are read in the benchmark: the built-in phantoms' eyes, drawn once in the size that is asked."""

import os
import shutil
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from labkit.data.phantoms.make import VERSION, draw_patient, fundus

GRADES = 5
QUALITY = 92  # as of the phantoms and of prepared crops


def eyes(folder: Path, count: int, size: int) -> pd.DataFrame:
    """An image table of ``count`` JPEGs (size, size), all ``train``; in a folder a grade, as every tool reads them.

    The same call gives the same bytes with the same numpy and Pillow; what is there is not drawn again.
    """
    there = folder / f"eyes-{size}px-{count}-v{VERSION}"
    if not there.is_dir():
        _draw(there, count, size)
    paths = sorted(there.glob("*/*.jpeg"))
    table = pd.DataFrame({"image_id": [path.stem for path in paths], "path": [path.as_posix() for path in paths]})
    table = table.assign(label=[int(path.parent.name) for path in paths], group=pd.NA, side=pd.NA, split="train")
    return table.astype({"label": "Int64", "group": "string", "side": "string", "split": "string"})


def _draw(there: Path, count: int, size: int) -> None:
    there.parent.mkdir(parents=True, exist_ok=True)
    unfinished = there.with_name(f".{there.name}-{uuid.uuid4().hex}")
    try:
        for number in range(count):
            grade = number % GRADES
            path = unfinished / str(grade) / f"{number}_left.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = fundus(
                grade,
                "left",
                np.random.default_rng([1, number]),
                draw_patient(np.random.default_rng([2, number])),
                size,
            )
            Image.fromarray(pixels).save(path, quality=QUALITY)
        if not there.is_dir():  # another process may have been quicker
            os.replace(unfinished, there)  # noqa: PTH105 - of a folder
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
