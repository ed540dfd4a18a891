"""Two hashes of an image: SHA-256 of its file's bytes, and a perceptual hash of its pixels.

The perceptual hash has 256 bits; a re-compressed, resized or recoloured copy keeps nearly all of them. Each bit says
whether one of the 16 × 16 lowest frequencies of the luminance's discrete cosine transform is above their median (the
constant row and column are left out), as in PDQ (Facebook, "The TMK+PDQF video-hashing algorithm and the PDQ
image-hashing algorithm", 2019). The store's resizing takes the place of PDQ's.

Why 256 bits: all fundus photographs have a black border and a round bright spot, so a 64-bit hash is too short. Of the
22.7 million pairs of 6,742 EyePACS eyes, 8,172 have the same 64-bit difference hash, and 37 differ in at most two bits
of the 64-bit DCT hash. With the 256 bits used here the two most similar eyes differ in 22 bits.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.data.images import ARRAY_PATH, array_image
from labkit.runs.files import sha256, write_whole

CACHE_NAME = "file-hashes.csv"
COLUMNS: dict = {"path": object, "size": "int64", "mtime_ns": "int64", "sha256": object}

BITS = 256
FREQUENCIES = np.arange(1, 17)
SMALLEST = 24  # pixels a side that hold 16 frequencies with some room
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
BATCH = 256

Codes = NDArray[np.uint64]


def file_hashes(table: pd.DataFrame, cache_dir: Path) -> pd.Series:
    """SHA-256 (hex) of each image's file by image_id; for a row of an array file, of the image's bytes.

    `cache_dir/file-hashes.csv` remembers them; a file whose size or time of change differs is hashed again.
    OSError names a file that cannot be read.
    """
    paths = table["path"].astype(object)
    files = [_file_of(path) for path in paths]
    stats = {file: os.stat(file) for file in dict.fromkeys(files)}  # noqa: PTH116 - a million Paths would cost more
    wanted = pd.DataFrame(
        [(path, stats[file].st_size, stats[file].st_mtime_ns) for path, file in zip(paths, files, strict=True)],
        columns=["path", "size", "mtime_ns"],
    )
    cache = Path(cache_dir) / CACHE_NAME
    hashed = wanted.merge(_remembered(cache), how="left")["sha256"].astype(object)
    new = hashed.isna().to_numpy(bool)
    if new.any():
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:  # hashing and reading free Python's lock
            hashed[new] = list(pool.map(sha256_of, paths.to_numpy()[new]))
        known = pd.concat([_remembered(cache), wanted[new].assign(sha256=hashed[new])])
        known = known.drop_duplicates("path", keep="last")
        write_whole(cache, lambda beside: known.to_csv(beside, index=False))
    return pd.Series(
        hashed.to_numpy(), index=pd.Index(table["image_id"], name="image_id"), name="sha256", dtype="string"
    )


def _file_of(path: str) -> str:
    array = ARRAY_PATH.fullmatch(path) if ".npz#" in path else None
    return array["file"] if array else path


def sha256_of(path: str) -> str:
    """SHA-256 (hex) of one image's file; of a row of an array file, of the image's bytes."""
    if array := ARRAY_PATH.fullmatch(path):
        return hashlib.sha256(array_image(array["file"], array["split"], int(array["index"])).tobytes()).hexdigest()
    return sha256(Path(path))


def _remembered(cache: Path) -> pd.DataFrame:
    """The hashes in the cache; none if the file is missing or damaged, since it can be made again."""
    try:
        known = pd.read_csv(cache, dtype=COLUMNS, usecols=list(COLUMNS), keep_default_na=False)
        return known.loc[:, list(COLUMNS)]
    except (FileNotFoundError, ValueError):
        return pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


def perceptual_hashes(images: np.ndarray, rows: np.ndarray) -> tuple[Codes, NDArray[np.float32]]:
    """Hashes (n, 4) uint64 of the given rows of (N, size, size, 3) uint8, and each one's contrast: the standard
    deviation of its luminance, 0 to 127.5. Raises ValueError below 24 pixels a side."""
    size = images.shape[1]
    if size < SMALLEST:
        raise ValueError(f"images of {size} px are too small for a perceptual hash; {SMALLEST} px are needed")
    cosines = np.cos(np.pi * np.outer(FREQUENCIES, np.arange(size) + 0.5) / size).astype(np.float32)
    codes = np.empty((len(rows), BITS // 64), dtype=np.uint64)
    contrast = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), BATCH):
        here = slice(start, start + BATCH)
        luminance = images[rows[here]] @ LUMINANCE
        contrast[here] = luminance.std(axis=(1, 2))
        spectrum = (cosines @ luminance @ cosines.T).reshape(len(luminance), BITS)
        bits = spectrum > np.median(spectrum, axis=1, keepdims=True)
        codes[here] = np.packbits(bits, axis=1).view(np.uint64)
    return codes, contrast


def distances(a: Codes, b: Codes) -> NDArray[np.int64]:
    """Bits that differ, (n, 4) and (n, 4) -> (n,)."""
    return _ones(a ^ b).sum(axis=1)


def pairs_within(codes: Codes, distance: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Rows (k, 2) of all pairs of codes that differ in at most `distance` bits, the distances (k,), and whether these
    are all: the search stops after `most` pairs.

    Multi-index hashing (Norouzi, Punjani, Fleet 2012): of `distance` + 1 bands of bits at least one is equal in such a
    pair, so only codes that agree in a band are compared. Memory grows only with the codes and the pairs found.
    """
    bits = np.unpackbits(codes.view(np.uint8), axis=1)
    bands = max(distance + 1, 8)  # at most 32 bits a band
    found: dict[int, int] = {}
    for band in range(bands):
        columns = bits[:, band::bands].astype(np.int64)  # every band mixes high and low frequencies
        key = columns @ (1 << np.arange(columns.shape[1], dtype=np.int64))
        order = np.argsort(key, kind="stable")
        key, sorted_codes = key[order], codes[order]
        first, step = np.arange(len(key)), 0
        while len(first) and len(found) <= most:  # neighbours, then next but one …, as long as the band is equal
            step += 1
            first = first[: np.searchsorted(first, len(key) - step)]
            first = first[key[first] == key[first + step]]
            near = first[_ones(sorted_codes[first, 0] ^ sorted_codes[first + step, 0]) <= distance]
            apart = distances(sorted_codes[near], sorted_codes[near + step])
            near, apart = near[apart <= distance], apart[apart <= distance]
            ends = np.sort(np.stack([order[near], order[near + step]], axis=1), axis=1)
            found.update(zip((ends[:, 0] * len(codes) + ends[:, 1]).tolist(), apart.tolist(), strict=True))
    pairs = np.array(sorted(found.items()), dtype=np.int64).reshape(-1, 2)
    rows = np.stack(np.divmod(pairs[:, 0], max(1, len(codes))), axis=1)
    return rows, pairs[:, 1], len(found) <= most


def _ones(words: Codes) -> NDArray[np.int64]:
    """How many bits of each 64-bit word are set (Warren, Hacker's Delight, 5-1)."""
    one, two, four = (np.uint64(int(pattern * 8, 16)) for pattern in ("55", "33", "0f"))
    words = words - ((words >> np.uint64(1)) & one)
    words = (words & two) + ((words >> np.uint64(2)) & two)
    words = (words + (words >> np.uint64(4))) & four
    return ((words * np.uint64(int("01" * 8, 16))) >> np.uint64(56)).astype(np.int64)
