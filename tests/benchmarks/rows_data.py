"""Rows of what comes before training: raw photographs to crops, the first use of the store, and larger data sets."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import ours
import pandas as pd
from measuring import Bench, Row, compared, row
from PIL import Image
from scipy.ndimage import uniform_filter
from tasks import QUALITY, eyes, one_thread

from labkit.data.loaders import make_loaders
from labkit.data.prepare.eyeball import crop_square, find_eyeball
from labkit.data.prepare.photographs import crop_photograph
from labkit.data.store import Store
from labkit.params import PROJECT

RAW = (3888, 2592)  # px of a Canon camera, as most of Kaggle's EyePACS photographs


def rows(bench: Bench) -> Iterator[Row]:
    """Crops, the store, and the loader's epochs at three sizes."""
    yield from prepare_rows(bench)
    yield from store_rows(bench)
    yield from loader_rows(bench)


def prepare_rows(bench: Bench) -> Iterator[Row]:
    """`labkit prepare`'s crop of a raw photograph against Pillow's open, crop and resize at full size."""
    size, shape = bench.size(512, 64), (388, 259) if bench.quick else RAW
    photographs = raw_photographs(bench.folder, bench.size(4, 1), shape)
    alike = min(similarity(crop_photograph(path, size), plain_crop(path, size)) for path in photographs)
    passes = {
        ours.NAME: lambda: [crop_photograph(path, size) for path in photographs],
        "plain": lambda: [plain_crop(path, size) for path in photographs],
    }
    with one_thread():
        found = bench.times("raw photographs to crops", passes)
    note = f"SSIM of the two crops {alike:.3f} or more; both find the disc, the plain way in the full photograph"
    told = {"goal": "≥ 2.5 ×", "note": note, "count": len(photographs), "clock": "cpu"}
    setting = f"{RAW[0]} × {RAW[1]} px JPEG to {size} px"
    yield compared("prepare", setting, "images/s per core", found[ours.NAME], "Pillow", found["plain"], **told)


def plain_crop(path: str, size: int) -> Image.Image:
    """Open, crop and resize, every pixel decoded."""
    full = Image.open(path).convert("RGB")
    return crop_square(full, find_eyeball(full), size)


def raw_photographs(folder: Path, count: int, shape: tuple[int, int]) -> list[str]:
    """JPEGs as of a fundus camera: a synthetic eye, enlarged, in a dark frame with the noise of a sensor."""
    paths = []
    side, generator = round(shape[1] * 0.98), np.random.default_rng(0)
    for number, source in enumerate(eyes(folder, count, 1024 if shape == RAW else 128)["path"]):
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


def store_rows(bench: Bench) -> Iterator[Row]:
    """Hashing, decoding and writing of all images where nothing is there yet; and the store's bytes."""
    count, size = bench.size(6_742, 20), bench.size(256, 32)
    table, cache, seconds = copies(bench.folder, count, size), bench.folder / "first-use", []
    bench.tell(f"store of {count:,} images …")
    for _ in range(bench.rounds):
        shutil.rmtree(cache, ignore_errors=True)
        start = time.perf_counter()
        store = ours.store_of(table, size, cache)
        seconds.append(time.perf_counter() - start)
    held = sum(path.stat().st_size for path in store.path.parent.iterdir()) / 1e6
    shutil.rmtree(cache)
    setting, bare = f"{count:,} JPEGs of {size} px", count * size * size * 3 / 1e6
    yield row("store: first use", setting, "s", median(seconds), goal="≤ 25 s", rounds=bench.rounds)
    yield row("store: bytes on disk", setting, "MB", held, "raw bytes", bare, goal="≤ 1.01 ×")


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


def loader_rows(bench: Bench) -> Iterator[Row]:
    """Milliseconds an image of one pass of the training loader: in a larger data set no image costs more."""
    counts = (20, 40, 80) if bench.quick else (1_000, 10_000, 100_000)
    loaders = {f"{count:,} images": noise_loader(bench.folder, count) for count in counts}
    passes = {
        name: lambda loader=loader: sum(len(batch["labels"]) for batch in loader) for name, loader in loaders.items()
    }
    with one_thread():
        found = bench.times("an epoch of the loader", passes, fill=1.0)
    each = {name: 1e3 * median(found[name]["cpu"]) / count for name, count in zip(loaders, counts, strict=True)}
    *smaller, largest = each
    told, setting = {"goal": "≤ 1.05 ×", "rounds": bench.rounds}, f"{largest} of 32 px"
    for name in smaller:
        yield row("growth: loader, an image", setting, "ms", each[largest], name, each[name], **told)


def noise_loader(folder: Path, count: int):
    """The training loader of ``count`` images of 32 px, of noise, in a store without files behind it."""
    path = folder / f"noise-{count}.npy"
    if not path.is_file():
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))
    names = [str(number) for number in range(count)]
    table = pd.DataFrame({"image_id": names, "label": np.arange(count) % 5, "split": "train"})
    store = Store(path, 32, {name: row for row, name in enumerate(names)}, pd.DataFrame({"image_id": []}))
    return make_loaders(table, store, ours.params_for(32, 128))["train"]


# In a process of its own, so that the peak of memory is its own.
PROBE = """
import json, resource, sys, time
import numpy as np, pandas as pd
from labkit import audit
from labkit.data.splits import assign_splits

n = int(sys.argv[1])
ids = [f"{k // 2}_{('left', 'right')[k % 2]}" for k in range(n)]
table = pd.DataFrame({"image_id": ids, "path": [f"images/{name}.jpeg" for name in ids], "split": None})
table[["group", "side"]] = table["image_id"].str.split("_", expand=True)
table = table.astype("string")
grades = np.random.default_rng(0).choice(5, n, p=[0.734, 0.069, 0.154, 0.025, 0.018])
table["label"] = pd.array(grades, dtype="Int64")
hashes = pd.Series([f"{k:064x}" for k in range(n)], index=ids)
start = time.perf_counter()
table = assign_splits(table, hashes=hashes, split="group", split_seed=0, val_fraction=0.15, test_fraction=0.2)
split = time.perf_counter()
assert not audit.audit(table, hashes, list("01234"), "patient").leak
audited = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"split": split - start, "audit": audited - split, "peak": peak / 1e9}))
"""


def growth_rows(bench: Bench) -> Iterator[Row]:
    """A table of a million rows: peak memory (Python with torch included), and the seconds of split and audit."""
    n = bench.size(1_000_000, 2_000)
    bench.tell(f"split and audit of {n:,} rows …")
    command = [sys.executable, "-c", PROBE, str(n)]
    told = {"capture_output": True, "text": True, "check": True, "cwd": PROJECT}
    found = pd.DataFrame([json.loads(subprocess.run(command, **told).stdout) for _ in range(bench.rounds)]).median()
    setting = f"{n:,} images of {n // 2:,} patients"
    yield row("growth: peak memory", setting, "GB", found["peak"], goal="≤ 1.5 GB", rounds=bench.rounds)
    note = f"split {found['split']:.1f} s, audit of groups, fellow eyes and exact copies {found['audit']:.1f} s"
    told = {"goal": "≤ 30 s", "note": note, "rounds": bench.rounds}
    yield row("growth: split and audit", setting, "s", found["split"] + found["audit"], **told)
