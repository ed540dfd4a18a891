"""Pictures that are drawn for the benchmark and for tests, and how alike two of them are."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import uniform_filter

from labkit.data.phantoms.make import VERSION, Patient, fundus

CLASSES = 5
QUALITY = 92  # of JPEG, as phantoms and prepared crops have it


def eyes(folder: Path, count: int, size: int) -> pd.DataFrame:
    """An image table of ``count`` synthetic photographs, JPEGs of ``size`` px, all ``train``, a folder for each grade.

    The same call gives the same bytes with the same numpy and Pillow; what is there is not drawn again.
    """
    there = folder / f"eyes-{size}px-{count}-v{VERSION}"
    if not there.is_dir():
        unfinished = there.with_name(f".{there.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        for number in range(count):
            path = unfinished / str(number % CLASSES) / f"{number}_left.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            patient = Patient(np.random.default_rng([2, number]))
            pixels = fundus(number % CLASSES, "left", np.random.default_rng([1, number]), patient, size)
            Image.fromarray(pixels).save(path, quality=QUALITY)
        unfinished.rename(there)
    paths = sorted(there.glob("*/*.jpeg"))
    columns = {"image_id": [path.stem for path in paths], "path": [path.as_posix() for path in paths], "split": "train"}
    table = pd.DataFrame(columns | {"label": [int(path.parent.name) for path in paths], "group": pd.NA, "side": pd.NA})
    return table.astype({"label": "Int64", "group": "string", "side": "string", "split": "string"})


def copies(folder: Path, count: int, size: int) -> pd.DataFrame:
    """An image table of ``count`` JPEGs that all differ in their bytes: a few eyes, drawn once, each in many files."""
    sources = [Path(path).read_bytes() for path in eyes(folder, min(count, 64), size)["path"]]
    there = folder / f"copies-{count}-{size}px"
    there.mkdir(exist_ok=True)
    paths = [there / f"{number}.jpeg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.is_file():  # what follows a picture's end changes the hash and no pixel
            path.write_bytes(sources[number % len(sources)] + f" {number}".encode())
    return pd.DataFrame({"image_id": [path.stem for path in paths], "path": [path.as_posix() for path in paths]})


def raw_photographs(folder: Path, count: int, shape: tuple[int, int]) -> list[str]:
    """JPEGs as of a fundus camera: a synthetic eye, enlarged, in a dark frame with the noise of a sensor."""
    paths = []
    side, generator = round(shape[1] * 0.98), np.random.default_rng(0)
    for number, source in enumerate(eyes(folder, count, min(shape[1], 1024))["path"]):
        sheet, eye = Image.new("RGB", shape), Image.open(source).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(eye, ((shape[0] - side) // 2, (shape[1] - side) // 2))
        noise = 4 + 2 * generator.standard_normal((shape[1], shape[0], 3), dtype=np.float32)
        paths.append(str(folder / f"raw-{number}.jpeg"))
        pixels = (np.asarray(sheet) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(paths[-1], quality=QUALITY)
    return paths


def similarity(first: Image.Image, second: Image.Image) -> float:
    """SSIM of the grey pictures: 7 px windows, Wang et al. 2004, the constants for 8 bits."""
    a, b = (np.asarray(image.convert("L"), dtype=np.float64) for image in (first, second))
    mean_a, mean_b = uniform_filter(a, 7), uniform_filter(b, 7)
    scale = 49 / 48
    var_a = scale * (uniform_filter(a * a, 7) - mean_a**2)
    var_b = scale * (uniform_filter(b * b, 7) - mean_b**2)
    both = scale * (uniform_filter(a * b, 7) - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float(np.mean(above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))
