"""Layouts whose labels lie in files: the retinopathy course's lists, and any table with path and label columns.

Every layout gives a Listing, of `image_id, path (absolute), found, label (text), split, file, line[, group, side]`.
"""

from collections import Counter
from dataclasses import dataclass, field
from posixpath import basename, dirname

import pandas as pd

from labkit.data.images import stem
from labkit.data.readers.inventory import Inventory, tidy_paths, which_exist
from labkit.data.readers.label_files import DataError, LabelFile, first, part_of, place, read_column, read_rows
from labkit.data.readers.patients import group_column
from labkit.data.readers.tables import plain, split_column
from labkit.format import some
from labkit.params import DataParams

COURSE_LISTS = {"train": ("train_img.csv", "train_label.csv"), "test": ("test_img.csv", "test_label.csv")}
COURSE_FILES = [name for pair in COURSE_LISTS.values() for name in pair]
MEANT = ("train.csv", "labels.csv", "trainlabels.csv")  # names that say: the labels stand here
PARTS = ("train", "val", "test")


@dataclass
class Listing:
    """What a layout found."""

    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    lists: dict[str, pd.DataFrame] = field(default_factory=dict)  # file name -> image_id, path as written
    reading: dict[str, str] = field(default_factory=dict)  # what was taken for labels, groups and split, and why
    offered_pattern: str = ""  # a group_pattern that may find the patients; used only if the parameters ask for it
    beside: str = ""  # a column of a file that was not read which may tell the patient
    doubtful: str = ""  # the heading of the group column, where it may be another thing than the patient


def course_pairs(stock: Inventory, params: DataParams) -> Listing:
    """The retinopathy course: header-less `train_img.csv` beside `train_label.csv`, the same for test."""
    found, root = [], stock.root
    for split, (image_list, label_list) in COURSE_LISTS.items():
        if absent := [name for name in (image_list, label_list) if name not in stock.tables]:
            raise DataError(f"{root}: {' and '.join(absent)} missing; the course layout has four CSV files")
        names, labels = read_column(root / image_list), read_column(root / label_list)
        if len(names) != len(labels):
            count = f"{len(names):,} rows and {label_list} has {len(labels):,}"
            raise DataError(f"{root / image_list} has {count}: each image needs its label in the same row")
        rows = pd.DataFrame({"path": names.to_numpy(), "label": labels.to_numpy()})
        rows = rows.assign(split=split, file=label_list, line=labels.index)
        no_name, no_label = (rows["path"] == "").to_numpy(), (rows["label"] == "").to_numpy()
        if (at := first(no_name != no_label)) is not None:  # blank in both files is a blank line, in one a lost row
            where = f"{image_list}, row {names.index[at]}" if no_name[at] else place(rows, at)
            raise DataError(f"{where}: empty; fill in what belongs there")
        tidy_paths(rows, root)  # refuses what leads out of the folder
        found.append(rows.loc[~no_name])
    rows = pd.concat(found, ignore_index=True)
    rows["path"] = [stem(basename(path.replace("\\", "/"))) for path in rows["path"].tolist()]
    reading = {"labels": "the course's lists, train_label.csv and test_label.csv, row by row"}
    reading["split"] = "the course's: its lists are of train and of test"
    return _located(Listing(rows, reading=reading), stock, params)


def label_files(files: list[LabelFile], stock: Inventory) -> list[LabelFile]:
    """The files to read labels from: one for each of train, val and test, or one. DataError if which cannot be told."""

    def names_images(file: LabelFile) -> bool:
        return any(stock.count(read_rows(file)[position].tolist()) for position in file.roles["path"])

    listed = [file for file in files if file.lists_labels and (not file.weak or names_images(file))]
    chosen = [[file for file in listed if part_of(file.name) == part] for part in PARTS]
    found = []
    for rivals in filter(None, chosen if chosen[0] else [listed]):
        plainly = [file for file in rivals if file.path.stem.lower() in ("labels", *PARTS, "valid", "validation")]
        best = rivals if len(rivals) == 1 else plainly
        if len(best) != 1:
            both = f"{', '.join(file.name for file in rivals)} all have path and label columns"
            cure = f"call the right one labels.csv, or name it: labels: {rivals[0].name}"
            raise DataError(f"{stock.root}: {both}; {cure}")
        found += best
    return found


def from_files(files: list[LabelFile], lists: list[LabelFile], stock: Inventory, params: DataParams) -> Listing:
    """Rows of label files, and of lists of unlabelled test images (`lists`) that are to be handed in."""
    said = ", ".join(file.name for file in files)
    for role in ("group", "split"):
        if (asked := getattr(params, f"{role}_column")) and not any(role in file.roles for file in files):
            raise DataError(f"{said}: no column {asked}, as {role}_column asks, but {', '.join(files[0].heading)}")
    listing, found = Listing(pd.DataFrame()), []
    by_part = len(files) + len(lists) > 1
    for file in [*files, *lists]:
        rows = _with_roles(file, listing, stock, params)
        if file in lists:
            rows = rows.assign(label="", split="unlabeled")
        elif by_part:
            rows["split"] = rows["split"].fillna(part_of(file.name)) if "split" in rows else part_of(file.name)
        found.append(rows)
    listing.rows = pd.concat(found, ignore_index=True)
    label, image = (files[0].heading[files[0].roles[role][0]] for role in ("label", "path"))
    listing.reading["labels"] = f"column {label} of {said}; column {image} names the image"
    if by_part:
        listing.reading.setdefault("split", f"by the names of {', '.join(file.name for file in [*files, *lists])}")
    if "split" not in listing.rows:
        listing.rows["split"] = None
    _located(listing, stock, params)
    if lists:
        _to_hand_in(listing, [file.name for file in lists])
    return listing


def _with_roles(file: LabelFile, listing: Listing, stock: Inventory, params: DataParams) -> pd.DataFrame:
    """The rows of a file with the columns that are used; what it takes and what it leaves goes into the listing."""
    rows = read_rows(file)
    file.roles["path"].sort(key=lambda at: -stock.count(rows[at].tolist()))  # the first of equals stays
    used = {role: places[0] for role, places in file.roles.items() if role in ("side", "image_id", "path")}
    columns = {"group": group_column(file, rows, params, listing), "split": split_column(file, rows, params, listing)}
    labels = file.roles.get("label", [])
    for other in labels[1:]:  # which of two is meant cannot be guessed
        if (at := first(rows[labels[0]] != rows[other])) is not None:
            both = [f"column {i + 1} ({file.heading[i]}) says {rows[i][at]!r}" for i in (labels[0], other)]
            cure = "and both may be the label; rename the wrong one, or set label_column"
            raise DataError(f"{place(rows, at)}: {', '.join(both)}, {cure}")
    columns["label"] = labels[0] if labels else None
    used |= {role: position for role, position in columns.items() if position is not None}
    names = [name or f"{at} (no heading)" for at, name in enumerate(file.heading, 1)]
    if left := [name for at, name in enumerate(names) if at not in used.values() and any(rows[at])]:
        listing.notes.append(f"{file.name}: columns not used: {some(left, 20)}")
    done = rows[["line", "file"]].assign(**{role: rows[at] for role, at in used.items() if role != "split"})
    if "split" in used:
        done["split"] = rows["split"]
    if (at := first(done["path"] == "")) is not None:
        raise DataError(f"{place(rows, at)}: the path is empty; fill it in, or remove the row")
    return done


def _located(listing: Listing, stock: Inventory, params: DataParams) -> Listing:
    """Finds the images: by path, else without leading folders that are not there, else by name."""
    rows = listing.rows
    if rows.empty:
        return listing
    below = [name.removesuffix(basename(name)) for name in rows["file"].tolist()]
    tidy = tidy_paths(rows, stock.root)
    if params.suffix:
        tidy = [path if path.lower().endswith(params.suffix.lower()) else path + params.suffix for path in tidy]
    beside = [folder + path for folder, path in zip(below, tidy, strict=True)]  # a list may lie beside its images
    for relative in (beside, tidy, *([path.split("/", levels)[-1] for path in tidy] for levels in (1, 2)), tidy):
        found = which_exist(relative, rows, stock.root, follow_links=params.follow_links)
        if any(found):
            break
    if any(found) and relative not in (beside, tidy):
        listing.notes.append(f"images were found without the first folder of their listed path ({tidy[0]})")
    relative = [*relative]
    for at, image in _by_name(relative, found, rows, stock, listing.notes).items():
        relative[at], found[at] = image, True
    given = rows["image_id"].fillna("").tolist() if "image_id" in rows else [""] * len(rows)
    one_id: dict[str, str] = {}  # of each path, which may be listed in two ways
    names = zip(given, tidy if not below[0] else relative, relative, strict=True)
    ids = [one_id.setdefault(path, one or name) for one, name, path in names]
    if shared := {one: count for one, count in Counter(one_id.values()).items() if count > 1}:
        said = f"{sum(shared.values()):,} images share their id or name with another one ({next(iter(shared))!r})"
        listing.notes.append(f"{said}; paths are the ids")
        ids = relative
    prefix = stock.root.resolve().as_posix() + "/"
    paths = [prefix + path for path in relative]
    listing.rows = rows.assign(written=rows["path"], path=paths, found=found, image_id=ids)
    _compare_with_folders(listing, relative, stock, params)
    return listing


def _by_name(relative: list[str], found: list[bool], rows: pd.DataFrame, stock: Inventory, notes: list[str]) -> dict:
    """Position -> image, for listed paths that are no file themselves but name one without its folder or ending.

    Of equal names in several folders the one of the row's split is meant, else of the folder that holds most; DataError
    where that cannot be told.
    """
    held = {at: images for at, there in enumerate(found) if not there and (images := stock.named(relative[at]))}
    many = Counter(dirname(image) for images in held.values() for image in images)
    splits, files = rows["split"].tolist(), rows["file"].tolist()
    times, meant, others, renamed = Counter(zip(relative, files, strict=True)), {}, set(), []
    for at, images in held.items():
        listed, name = relative[at], basename(relative[at])
        ending, part = name[len(stem(name)) :].lower(), splits[at] if splits[at] in PARTS else part_of(files[at])
        images = [image for image in images if part and part_of(dirname(image)) == part] or images
        images = [image for image in images if ending and image.lower().endswith(ending)] or images
        best = min(images, key=lambda image: (-many[dirname(image)], dirname(image) not in ("", "images"), image))
        home, elsewhere = dirname(best), [image for image in images if dirname(image) != dirname(best)]
        if len(twins := [image for image in images if image not in elsewhere]) > 1:
            cure = f"set suffix, such as suffix: .{best.rpartition('.')[2]}"
            raise DataError(f"{place(rows, at)}: {listed!r} may be {' or '.join(twins[:3])}; {cure}")
        if elsewhere and (count := times[listed, files[at]]) > 1:
            either = f"{listed!r} is listed {count} times and may be {best} or {elsewhere[0]}"
            raise DataError(f"{place(rows, at)}: {either}; write the folder into the path")
        others |= {f"{home}/; {dirname(image)}/" for image in elsewhere}
        meant[at] = best
        if stem(basename(best)) != stem(name) or (ending and not best.endswith(ending)):
            renamed.append(f"{listed} is {best}")
    if renamed:
        said = "names were matched though ending, case, zeros or Unicode form differ"
        notes.append(f"{len(renamed):,} {said}: {renamed[0]}")
    notes += [f"images are taken from {pair} holds some of the same names" for pair in sorted(others)]
    return meant


def _compare_with_folders(listing: Listing, relative: list[str], stock: Inventory, params: DataParams) -> None:
    """Notes what the list leaves out; DataError where folder names contradict its labels, unless `labels` is set."""
    rows = listing.rows
    labels = [plain(text) for text in rows["label"].fillna("").tolist()]
    classes = set(labels) - {""}

    def says(folder: str) -> str:
        return next((name for part in reversed(folder.split("/")) if (name := plain(part)) in classes), "")

    here = [at for at, found in enumerate(rows["found"].tolist()) if found]
    listed = {relative[at] for at in here}
    against = [at for at in here if labels[at] and says(dirname(relative[at])) not in ("", labels[at])]
    left = [path for path in stock.images if path not in listed]
    hidden = [path for path in left if says(dirname(path))] if len(classes) > 1 else []
    file, total, said = rows["file"].iloc[0], len(stock.images), []
    if against:
        one = f"{relative[against[0]]} is {rows['label'].iloc[against[0]]!r} in {place(rows, against[0])}"
        lie = f"{len(against):,} of {len(listed):,} listed images lie in a folder of another class"
        said.append(f"{lie} (the first: {one})")
    if hidden:
        lie = "images, which lie in folders named as its classes"
        said.append(f"it does not list {len(hidden):,} of the {total:,} {lie} (the first: {hidden[0]})")
    if said and not params.labels:
        cure = f"set labels: {file} for the list alone, or labels: . for the folder names alone"
        raise DataError(f"{stock.root / file}: {'; '.join(said)}. Which is right cannot be guessed: {cure}")
    listing.notes += [f"{file}: {text}" for text in said]
    if left and listed:
        listing.notes.append(f"{len(left):,} of {total:,} images are in no list and were left out: {left[0]}")


def _to_hand_in(listing: Listing, names: list[str]) -> None:
    """Fills `lists`, and keeps each image of the lists once; they should hold the same images."""
    rows = listing.rows
    for name in names:
        written = rows.loc[rows["file"] == name, ["image_id", "written"]].rename(columns={"written": "path"})
        listing.lists[name] = written.reset_index(drop=True).astype("string")
    images = {name: set(listed["image_id"]) for name, listed in listing.lists.items()}
    counts = ", ".join(f"{name} {len(ids):,}" for name, ids in images.items())
    if any(ids != images[names[0]] for ids in images.values()):
        listing.notes.append(f"the test lists do not hold the same images ({counts}); all of them are kept")
    if any(len(listing.lists[name]) > len(ids) for name, ids in images.items()):
        listing.notes.append(f"some test lists name an image twice (different images: {counts})")
    of_lists = rows["file"].isin(names)
    listing.rows = rows.loc[~(of_lists & rows["image_id"].where(of_lists).duplicated())].reset_index(drop=True)


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
            shown += "; the first row must name the columns" * file.headless
            cure = f"name the columns: path{file.separator or ','}label, or set path_column and label_column"
            cure += " (labels: . takes folder names)"
            raise DataError(f"{file.path}, row 1: no column {missing}, it holds {shown}; {cure}")
