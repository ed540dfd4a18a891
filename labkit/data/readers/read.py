"""Any of the known layouts to the one image table; what is odd about the data is told in notes, never swallowed."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np
import pandas as pd

from labkit.data.catalog import CATALOG, CUSTOM, GUESS, DatasetFacts, facts_of, task_and_why
from labkit.data.images import stem
from labkit.data.readers.inventory import Inventory, take_inventory
from labkit.data.readers.label_files import RELEASE_INDEX, DataError, LabelFile, first, look_into, part_of, place
from labkit.data.readers.layouts import COURSE_FILES, Listing, course_pairs, from_files, label_files, refuse_unread
from labkit.data.readers.patients import one_spelling, too_few, unknown_groups, why_unknown
from labkit.data.readers.tables import with_labels, without_repeats
from labkit.data.readers.trees import array_file, class_tree, cnmc_tree
from labkit.format import some
from labkit.params import DataParams

COLUMNS = ["image_id", "path", "label", "group", "side", "split"]
READING = {"dataset": "Data set", "layout": "Layout", "labels": "Labels from", "groups": "Patients from"}
READING |= {"split": "Own split", "classes": "Classes", "task": "Task"}
SIDES = {"l": "left", "left": "left", "os": "left", "r": "right", "right": "right", "od": "right"}
ENOUGH = 0.9  # of the file names must have a data set's form for it to be guessed
RELEASE = "labkit's catalog"  # how a note speaks of it
LAYOUTS = """  a table (csv, tsv, txt, jsonl) with a path and a label column, there or one folder down
  such a table for each split (train.csv, valid.csv, test.csv); lists of test images may have no label column
  train_img.csv, train_label.csv, test_img.csv, test_label.csv (no header row) and a folder of .jpeg files
  C-NMC's fold_0/all/UID_1_1_1_all.bmp, or the UID_ files alone
  one folder a class, or train/ (and val/, test/) with one folder a class
  a MedMNIST .npz file"""
COURSE, KAGGLE = "course image and label lists", "Kaggle trainLabels.csv"
CNMC, ARRAYS = "C-NMC files", "MedMNIST array file"
ONE_TABLE = "one table of paths and labels"
BY_SPLIT = "tables by split (train.csv, valid.csv, test lists)"


@dataclass(frozen=True)
class ImageData:
    """The image table of a data set, its facts (classes filled in), where it lies, in which layout, and remarks.

    `reading`: what was taken for each of READING, and why, with the words "a guess" where it is one.
    """

    table: pd.DataFrame
    facts: DatasetFacts
    root: Path
    layout: str
    notes: list[str] = field(default_factory=list)
    lists: dict[str, pd.DataFrame] = field(default_factory=dict)  # to hand in: file name -> image_id, path as written
    reading: dict[str, str] = field(default_factory=dict)
    offered_pattern: str = ""  # a group_pattern that may find the patients, if none is known; it is not used


def read(params: DataParams, root: Path | str, *, require_images: bool = True) -> ImageData:
    """The image table of the data in `root`: a folder in any known layout, or a MedMNIST `.npz` file.

    The data set GUESS is told by the names of the files. Rows without their image file are left out with a note, unless
    `require_images=False`. DataError (a ValueError) for no known layout, labels outside the classes, an image with two
    labels, a path out of the folder, or no image at all; ValueError for an unknown data set.
    """
    layout, listing, root = _detect(params, Path(root).absolute())
    notes, reading, why = listing.notes, listing.reading, "as dataset says"
    if params.dataset == GUESS:
        params = params.model_copy(update={"dataset": _guessed(layout, listing, root)})
        why = "a guess by the names of the files (dataset sets another)"
    known = facts_of(params)
    if listing.rows.empty:
        raise DataError(f"{root}: no images are listed ({layout})")
    rows, known, mixed, reading["classes"] = with_labels(listing.rows, known, params)
    rows, repeats = without_repeats(rows)
    notes += [*mixed, *repeats]
    if require_images:
        found, total = rows["found"].to_numpy(bool), len(rows)
        missing = rows["path"].loc[~found].tolist()
        if len(missing) == total:
            looked = some(
                ["the folder itself", *sorted(f"{path.name}/" for path in root.iterdir() if path.is_dir())], 6
            )
            none = f"none of the {total:,} listed images is there (looked in {looked})"
            raise DataError(f"{root}: {none}; the first, in {place(rows, 0)}, is {missing[0]}")
        if missing:
            names = some([path.rpartition("/")[2] for path in missing])
            notes.append(f"{len(missing):,} of {total:,} listed images have no file and were left out: {names}")
        rows = rows.loc[found].reset_index(drop=True)
    table = _image_table(rows, known, params, root, listing)
    notes += _unlike_the_release(table, known)
    reading |= {"dataset": f"{known.name}; {why}", "task": task_and_why(known, params)}
    reading = {name: reading.get(name, "") for name in READING}
    return ImageData(table, known, root, layout, notes, listing.lists, reading, listing.offered_pattern)


def _detect(params: DataParams, root: Path) -> tuple[str, Listing, Path]:
    """The layout, its rows, and where the data begins. DataError says what is there and what is understood."""
    if not root.exists():
        raise DataError(f"{root}: there is no such folder; set the data folder to where the images are")
    if root.is_file():
        if root.suffix != ".npz":
            raise DataError(f"{root}: a file that is no .npz; give the folder that holds the data")
        listing = array_file(root)
        listing.reading["layout"] = f"{ARRAYS}: {root.name}"
        return ARRAYS, listing, root
    stock = take_inventory(root, follow_links=params.follow_links)
    files = [look_into(stock.root, name, params) for name in stock.tables if name != RELEASE_INDEX]
    files = [file for file in files if not file.name.lower().endswith(".txt") or file.roles or file.headless]
    layout, why, listing = _choose(params, stock, files)
    if layout in (COURSE, KAGGLE, BY_SPLIT, ONE_TABLE):
        listing.notes += stock.notes()
    used = {*listing.rows["file"], *listing.lists, *COURSE_FILES}
    unused = [file for file in files if file.name not in used]
    listing.notes += [f"{file.name} was not read: {file.why_not}" for file in unused]
    columns = [f"column {file.heading[at]} of {file.name}" for file in unused for at in file.roles.get("group", [])]
    listing.beside = next(iter(columns), "")
    listing.reading["layout"] = f"{layout}: {why}"
    return layout, listing, stock.root


def _choose(params: DataParams, stock: Inventory, files: list[LabelFile]) -> tuple[str, str, Listing]:
    """The layout, why it is taken, and its rows."""
    root, course = stock.root, [name for name in stock.tables if name in COURSE_FILES]
    if params.labels and params.labels != ".":
        if not (root / params.labels).is_file():
            raise DataError(f"{root / params.labels}: no such file; labels names a label file in the data folder")
        file = look_into(root, params.labels, params)
        refuse_unread([file], params)
        return ONE_TABLE, "the parameter labels names it", from_files([file], [], stock, params)
    if not params.labels:
        if course:
            return COURSE, f"{', '.join(course)} are there", course_pairs(stock, params)
        refuse_unread([file for file in files if file.headless and part_of(file.name)], params)
        if chosen := label_files(files, stock):
            by_part = part_of(chosen[0].name) == "train"
            lists = [file for file in files if by_part and part_of(file.name) == "test" and not file.unread]
            lists = [file for file in lists if "path" in file.roles and "label" not in file.roles]
            listing = from_files(chosen, lists, stock, params)
            names, listed = (", ".join(file.name for file in ones) for ones in (chosen, lists))
            if len(chosen) + len(lists) > 1:
                held = f"{names} with path and label columns" + f", {listed} with a path column alone" * bool(lists)
                return BY_SPLIT, f"{held}; their names say the split", listing
            layout = KAGGLE if names == "trainLabels.csv" else ONE_TABLE
            return layout, f"{names} has a path and a label column", listing
        if array := _array_file(stock, params.dataset):
            return ARRAYS, f"{array.name} holds train_images and train_labels", array_file(array)
        if cells := cnmc_tree(stock):
            return CNMC, "the files are named UID_<subject>_<image>_<cell>_<all|hem>", cells
        refuse_unread(files, params)
    if stock.astray:  # of a label list only the listed images count, here all
        raise stock.astray[0]
    lists = "".join(f"\n{file.name} was not read: {file.why_not}" for file in files)
    if any("/" in path for path in stock.images):
        try:
            listing = class_tree(stock, params.class_names)
        except DataError as error:
            raise DataError(f"{error}{lists}") from None
        return "one folder a class", "labels: . asks for it" if params.labels else "there is no list of labels", listing
    held = some({path.name + "/" * path.is_dir() for path in root.iterdir()}, 20) or "nothing"
    raise DataError(f"{root}: no known layout. It holds {held}. Understood are:\n{LAYOUTS}{lists}")


def _array_file(stock: Inventory, dataset: str) -> Path | None:
    """The MedMNIST file of the folder; another `.npz` is none, unless there is nothing else."""
    files = sorted(path for path in stock.root.glob("*.npz") if not path.name.startswith("."))
    if stock.images:
        files = [path for path in files if is_zipfile(path) and "train_labels.npy" in ZipFile(path).namelist()]
    of_set = {path: path.stem.split("_")[0] for path in files}
    named = [path for path in files if of_set[path] == dataset] or [path for path in files if of_set[path] in CATALOG]
    said = "give the .npz file itself as data folder"
    if len(files) > 1 and len(named) != 1:
        raise DataError(f"{stock.root}: {', '.join(path.name for path in files)}; {said}")
    if files and stock.images:
        said += ", or set labels: . to take the folder names"
        raise DataError(f"{stock.root}: {files[0].name} and {len(stock.images):,} image files; {said}")
    return (named or files or [None])[0]


def _image_table(
    rows: pd.DataFrame, known: DatasetFacts, params: DataParams, root: Path, listing: Listing
) -> pd.DataFrame:
    """The columns of the image table in their types, with group and side, sorted by image_id as batches will follow."""
    notes = listing.notes
    rows = rows.sort_values("image_id", ignore_index=True)
    table = pd.DataFrame({name: rows.get(name, pd.NA) for name in COLUMNS})
    table = table.astype(dict.fromkeys(COLUMNS, "string") | {"label": "Int64"})
    unlabelled = table["label"].isna().to_numpy()
    lost = unlabelled & table["split"].isin(["train", "val", "test"]).to_numpy(bool)
    if lost.any():
        notes.append(f"{lost.sum():,} rows of {', '.join(table.loc[lost, 'split'].unique())} have no label")
    unsaid = unlabelled & table["split"].isna().to_numpy(bool)
    if (at := first(unsaid)) is not None:
        said = f"images have no label (the first: {table['image_id'][at]}); they are predicted and not learnt from"
        notes.append(f"{unsaid.sum():,} {said}")
    table.loc[unlabelled, "split"] = "unlabeled"
    written = table["side"].fillna("")
    table["side"] = written.str.lower().map(SIDES).astype("string")
    if odd := written[table["side"].isna() & (written != "")].tolist():
        notes.append(f"{len(odd):,} sides are neither left nor right and were left out (the first: {odd[0]!r})")
    prefix = f"{root.resolve().as_posix()}/"
    paths = [path.removeprefix(prefix) for path in rows["path"].tolist()]
    if few := too_few(table["group"].tolist(), listing):
        table["group"] = pd.NA
    if params.group_pattern or (known.group_pattern and ("group" not in rows or few)):
        _groups_by_name(table, known, params, paths, listing)
    table["group"] = pd.array(one_spelling(table["group"].tolist(), known.group_name, notes), dtype="string")
    if any(table["group"].notna().tolist()):
        why, listing.offered_pattern = "nothing stands there for them", ""
    else:
        why, listing.reading["groups"] = few or why_unknown(paths, listing), "none"  # the note says why
    notes += unknown_groups(table, known, why)
    own = [part for part in ("train", "val", "test") if part in set(table["split"].dropna())]
    listing.reading.setdefault("split", ", ".join(own) if own else "none; runs draw one")
    return table


def _groups_by_name(
    table: pd.DataFrame, known: DatasetFacts, params: DataParams, paths: list[str], listing: Listing
) -> None:
    """Group and side from the pattern that the parameters give, else from the catalog's."""
    asked = params.group_pattern
    pattern = re.compile(asked or known.group_pattern or "", re.IGNORECASE)
    matches = [pattern.search(path if asked else stem(path)) for path in paths]
    found = sum(map(bool, matches))
    if asked and not found:
        raise DataError(f"group_pattern: {asked!r} is in none of {len(paths):,} paths, such as {paths[0]}")
    fold = str if asked else str.upper  # C-NMC spells h3 and H3
    table["group"] = pd.array([fold(match["group"] or "") if match else None for match in matches], dtype="string")
    if "side" in pattern.groupindex and not any(table["side"].notna().tolist()):
        sides = [SIDES.get((match["side"] or "").lower()) if match else None for match in matches]
        table["side"] = pd.array(sides, dtype="string")
    origin = "group_pattern" if asked else "the file names, as the data set's own are formed:"
    if found:
        listing.reading["groups"] = f"{origin} {pattern.pattern} ({found:,} of {len(paths):,} paths)"


def _unlike_the_release(table: pd.DataFrame, known: DatasetFacts) -> list[str]:
    """How the counts differ from those of the catalog."""
    totals = {split: sum(counts) for split, counts in known.counts.items()} | known.uncounted
    if totals and set(table["split"].dropna()) <= {"unlabeled"}:  # no split of its own
        total = sum(totals.values())
        return [] if len(table) == total else [f"{len(table):,} images here, {RELEASE} has {total:,}"]
    notes = []
    for split, total in totals.items():
        part = table.loc[table["split"] == split, "label"]
        counts = tuple(int((part == number).sum()) for number in range(len(known.classes)))
        if len(part) != total:
            notes.append(f"{len(part):,} {split} images here, {RELEASE} has {total:,}")
        elif counts != known.counts.get(split, counts):
            notes.append(f"{split} labels here {counts}, in {RELEASE} {known.counts[split]}")
    return notes


def _guessed(layout: str, listing: Listing, base: Path) -> str:
    """A name of the catalog, or `custom`: by the form of the file names, which layout or labels of all classes confirm.

    The leukemia course's renamed files are known by the release's index.
    """
    indexed = layout == BY_SPLIT and any((folder / RELEASE_INDEX).is_file() for folder in (base, base.parent))
    stems = [stem(path.partition("#")[0]) for path in listing.rows["path"].tolist()]
    for name, known in CATALOG.items():
        form = re.compile(known.group_pattern or rf"^{name}(_\d+)?\.npz$", re.IGNORECASE)
        renamed = name == "leukemia" and indexed
        if renamed or (stems and np.mean([bool(form.search(one)) for one in stems]) >= ENOUGH):
            held = 0
            with suppress(DataError):
                labels = with_labels(listing.rows, known, DataParams.of({"dataset": name}))[0]["label"]
                held = len(set(labels.dropna()))
            if held and (renamed or layout in (COURSE, KAGGLE, CNMC, ARRAYS) or held == len(known.classes)):
                return name
    return CUSTOM
