"""Layouts whose labels lie in files: the retinopathy course's lists, and any table with path and label columns.

Every layout gives a Listing: rows with `image_id, path (absolute), found, label (text), split, file, line`, and where
the files name them `group` and `side`.
"""

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd

from labkit.data.images import stem
from labkit.data.readers.folders import tidy_paths, which_exist
from labkit.data.readers.inventory import Inventory
from labkit.data.readers.label_files import DataError, LabelFile, part_of, place, read_column, read_rows
from labkit.data.readers.patients import group_column
from labkit.data.readers.tables import plain, split_column
from labkit.params import DataParams

COURSE_LISTS = {"train": ("train_img.csv", "train_label.csv"), "test": ("test_img.csv", "test_label.csv")}
RELEASE_INDEX = "cnmc2019_train_index.csv"  # what is known of C-NMC's files; lists no image of the folder
COURSE_FILES = [name for pair in COURSE_LISTS.values() for name in pair]
MEANT = ("train.csv", "labels.csv", "trainlabels.csv")  # names that say: the labels stand here
PARTS = ("train", "val", "test")


@dataclass
class Listing:
    """What a layout found: the rows, where it looked for images (for messages), remarks, lists to hand in, and why.

    `reading`: what was taken for `labels`, `groups` and `split`, and why, a sentence each.
    """

    rows: pd.DataFrame
    looked: str
    notes: list[str] = field(default_factory=list)
    lists: dict[str, pd.DataFrame] = field(default_factory=dict)  # file name -> image_id, path as written
    reading: dict[str, str] = field(default_factory=dict)


def course_pairs(stock: Inventory, params: DataParams) -> Listing:
    """The retinopathy course: header-less `train_img.csv` beside `train_label.csv`, the same for test."""
    rows = pd.concat([_pair(stock, split, *names) for split, names in COURSE_LISTS.items()], ignore_index=True)
    rows["path"] = rows["path"].str.replace("\\", "/").str.rpartition("/")[2].map(stem) if len(rows) else rows["path"]
    reading = {"labels": "the course's lists, train_label.csv and test_label.csv, row by row"}
    reading["split"] = "the course's: its lists are of train and of test"
    return _located(rows, Listing(rows, "", reading=reading), stock, params)


def _pair(stock: Inventory, split: str, image_list: str, label_list: str) -> pd.DataFrame:
    root = stock.root
    absent = [name for name in (image_list, label_list) if name not in stock.tables]
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
    tidy_paths(rows, root)  # refuses what leads out of the folder
    return rows.loc[~no_name].reset_index(drop=True)


def label_files(files: list[LabelFile], stock: Inventory) -> list[LabelFile]:
    """The files among `files` to read the labels from: one for each of train, val and test, or a single one.

    `labels.csv` is the one where several could be. DataError where which one is meant cannot be told.
    """
    listed = [file for file in files if file.lists_labels and not (file.weak and _named(file, stock) == 0)]
    by_part: defaultdict[str | None, list[LabelFile]] = defaultdict(list)
    for file in listed:
        by_part[file.part].append(file)
    chosen = [by_part[part] for part in PARTS if by_part[part]] if "train" in by_part else [listed] * bool(listed)
    found = []
    for rivals in chosen:
        plainly = [file for file in rivals if file.path.stem.lower() in ("labels", *PARTS, "valid", "validation")]
        best = rivals if len(rivals) == 1 else plainly
        if len(best) != 1:
            names = ", ".join(file.name for file in rivals)
            raise DataError(
                f"{stock.root}: {names} all have path and label columns; call the right one labels.csv, or name it: "
                f"labels: {rivals[0].name}"
            )
        found += best
    return found


def _named(file: LabelFile, stock: Inventory) -> int:
    rows, names = read_rows(file), _Names(stock)
    return max(names.count(rows[position].tolist()) for position in file.roles["path"])


def from_files(files: list[LabelFile], lists: list[LabelFile], stock: Inventory, params: DataParams) -> Listing:
    """Rows of label files, and of lists of unlabelled test images (`lists`) that are to be handed in."""
    listing, names, found = Listing(pd.DataFrame(), ""), _Names(stock), []
    by_part = len(files) + len(lists) > 1
    for file in [*files, *lists]:
        rows = _with_roles(file, listing, names, params)
        rows["part"] = file.part
        if file in lists:
            rows = rows.assign(label="", split="unlabeled")
        elif by_part:
            rows["split"] = rows["split"].fillna(file.part) if "split" in rows else file.part
        found.append(rows)
    rows = pd.concat(found, ignore_index=True)
    said, first = ", ".join(file.name for file in files), files[0]
    image = first.column("path")
    listing.reading["labels"] = f"column {first.column('label')} of {said}; column {image} names the image"
    if by_part:
        listing.reading.setdefault("split", f"by the names of {', '.join(file.name for file in [*files, *lists])}")
    if "split" not in rows:
        rows["split"] = None
    listing = _located(rows, listing, stock, params)
    if lists:
        _to_hand_in(listing, [file.name for file in lists])
    return listing


def _with_roles(file: LabelFile, listing: Listing, names: "_Names", params: DataParams) -> pd.DataFrame:
    """The rows of a file with the columns that are used; what it takes and what it leaves goes into the listing."""
    rows, head = read_rows(file), file.heading
    used = {role: places[0] for role, places in file.roles.items() if role in ("side", "image_id")}
    used["path"] = max(
        file.roles["path"], key=lambda position: names.count(rows[position].tolist())
    )  # the first of equals
    if "label" in file.roles:
        used["label"] = _label_column(file, rows)
    if (position := group_column(file, rows, listing)) is not None:
        used["group"] = position
    if (position := split_column(file, rows, params, listing)) is not None:
        used["split"] = position
    left = [
        head[at] or f"{at + 1} (no heading)" for at in range(len(head)) if at not in used.values() and any(rows[at])
    ]
    if left:
        listing.notes.append(f"{file.name}: columns not used: {', '.join(left[:20])}{', …' * (len(left) > 20)}")
    done = rows[["line", "file"]].assign(**{role: rows[position] for role, position in used.items() if role != "split"})
    if "split" in used:
        done["split"] = rows["split"]
    blank = (done["path"] == "").to_numpy()
    if blank.any():
        raise DataError(f"{place(rows, int(blank.argmax()))}: the path is empty; fill it in")
    return done


def _label_column(file: LabelFile, rows: pd.DataFrame) -> int:
    """The label column; DataError where two that may be it disagree: which is meant cannot be guessed."""
    first, *others = file.roles["label"]
    for other in others:
        unlike = (rows[first] != rows[other]).to_numpy()
        if unlike.any():
            at = int(unlike.argmax())
            one, two = (f"column {i + 1} ({file.heading[i]}) says {rows[i][at]!r}" for i in (first, other))
            raise DataError(
                f"{place(rows, at)}: {one}, {two}, and both may be the label; rename the wrong one, or set label_column"
            )
    return first


class _Names:
    """Images of the folder by their names, whatever their ending, case and Unicode form (NFC, or NFD as on a Mac)."""

    def __init__(self, stock: Inventory) -> None:
        self.images: defaultdict[str, list[str]] = defaultdict(list)
        for path in stock.images:
            self.images[_key(path.rpartition("/")[2])].append(path)

    def of(self, path: str) -> list[str]:
        """The images that a listed path may mean: those of its name, in its folders if it names them."""
        found = self.images.get(_key(path.rpartition("/")[2]), [])
        return [image for image in found if f"/{_key(image)}".endswith(f"/{_key(path)}")] if "/" in path else found

    def count(self, listed: list[str]) -> int:
        """How many of the listed paths have such a name."""
        return sum(_key(path.replace("\\", "/").rpartition("/")[2]) in self.images for path in listed)


def _key(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    key = f"{folder}{slash}{stem(name)}"
    return (key if key.isascii() else unicodedata.normalize("NFC", key)).casefold()


def _located(rows: pd.DataFrame, listing: Listing, stock: Inventory, params: DataParams) -> Listing:
    """Finds the images: by path, else without leading folders that are not there, else by name."""
    tops = [f"{folder}/" for folder in stock.folders if "/" not in folder]
    listing.looked = ", ".join(["the folder itself", *tops[:5]]) + ", …" * (len(tops) > 5)
    listing.rows = rows
    if rows.empty:
        return listing
    root, notes = stock.root, listing.notes
    below = [f"{folder}/" if (folder := _folder(name)) else "" for name in rows["file"].tolist()]
    tidy = tidy_paths(rows, root)
    if params.suffix:
        tidy = [path if path.lower().endswith(params.suffix.lower()) else path + params.suffix for path in tidy]
    beside = [folder + path for folder, path in zip(below, tidy, strict=True)]  # a list may lie beside its images
    for relative in (beside, tidy, *([path.split("/", levels)[-1] for path in tidy] for levels in (1, 2)), tidy):
        found = which_exist(relative, rows, root, follow_links=params.follow_links)
        if any(found):
            break
    if any(found) and relative not in (beside, tidy):
        notes.append(f"images were found without the first folder of their listed path ({tidy[0]})")
    meant = _by_name(relative, found, rows, stock, params, notes)
    relative = [meant.get(position, path) for position, path in enumerate(relative)]
    found = np.array(found)
    found[list(meant)] = True
    ids = rows["image_id"].fillna("").tolist() if "image_id" in rows else [""] * len(rows)
    ids = [given or path for given, path in zip(ids, tidy if not below[0] else relative, strict=True)]
    pairs = pd.DataFrame({"id": ids, "path": relative}).loc[found].drop_duplicates()
    if (again := pairs["id"].duplicated(keep=False).to_numpy()).any():
        first = pairs.loc[again, "id"].iloc[0]
        notes.append(f"{again.sum():,} images share their id or name with another one ({first!r}); paths are the ids")
        ids = relative
    prefix = root.resolve().as_posix() + "/"
    listing.rows = rows.assign(
        written=rows["path"], path=[prefix + path for path in relative], found=found, image_id=ids
    )
    _compare_with_folders(listing, relative, stock, params)
    return listing


def _by_name(
    relative: list[str], found: list[bool], rows: pd.DataFrame, stock: Inventory, params: DataParams, notes: list[str]
) -> dict[int, str]:
    """Position -> image, for listed paths that are no file themselves but name one without its folder or ending.

    Of equal names in several folders the one of the row's split is meant, else the folder that holds most.
    DataError where two in one folder differ in their ending alone.
    """
    names = _Names(stock)
    held = {position: names.of(relative[position]) for position, there in enumerate(found) if not there}
    many = Counter(_folder(image) for images in held.values() for image in images)
    meant, others, renamed = {}, set(), []
    parts = rows["part" if "part" in rows else "split"].tolist()
    for position, images in held.items():
        listed = relative[position]
        ending = listed[len(listed.rpartition("/")[0]) :].lower().removeprefix(_key(listed.rpartition("/")[2]))
        if parts[position]:
            images = [image for image in images if _part(_folder(image)) == parts[position]] or images
        images = [image for image in images if ending and image.lower().endswith(ending)] or images
        if not images:
            continue
        best = min(images, key=lambda image: (-many[_folder(image)], _folder(image) not in ("", "images"), image))
        twins = [image for image in images if _folder(image) == _folder(best)]
        if len(twins) > 1:
            jpeg = [image for image in twins if image.endswith(".jpeg")]  # what the course's lists mean
            if len(jpeg) != 1:
                raise DataError(
                    f"{place(rows, position)}: {listed!r} may be {' or '.join(twins[:3])}; "
                    f"set suffix, such as suffix: .{best.rpartition('.')[2]}"
                )
            best = jpeg[0]
        others |= {f"{_folder(best)}/; {_folder(image)}/" for image in images if _folder(image) != _folder(best)}
        meant[position] = best
        if stem(best.rpartition("/")[2]) != stem(listed.rpartition("/")[2]) or (ending and not best.endswith(ending)):
            renamed.append(f"{listed} is {best}")
    if renamed:
        notes.append(f"{len(renamed):,} names were matched though ending, case or Unicode form differ: {renamed[0]}")
    for pair in sorted(others):
        notes.append(f"images are taken from {pair} holds some of the same names")
    return meant


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


_part = lru_cache(maxsize=4096)(part_of)


def _compare_with_folders(listing: Listing, relative: list[str], stock: Inventory, params: DataParams) -> None:
    """Notes what the list leaves out of the images on the disk; DataError where folder names contradict the list.

    A folder counts where its name is one of the list's labels. Where the parameters name the list, they decide.
    """
    rows = listing.rows
    labels = [plain(text) for text in rows["label"].fillna("").tolist()]
    classes = set(labels) - {""}

    @lru_cache(maxsize=4096)
    def says(folder: str) -> str:
        return next((name for part in reversed(folder.split("/")) if (name := plain(part)) in classes), "")

    here = [*zip(relative, labels, rows["found"].tolist(), strict=True)]
    against = [at for at, (path, label, found) in enumerate(here) if found and says(_folder(path)) not in ("", label)]
    against = [at for at in against if labels[at]]
    listed = {path for path, _, found in here if found}
    left = [path for path in stock.images if path not in listed]
    hidden = [path for path in left if says(_folder(path))] if len(classes) > 1 else []
    file = rows["file"].iloc[0]
    said = []
    if against:
        first = against[0]
        said.append(
            f"{len(against):,} of {len(listed):,} listed images lie in a folder of another class (the first: "
            f"{relative[first]} is {rows['label'].iloc[first]!r} in {place(rows, first)})"
        )
    if hidden:
        said.append(
            f"it does not list {len(hidden):,} of the {len(stock.images):,} images, which lie in folders named as its "
            f"classes (the first: {hidden[0]})"
        )
    if said and not params.labels:
        raise DataError(
            f"{stock.root / file}: {'; '.join(said)}. Which is right cannot be guessed: set labels: {file} for the "
            "list alone, or labels: . for the folder names alone"
        )
    listing.notes += [f"{file}: {text}" for text in said]
    if left and listed:
        total = len(stock.images)
        listing.notes.append(f"{len(left):,} of {total:,} images are in no list and were left out: {left[0]}")


def _to_hand_in(listing: Listing, names: list[str]) -> None:
    """Fills `lists`, and keeps each image of the lists once; they should hold the same images."""
    rows = listing.rows
    for name in names:
        written = rows.loc[rows["file"] == name, ["image_id", "written"]].rename(columns={"written": "path"})
        listing.lists[name] = written.reset_index(drop=True).astype("string")
    images = {name: listed["image_id"] for name, listed in listing.lists.items()}
    counts = ", ".join(f"{name} {listed.nunique():,}" for name, listed in images.items())
    if len({frozenset(listed) for listed in images.values()}) > 1:
        listing.notes.append(f"the test lists do not hold the same images ({counts}); all of them are kept")
    if any(listed.duplicated().any() for listed in images.values()):
        listing.notes.append(f"some test lists name an image twice (different images: {counts})")
    again = rows["file"].isin(names) & rows["image_id"].where(rows["file"].isin(names)).duplicated()
    listing.rows = rows.loc[~again].reset_index(drop=True)


def refuse_unread(files: list[LabelFile], params: DataParams) -> None:
    """DataError where a list of labels is there but cannot be read as one: folder names are not the labels then."""
    for file in files:
        asked, meant = file.name == params.labels, file.path.name.lower() in MEANT
        if file.unread and (asked or (meant and not file.heading)):
            raise DataError(f"{file.path}{', ' if file.unread.startswith('row') else ': '}{file.unread}")
        if file.unread or file.lists_labels:
            continue
        if asked or meant or file.headless or "label" in file.roles or ("path" in file.roles and not file.weak):
            missing = " and no column ".join(sorted({"path", "label"} - set(file.roles)))
            shown = ", ".join(file.heading)[:200] or "nothing"
            if file.headless:
                shown += "; the first row must name the columns"
            cure = "name the columns: path,label, or set path_column and label_column (labels: . takes folder names)"
            raise DataError(f"{file.path}, row 1: no column {missing}, it holds {shown}; {cure}")
