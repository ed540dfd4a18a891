"""Checks rows of text, which `labkit.data.readers.label_files` reads, and converts them to labels and splits."""

import re

import numpy as np
import pandas as pd

from labkit.data.readers.label_files import DataError, place

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled"), "unlabeled"),
}


def with_labels(
    rows: pd.DataFrame, classes: tuple[str, ...], aliases: dict[str, str]
) -> tuple[pd.DataFrame, tuple[str, ...], list[str]]:
    """Rows with `label` (text) replaced by class numbers (Int64), the classes, and notes.

    A label is a class number or a class name (in any case, `_` and `-` as spaces); empty text is no label. Without
    classes, the sorted values become the classes. DataError names file, row, value and what is allowed.
    """
    codes, texts = pd.factorize(rows["label"].fillna(""))
    texts = [str(text) for text in texts]

    def first_row(code: int) -> str:
        return place(rows, int((codes == code).argmax()))

    notes = []
    if not classes:
        for code, text in enumerate(texts):
            if text.lower() in ("nan", "<na>", "nat"):
                raise DataError(
                    f"{first_row(code)}: label {text!r} is how programs write a missing value; "
                    "leave it empty where there is no label"
                )
        whole = {text: number for text in texts if (number := _whole(text)) is not None}
        words = [text for text in texts if text and text not in whole]
        classes = tuple(sorted([*whole, *words]) if words else map(str, sorted(set(whole.values()))))
        if whole and words:
            notes.append(
                f"labels are numbers ({', '.join(sorted(whole)[:5])}) and words ({words[0]!r} in "
                f"{first_row(texts.index(words[0]))}); each is taken for a class of its own"
            )
    names = {_plain(name): number for number, name in enumerate(classes)}
    names |= {alias: names[_plain(name)] for alias, name in aliases.items()}
    numbers = [None if text == "" else _class_number(text, names, len(classes)) for text in texts]
    wrong = [code for code, number in enumerate(numbers) if number == -1]
    if wrong:
        count = int(np.isin(codes, wrong).sum())
        allowed = ", ".join(f"{number} ({name})" for number, name in enumerate(classes))
        more = f" ({count:,} rows like it)" if count > 1 else ""
        raise DataError(
            f"{first_row(wrong[0])}: label {texts[wrong[0]]!r} is not one of {allowed}{more}; "
            "correct it, or read the data as dataset: custom"
        )
    label = pd.Series(pd.array(numbers, dtype="Int64").take(codes), index=rows.index)
    return rows.assign(label=label), classes, notes


def _class_number(text: str, names: dict[str, int], count: int) -> int:
    """-1 if the text is no class. Names come first: custom classes may be called 1, 2, 3."""
    number = _whole(text)
    by_name = names.get(_plain(text if number is None else str(number)))
    if by_name is not None:
        return by_name
    return number if number is not None and 0 <= number < count else -1


def _whole(text: str) -> int | None:
    return int(text.partition(".")[0]) if re.fullmatch(r"[+-]?\d+(\.0*)?", text) else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip()).lower()


def split_names(rows: pd.DataFrame) -> pd.Series:
    """The `split` column in our names, missing where it is empty. DataError names a value that is none of them."""
    codes, texts = pd.factorize(rows["split"].fillna("").str.lower())
    for code, text in enumerate(texts):
        if text not in SPLITS and text != "":
            where = place(rows, int((codes == code).argmax()))
            raise DataError(f"{where}: split {text!r} is not one of {', '.join(sorted(SPLITS))}")
    return pd.Series(pd.array([SPLITS.get(str(text), pd.NA) for text in texts], dtype="string").take(codes), rows.index)


def without_repeats(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row an image: a repeat with the same label is dropped with a note, one with another label is a DataError.

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
        listed = "; ".join(f"{place(given, i)}: {given['label'].iloc[i]}" for i in range(min(5, len(given))))
        more = f"; {len(clashes):,} images are like it" if len(clashes) > 1 else ""
        raise DataError(f"image {clashes[0]!r} has different labels ({listed}); keep the right row{more}")
    # the first row of the highest rank stays
    ranks = {"train": 1, "val": 2, "test": 3}
    both = zip(again["split"], again["label"].notna(), strict=True)
    rank = [ranks.get(split, 0) if labelled else -1 for split, labelled in both]
    keep = pd.Series(rank, index=again.index).groupby(again["image_id"], sort=False).idxmax()
    dropped = again.index.difference(pd.Index(keep))
    first = again["image_id"].iloc[0]
    notes = [f"{len(dropped):,} rows repeat an image with the same label and were dropped (the first: {first})"]
    if several := kinds.index[kinds["split"] > 1].tolist():
        notes.append(
            f"{len(several):,} images are listed in more than one split and stay in the last of train, val, test "
            f"(the first: {several[0]})"
        )
    return rows.drop(index=dropped).reset_index(drop=True), notes
