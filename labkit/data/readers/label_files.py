"""Label files as people write them, with every complaint naming file and row: bytes to rows of text.

Rows carry `file` and `line` until the image table is made, so that later complaints can say where a row is from.
"""

import csv
import io
import re
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
    column = pd.Series(values, index=pd.RangeIndex(1, len(values) + 1), dtype=object)
    wide = next((line for line, value in enumerate(values, 1) if "," in value or ";" in value), None)
    if wide:
        said = f"{values[wide - 1]!r} has more than the one column expected; remove the others"
        raise DataError(f"{path}, row {wide}: {said}")
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
    text = re.split(r"[\r\n]", text, maxsplit=1)[0]  # old Macs end a line with \r alone
    separator = max(",;\t", key=text.count)
    return [name.strip().lower() for name in next(csv.reader([text], delimiter=separator), [])], separator


def read_csv(path: Path) -> pd.DataFrame:
    """The known columns (`COLUMN_NAMES`) of a CSV file with a header row, as stripped text, with `file` and `line`."""
    heading, separator = read_heading(path)
    text = read_text(path)
    known: dict[str, int] = {}
    for position, name in enumerate(heading):
        if name in COLUMN_NAMES:
            known.setdefault(COLUMN_NAMES[name], position)  # the first of two that mean the same
    try:
        # object, not pandas' str: its str methods are no faster, and lists of plain strings are
        cells = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,
            names=range(len(heading)),
            skiprows=1,
            dtype=object,
            keep_default_na=False,
            skip_blank_lines=False,
        )
    except pd.errors.EmptyDataError:
        cells = pd.DataFrame(columns=range(len(heading)), dtype=object)
    except pd.errors.ParserError:
        raise _ragged(path, text, separator, len(heading)) from None
    least = 1 + max(known.values(), default=0)  # pandas takes surplus columns for an index, and fills short rows up
    if len(cells) and (not isinstance(cells.index, pd.RangeIndex) or _shortest(text, separator) < least):
        raise _ragged(path, text, separator, len(heading), least)
    frame = pd.DataFrame({name: stripped(cells[position].tolist()) for name, position in known.items()}, dtype=object)
    blank = (frame == "").to_numpy().all(axis=1)
    frame["line"] = range(2, len(frame) + 2)
    frame["file"] = path.name
    _refuse_line_breaks(frame)
    _refuse_two_labels(frame, cells, heading)
    frame = frame.loc[~blank].reset_index(drop=True)
    if "path" in frame and "" in (paths := frame["path"].tolist()):
        raise DataError(f"{place(frame, paths.index(''))}: the path is empty; fill it in")
    return frame


def _shortest(text: str, separator: str) -> int:
    """The fewest columns of a row that is not blank."""
    if '"' not in text:
        blank = {"", *(separator * count for count in range(1, 4))}
        return 1 + min((row.count(separator) for row in text.split("\n") if row.strip() not in blank), default=0)
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    return min((len(row) for row in rows if any(value.strip() for value in row)), default=1)


def _ragged(path: Path, text: str, separator: str, columns: int, least: int | None = None) -> DataError:
    """The error for the first row of more than `columns` or less than `least`, or whose quotes stay open."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    opened = end = 0
    for row in reader:
        start, end = end + 1, reader.line_num
        opened = start if start < end else opened
        if not (least or columns) <= len(row) <= columns and any(value.strip() for value in row):
            break
    else:
        start, row = opened, []
    if opened and opened == start:
        return DataError(f'{path}, row {start}: a quote (") is opened there and not closed; close or remove it')
    cure = f"fill it up, or quote a value that holds a {separator!r}"
    return DataError(f"{path}, row {start}: {len(row)} columns, but the first row has {columns}; {cure}")


def _refuse_line_breaks(frame: pd.DataFrame) -> None:
    """A quote that is opened by mistake swallows rows up to the next one."""
    for name in frame.columns.difference(["line", "file"]):
        if "\n" in "".join(values := frame[name].tolist()):
            first = next(position for position, value in enumerate(values) if "\n" in value)
            raise DataError(f'{place(frame, first)}: a line break in the {name}; a quote (") is missing or too many')


def _refuse_two_labels(frame: pd.DataFrame, cells: pd.DataFrame, heading: list[str]) -> None:
    """Which of two columns that disagree is the label cannot be guessed."""
    first, *others = [position for position, name in enumerate(heading) if COLUMN_NAMES.get(name) == "label"] or [-1]
    for other in others:
        differ = frame["label"].to_numpy() != stripped(cells[other].tolist())
        if differ.any():
            where, row = place(frame, int(differ.argmax())), int(differ.argmax())
            raise DataError(
                f"{where}: column {first + 1} ({heading[first]}) says {cells[first][row]!r}, column {other + 1} "
                f"({heading[other]}) {cells[other][row]!r}, and both may be the label; rename the wrong one"
            )


def stripped(values: list) -> list[str]:
    """Texts without blanks at their ends; what is no text, such as a missing value, becomes ''."""
    return [value.strip() if isinstance(value, str) else "" for value in values]


def place(rows: pd.DataFrame, position: int) -> str:
    """Where a row is from, for a message."""
    row = rows.iloc[position]
    return f"{row['file']}, row {row['line']}" if row["line"] else str(row["file"])
