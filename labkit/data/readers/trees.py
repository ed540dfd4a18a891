"""Layouts whose labels lie in folder names, file names or array files."""

import re
import zipfile
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.data.images import DAMAGED_ARRAY, stem
from labkit.data.readers.folders import folders_in, images_under
from labkit.data.readers.label_files import DataError
from labkit.data.readers.layouts import Listing
from labkit.data.readers.tables import SPLITS

CNMC_NAME = re.compile(r"UID_H?\d+_\d+_\d+_(all|hem)\.(bmp|png|jpe?g)", re.IGNORECASE)


def _listing(root: Path, paths: list[str], ids: list[str], labels: list[str], splits, looked: str) -> Listing:
    prefix = root.resolve().as_posix() + "/"
    rows = pd.DataFrame({"image_id": ids, "path": [prefix + path for path in paths], "label": labels}, dtype=object)
    return Listing(rows.assign(split=splits, found=True, file=paths, line=0), looked)


def is_cnmc(root: Path) -> bool:
    """Whether C-NMC's file names lie in the folder or under it."""
    first = islice(images_under(root), 1000)  # a large folder of other images need not be walked for this
    return any(CNMC_NAME.fullmatch(path.rpartition("/")[2]) for path in first)


def cnmc_tree(root: Path) -> Listing:
    """C-NMC 2019: `fold_0/all/UID_….bmp`, `fold_0/fold_0/hem/…` or the files alone; no split.

    The label is the folder's (`all`, `hem`) or, without one, the name's. DataError where the two disagree.
    """
    paths, labels, other = [], [], 0
    for path in images_under(root):
        match = CNMC_NAME.fullmatch(path.rpartition("/")[2])
        if not match:
            other += 1
            continue
        folder = next((part for part in reversed(path.lower().split("/")[:-1]) if part in ("all", "hem")), None)
        if folder and folder != match[1].lower():
            raise DataError(f"{root / path}: the folder says {folder}, the name {match[1]}; one of them is wrong")
        paths.append(path)
        labels.append(match[1])
    listing = _listing(root, paths, [stem(path) for path in paths], labels, None, str(root))
    if other:
        listing.notes.append(f"{other:,} images are not named UID_<subject>_<image>_<cell>_<all|hem> and were left out")
    return listing


def is_class_tree(root: Path) -> bool:
    """Whether `root` has sub-folders with images in them, which then are classes or splits."""
    return any(True for folder in folders_in(root) for _ in images_under(root, below=folder.name))


def class_tree(root: Path) -> Listing:
    """One folder a class: `class_a/x.jpg`, or `train/class_a/x.jpg` with `val`, `test`; deeper folders count too.

    Images that lie in a split's folder itself have no label.
    """
    names = [folder.name for folder in folders_in(root)]
    with_splits = "train" in (SPLITS.get(name.lower()) for name in names)
    depth = 1 if with_splits else 0
    paths, labels, splits, outside = [], [], [], 0
    for path in images_under(root):
        parts = path.split("/")
        split = SPLITS.get(parts[0].lower()) if with_splits else None
        if len(parts) < 2 or (with_splits and split is None):
            outside += 1
            continue
        paths.append(path)
        labels.append(parts[depth] if len(parts) > depth + 1 else "")
        splits.append(split)
    ids = [path.rpartition(".")[0] for path in paths]
    ids = paths if len(set(ids)) < len(ids) else ids  # a/x.jpg beside a/x.png
    listing = _listing(root, paths, ids, labels, splits, str(root))
    if outside:
        where = "a train, val or test folder" if with_splits else "a class folder"
        listing.notes.append(f"{outside:,} images lie outside {where} and were left out")
    return listing


def array_files(root: Path) -> list[Path]:
    """The `.npz` files that `root` is or holds."""
    if root.is_file():
        return [root] if root.suffix == ".npz" else []
    return sorted(path for path in root.glob("*.npz") if not path.name.startswith("."))


def array_file(path: Path) -> Listing:
    """MedMNIST's `.npz`: `train_images` (n, h, w[, 3]) uint8 and `train_labels` (n, 1), the same for val and test."""
    file = path.resolve()
    parts = []
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for split in ("train", "val", "test"):
                if f"{split}_labels" in arrays:
                    labels = arrays[f"{split}_labels"]
                    shape, kind = _header_of(file, f"{split}_images")
                    if kind != np.uint8:
                        raise DataError(f"{path}: {split}_images are {kind}, not uint8; save them as 0 to 255")
                    parts.append(_array_rows(file, split, shape, labels))
    except DataError:
        raise
    except (OSError, *DAMAGED_ARRAY) as error:
        raise DataError(f"{path}: not a MedMNIST array file ({error}); download it again, or numpy.savez it") from error
    if not parts:
        raise DataError(f"{path}: no train_images and train_labels in it, as MedMNIST's array files have")
    return Listing(pd.concat(parts, ignore_index=True), str(path))


def _array_rows(file: Path, split: str, shape: tuple[int, ...], labels: np.ndarray) -> pd.DataFrame:
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{file}: {split}_images has the shape {shape}; images are (n, h, w) or (n, h, w, 3)")
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(f"{file}: {split}_labels has the shape {labels.shape}; one label an image is understood")
    if len(labels) != shape[0]:
        raise DataError(f"{file}: {shape[0]:,} {split}_images and {len(labels):,} {split}_labels")
    numbers = range(len(labels))
    return pd.DataFrame(
        {
            "image_id": [f"{split}/{number}" for number in numbers],
            "path": [f"{file.as_posix()}#{split}/{number}" for number in numbers],
            "label": [str(label) for label in labels.ravel().tolist()],
            "split": split,
            "found": True,
            "file": f"{file.name}#{split}_labels",
            "line": range(1, len(labels) + 1),
        }
    )


def _header_of(file: Path, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, from its header: the images of a large file are not read for it."""
    with zipfile.ZipFile(file) as archive, archive.open(f"{member}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
        return shape, kind
