"""SHA-256 of every image file, remembered by size and time of change."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from labkit.data.images import ARRAY_PATH, array_image
from labkit.runs.files import sha256, write_whole

CACHE_NAME = "file-hashes.csv"
KEY = ["path", "size", "mtime_ns"]


def file_hashes(table: pd.DataFrame, cache_dir: Path) -> pd.Series:
    """SHA-256 (hex) of each image's file by image_id; for a row of an array file, of the image's bytes.

    `cache_dir/file-hashes.csv` holds what was hashed before; a changed size or time of change hashes again.
    OSError names a file that cannot be read.
    """
    paths = table["path"].astype(object)
    stats = {}
    for file in dict.fromkeys(_file_of(path) for path in paths):
        stat = os.stat(file)  # noqa: PTH116 - a million Path objects would cost more than the calls
        stats[file] = (stat.st_size, stat.st_mtime_ns)
    wanted = pd.DataFrame([(path, *stats[_file_of(path)]) for path in paths], columns=KEY)
    cache = Path(cache_dir) / CACHE_NAME
    known = _read(cache)
    hashed = wanted.merge(known, on=KEY, how="left")["sha256"].astype(object)
    new = hashed.isna().to_numpy(bool)
    if new.any():
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:  # hashing and reading free Python's lock
            hashed[new] = list(pool.map(sha256_of, paths.to_numpy()[new]))
        fresh = wanted[new].assign(sha256=hashed[new])
        _write(pd.concat([_read(cache), fresh]).drop_duplicates("path", keep="last"), cache)
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


def _read(cache: Path) -> pd.DataFrame:
    """What is remembered; nothing if the file is not there or damaged, since it can be made again."""
    empty = pd.DataFrame({"path": [], "size": [], "mtime_ns": [], "sha256": []}, dtype=object)
    types: dict = {"path": object, "size": "int64", "mtime_ns": "int64", "sha256": object}
    if not cache.is_file():
        return empty.astype(types)
    try:
        known = pd.read_csv(cache, dtype=types, usecols=list(types), keep_default_na=False)
        return known.loc[:, list(types)]
    except (ValueError, pd.errors.ParserError):
        return empty.astype(types)


def _write(known: pd.DataFrame, cache: Path) -> None:
    write_whole(cache, lambda beside: known.to_csv(beside, index=False))
