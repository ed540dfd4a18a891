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
from made_pictures import copies, raw_photographs, similarity
from measuring import Bench, Row, compared, row
from PIL import Image
from tasks import NAME, one_thread

from labkit.data.loaders import make_loaders
from labkit.data.prepare.eyeball import crop_square, find_eyeball
from labkit.data.prepare.photographs import crop_photograph
from labkit.data.store import Store
from labkit.params import PROJECT

RAW = (3888, 2592)  # px of a Canon camera, as most of Kaggle's EyePACS photographs


def prepare_rows(bench: Bench) -> Iterator[Row]:
    """`labkit prepare`'s crop of a raw photograph against Pillow's open, crop and resize at full size."""
    size, shape = bench.size(512, 64), (388, 259) if bench.quick else RAW
    photographs = raw_photographs(bench.folder, bench.size(4, 1), shape)
    alike = min(similarity(crop_photograph(path, size), plain_crop(path, size)) for path in photographs)
    crops = {NAME: crop_photograph, "plain": plain_crop}
    passes = {name: lambda crop=crop: [crop(path, size) for path in photographs] for name, crop in crops.items()}
    with one_thread():
        found = bench.times("raw photographs to crops", passes, clock=time.process_time)
    note = f"SSIM of the two crops {alike:.3f} or more; both find the disc, the plain way in the full photograph"
    names = "prepare", f"{RAW[0]} × {RAW[1]} px JPEG to {size} px", "images/s per core"
    told = {"goal": "≥ 2.5 ×", "note": note, "count": len(photographs)}
    yield compared(*names, found[NAME], "Pillow", found["plain"], **told)


def plain_crop(path: str, size: int) -> Image.Image:
    """Open, crop and resize, every pixel decoded."""
    full = Image.open(path).convert("RGB")
    return crop_square(full, find_eyeball(full), size)


def store_rows(bench: Bench) -> Iterator[Row]:
    """Hashing, decoding and writing of all images where nothing is there yet; and the store's bytes."""
    count, size = bench.size(6_742, 20), bench.size(256, 32)
    table, cache = copies(bench.folder, count, size), bench.folder / "first-use"
    again = lambda: (shutil.rmtree(cache, ignore_errors=True), ours.store_of(table, size, cache))  # noqa: E731
    seconds = bench.times(f"store of {count:,} images", {NAME: again}, warm=False)[NAME]
    held = sum(path.stat().st_size for path in again()[1].path.parent.iterdir()) / 1e6
    shutil.rmtree(cache)
    setting, bare = f"{count:,} JPEGs of {size} px", count * size * size * 3 / 1e6
    yield row("store: first use", setting, "s", median(seconds), goal="≤ 25 s", rounds=bench.rounds)
    yield row("store: bytes on disk", setting, "MB", held, "raw bytes", bare, goal="≤ 1.01 ×")


def loader_rows(bench: Bench) -> Iterator[Row]:
    """Milliseconds an image of one pass of the training loader: in a larger data set no image costs more."""
    loaders = {n: noise_loader(bench.folder, n) for n in ((20, 40, 80) if bench.quick else (1_000, 10_000, 100_000))}
    passes = {f"{n:,} images": lambda one=one: sum(len(batch["labels"]) for batch in one) for n, one in loaders.items()}
    with one_thread():
        found = bench.times("an epoch of the loader", passes, fill=1.0, clock=time.process_time)
    each = {name: 1e3 * median(seconds) / n for n, (name, seconds) in zip(loaders, found.items(), strict=True)}
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
    probe = lambda: subprocess.check_output([sys.executable, "-c", PROBE, str(n)], cwd=PROJECT)  # noqa: E731
    found = pd.DataFrame([json.loads(probe()) for _ in range(bench.rounds)]).median()
    setting = f"{n:,} images of {n // 2:,} patients"
    yield row("growth: peak memory", setting, "GB", found["peak"], goal="≤ 1.5 GB", rounds=bench.rounds)
    note = f"split {found['split']:.1f} s, audit of groups, fellow eyes and exact copies {found['audit']:.1f} s"
    both = found["split"] + found["audit"]
    yield row("growth: split and audit", setting, "s", both, goal="≤ 30 s", note=note, rounds=bench.rounds)
