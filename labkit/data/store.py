"""Decode once: every image, resized and cropped to a square, as one memory-mapped uint8 array.

A store is keyed by the images' SHA-256 and the geometry: studies share it, and a changed file makes a new one. Whether
its bytes are still those that were decoded is verified by checksums, on the first use of a day and after a change.
"""

import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from labkit.data.hashes import compare, perceptual_hashes
from labkit.data.images import GRAY, NO_RANGE, gray_counts, range_of, try_load
from labkit.runs.files import NotWritten, alone, read_json, stat_of, write_json, write_text

VERSION = 4  # of what is below and of the perceptual hash; a change makes every store anew
MAX_UNREADABLE = 0.01
THUMBNAIL = 64  # pixels a side, at least: more do not change a mean or a quantile
BLOCK = 2**26  # bytes that share a checksum
VERIFIED = "verified"  # a file of a store: the day on which it was verified, and how its files were then
LONG = 4  # times as long as wide: of a longer picture the ends are cut off before it is resized, not after


@dataclass(frozen=True)
class Store:
    """``path`` of an array (n, size, size, 3) uint8, the row of every image_id, and what cannot be decoded."""

    path: Path
    size: int
    rows: dict[str, int]
    unreadable: pd.DataFrame  # image_id, path, reason
    gray_range: Sequence[int] | None = None  # the values of gray of 16 bits that became 0 and 255

    @property
    def images(self) -> np.ndarray:
        """The memory-mapped array; cheap to open, so it is opened where it is used (a pickle would copy it)."""
        return np.load(self.path, mmap_mode="r")

    def facts(self) -> dict[str, Any]:
        """What a run's manifest says of it."""
        return {"unreadable": len(self.unreadable), "gray_range": self.gray_range}

    @property
    def alike(self) -> dict[str, np.ndarray]:
        """Which rows look alike (`hashes.compare`), found when they were decoded; the same at every size."""
        with np.load(self.path.with_name("alike.npz")) as arrays:
            return dict(arrays)

    def thumbnails(self, image_ids: Sequence[str], at_once: int = 512) -> Iterator[np.ndarray]:
        """Parts (n, h, w, 3) uint8 of these images, of which every so-manyth pixel is taken: 64 to 127 a side."""
        images, rows = self.images, np.array([self.rows[name] for name in image_ids], dtype=np.int64)
        step = max(1, self.size // THUMBNAIL)
        return (images[rows[start : start + at_once], ::step, ::step] for start in range(0, len(rows), at_once))

    def keep_readable(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table without its unreadable images; raises ValueError if those are over 1 %."""
        if refused := self.refusal(table):
            raise ValueError(refused)
        return table.loc[~table["image_id"].isin(self.unreadable["image_id"])].reset_index(drop=True)

    def refusal(self, table: pd.DataFrame) -> str:
        """Why no run takes this table: over 1 % of its images cannot be decoded; empty where one does."""
        bad = np.count_nonzero(table["image_id"].isin(self.unreadable["image_id"]))
        if bad <= MAX_UNREADABLE * len(table):
            return ""
        first = "; ".join((self.unreadable["path"] + ": " + self.unreadable["reason"]).head(5))
        said = f"{bad:,} of {len(table):,} images cannot be decoded, more than {MAX_UNREADABLE:.0%}"
        return f"{said}; replace or remove them. The first: {first}"


def build_store(table: pd.DataFrame, hashes: pd.Series, size: int, cache: Path) -> Store:
    """The store of a table's images at ``size`` pixels a side, made if it is not there.

    ``hashes`` holds each image_id's SHA-256. The shorter side is resized to ``size`` (bicubic, antialiased) and the
    middle kept; gray of 16 bits is brought to 8 by the range of the whole set. Raises OSError where the disk cannot
    hold it, and ValueError that names the folder to remove where its files have changed.
    """
    wanted = table.assign(sha256=table["image_id"].map(hashes.to_dict().get)).dropna(subset=["sha256"])
    unique = wanted.drop_duplicates("sha256").sort_values("sha256", ignore_index=True)
    folder = cache / "store" / _name_of(size, unique["sha256"])
    index = _read_index(folder)
    if not index:
        busy = f"another process is decoding to {folder}; waiting for it"
        with alone(folder.parent / f".{folder.name}.lock", busy):
            index = _read_index(folder) or _build(unique, size, folder)
    _verify(folder, index)
    row_of = {sha: row for row, sha in enumerate(index["sha256"])}
    reasons = wanted["sha256"].map(index["unreadable"])
    unreadable = wanted.assign(reason=reasons).loc[reasons.notna(), ["image_id", "path", "reason"]]
    rows = {name: row_of[sha] for name, sha in zip(wanted["image_id"], wanted["sha256"], strict=True)}
    return Store(folder / "images.npy", size, rows, unreadable.reset_index(drop=True), index["gray_range"])


def _name_of(size: int | str, sha256: Iterable[str]) -> str:
    return f"{size}px-v{VERSION}-{hashlib.sha256(' '.join(map(str, sha256)).encode()).hexdigest()[:16]}"


def _read_index(folder: Path) -> dict[str, Any]:
    """What a store holds; {} where there is none. ValueError names a damaged one and the folder to remove."""
    kinds = {"sha256": list, "unreadable": dict, "files": dict}
    with suppress(ValueError):
        index = read_json(folder / "index.json")
        whole = all(isinstance(index.get(name), kind) for name, kind in kinds.items())
        if not index or (whole and folder.name == _name_of(folder.name.partition("px-")[0], index["sha256"])):
            return index
    raise ValueError(f"{folder / 'index.json'}: damaged; remove {folder}, and it is made again")


def _verify(folder: Path, index: dict[str, Any], again: bool = False) -> None:
    """ValueError names a store whose files are not as they were made, by their length and (once a day) their blocks."""
    made, seal = index["files"], folder / VERIFIED
    found = {name: path.stat().st_size if (path := folder / name).is_file() else 0 for name in made}
    wrong = [f"{name} has {found[name]:,} of {size:,} bytes" for name, (size, _) in made.items() if found[name] != size]
    if not wrong and (again or not seal.is_file() or seal.read_bytes() != _as_of_today(folder, index).encode()):
        for name, (_, sums) in made.items():
            if changed := np.count_nonzero(_block_sums(folder / name) != np.array(sums)):
                wrong.append(f"{changed} of {len(sums)} blocks of {name} have changed")
        with suppress(NotWritten):  # a cache that is only read is verified each time
            write_text(seal, "" if wrong else _as_of_today(folder, index))
    if wrong:
        raise ValueError(f"{folder}: damaged, {', '.join(wrong)}; remove it, and it is made again")


def _as_of_today(folder: Path, index: dict[str, Any]) -> str:
    return f"{date.today()} {[stat_of(folder / name) for name in index['files']]}\n"


def _block_sums(path: Path) -> np.ndarray:
    """CRC-32 of each block of a file: it must find what a disk or a crash has changed, not what a person forged."""
    data = np.memmap(path, np.uint8, "r")
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # outside Python's lock
        return np.array(list(pool.map(zlib.crc32, blocks)))


def check_stores(cache: Path) -> Iterator[tuple[Path, str]]:
    """Every store of the cache, but for those of other versions, verified anew: its folder, and its damage or ''."""
    for folder in sorted((cache / "store").glob(f"[0-9]*px-v{VERSION}-*")):
        try:
            if index := _read_index(folder):
                _verify(folder, index, again=True)
                yield folder, ""
        except ValueError as error:
            yield folder, str(error)


def _build(unique: pd.DataFrame, size: int, folder: Path) -> dict[str, Any]:
    """Decode into a temporary folder and rename it: a store is whole or not there. Returns its index."""
    count, size_in_bytes = len(unique), len(unique) * size * size * 3
    for leftover in [folder, *folder.parent.glob(f".{folder.name}-*")]:  # of a process that was killed; or no index
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if size_in_bytes > 0.95 * free:
        needed = f"{size_in_bytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        raise OSError(f"{folder.parent}: {needed}; set LABKIT_CACHE")
    print(f"Decoding {count:,} images once to {size} px ({size_in_bytes / 1e6:,.0f} MB) …")
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        images = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, (count, size, size, 3))
        looks = np.zeros((count, 8, 4), np.uint64)
        unreadable: dict[str, str] = {}

        def decode(row: int, gray_range: Sequence[int] | None = None) -> np.ndarray | None:
            """Into the array; of 16-bit gray the counts of its values, from which the range of the set is found."""
            path = str(unique["path"][row])
            if (image := try_load(path, gray_range)) == NO_RANGE:
                image = gray_counts(path)
            if isinstance(image, np.ndarray):
                return image
            if isinstance(image, str):
                unreadable[str(unique["sha256"][row])] = image
            else:
                images[row] = to_square(image, size)
                looks[row] = perceptual_hashes(image)
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside Python's lock
            deep, counts, gray_range = [], np.zeros(GRAY[1] - GRAY[0], np.int64), None
            for row, found in enumerate(tqdm(pool.map(decode, range(count)), "decoding", count, disable=None)):
                if found is not None:
                    deep, counts = [*deep, row], counts + found
            if deep:
                gray_range = range_of(counts)
                list(pool.map(partial(decode, gray_range=gray_range), deep))
        images.flush()
        alike: Any = compare(looks)
        np.savez(temporary / "alike.npz", **alike)
        made = [temporary / "images.npy", temporary / "alike.npz"]
        files = {path.name: [path.stat().st_size, _block_sums(path).tolist()] for path in made}
        index = {"sha256": unique["sha256"].tolist(), "unreadable": dict(sorted(unreadable.items()))}
        index |= {"gray_range": gray_range and list(gray_range), "files": files}
        write_text(temporary / VERIFIED, _as_of_today(temporary, index))
        write_json(temporary / "index.json", index)
        temporary.replace(folder)
        return index
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """(size, size, 3) uint8: shorter side resized to ``size``, the middle cut out."""
    if max(image.size) > LONG * min(image.size):  # else a line of pixels, enlarged, would fill the memory
        image = _middle(image, LONG * min(image.size))
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(_middle(image, size), dtype=np.uint8)


def _middle(image: Image.Image, most: int) -> Image.Image:
    """The middle of a picture, at most so many pixels a side."""
    width, height = (min(side, most) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def load_square(
    paths: list[str], size: int, gray_range: Sequence[int] | None = None
) -> tuple[np.ndarray, dict[str, str]]:
    """New images as a store of this ``gray_range`` would hold them, and why others cannot be decoded, by path."""

    def decode(path: str) -> np.ndarray | str:
        image = try_load(path, gray_range)
        return image if isinstance(image, str) else to_square(image, size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # as in _build
        found = list(pool.map(decode, paths))
    squares = [square for square in found if not isinstance(square, str)]
    failed = {path: reason for path, reason in zip(paths, found, strict=True) if isinstance(reason, str)}
    return np.array(squares, np.uint8).reshape(-1, size, size, 3), failed
