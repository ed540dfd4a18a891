"""Label files as people write them: text to rows, and rows to labels and splits that can be trusted.

Rows carry `file` and `line` until the image table is made, so that every complaint can say where it is from.
"""

import csv
import io
import re
from pathlib import Path

import pandas as pd

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled"), "unlabeled"),
}
COLUMN_NAMES = {  # lower-cased heading of a CSV file -> what it holds
    **dict.fromkeys(("path", "file", "filename", "file_name", "image_path", "image"), "path"),
    **dict.fromkeys(("label", "level", "grade", "class", "diagnosis"), "label"),
    **dict.fromkeys(("group", "patient", "subject", "patient_id", "subject_id"), "group"),
    **dict.fromkeys(("side", "eye"), "side"),
    **dict.fromkeys(("split", "set", "subset"), "split"),
    "image_id": "image_id",
}
# the one heading that a course file may have; a first row that is none of these is data
ONE_COLUMN_HEADINGS = {*COLUMN_NAMES, "images", "img", "img_name", "image_name", "name", "id", "labels", "target"}


class DataError(ValueError):
    """Files that cannot be read as a data set; the message names the file, the value and the cure."""


def read_text(path: Path) -> str:
    """The text of a label file with plain newlines; a byte-order mark is dropped. DataError if it is not Unicode."""
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # PowerShell writes UTF-16
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8 (byte {error.start}); save it as UTF-8") from None
    return re.sub(r"\r+\n?", "\n", text) if "\r" in text else text


def read_column(path: Path) -> pd.Series:
    """A one-column file without a header row (one is skipped if there is one): stripped text by line number.

    Blank lines at the end are dropped, others stay as empty text. DataError where a row has a second column.
    """
    values = [line.strip(" \t\"'") for line in read_text(path).split("\n")]
    while values and not values[-1]:
        values.pop()
    column = pd.Series(values, index=pd.RangeIndex(1, len(values) + 1), dtype=object)
    wide = next((line for line, value in enumerate(values, 1) if "," in value or ";" in value), None)
    if wide:
        raise DataError(f"{path}, row {wide}: {values[wide - 1]!r} has more than the one column expected")
    if values and values[0].lower() in ONE_COLUMN_HEADINGS:
        return column.iloc[1:]
    return column


def read_heading(path: Path) -> tuple[list[str], str]:
    """The first line's columns (stripped, lower-cased) and the character between them."""
    with path.open("rb") as file:
        raw = file.readline(65536)
    text = raw.decode("utf-8-sig", errors="replace")
    if "\0" in text:  # UTF-16, whose newline is no single byte
        text = read_text(path).partition("\n")[0]
    separator = max(",;\t", key=text.count)
    return [name.strip().lower() for name in next(csv.reader([text], delimiter=separator), [])], separator


def read_csv(path: Path) -> pd.DataFrame:
    """The known columns (`COLUMN_NAMES`) of a CSV file with a header row, as stripped text, with `file` and `line`."""
    heading, separator = read_heading(path)
    known: dict[str, int] = {}
    for position, name in enumerate(heading):
        if name in COLUMN_NAMES:
            known.setdefault(COLUMN_NAMES[name], position)  # the first of two that mean the same
    try:
        # object, not pandas' str: its str methods are no faster, and lists of plain strings are
        frame = pd.read_csv(
            io.StringIO(read_text(path)),
            sep=separator,
            header=None,
            names=range(len(heading)),
            skiprows=1,
            dtype=object,
            keep_default_na=False,
            skip_blank_lines=False,
        )
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=range(len(heading)), dtype=object)
    except (pd.errors.ParserError, ValueError) as error:
        raise DataError(f"{path}: not a CSV file with {len(heading)} columns: {error}") from None
    if len(frame) and not isinstance(
        frame.index, pd.RangeIndex
    ):  # pandas takes surplus columns for an index without a word
        raise DataError(f"{path}: its rows have more columns than its header row ({', '.join(heading)})")
    frame = pd.DataFrame({name: stripped(frame[position].tolist()) for name, position in known.items()}, dtype=object)
    blank = (frame == "").to_numpy().all(axis=1)
    frame["line"] = range(2, len(frame) + 2)
    frame["file"] = path.name
    frame = frame.loc[~blank].reset_index(drop=True)
    if "path" in frame and "" in (paths := frame["path"].tolist()):
        raise DataError(f"{place(frame, paths.index(''))}: the path is empty; fill it in")
    return frame


def stripped(values: list) -> list[str]:
    """Texts without blanks at their ends; what is no text, such as a missing value, becomes ''."""
    return [value.strip() if isinstance(value, str) else "" for value in values]


def place(rows: pd.DataFrame, position: int) -> str:
    """Where a row is from, for a message."""
    row = rows.iloc[position]
    return f"{row['file']}, row {row['line']}" if row["line"] else str(row["file"])


def with_labels(
    rows: pd.DataFrame, classes: tuple[str, ...], aliases: dict[str, str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows with `label` (text) replaced by class numbers (Int64), and the classes.

    A label is a class number or a class name (in any case, `_` and `-` as spaces); empty text is no label. Without
    classes, the sorted values become the classes. DataError names file, row, value and what is allowed.
    """
    codes, texts = pd.factorize(rows["label"].fillna(""))
    if not classes:
        classes = _classes_of(texts)
    names = {_plain(name): number for number, name in enumerate(classes)}
    names |= {alias: names[_plain(name)] for alias, name in aliases.items()}
    numbers = [None if text == "" else _class_number(str(text), names, len(classes)) for text in texts]
    wrong = [code for code, number in enumerate(numbers) if number == -1]
    if wrong:
        bad = pd.Series(codes).isin(wrong).to_numpy()
        first = int(bad.argmax())
        allowed = ", ".join(f"{number} ({name})" for number, name in enumerate(classes))
        more = f" ({bad.sum():,} rows like it)" if bad.sum() > 1 else ""
        raise DataError(
            f"{place(rows, first)}: label {texts[codes[first]]!r} is not one of {allowed}{more}; "
            "correct it, or read the data as dataset: custom"
        )
    label = pd.Series(pd.array(numbers, dtype="Int64").take(codes), index=rows.index)
    return rows.assign(label=label), classes


def _classes_of(texts) -> tuple[str, ...]:
    named = [str(text) for text in texts if text != ""]
    whole = {number for text in named if (number := _whole(text)) is not None}
    if len(whole) and all(_whole(text) is not None for text in named):
        return tuple(str(number) for number in sorted(whole))
    return tuple(sorted(set(named)))


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
