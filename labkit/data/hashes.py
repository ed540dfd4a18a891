"""Two hashes of an image: SHA-256 of its file's bytes, and a perceptual hash of its pixels in all eight orientations.

The perceptual hash has 256 bits; a re-compressed, resized or recoloured copy keeps nearly all of them. Each bit says
whether one of the 16 × 16 lowest frequencies of the luminance's discrete cosine transform is above their median (the
constant row and column are left out), as in PDQ (Facebook, "The TMK+PDQF video-hashing algorithm and the PDQ
image-hashing algorithm", 2019). Mirroring an image changes the signs of its odd frequencies and a quarter turn also
swaps rows and columns, so one transform gives the hashes of all eight orientations.

Why 256 bits: all fundus photographs have a black border and a round bright spot, so a 64-bit hash is too short. Of the
22.7 million pairs of 6,742 EyePACS eyes, 8,172 have the same 64-bit difference hash, and 37 differ in at most two bits
of the 64-bit DCT hash. With the 256 bits used here the two most similar eyes differ in 22 bits, in any orientation.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from labkit.data.images import ARRAY_PATH, array_image
from labkit.runs.files import remembered_sha256, sha256

CACHE_NAME = "file-hashes.csv"

SMALLEST = 24  # pixels a side that hold 16 frequencies with some room
SIDE = 64  # pixels a side at which images are compared, whatever the size that a network is given
BLANK = 1.0  # standard deviation of the luminance (0 to 127.5): no picture in it, so nothing to compare
FREQUENCIES = np.arange(1, 17)
# Whole numbers: all sums stay below 2^53, so they are exact and no hash depends on the processor.
COSINES = np.rint(2**12 * np.cos(np.pi * np.outer(FREQUENCIES, np.arange(SIDE) + 0.5) / SIDE))
MIRRORED = 1 - 2 * (FREQUENCIES % 2)  # the sign that mirroring gives each frequency
MAX_DISTANCE = 16  # of 256 bits; copies saved as JPEG at quality 20, halved or turned gray differ in at most 10
MOST_PAIRS = 1_000_000  # more tell nothing new, and would fill the memory: the frames of a film

Codes = NDArray[np.uint64]


def file_hashes(table: pd.DataFrame, cache_dir: Path) -> pd.Series:
    """SHA-256 (hex) of each image by image_id, remembered in `cache_dir`. OSError names a file that cannot be read."""
    paths = table["path"].astype(object).tolist()
    arrays = [ARRAY_PATH.fullmatch(path) if ".npz#" in path else None for path in paths]
    files = [array["file"] if array else path for array, path in zip(arrays, paths, strict=True)]
    hashed = remembered_sha256(paths, cache_dir / CACHE_NAME, sha256_of, files)
    return pd.Series(hashed, index=pd.Index(table["image_id"], name="image_id"), name="sha256", dtype="string")


def sha256_of(path: str) -> str:
    """SHA-256 (hex) of one image's file; of a row of an array file, of the image's bytes."""
    if array := ARRAY_PATH.fullmatch(path):
        return hashlib.sha256(array_image(array["file"], array["split"], int(array["index"])).tobytes()).hexdigest()
    return sha256(path)


def perceptual_hashes(image: Image.Image) -> Codes:
    """Hashes (8, 4) uint64 of an image's middle square: as it is, mirrored and turned; 0 if blank or below 24 px."""
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    box = (left, top, left + side, top + side)
    if side > 4 * SIDE:  # a pixel in so many: of ten million all would take longer than all the rest
        image, box = image.resize((4 * SIDE, 4 * SIDE), Image.Resampling.NEAREST, box), None
    square = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    luminance = np.asarray(square, dtype=np.float64)
    if side < SMALLEST or luminance.std() < BLANK:
        return np.zeros((8, 4), dtype=np.uint64)
    spectrum = COSINES @ luminance @ COSINES.T
    upright = np.stack([spectrum, spectrum * MIRRORED])
    four = np.concatenate([upright, upright * MIRRORED[:, None]])
    eight = np.concatenate([four, four.swapaxes(1, 2)]).reshape(8, -1)
    middle = np.partition(eight, (127, 128), axis=1)[:, 127:129].mean(axis=1, keepdims=True)  # quicker than np.median
    return np.packbits(eight > middle, axis=1).view(np.uint64)


def compare(codes: Codes) -> dict[str, np.ndarray]:
    """Which of n images look alike, from their `perceptual_hashes` (n, 8, 4).

    `look` (n,): the number of an image's hash, -1 for a blank. `pairs` (k, 2): looks within MAX_DISTANCE; `distance`
    (k,): their bits; `turned` (k,): nearest when one is mirrored or turned; `complete`: False if MOST_PAIRS stopped it.
    """
    look = np.full(len(codes), -1)
    seen = np.flatnonzero(codes.any(axis=(1, 2)))
    _, first, number = np.unique(codes[seen, 0], axis=0, return_index=True, return_inverse=True)
    look[seen] = number.ravel()
    pairs, distance, turn, complete = pairs_within(codes[seen[first]], MAX_DISTANCE, MOST_PAIRS)
    return {"look": look, "pairs": pairs, "distance": distance, "turned": turn > 0, "complete": np.array(complete)}


def distances(a: Codes, b: Codes) -> NDArray[np.int64]:
    """Bits that differ, (n, 4) and (n, 4) -> (n,)."""
    return np.bitwise_count(a ^ b).sum(axis=1, dtype=np.int64)


def pairs_within(codes: Codes, distance: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Rows (k, 2) of all pairs of images that differ in at most `distance` bits, the distances (k,), the orientation of
    the second that is nearest to the first (k,), and whether these are all: the search stops after `most` pairs.

    `codes` (n, orientations, 4), the first as it is. Multi-index hashing (Norouzi, Punjani, Fleet 2012): of `distance`
    + 1 bands of bits at least one is equal in such a pair, so only codes that agree in a band are compared.
    """
    bands = max(distance + 1, 8)  # at most 32 bits a band
    found: dict[int, int] = {}
    upright = np.ascontiguousarray(codes[:, 0])
    index = [(order := np.argsort(key, kind="stable"), key[order]) for key in _bands(upright, bands)]
    for turn in range(codes.shape[1]):
        asked = np.ascontiguousarray(codes[:, turn])
        for (order, known), key in zip(index, _bands(asked, bands), strict=True):
            place, end = np.searchsorted(known, key), np.searchsorted(known, key, "right")
            row = np.arange(len(codes))
            while len(found) <= most and len(row := row[place[row] < end[row]]):
                other = order[place[row]]
                place[row] += 1
                once = other < row
                a, b = other[once], row[once]
                near = np.bitwise_count(upright[a, 0] ^ asked[b, 0]) <= distance
                a, b = a[near], b[near]
                apart = distances(upright[a], asked[b])
                pair, value = a * len(codes) + b, apart * codes.shape[1] + turn
                for at, new in zip(pair[apart <= distance].tolist(), value[apart <= distance].tolist(), strict=True):
                    found[at] = min(new, found.get(at, new))
    pairs = np.array(sorted(found.items()), dtype=np.int64).reshape(-1, 2)
    rows = np.stack(np.divmod(pairs[:, 0], max(1, len(codes))), axis=1)
    return rows, *np.divmod(pairs[:, 1], codes.shape[1]), len(found) <= most


def _bands(codes: Codes, bands: int) -> list[NDArray[np.int64]]:
    """The bits (n,) of each band as a number; every band mixes high and low frequencies."""
    bits = np.unpackbits(codes.view(np.uint8), axis=1)
    parts = [bits[:, band::bands].astype(np.int64) for band in range(bands)]
    return [part @ (1 << np.arange(part.shape[1], dtype=np.int64)) for part in parts]
