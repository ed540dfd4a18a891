"""Label files as people write them, with every complaint naming file and row: bytes to rows of text.

Rows carry `file` and `line` until the image table is made, so that later complaints can say where a row is from.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

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
END = "end of the file"  # a last row: a quote that is never closed swallows it


class DataError(ValueError):
    """Files that cannot be read as a data set; the message names the file, the value and the cure."""


def read_text(path: Path) -> str:
    """The text of a label file with plain newlines; a byte-order mark is dropped. DataError if it is not Unicode."""
    raw = path.read_bytes()
    if raw[:4] == b"PK\3\4":
        raise DataError(f"{path}: an Excel workbook or another archive, not a CSV file; save it as CSV (UTF-8)")
    encoding = "utf-8-sig"
    if raw[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        encoding = "utf-32"
    elif raw[:2] in (b"\xff\xfe", b"\xfe\xff"):  # PowerShell writes UTF-16
        encoding = "utf-16"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        said = f"{path}, row {row}: not a text in UTF-8 (byte {error.start}); save the file as UTF-8"
        raise DataError(said) from None
    text = re.sub(r"\r+\n?", "\n", text) if "\r" in text else text
    if "\0" in text:  # UTF-16 without a byte-order mark, or a file whose end was never written to the disk
        row = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, row {row}: holds zero bytes, so the file is damaged or no UTF-8; save it as UTF-8")
    return text


def read_column(path: Path) -> pd.Series:
    """A one-column file without a header row (one is skipped if there is one): stripped text by line number.

    Blank lines at the end are dropped, others stay as empty text. DataError where a row has a second column.
    """
    values = [line.strip(" \t\"'") for line in read_text(path).split("\n")]
    while values and not values[-1]:
        values.pop()
    for row, value in enumerate(values, 1):
        if "," in value or ";" in value:
            raise DataError(f"{path}, row {row}: {value!r} has more than the one column expected; remove the others")
    column = pd.Series(values, index=pd.RangeIndex(1, len(values) + 1), dtype=object)
    return column.iloc[1:] if values and values[0].lower() in ONE_COLUMN_HEADINGS else column


def read_heading(path: Path) -> tuple[list[str], str]:
    """The first line's columns (stripped, lower-cased) and the character between them."""
    with path.open("rb") as file:
        raw = file.readline(65536)
    text = raw.decode("utf-8-sig", errors="replace")
    if "\0" in text:  # UTF-16, whose newline is no single byte
        text = read_text(path).partition("\n")[0]
    text = re.split(r"[\r\n]", text, maxsplit=1)[0]  # old Macs end a line with \r alone
    separator = max(",;\t", key=text.count)
    return [name.strip().lower() for name in next(csv.reader([text], delimiter=separator), [])], separator


def read_csv(path: Path) -> pd.DataFrame:
    """The known columns (`COLUMN_NAMES`) of a CSV file with a header row, as stripped text, with `file` and `line`.

    Rows in which all of them are blank are left out. DataError for a row of too many or too few columns, an open quote,
    a line break in a value, two label columns that disagree, and an empty path.
    """
    heading, separator = read_heading(path)
    labels = [position for position, name in enumerate(heading) if COLUMN_NAMES.get(name) == "label"]
    known: dict[str, int] = {}
    for position, name in enumerate(heading):
        if name in COLUMN_NAMES:
            known.setdefault(COLUMN_NAMES[name], position)  # the first of two that mean the same
    least = 1 + max(known.values(), default=0)
    lines, kept = [], []
    for line, row in _records(path, separator):
        if not any(row):
            continue
        if not least <= len(row) <= len(heading):
            if any("\n" in value for value in row):
                raise _open_quote(path, line)
            cure = f"fill it up, or quote a value that holds a {separator!r}"
            raise DataError(f"{path}, row {line}: {len(row)} columns, but the first row has {len(heading)}; {cure}")
        row += [""] * (len(heading) - len(row))
        for name, position in known.items():
            if "\n" in row[position]:  # a quote that is opened by mistake swallows rows up to the next one
                raise DataError(
                    f'{path.name}, row {line}: a line break in the {name}; a quote (") is missing or too many'
                )
        for other in labels[1:]:
            if row[other] != row[labels[0]]:  # which of the two is meant cannot be guessed
                first = f"column {labels[0] + 1} ({heading[labels[0]]}) says {row[labels[0]]!r}"
                second = f"column {other + 1} ({heading[other]}) {row[other]!r}"
                raise DataError(
                    f"{path.name}, row {line}: {first}, {second}, and both may be the label; rename the wrong one"
                )
        values = [row[position] for position in known.values()]
        if any(values):
            if "path" in known and not row[known["path"]]:
                raise DataError(f"{path.name}, row {line}: the path is empty; fill it in")
            kept.append(values)
            lines.append(line)
    # object, not pandas' str: its str methods are no faster, and lists of plain strings are
    return pd.DataFrame(kept, columns=list(known), dtype=object).assign(line=lines, file=path.name)


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows below the first, stripped, by number; DataError for a quote that is never closed."""
    reader = csv.reader(io.StringIO(f"{read_text(path)}\n{END}"), delimiter=separator)
    line, last = 0, []
    try:
        for row in reader:
            if line > 1:
                yield line, last
            line, last = line + 1, [value.strip() for value in row]
    except csv.Error:  # a value of more than 128 KiB
        raise _open_quote(path, line + 1) from None
    if last != [END]:
        raise _open_quote(path, line)


def _open_quote(path: Path, line: int) -> DataError:
    return DataError(f'{path}, row {line}: a quote (") is opened there and not closed; close or remove it')


def place(rows: pd.DataFrame, position: int) -> str:
    """Where a row is from, for a message."""
    row = rows.iloc[position]
    return f"{row['file']}, row {row['line']}" if row["line"] else str(row["file"])
