"""Label files as people write them, with every complaint naming file and row: bytes to rows of text.

Rows carry `file` and `line` until the image table is made, so that later complaints can say where a row is from.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.images import is_image
from labkit.params import DataParams, OneLine

PATIENT = "patient, patient_id, subject, subject_id, participant, participant_id, mrn, pid"
# What a column may hold -> headings that say so, the surer ones first; case, spaces, `_`, `-` and dots do not count.
HEADINGS = {
    "path": "path, image_path, file_path, filename, file, image_file, image, image_name, image_index, img, img_name, "
    "images, id_code, isic_id, image_id, name, id",
    "label": "label, labels, level, grade, class, diagnosis, dx, target, category, finding_labels, retinopathy_grade",
    "group": f"{PATIENT}, group, lesion, lesion_id, case_id, study_id, exam_id, visit, visit_id",
    "side": "side, eye, laterality",
    "split": "split, set, subset, partition, fold, is_valid, phase, usage",
    "image_id": "image_id",
}
WEAK = ("imageid", "name", "id")  # these name an image only where such a file is there
PREDICTED = re.compile(r"submission|predict", re.IGNORECASE)  # names of files that no one has labelled
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled"), "unlabeled"),
}
LARGEST = 2**30  # bytes of a label file: ten million rows
RELEASE_INDEX = "cnmc2019_train_index.csv"  # what is known of C-NMC's files; lists no image of the folder
END = "end-of-the-file"  # a last row: a quote that is never closed swallows it


class DataError(OneLine, ValueError):
    """Files that cannot be read as a data set; the message names the file, the value and the cure."""


def plain_heading(text: str) -> str:
    """`Patient ID`, `patient_id` and `PatientID` alike."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", text).casefold())


RANKS = {role: [plain_heading(name) for name in names.split(", ")] for role, names in HEADINGS.items()}


@dataclass(frozen=True)
class LabelFile:
    """A file of rows, by its first row. `name` is relative to the data folder."""

    path: Path
    name: str
    heading: list[str]  # as written
    separator: str
    roles: dict[str, list[int]]  # what a column may hold -> positions, the surest first
    unread: str = ""  # why it cannot be a list of labels, and the cure

    @property
    def lists_labels(self) -> bool:
        """Whether it has what may be a path and a label column, and does not say that it holds predictions."""
        return not self.unread and {"path", "label"} <= set(self.roles)

    @property
    def headless(self) -> bool:
        """Whether the first row is an image already and names no column."""
        return any(is_image(text.replace("\\", "/").rpartition("/")[2]) for text in self.heading)

    @property
    def weak(self) -> bool:
        """Whether no heading is sure to name an image, so that only files which are there can tell."""
        return all(plain_heading(self.heading[position]) in WEAK for position in self.roles.get("path", []))

    @property
    def why_not(self) -> str:
        """Why it is not read where another file is, or folder names are."""
        missing = " and ".join(role for role in ("path", "label") if role not in self.roles)
        shown = ", ".join(self.heading)[:100] or "none"
        reads = "it may name no image; " * self.weak + f"to read it, set labels: {self.name}"
        return self.unread or (f"no column for {missing} among {shown}" if missing else reads)


@lru_cache(maxsize=4096)
def part_of(name: str) -> str | None:
    """`train` of trainLabels.csv, `test` of `b. Testing Set/x`; None where it says none, or two."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    parts = {SPLITS[word.lower()] for word in words if word.lower() in SPLITS}
    return parts.pop() if len(parts) == 1 else None


def look_into(root: Path, name: str, params: DataParams) -> LabelFile:
    """What the first row of a file tells."""
    path = root / name
    if path.suffix.lower() in (".xlsx", ".xls", ".ods", ".parquet", ".json"):
        return LabelFile(path, name, [], "", {}, "labkit reads no such file; save it as CSV (UTF-8)")
    try:
        heading, separator = read_heading(path)
    except DataError as error:
        return LabelFile(path, name, [], "", {}, str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, "))
    plain = [plain_heading(text) for text in heading]
    roles = {}
    for role, names in RANKS.items():
        asked = getattr(params, f"{role}_column", None)
        names = names if asked is None else [plain_heading(asked)]
        if places := [position for position, text in enumerate(plain) if text in names]:
            roles[role] = sorted(places, key=lambda position: names.index(plain[position]))
    outputs = any(re.fullmatch(r"logit\d+|score|probability.*|p\d", text) for text in plain)
    predicted = PREDICTED.search(path.stem) or (outputs and "prediction" in plain) or "logit0" in plain
    unread = f"it holds predictions or a form for them, not labels; to read it, set labels: {name}" if predicted else ""
    return LabelFile(path, name, heading, separator, roles, "" if name == params.labels else unread)


def readable(path: Path) -> Path:
    """The path of a label file that can be read to its end; DataError for a pipe, a device or more than LARGEST."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: no file, but a pipe, a device or a folder; put a label file in its place")
    if path.exists() and (size := path.stat().st_size) > LARGEST:
        raise DataError(f"{path}: {size / 2**30:,.1f} GB, too large for a label file; remove columns, or the file")
    return path


def read_text(path: Path) -> str:
    """The text of a label file with plain newlines; a byte-order mark is dropped. DataError if it is not Unicode."""
    raw = readable(path).read_bytes()
    if raw[:4] == b"PK\3\4":
        raise DataError(f"{path}: an Excel workbook or another archive, not a CSV file; save it as CSV (UTF-8)")
    marks = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((encoding for mark, encoding in marks.items() if raw.startswith(mark)), "utf-8-sig")  # PowerShell's
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        what = f"not a text in UTF-8 (byte {error.start})"
        raise DataError(f"{path}, row {row}: {what}; save the file as UTF-8") from None
    text = re.sub(r"\r+\n?", "\n", text) if "\r" in text else text
    if "\0" in text:  # UTF-16 without a byte-order mark, or a file whose end was never written to the disk
        row = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, row {row}: holds zero bytes, so the file is damaged or no UTF-8; save it as UTF-8")
    return text


def read_column(path: Path) -> pd.Series:
    """The stripped text of a one-column file by line, without a header and blank lines at the end; or DataError."""
    values = [line.strip(" \t\"'") for line in read_text(path).split("\n")]
    while values and not values[-1]:
        values.pop()
    for row, value in enumerate(values, 1):
        if "," in value or ";" in value:
            raise DataError(f"{path}, row {row}: {value!r} has more than the one column expected; remove the others")
    column = pd.Series(values, index=range(1, len(values) + 1), dtype=object)
    return column.iloc[1:] if values and plain_heading(values[0]) in (*RANKS["path"], *RANKS["label"]) else column


def read_heading(path: Path) -> tuple[list[str], str]:
    """The first line's columns (stripped) and the character between them; "" for JSON, an object a line.

    It is a blank where nothing else is and the words name the columns, or an image that is not the last of them.
    """
    with readable(path).open("rb") as file:
        raw = file.readline(65536)
    text = raw.decode("utf-8-sig", errors="replace")
    if "\0" in text:  # UTF-16, whose newline is no single byte
        text = read_text(path).partition("\n")[0]
    text = re.split(r"[\r\n]", text, maxsplit=1)[0]  # old Macs end a line with \r alone
    if text.lower().lstrip('"').startswith("sep="):
        raise DataError(f"{path}, row 1: {text!r} is a remark for Excel; remove it, so that the headings come first")
    if path.suffix.lower() == ".jsonl":
        return list(_json_row(path, 1, text)), ""
    separator, words = max(",;\t", key=text.count), text.split(" ")
    names = {plain_heading(word) for word in words}
    named = not names.isdisjoint(RANKS["path"]) and not names.isdisjoint(RANKS["label"])
    if separator not in text and (named or any(map(is_image, words[:-1]))):
        separator = " "
    return [name.strip() for name in next(csv.reader([text], delimiter=separator), [])], separator


def read_rows(file: LabelFile) -> pd.DataFrame:
    """All columns of a label file by position (0, 1, …) as stripped text, with `file` and `line`.

    Rows that are blank in all columns of a known role are left out. DataError for a wrong number of columns, an open
    quote and a line break in a value of a known role.
    """
    width, known = len(file.heading), {position: role for role in file.roles for position in file.roles[role]}
    least = 1 + max(known, default=0)
    lines, kept = [], []
    for line, row in _records(file):
        if not any(row):
            continue
        if not least <= len(row) <= width:
            if any("\n" in value for value in row):
                raise _open_quote(file.path, line)
            cure = f"fill it up, or quote a value that holds a {file.separator!r}"
            raise DataError(f"{file.path}, row {line}: {len(row)} columns, but the first row has {width}; {cure}")
        row += [""] * (width - len(row))
        for position, role in known.items():
            if "\n" in row[position]:  # a quote that is opened by mistake swallows rows up to the next one
                said = f'a line break in the {role}; a quote (") is missing or too many'
                raise DataError(f"{file.name}, row {line}: {said}")
        if any(row[position] for position in known):
            kept.append(row)
            lines.append(line)
    # object, not pandas' str: its str methods are no faster, and lists of plain strings are
    return pd.DataFrame(kept, columns=range(width), dtype=object).assign(line=lines, file=file.name)


def _records(file: LabelFile) -> Iterator[tuple[int, list[str]]]:
    """The rows below the first, stripped, by number; DataError for a quote that is never closed."""
    text = read_text(file.path)
    if not file.separator:
        for line, one in enumerate(text.split("\n"), 1):
            found = _json_row(file.path, line, one) if one.strip() else {}
            yield line, [str("" if found.get(name) is None else found[name]).strip() for name in file.heading]
        return
    reader = csv.reader(io.StringIO(f"{text}\n{END}"), delimiter=file.separator)
    line, last = 0, []
    try:
        for row in reader:
            if line > 1:
                yield line, last
            line, last = line + 1, [value.strip() for value in row]
    except csv.Error:  # a value of more than 128 KiB
        raise _open_quote(file.path, line + 1) from None
    if last != [END]:
        raise _open_quote(file.path, line)


def _json_row(path: Path, line: int, text: str) -> dict:
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise DataError(f"{path}, row {line}: no JSON object; write one in each line, or save the list as CSV")
    return row


def _open_quote(path: Path, line: int) -> DataError:
    return DataError(f'{path}, row {line}: a quote (") is opened there and not closed; close or remove it')


def first(mask: Any) -> int | None:
    """The position of the first true value."""
    mask = np.asarray(mask, bool)
    return int(mask.argmax()) if mask.any() else None


def place(rows: pd.DataFrame, position: int) -> str:
    """Where a row is from, for a message."""
    row = rows.iloc[position]
    return f"{row['file']}, row {row['line']}" if row["line"] else str(row["file"])
