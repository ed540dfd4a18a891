"""Layouts whose labels lie in CSV files: the two courses', Kaggle's, and any CSV with path and label columns.

Every layout gives a Listing: rows with `image_id, path (absolute), found, label (text), split, file, line`, and where
the files name them `group` and `side`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from labkit.data.images import is_image, stem
from labkit.data.readers.folders import files_in, folders_in, leads_out, leaves, tidy_paths, which_exist
from labkit.data.readers.label_files import COLUMN_NAMES, DataError, place, read_column, read_csv, read_heading
from labkit.data.readers.tables import split_names

COURSE_LISTS = {"train": ("train_img.csv", "train_label.csv"), "test": ("test_img.csv", "test_label.csv")}
RELEASE_INDEX = "cnmc2019_train_index.csv"  # what is known of C-NMC's files; lists no image of the folder
SPLIT_FILES = {"train.csv": "train", "valid.csv": "val", "val.csv": "val", "validation.csv": "val", "test.csv": "test"}


@dataclass
class Listing:
    """What a layout found: the rows, where it looked for images (for messages), remarks, and lists to hand in."""

    rows: pd.DataFrame
    looked: str
    notes: list[str] = field(default_factory=list)
    lists: dict[str, pd.DataFrame] = field(default_factory=dict)  # file name -> image_id, path as written
    reading: dict[str, str] = field(default_factory=dict)


def course_pairs(root: Path) -> Listing:
    """The retinopathy course: header-less `train_img.csv` beside `train_label.csv`, the same for test."""
    parts = [_pair(root, split, *names) for split, names in COURSE_LISTS.items()]
    return _by_name(pd.concat(parts, ignore_index=True), root)


def kaggle_labels(root: Path) -> Listing:
    """Kaggle's `trainLabels.csv` (`image,level`): names without `.jpeg`, no split."""
    rows = read_csv(root / "trainLabels.csv").assign(split=None)
    if {"path", "label"} - set(rows):
        raise DataError(f"{root / 'trainLabels.csv'}: no columns image and level in its first row; add that row")
    return _by_name(rows, root)


def _pair(root: Path, split: str, image_list: str, label_list: str) -> pd.DataFrame:
    absent = [name for name in (image_list, label_list) if not (root / name).is_file()]
    if absent:
        raise DataError(f"{root}: {' and '.join(absent)} missing; the course layout has four CSV files")
    names, labels = read_column(root / image_list), read_column(root / label_list)
    if len(names) != len(labels):
        raise DataError(
            f"{root / image_list} has {len(names):,} rows and {label_list} has {len(labels):,}: "
            "each image needs its label in the same row"
        )
    rows = pd.DataFrame({"path": names.to_numpy(), "label": labels.to_numpy()})
    rows = rows.assign(split=split, file=label_list, line=labels.index)
    no_name, no_label = (rows["path"] == "").to_numpy(), (rows["label"] == "").to_numpy()
    if (no_name != no_label).any():  # blank in both files is a blank line, in one a lost row
        first = int((no_name != no_label).argmax())
        where = f"{image_list}, row {names.index[first]}" if no_name[first] else place(rows, first)
        raise DataError(f"{where}: empty; fill in what belongs there")
    return rows.loc[~no_name].reset_index(drop=True)


def _by_name(rows: pd.DataFrame, root: Path) -> Listing:
    """Finds images that are listed by name, in `images/`, the data folder or one sub-folder, whichever holds most."""
    if rows.empty:
        return Listing(rows, "")
    tidy = tidy_paths(rows, root)
    rows["image_id"] = pd.Series([stem(path) for path in tidy], dtype=object)
    folders = sorted([root, *folders_in(root)], key=lambda path: (path.name != "images", path != root, path.name))
    listings = {folder: _images_by_name(folder) for folder in folders}
    parts, notes = [], []
    for _, part in rows.groupby("split", sort=False, dropna=False):  # train and test may lie in folders of their own
        names = part["image_id"].tolist()
        held = {folder: sum(map(listing.__contains__, names)) for folder, listing in listings.items()}
        folder = max(folders, key=lambda path: held[path])
        if others := [other.name for other in folders if other != folder and held[other]]:
            notes.append(f"images are taken from {folder.name}/; {', '.join(others)}/ hold some of the same names")
        files = [listings[folder].get(name, f"{name}.jpeg") for name in names]
        relative = "" if folder == root else f"{folder.name}/"
        if leads_out(folder, root):
            raise leaves(place(part, 0), relative, root)
        found = which_exist([relative + name for name in files], part, root)
        prefix = folder.resolve().as_posix() + "/"
        parts.append(part.assign(path=[prefix + name for name in files], found=found))
    looked = ", ".join("the folder itself" if path == root else f"{path.name}/" for path in folders)
    return Listing(pd.concat(parts, ignore_index=True), looked, list(dict.fromkeys(notes)))


def _images_by_name(folder: Path) -> dict[str, str]:
    """File names by their stem; a .jpeg, as the lists mean it, wins over others of the same stem."""
    names = sorted(filter(is_image, files_in(folder)), key=lambda name: (name.endswith(".jpeg"), name))
    return {stem(name): name for name in names}


def split_tables(root: Path) -> Listing:
    """The leukemia course: `train.csv`, `valid.csv` with `Path,label`, and test lists of `Path` alone."""
    names = sorted(path.name for path in [*root.glob("*_test.csv"), *root.glob("test.csv")])
    columns = {name: columns_with_header(root / name) for name in names}
    lists = [name for name in names if "path" in columns[name] and "label" not in columns[name]]
    filled = [name for name in names if {"path", "label"} <= set(columns[name]) and name not in SPLIT_FILES]
    notes = []
    if filled:
        notes.append(f"{', '.join(filled)} not read: a list to hand in has a path column and no label column")
    parts = [
        _with_columns(root / name).assign(split=split)
        for name, split in SPLIT_FILES.items()
        if name not in lists and (root / name).is_file()
    ]
    listed = [read_csv(root / name) for name in lists]
    paths = [tidy_paths(rows, root) for rows in listed]
    if listed:
        counts = ", ".join(f"{name} {len(set(images)):,}" for name, images in zip(lists, paths, strict=True))
        if any(set(images) != set(paths[0]) for images in paths):
            notes.append(f"the test lists do not hold the same images ({counts}); all of them are kept")
        if any(len(set(images)) < len(images) for images in paths):
            notes.append(f"some test lists name an image twice (different images: {counts})")
        merged = pd.concat(listed, ignore_index=True)
        parts.append(
            merged.loc[~pd.Series([path for images in paths for path in images]).duplicated()].assign(
                label="", split="unlabeled"
            )
        )
    listing = _by_path(pd.concat(parts, ignore_index=True), root, notes)
    for name, rows, images in zip(lists, listed, paths, strict=True):
        written = pd.DataFrame({"image_id": _image_ids(rows, images), "path": rows["path"]})
        listing.lists[name] = written.astype("string")
    return listing


def columns_with_header(path: Path) -> list[str]:
    """`columns_of` a table that must have a header row; DataError where its first row is an image already."""
    first = read_heading(path)[0]
    if first and is_image(first[0].replace("\\", "/").rpartition("/")[2]):
        raise DataError(f"{path}, row 1: {first[0]!r} is an image; the first row must name the columns (Path, label)")
    return columns_of(path)


def columns_of(path: Path) -> list[str]:
    """What a CSV file's columns hold, as far as their headings say it."""
    return [COLUMN_NAMES[name] for name in read_heading(path)[0] if name in COLUMN_NAMES]


def label_tables(root: Path) -> list[str]:
    """The CSV files in a folder with a path and a label column; `labels.csv` alone if it is one of them."""
    tables = (path for path in root.glob("*.csv") if path.name != RELEASE_INDEX)
    names = sorted(path.name for path in tables if {"path", "label"} <= set(columns_of(path)))
    return ["labels.csv"] if "labels.csv" in names else names


def one_table(root: Path, names: list[str]) -> Listing:
    """The CSV file among `names` (`label_tables`); its group, side and split columns are used if they are there."""
    if len(names) > 1:
        raise DataError(f"{root}: {', '.join(names)} all have path and label columns; call the right one labels.csv")
    rows = _with_columns(root / names[0])
    if "split" in rows:
        rows["split"] = split_names(rows)
        given = rows["split"].notna().to_numpy(bool)
        partly = ~given & (rows["label"] != "").to_numpy()
        if partly.any() and given.any():
            raise DataError(f"{place(rows, int(partly.argmax()))}: no split, though other rows have one; fill it in")
    else:
        rows["split"] = None
    return _by_path(rows, root, [])


def _with_columns(path: Path) -> pd.DataFrame:
    rows = read_csv(path)
    if missing := sorted({"path", "label"} - set(rows)):
        raise DataError(f"{path}: no column {' or '.join(missing)}; its first row must name its columns")
    return rows


def _by_path(rows: pd.DataFrame, root: Path, notes: list[str]) -> Listing:
    """Finds images that are listed by path; leading folders that are not there are tried without."""
    tidy = tidy_paths(rows, root)
    rows["image_id"] = _image_ids(rows, tidy)
    relative, found = tidy, which_exist(tidy, rows, root)
    for levels in () if any(found) else (1, 2):
        shorter = [path.split("/", levels)[-1] for path in tidy]
        if any(which_exist(shorter[:1000], rows, root)):  # a sample: missing files are not worth a second search
            relative, found = shorter, which_exist(shorter, rows, root)
            notes.append(f"images were found without the first folder of their listed path ({tidy[0]})")
            break
    prefix = root.resolve().as_posix() + "/"
    rows = rows.assign(path=[prefix + path for path in relative], found=found)
    folders = sorted({path.rpartition("/")[0] or "the folder itself" for path in tidy})
    return Listing(rows, ", ".join(folders[:5]) + (", …" if len(folders) > 5 else ""), notes)


def _image_ids(rows: pd.DataFrame, tidy: list[str]) -> list[str]:
    """The `image_id` column where it is filled, else the path."""
    given = rows["image_id"].tolist() if "image_id" in rows else [""] * len(rows)
    return [name if isinstance(name, str) and name else path for name, path in zip(given, tidy, strict=True)]
