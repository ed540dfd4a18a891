"""Checks rows of text, which `labkit.data.readers.label_files` reads, and converts them to labels and splits."""

import re
import unicodedata
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.catalog import DatasetFacts, facts
from labkit.data.readers.label_files import SPLITS, DataError, LabelFile, first, place, plain_heading
from labkit.format import some
from labkit.params import DataParams

FEW = 20  # classes; more labels that are fractions, or of one image each, are none
NO_LABEL = {"nan", "<na>", "nat", "n/a", "na", "#n/a", "none", "null", "?", "-", "--", "unknown", "-1", "-1.0"}
IS_VALID: dict[str, str] = {"true": "val", "1": "val", "1.0": "val", "false": "train", "0": "train", "0.0": "train"}
JOINTS = ("|", ";", ",", "+", "&", "/")  # between several labels of one image
HEALTHY = re.compile(
    r"\b(healthy|normal|negative|neg|benign|control|controls|no|non|not|without|none|absent|false|uninfected|unaffected"
    r"|survived|alive|ohne|keine?|nein|gesund|unauffällig|negativ)\b|^no(tumou?r|dr|finding)"
)
ILL = re.compile(r"\b(not|non|no|nicht) (healthy|normal|benign|negative|gesund|survived|alive)\b")


def with_labels(
    rows: pd.DataFrame, known: DatasetFacts, params: DataParams
) -> tuple[pd.DataFrame, DatasetFacts, list[str], str]:
    """Rows with `label` (text) replaced by class numbers (Int64), the facts with classes, notes, and why this order.

    A label is a class name (see `plain`) or, where no class is called by a number, a class's position; empty text is no
    label. Without classes, the values become the classes. DataError names file, row, value and what is allowed.
    """
    codes, texts = pd.factorize(rows["label"].fillna(""))
    texts, notes, gone = [str(text) for text in texts], [], []
    sizes = dict(zip(texts, np.bincount(codes).tolist(), strict=True))
    firsts = np.unique(codes, return_index=True)[1].tolist()
    where = {text: place(rows, at) for text, at in zip(texts, firsts, strict=True)}
    classes, why = known.classes, "as class_names has them" if params.class_names else "as the catalog has them"
    if not classes:
        _refuse_no_classes(sizes, where)
        here = set(rows["label"].loc[rows["found"].to_numpy(bool)]) or sizes.keys()
        if gone := [text for text in texts if text and text not in here]:
            notes.append(f"no image here has label {gone[0]!r} ({where[gone[0]]}), so it is no class")
        classes, why = _classes({text: size for text, size in sizes.items() if text and text in here}, notes, where)
    named = facts(known.name).classes  # what numbers stand for, in whichever order the classes are asked for
    order = named if sorted(map(plain, named)) == sorted(map(plain, classes)) else classes
    if params.positive_class:
        chosen = [name for name in classes if plain(name) == plain(params.positive_class)]
        if len(classes) != 2 or not chosen:
            said = f"{params.positive_class!r} is not one of two classes: {', '.join(classes)}"
            raise DataError(f"positive_class: {said}")
        classes, why = (*(name for name in classes if name not in chosen), *chosen), "as positive_class says"
    names = {plain(name): number for number, name in enumerate(order)}
    names |= {alias: names[plain(name)] for alias, name in known.aliases.items() if plain(name) in names}
    positions = range(0 if any(_number(name) is not None for name in order) else len(order))
    values = {text: int(value) for text in texts if (value := _number(text)) is not None and value in positions}
    numbers = [None if text in ("", *gone) else names.get(plain(text), values.get(text, -1)) for text in texts]
    if wrong := [text for text, number in zip(texts, numbers, strict=True) if number == -1]:
        count = sum(sizes[text] for text in wrong)
        allowed = ", ".join(f"{number} ({name})" if positions else name for number, name in enumerate(order))
        more = f" ({count:,} rows like it)" if count > 1 else ""
        cure = "or add it to class_names" if params.class_names else "or read the data as dataset: custom"
        raise DataError(f"{where[wrong[0]]}: label {wrong[0]!r} is not one of {allowed}{more}; correct it, {cure}")
    places = [[*map(plain, classes)].index(plain(name)) for name in order]
    numbers = [None if number is None else places[number] for number in numbers]
    label = pd.Series(pd.array(numbers, dtype="Int64").take(codes), index=rows.index)
    said = f"{', '.join(classes)}; {why}"
    if len(classes) == 2:
        guess = "" if params.positive_class or known.classes else "a guess: "
        said += f"; {guess}the positive class is {classes[1]} (positive_class sets the other one)"
    return rows.assign(text=rows["label"], label=label), replace(known, classes=classes), notes, said


def _refuse_no_classes(sizes: dict[str, int], where: dict[str, str]) -> None:
    """DataError for values of a label file that are no class: placeholders, and several labels in one."""
    listed = sorted(text for text in sizes if text and ", row " in where[text])
    if missing := [text for text in listed if text.lower() in NO_LABEL]:
        cure = "leave it empty where there is no label, or name all classes in class_names"
        said = f"label {missing[0]!r} is how programs write a missing value"
        raise DataError(f"{where[missing[0]]}: {said}; {cure}")
    total = sum(sizes[text] for text in listed)
    parts = any(number % 1 for text in listed if (number := _number(text)) is not None)
    if len(listed) > FEW and (parts or 2 * len(listed) > total):  # measurements, or a value of its own for each image
        said = f"{len(listed):,} different labels in {total:,} rows, such as {', '.join(listed[:3])}, are no classes"
        raise DataError(f"{where[listed[0]]}: {said}; write classes, or set label_column or class_names")
    alone = set(map(plain, sizes))
    for text, joint in ((text, joint) for joint in JOINTS for text in listed if joint in text):
        parts = [plain(part) for part in text.split(joint)]
        if all(parts) and (joint == "|" or alone.issuperset(parts)):
            count = sum(size for other, size in sizes.items() if joint in other)
            said = f"label {text!r} names several classes, as {count:,} rows do; labkit learns one label per image"
            cure = "leave one, set label_column to a column of one finding, or name the combinations in class_names"
            raise DataError(f"{where[text]}: {said}: {cure}")


def _classes(sizes: dict[str, int], notes: list[str], where: dict[str, str]) -> tuple[tuple[str, ...], str]:
    """The classes of data that names them itself, and why they have this order; spellings of one class are merged."""
    words = [text for text in sizes if _number(text) is None]
    if words and (written := sorted(sizes.keys() - set(words))):
        both = f"numbers ({', '.join(written[:5])}) and words ({words[0]!r} in {where[words[0]]})"
        notes.append(f"labels are {both}; each is taken for a class of its own")
    if not words:
        return tuple(sorted(set(map(plain, sizes)), key=Decimal)), "by number"
    spellings: dict[str, list[str]] = {}
    for text in sorted(sizes, key=lambda text: (-sizes[text], text)):
        spellings.setdefault(plain(text), []).append(text)
    several = [found for found in spellings.values() if len(found) > 1]
    notes += [f"{', '.join(found[1:])} and {found[0]} are taken for one class, {found[0]}" for found in several]
    # by number within the name: `2 - y` before `10 - x`
    parts = {found[0]: re.split(r"(\d+)", found[0]) for found in spellings.values()}
    natural = {name: [(int(part), "") if part.isdecimal() else (0, part) for part in parts[name]] for name in parts}
    classes = sorted(natural, key=natural.__getitem__)
    healthy = [name for name in classes if HEALTHY.search(plain(name)) and not ILL.search(plain(name))]
    if len(healthy) == 1 and not re.match(r"\d", classes[0]):
        classes = [*healthy, *(name for name in classes if name not in healthy)]
        return tuple(classes), f"{healthy[0]} first, as its name says healthy"
    return tuple(classes), "by name" + " (no name alone says healthy)" * (len(classes) == 2)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?", text) else None


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A class name as it is compared: a number by its value, other names in NFC, lower case, `_` and `-` as spaces."""
    if (number := _number(name.strip())) is not None:
        return f"{number.normalize() + 0:f}"  # 01, 1.0 and +1 are 1
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().lower()


def split_column(file: LabelFile, rows: pd.DataFrame, params: DataParams, listing: Any) -> int | None:
    """The column that tells the split, if any; fills `rows["split"]`. DataError: another value, or one is missing."""
    for position in file.roles.get("split", []):
        heading, where = file.heading[position], f"column {file.heading[position]} of {file.name}"
        words = IS_VALID if plain_heading(heading) == "isvalid" else SPLITS
        values = rows[position].str.lower().tolist()
        said = set(values) - {""}
        wrong = said - words.keys()
        if wrong and wrong == said and not params.split_column and heading.lower() != "split":
            listing.notes.append(f"{where} holds {some(wrong)}, not train, val and test, and was not used")
            continue
        if wrong:
            at = next(at for at, value in enumerate(values) if value in wrong)
            cure = f"write one of them into column {heading}, set split_column to another column, or rename it"
            allowed = f"split {rows[position].iloc[at]!r} is not one of {', '.join(sorted(words))}"
            raise DataError(f"{place(rows, at)}: {allowed}; {cure}")
        given = pd.Series([words.get(value) for value in values], rows.index, dtype=object)
        labelled = (rows[file.roles["label"][0]] != "").to_numpy() if "label" in file.roles else False
        if given.notna().any() and (at := first(given.isna().to_numpy(bool) & labelled)) is not None:
            raise DataError(f"{place(rows, at)}: no split, though other rows have one; fill it in")
        rows["split"] = given
        listing.reading["split"] = where
        return position
    return None


def without_repeats(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row per image: a repeat with the same label is dropped with a note, one with another label is a DataError.

    An image listed in several splits stays in the last of train, val, test: what is judged must not be trained on.
    """
    repeated = rows["image_id"].duplicated(keep=False).to_numpy()
    if not repeated.any():
        return rows, []
    again = rows.loc[repeated]
    by_image = again.groupby("image_id", sort=False)
    kinds = by_image[["label", "split"]].nunique()
    if clashes := kinds.index[kinds["label"] > 1].tolist():
        given = again.loc[again["image_id"] == clashes[0]]
        listed = "; ".join(f"{place(given, i)}: {given['text'].iloc[i]}" for i in range(min(5, len(given))))
        more = f"; {len(clashes):,} images are like it" if len(clashes) > 1 else ""
        raise DataError(f"image {clashes[0]!r} has different labels ({listed}); keep the right row{more}")
    # the first row of the highest rank stays
    ranks = {"train": 1, "val": 2, "test": 3}
    rank = again["split"].map(ranks).fillna(0).where(again["label"].notna().astype(bool), -1)
    keep = rank.groupby(again["image_id"], sort=False).idxmax()
    dropped = again.index.difference(pd.Index(keep))
    said = f"rows repeat an image with the same label and were dropped (the first: {again['image_id'].iloc[0]})"
    notes = [f"{len(dropped):,} {said}"]
    if several := kinds.index[kinds["split"] > 1].tolist():
        said = "images are listed in more than one split and stay in the last of train, val, test"
        notes.append(f"{len(several):,} {said} (the first: {several[0]})")
    return rows.drop(index=dropped).reset_index(drop=True), notes
