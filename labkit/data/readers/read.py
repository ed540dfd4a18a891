"""Any of the known layouts to the one image table; what is odd about the data is told in notes, never swallowed."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.data.catalog import CATALOG, CUSTOM, DatasetFacts, facts_of
from labkit.data.images import stem
from labkit.data.readers.inventory import take_inventory
from labkit.data.readers.label_files import DataError, read_heading
from labkit.data.readers.layouts import (
    COURSE_LISTS,
    RELEASE_INDEX,
    Listing,
    columns_of,
    columns_with_header,
    course_pairs,
    kaggle_labels,
    label_tables,
    one_table,
    split_tables,
)
from labkit.data.readers.tables import with_labels, without_repeats
from labkit.data.readers.trees import array_file, array_files, class_tree, cnmc_tree, is_class_tree, is_cnmc
from labkit.params import DataParams

COLUMNS = ["image_id", "path", "label", "group", "side", "split"]
SIDES = {"l": "left", "left": "left", "os": "left", "r": "right", "right": "right", "od": "right"}
MEANT = ("train.csv", "labels.csv")  # names that say: the labels stand here
ENOUGH = 0.9  # of the file names must have a data set's form for it to be guessed
RELEASE = "the full release"  # how a note speaks of it
LAYOUTS = """  train_img.csv, train_label.csv, test_img.csv, test_label.csv (no header row) and a folder of .jpeg files
  trainLabels.csv (image,level) and a folder of .jpeg files
  train.csv, valid.csv (Path,label) and *_test.csv (Path)
  any one CSV file with a path and a label column
  C-NMC's fold_0/all/UID_1_1_1_all.bmp, or the UID_ files alone
  one folder a class, or train/ (and val/, test/) with one folder a class
  a MedMNIST .npz file"""


@dataclass(frozen=True)
class ImageData:
    """The image table of a data set, its facts (classes filled in), where it lies, in which layout, and remarks.

    `lists`: the files that list images to hand predictions in for: file name -> `image_id`, `path` as it is written.
    `reading`: what was taken and why, a sentence each: layout, labels, groups (patients from), split, classes.
    """

    table: pd.DataFrame
    facts: DatasetFacts
    root: Path
    layout: str
    notes: list[str] = field(default_factory=list)
    lists: dict[str, pd.DataFrame] = field(default_factory=dict)
    reading: dict[str, str] = field(default_factory=dict)


def read(params: DataParams, root: Path | str, *, require_images: bool = True) -> ImageData:
    """The image table of the data in `root`: a folder in any known layout, or a MedMNIST `.npz` file.

    `root` is where `params.data` lies.

    Rows without their image file are left out with a note; `require_images=False` keeps them, with the path where the
    file is expected. Raises DataError (a ValueError) for a folder that holds no known layout, labels outside the
    classes, an image with two labels, a path out of the folder, or no image at all; ValueError for an unknown data set.
    """
    known, root = facts_of(params), Path(root).absolute()
    if not root.exists():
        raise DataError(f"{root}: there is no such folder; set the data folder of {known.name} to where its files are")
    layout, listing = _detect(root, known.name)
    notes = listing.notes
    if listing.rows.empty:
        raise DataError(f"{root}: no images are listed ({layout})")
    rows, classes, mixed = with_labels(listing.rows, known.classes, known.aliases)
    known = replace(known, classes=classes)
    rows, repeats = without_repeats(rows)
    notes += [*mixed, *repeats]
    if require_images:
        rows = _with_files(rows, listing, root, notes)
    table = _image_table(rows, known, notes)
    notes += _unlike_the_release(table, known)
    return ImageData(table, known, root, layout, notes, listing.lists)


def _detect(root: Path, dataset: str) -> tuple[str, Listing]:
    """The layout by what lies in the folder, and its rows. DataError lists what is there and what is understood."""
    if root.is_file() and root.suffix != ".npz":
        raise DataError(f"{root}: a file that is no .npz; give the folder that holds the data")
    if root.is_file():
        return "MedMNIST array file", array_file(root)
    if any((root / name).is_file() for pair in COURSE_LISTS.values() for name in pair):
        return "course image and label lists", course_pairs(root)
    if (root / "trainLabels.csv").is_file():
        return "Kaggle trainLabels.csv", kaggle_labels(root)
    train = root / "train.csv"
    if train.is_file() and {"path", "label"} <= set(columns_with_header(train)):
        return "tables by split (train.csv, valid.csv, test lists)", split_tables(root)
    if tables := label_tables(root):
        return "one table of paths and labels", one_table(root, tables)
    if array := _array_file(root, dataset):
        return "MedMNIST array file", array_file(array)
    stock = take_inventory(root)
    if is_cnmc(stock):
        return "C-NMC files", cnmc_tree(stock)
    _refuse_unread_lists(root)
    if stock.astray:
        raise stock.astray[0]
    if is_class_tree(stock):
        return "one folder a class", class_tree(stock)
    raise DataError(f"{root}: no known layout. It holds {_contents(root)}. Understood are:\n{LAYOUTS}")


def _refuse_unread_lists(root: Path) -> None:
    """Where a list of labels is there but cannot be read as one, folder names must not be taken for the labels."""
    for path in sorted(root.glob("*.csv")):
        columns = set(columns_of(path))
        if path.name in MEANT or columns & {"path", "label"}:
            missing = " and no column ".join(sorted({"path", "label"} - columns))
            shown = ", ".join(read_heading(path)[0])[:200] or "nothing"
            raise DataError(f"{path}, row 1: no column {missing}, it holds {shown}; name the columns: path,label")


def _array_file(root: Path, dataset: str) -> Path | None:
    files = array_files(root)
    named = [path for path in files if path.stem.split("_")[0] == dataset]
    if len(files) > 1 and len(named) != 1:
        raise DataError(f"{root}: {', '.join(path.name for path in files)}; give the .npz file itself as data folder")
    return (named or files or [None])[0]


def _contents(root: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in root.iterdir())
    return (", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")) or "nothing"


def _with_files(rows: pd.DataFrame, listing: Listing, root: Path, notes: list[str]) -> pd.DataFrame:
    found = rows["found"].to_numpy(bool)
    missing = rows.loc[~found]
    if len(missing) == len(rows):
        raise DataError(
            f"{root}: none of the {len(rows):,} listed images is there (looked in {listing.looked}); "
            f"the first is {rows['path'].iloc[0]}"
        )
    if len(missing):
        first = ", ".join(path.rpartition("/")[2] for path in missing["path"].head(5))
        notes.append(
            f"{len(missing):,} of {len(rows):,} listed images have no file and were left out: {first}"
            + ", …" * (len(missing) > 5)
        )
    return rows.loc[found].reset_index(drop=True)


def _image_table(rows: pd.DataFrame, known: DatasetFacts, notes: list[str]) -> pd.DataFrame:
    """The columns of the image table in their types, by image_id; adds group, side and what is to be said of them.

    Sorted here, for good: batches follow the table's order, which must not hang on the order of a label file's rows.
    """
    rows = rows.sort_values("image_id", ignore_index=True)
    table = pd.DataFrame({name: rows.get(name, pd.NA) for name in COLUMNS})
    text = [name for name in COLUMNS if name != "label"]
    table = table.astype(dict.fromkeys(text, "string") | {"label": "Int64"})
    table["group"] = table["group"].replace("", pd.NA)
    unlabelled = table["label"].isna().to_numpy()
    lost = unlabelled & table["split"].isin(["train", "val", "test"]).to_numpy(bool)
    if lost.any():
        notes.append(f"{lost.sum():,} rows of {', '.join(table.loc[lost, 'split'].unique())} have no label")
    unsaid = unlabelled & table["split"].isna().to_numpy(bool)
    if unsaid.any():
        first = table["image_id"][int(unsaid.argmax())]
        notes.append(
            f"{unsaid.sum():,} images have no label (the first: {first}); they are predicted and not learnt from"
        )
    table.loc[unlabelled, "split"] = "unlabeled"
    if "side" in rows:
        written = table["side"].fillna("")
        table["side"] = written.str.lower().map(SIDES).astype("string")
        if odd := written[table["side"].isna() & (written != "")].tolist():
            notes.append(f"{len(odd):,} sides are neither left nor right and were left out (the first: {odd[0]!r})")
    if known.group_pattern and "group" not in rows:
        pattern = re.compile(known.group_pattern, re.IGNORECASE)
        matches = [pattern.search(stem(path)) for path in rows["path"].tolist()]
        table["group"] = pd.array([match["group"].upper() if match else None for match in matches], dtype="string")
        if "side" in pattern.groupindex and "side" not in rows:
            table["side"] = pd.array([match["side"].lower() if match else None for match in matches], dtype="string")
    notes += unknown_groups(table, known)
    return table


def unknown_groups(table: pd.DataFrame, known: DatasetFacts) -> list[str]:
    """The note on images whose group is unknown; none where there are none."""
    unknown = int(table["group"].isna().to_numpy().sum())
    if not unknown:
        return []
    which = "" if unknown == len(table) else f" of {unknown:,} of {len(table):,} images"
    return [
        f"{known.group_name}s unknown{which}: neither a column nor the file names tell them, so whether one "
        f"{known.group_name}'s images are on both sides of a split cannot be checked"
    ]


def _unlike_the_release(table: pd.DataFrame, known: DatasetFacts) -> list[str]:
    """How the counts differ from the full release's."""
    totals = {split: sum(counts) for split, counts in known.counts.items()} | known.uncounted
    if not totals:
        return []
    if set(table["split"].dropna()) <= {"unlabeled"}:  # no split of its own
        total = sum(totals.values())
        return [] if len(table) == total else [f"{len(table):,} images here, {RELEASE} has {total:,}"]
    notes = []
    for split, total in totals.items():
        part = table.loc[table["split"] == split, "label"]
        if len(part) != total:
            notes.append(f"{len(part):,} {split} images here, {RELEASE} has {total:,}")
        elif split in known.counts:
            counts = tuple(int((part == number).sum()) for number in range(len(known.classes)))
            if counts != known.counts[split]:
                notes.append(f"{split} labels here {counts}, in {RELEASE} {known.counts[split]}")
    return notes


def guess_dataset(params: DataParams, root: Path) -> str:
    """A name of the catalog, or `custom`. Raises DataError where the folder cannot be read at all.

    MedMNIST's array files bear the name; EyePACS and C-NMC files have names of a form of their own; the renamed C-NMC
    files of the leukemia course are known by the release's index in or beside the folder. A data set whose labels do
    not fit is not taken.
    """
    named = {path.stem.split("_")[0] for path in array_files(root)} & set(CATALOG)
    if len(named) == 1 and _reads(named_one := next(iter(named)), root, params):
        return named_one
    images = read(params.model_copy(update={"dataset": CUSTOM}), root, require_images=False)
    stems = images.table["path"].map(stem)
    for name, known in CATALOG.items():
        if known.group_pattern:
            form = re.compile(known.group_pattern, re.IGNORECASE)
            if np.mean([bool(form.search(one)) for one in stems]) >= ENOUGH and _reads(name, root, params):
                return name
    indexed = any((folder / RELEASE_INDEX).is_file() for folder in (root, root.parent))
    renamed = indexed and images.layout.startswith("tables by split") and _reads("leukemia", root, params)
    return "leukemia" if renamed else CUSTOM


def _reads(name: str, root: Path, params: DataParams) -> bool:
    try:
        read(params.model_copy(update={"dataset": name}), root, require_images=False)
    except ValueError:
        return False
    return True
