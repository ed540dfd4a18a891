"""Files that appear whole or not at all, and locks that say who holds them: nothing here knows what is written."""

import csv
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout

FULL = 1 << 16  # bytes: a disk with less free is full, whatever its writer calls that
CURES = {
    errno.ENOSPC: "free some space, or set LABKIT_REPORTS to a folder on another disk",
    errno.EDQUOT: "free some of your quota, or set LABKIT_REPORTS to a folder on another disk",
    errno.EROFS: "mount it for writing, or set LABKIT_REPORTS to a folder that can be written to",
    errno.EACCES: "make its folder writable for you, or set LABKIT_REPORTS to a folder that is",
    errno.EPERM: "make its folder writable for you, or set LABKIT_REPORTS to a folder that is",
}


class NotWritten(OSError):
    """A file that could not be written: its name, why, and what helps; the old file, if any, is as it was."""

    def __init__(self, path: Path, number: int | None, reason: str | None) -> None:
        cure = f"; {CURES[number]}; the same command then goes on" if number in CURES else ""
        super().__init__(f"{path}: cannot be written ({reason}){cure}")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write(temporary path)`` and rename: a reader sees the old file or the new one, never half of one.

    Raises NotWritten where the disk is full or does not let itself be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except Exception as error:  # torch and safetensors have errors of their own for a full disk
            full = not isinstance(error, OSError) and shutil.disk_usage(path.parent).free < FULL
            if temporary.is_file():
                os.truncate(temporary, 0)  # torch's writer stays open in the traceback, and would keep the disk full
            if full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """An error of the disk as NotWritten, which names the file; any other error, and a lock that is held, as it is."""
    try:
        yield
    except Timeout:  # of a lock that another holds: an OSError, too
        raise
    except OSError as error:
        raise NotWritten(path, error.errno, error.strerror or str(error)) from error


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what a process that was killed while it wrote left of this file: for whoever is alone in the folder."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Text as UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, whole or not at all; raises TypeError on what JSON cannot hold."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


# What a spreadsheet would run as a formula: all that begins with = or @ (or a blank that it skips), and with + or - if
# more follows than a number or a plain name. File names, ids and classes come from strangers.
FORMULA = r"'*(?:[=@\t\r]|[+-](?![\w.,/ -]*$))"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """CSV with nine significant digits: enough to give back every float32 exactly.

    A text that a spreadsheet would run as a formula gets a ' before it; ``read_csv`` takes it away again.
    """
    safe = _each_text(table, rf"^(?={FORMULA})", "'")
    kept = {"index": False, "float_format": "%.9g", "lineterminator": "\n"}
    if any("\r" in value for name in safe for value in [name, *safe[name]] if isinstance(value, str)):
        kept["quoting"] = csv.QUOTE_NONNUMERIC  # else Python before 3.13 lets a carriage return end the row
    write_whole(path, lambda temporary: safe.to_csv(temporary, **kept))


def read_csv(path: Path, dtype: Any = None) -> pd.DataFrame:
    """What ``write_csv`` wrote, with these types of columns; raises ValueError that names a damaged file."""
    try:
        table = pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=[""])  # NA may be a patient's name
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more columns than its first row")
    except ValueError as error:  # pandas' parser errors and UnicodeDecodeError are such, and name no file
        raise ValueError(
            f"{path}: damaged ({' '.join(str(error).split())}); remove its folder and run it again"
        ) from None
    return _each_text(table, rf"^'(?={FORMULA})", "")


def _each_text(table: pd.DataFrame, pattern: str, replacement: str) -> pd.DataFrame:
    """The table with the pattern replaced in every text, column names included; other values stay as they are."""

    def changed(value: Any) -> Any:
        suspect = isinstance(value, str) and value[:1] in set("='@+-\t\r")  # of a million few are
        return re.sub(pattern, replacement, value) if suspect else value

    table = table.rename(columns=changed)
    for position, dtype in enumerate(table.dtypes):
        if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype):
            column = table.iloc[:, position]
            table.isetitem(position, pd.Series(list(map(changed, column)), column.index, dtype))
    return table


def read_json(path: Path) -> dict[str, Any]:
    """The file's content, {} where there is none; raises ValueError that names a damaged file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); remove it, and it is made again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged (no JSON object); remove it, and it is made again")
    return content


def yaml_mistake(error: yaml.YAMLError) -> str:
    """Where a file or value is not valid YAML and why, in one line to follow its name."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{where}: not valid YAML: {' '.join(str(problem or error).split())}"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def in_turn(lock_file: Path, what: str) -> Iterator[None]:
    """One process at a time; a second one says that it waits, and waits."""
    lock = FileLock(lock_file)
    with explained(lock_file):
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"another process is {what}; waiting for it", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(lock_file: Path, refusal: Exception) -> Iterator[None]:
    """One process at a time; a second one is refused at once, by raising ``refusal``.

    What an earlier one left half-written in the lock's folder, because it was killed, is removed.
    """
    lock = FileLock(lock_file)
    try:
        with explained(lock_file):
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout:
        raise refusal from None
    try:
        sweep(lock_file.parent)
        yield
    finally:
        lock.release()
