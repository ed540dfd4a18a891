"""Layouts whose labels lie in file names or array files: C-NMC's and MedMNIST's."""

import re
import zipfile
from pathlib import Path
from posixpath import basename

import numpy as np
import pandas as pd

from labkit.data.images import DAMAGED_ARRAY, is_image, stem
from labkit.data.readers.inventory import Folder, Inventory
from labkit.data.readers.label_files import DataError
from labkit.data.readers.layouts import Listing
from labkit.data.readers.levels import Levels, find_levels, telling
from labkit.format import plural, some

CNMC_NAME = re.compile(r"UID_H?\d+_\d+_\d+_(all|hem)\.(bmp|png|jpe?g)", re.IGNORECASE)


def _listing(found: Inventory, paths: list[str], labels: list[str], splits: list[str | None]) -> Listing:
    prefix = found.root.resolve().as_posix() + "/"
    ids = [path.rpartition(".")[0] if is_image(basename(path)) else path for path in paths]
    ids = paths if len(set(ids)) < len(ids) else ids  # a/x.jpg beside a/x.png
    rows = pd.DataFrame({"image_id": ids, "path": [prefix + path for path in paths], "label": labels}, dtype=object)
    return Listing(rows.assign(split=splits, found=True, file=paths, line=0), found.notes())


def cnmc_tree(found: Inventory) -> Listing | None:
    """C-NMC 2019: `fold_0/all/UID_….bmp` or the files alone, or None; DataError where folder and name disagree."""
    labels = {path: match[1] for path in found.images if (match := CNMC_NAME.fullmatch(basename(path)))}
    if not labels:
        return None
    for path, label in labels.items():
        folders = [part for part in path.lower().split("/")[:-1] if part in ("all", "hem")]
        if folders and folders[-1] != label.lower():
            said = f"the folder says {folders[-1]}, the name {label}; one of them is wrong"
            raise DataError(f"{found.root / path}: {said}")
    listing = _listing(found, [*labels], [*labels.values()], [None] * len(labels))
    listing.rows["image_id"] = [stem(path) for path in labels]
    if other := len(found.images) - len(labels):
        listing.notes.append(f"{other:,} images are not named UID_<subject>_<image>_<cell>_<all|hem> and were left out")
    listing.reading |= {"labels": "file names end in _all or _hem", "split": "none: C-NMC's folds are not used"}
    return listing


def class_tree(found: Inventory, class_names: list[str] | None = None) -> Listing:
    """One folder a class: `class_a/x.jpg`, `train/class_a/x.jpg`, `class_a/train/x.jpg`; deeper folders count too.

    Images that lie in a part's folder itself have no label. DataError where it can be read in two ways, or in none.
    """
    folders = [tuple(path.split("/")[:-1]) for path in found.images]
    told = telling(folders)
    ways = {folder: tuple(folder[at] for at in positions) for folder, positions in told.items()}
    levels = find_levels(found.root, {way for way in ways.values() if way}, class_names)
    rows, outside = [], []
    for path, folder in zip(found.images, folders, strict=True):
        way = ways[folder]
        part = way[levels.split] if levels.split is not None and len(way) > levels.split else ""
        label = way[levels.label] if len(way) > levels.label else ""
        if part not in levels.parts if levels.split == 0 else not label:
            outside.append("/".join(folder))
        else:
            rows.append((path, label, levels.parts.get(part)))
    listing = _listing(found, *([row[at] for row in rows] for at in range(3)))
    if outside:
        where = "a train, val or test folder" if levels.split == 0 else "a class folder"
        within = f" (in {some(set(outside) - {''})})" if any(outside) else ""
        listing.notes.append(f"{len(outside):,} images lie outside {where} and were left out{within}")
    beside = {folder[: told[folder][levels.label]] for folder in ways if len(ways[folder]) > levels.label}
    held = {*ways, *(tuple(path.split("/")[:-1]) for path in found.masks)}
    filled = {"/".join(folder[:depth]) for folder in held for depth in range(1, len(folder) + 1)}
    empty = [path for path in found.folders if tuple(path.split("/")[:-1]) in beside and path not in filled]
    if empty:
        listing.notes.append(f"without an image: {plural(len(empty), 'class folder')} ({some(empty)})")
    _explain(listing, levels, told, ways, class_names)
    return listing


def _explain(
    listing: Listing,
    levels: Levels,
    told: dict[Folder, list[int]],
    ways: dict[Folder, Folder],
    class_names: list[str] | None,
) -> None:
    """Fills `reading`, and `offered_pattern` where a level of folders may be the patients."""

    def names(level: int) -> str:
        return some({way[level] for way in ways.values() if len(way) > level})

    why = "class_names lists them" if class_names else "no other level of folders can be the classes"
    split = f"the folders {some(levels.parts)}" if levels.parts else "none: no folder is called train or test"
    reading = listing.reading
    reading |= {"labels": f"the names of the folders {names(levels.label)}: {why}", "split": split}
    for at, kind in enumerate(levels.kinds):
        if kind == "person":
            level = next(told[folder][at] for folder, way in ways.items() if len(way) > at)
            pattern = listing.offered_pattern = "^" + "[^/]+/" * level + "(?P<group>[^/]+)/"
            reading["groups"] = f"none; the folders {names(at)} may be patients: group_pattern: '{pattern}' takes them"
        elif kind == "download" and at < levels.label:
            reading["split"] += f"; the folders {names(at)} are numbered parts of a download and not used"
        elif kind in ("part", "mixed") and levels.split is None and at != levels.label:
            reading["split"] = f"none: not every image lies in a part, {names(at)}"


def array_file(path: Path) -> Listing:
    """MedMNIST's `.npz`: `train_images` (n, h, w[, 3]) uint8 and `train_labels` (n, 1), the same for val and test."""
    parts, file = [], path.resolve()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for split in (split for split in ("train", "val", "test") if f"{split}_labels" in arrays):
                labels = arrays[f"{split}_labels"]
                _check_shapes(file, split, labels)
                ids = [f"{split}/{number}" for number in range(len(labels))]
                rows = pd.DataFrame({"image_id": ids, "path": [f"{file.as_posix()}#{one}" for one in ids]})
                rows["label"], rows["line"] = [str(label) for label in labels.ravel().tolist()], rows.index + 1
                parts.append(rows.assign(split=split, found=True, file=f"{file.name}#{split}_labels"))
    except DataError:
        raise
    except (OSError, *DAMAGED_ARRAY) as error:
        raise DataError(f"{path}: not a MedMNIST array file ({error}); download it again, or numpy.savez it") from error
    if not parts:
        raise DataError(f"{path}: no train_images and train_labels in it, as MedMNIST's array files have")
    reading = {"labels": f"the label arrays of {path.name}", "split": "the file's own arrays"}
    return Listing(pd.concat(parts, ignore_index=True), reading=reading)


def _check_shapes(file: Path, split: str, labels: np.ndarray) -> None:
    with zipfile.ZipFile(file) as archive, archive.open(f"{split}_images.npy") as stream:  # its header, not the images
        first = np.lib.format.read_magic(stream) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, kind = header(stream)
    if kind != np.uint8:
        raise DataError(f"{file}: {split}_images are {kind}, not uint8; save them as 0 to 255")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{file}: {split}_images has the shape {shape}; images are (n, h, w) or (n, h, w, 3)")
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(f"{file}: {split}_labels has the shape {labels.shape}; one label an image is understood")
    if len(labels) != shape[0]:
        raise DataError(f"{file}: {shape[0]:,} {split}_images and {len(labels):,} {split}_labels")
