"""What comes before training: raw photographs to crops, the first use of the store, and epochs of larger data sets."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import uniform_filter

from labkit.bench import ours
from labkit.bench.input_rows import one_thread
from labkit.bench.photographs import QUALITY, eyes
from labkit.bench.rows import Goal, Row, at_least, figure_row, rate_row
from labkit.bench.setting import Setting
from labkit.data.loaders import make_loaders
from labkit.data.prepare.crops import crop_photograph
from labkit.data.prepare.eyeball import crop_square, find_eyeball

RAW = (3888, 2592)  # a Canon camera's, as most of Kaggle's EyePACS photographs
FLAT = 1.05  # an image's share of an epoch at 100,000 images, over that at 10,000 and at 1,000


def rows(setting: Setting) -> Iterator[Row]:
    """Crops, the store, and the loader's epochs at three sizes."""
    yield prepare_row(setting)
    yield from store_rows(setting)
    yield from growth_rows(setting)


def prepare_row(setting: Setting) -> Row:
    """`labkit prepare`'s crop of a raw photograph against Pillow's open, crop and resize at full size."""
    size, count = setting.size(512, 64), setting.size(4, 1)
    photographs = [str(path) for path in raw(setting.folder, count, RAW if not setting.quick else (388, 259))]
    alike = min(similarity(crop_photograph(path, size), plain_crop(path, size)) for path in photographs)
    passes = {
        ours.NAME: lambda: [crop_photograph(path, size) for path in photographs],
        "plain": lambda: [plain_crop(path, size) for path in photographs],
    }
    with one_thread():
        times = setting.times("raw photographs to crops", passes)
    where = f"{RAW[0]} × {RAW[1]} px JPEG to {size} px"
    note = f"SSIM of the two crops {alike:.3f} or more; both find the disc, the plain way in the full photograph"
    unit, found = "images/s per core", times[ours.NAME]
    return rate_row(
        "prepare", where, unit, count, found, "Pillow", times["plain"], at_least(2.5), per_core=True, note=note
    )


def plain_crop(path: str, size: int) -> Image.Image:
    """Open, crop and resize, every pixel decoded."""
    full = Image.open(path).convert("RGB")
    return crop_square(full, find_eyeball(full), size)


def store_rows(setting: Setting) -> Iterator[Row]:
    """Hashing, decoding and writing of all images where nothing is there yet; and the store's bytes."""
    count, size = setting.size(6_742, 20), setting.size(256, 32)
    table = copies(setting.folder, count, size)
    cache = setting.folder / "first-use"
    setting.tell(f"labkit bench: store of {count:,} images …")
    seconds = []
    for _ in range(setting.rounds):
        shutil.rmtree(cache, ignore_errors=True)
        start = time.perf_counter()
        store = ours.store_of(table, size, cache)
        seconds.append(time.perf_counter() - start)
    held = sum(path.stat().st_size for path in store.path.parent.iterdir())
    shutil.rmtree(cache)
    where, middle = f"{count:,} JPEGs of {size} px", float(np.median(seconds))
    yield figure_row("store: first use", where, "s", middle, goal=Goal("≤", 25, "ours"), rounds=len(seconds))
    bare = count * size * size * 3
    yield figure_row(
        "store: bytes on disk", where, "MB", held / 1e6, bare / 1e6, goal=Goal("≤", 1.01), peer="raw bytes"
    )


def growth_rows(setting: Setting) -> Iterator[Row]:
    """Milliseconds an image of one pass of the training loader, 32 px: of a larger data set no image costs more."""
    counts = (1_000, 10_000, 100_000) if not setting.quick else (20, 40, 80)
    loaders = {f"{count:,}": loader_of(setting, count) for count in counts}
    passes = {
        name: (lambda loader=loader: sum(len(batch["labels"]) for batch in loader)) for name, loader in loaders.items()
    }
    with one_thread():
        times = setting.times("an epoch of the loader", passes, fill=1.0)
    each = [1e3 * float(np.median(times[name].cpu)) / count for name, count in zip(loaders, counts, strict=True)]
    for count, milliseconds in zip(counts[:-1], each[:-1], strict=True):
        where, told = f"{counts[-1]:,} images of 32 px", {"peer": f"{count:,} images", "rounds": setting.rounds}
        yield figure_row("growth: loader, an image", where, "ms", each[-1], milliseconds, goal=Goal("≤", FLAT), **told)


def loader_of(setting: Setting, count: int):
    """The training loader of ``count`` images of 32 px, of noise, in a store without files behind it."""
    from labkit.data.store import Store

    size = 32
    path = setting.folder / f"noise-{count}.npy"
    if not path.is_file():
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))
    names = [str(number) for number in range(count)]
    table = pd.DataFrame({"image_id": names, "label": np.arange(count) % 5, "split": "train"})
    store = Store(path, size, {name: row for row, name in enumerate(names)}, pd.DataFrame({"image_id": []}))
    return make_loaders(table, store, ours.params_for(size, 128))["train"]


def raw(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEGs as a fundus camera's: an eye of a phantom, blown up, in a dark frame with the noise of a sensor."""
    there = folder / f"raw-{size[0]}x{size[1]}"
    drawn = eyes(folder, count, 1024 if size == RAW else 128)["path"].tolist()
    paths = [there / Path(path).name for path in drawn]
    there.mkdir(exist_ok=True)
    for number, (source, path) in enumerate(zip(drawn, paths, strict=True)):
        if path.is_file():
            continue
        sheet, side = Image.new("RGB", size), round(size[1] * 0.98)
        eye = Image.open(source).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(eye, ((size[0] - side) // 2, (size[1] - side) // 2))
        noise = np.random.default_rng(number).standard_normal((size[1], size[0], 3), dtype=np.float32)
        Image.fromarray((np.asarray(sheet) + 4 + 2 * noise).clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    return paths


def copies(folder: Path, count: int, size: int) -> pd.DataFrame:
    """An image table of ``count`` JPEGs that all differ in their bytes: some eyes, drawn once, each in many files."""
    drawn = eyes(folder, min(count, 64), size)
    there = folder / f"copies-{count}-{size}px"
    there.mkdir(exist_ok=True)
    sources = [Path(path).read_bytes() for path in drawn["path"]]
    rows = []
    for number in range(count):
        path = there / f"{number}.jpeg"
        if not path.is_file():
            # What follows the picture's end changes the hash and not a pixel.
            path.write_bytes(sources[number % len(sources)] + f" {number}".encode())
        rows.append(path.as_posix())
    return pd.DataFrame({"image_id": [str(number) for number in range(count)], "path": rows, "label": 0})


def similarity(first: Image.Image, second: Image.Image) -> float:
    """SSIM of the grey pictures: 7 px windows, Wang et al. 2004, the constants for 8 bits."""
    a, b = (np.asarray(image.convert("L"), dtype=np.float64) for image in (first, second))
    mean_a, mean_b = uniform_filter(a, 7), uniform_filter(b, 7)
    scale = 49 / 48
    var_a = scale * (uniform_filter(a * a, 7) - mean_a**2)
    var_b = scale * (uniform_filter(b * b, 7) - mean_b**2)
    both = scale * (uniform_filter(a * b, 7) - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        np.mean((2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    )
