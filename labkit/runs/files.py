"""Files that are written whole or not at all, YAML and JSON that name a damaged file, and locks between processes."""

import csv
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any

import pandas as pd
import yaml
from filelock import AcquireReturnProxy, FileLock, Timeout
from pydantic import BaseModel, ValidationError

from labkit.params import PROJECT, OneLine, ParameterError

FULL = 1 << 16  # bytes: a disk with less free space counts as full, whatever the error was
CURES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "make its folder writable for you, or set {0} to a folder that is"),
    errno.ENOSPC: "free some space, or set {0} to a folder on another disk",
    errno.EDQUOT: "free some of your quota, or set {0} to a folder on another disk",
    errno.EROFS: "mount it for writing, or set {0} to a folder that can be written to",
}


class NotWritten(OneLine, OSError):
    """A file that could not be written: its name, why, and what helps; an old file of that name is unchanged."""

    def __init__(self, path: Path, number: int | None, reason: str | None) -> None:
        places = {"LABKIT_REPORTS": os.environ.get("LABKIT_REPORTS") or str(PROJECT / "reports")}
        places |= {"LABKIT_CACHE": os.environ.get("LABKIT_CACHE", ""), "TMPDIR": tempfile.gettempdir()}
        below = (name for name, place in places.items() if place and path.absolute().is_relative_to(place))
        cure = CURES.get(number or 0, "").format(next(below, "LABKIT_REPORTS"))
        cure = f"; {cure}; then run the same command again" if cure else ""
        super().__init__(f"{path}: cannot be written ({reason}){cure}")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write(temporary path)`` and rename: a reader sees the old file or the new one, or there is NotWritten."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except Exception as error:  # torch and safetensors have their own errors for a full disk
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
    """Turn an error of the disk into NotWritten, which names the file; other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        raise NotWritten(path, error.errno, error.strerror or str(error)) from error


def sweep(folder: Path, name: str = "*") -> None:
    """Remove temporary files of a killed process; only call this while no other process writes in the folder."""
    for leftover in folder.glob(f".{name}.[0-9]*-[0-9]*.tmp"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON; raises TypeError for values that JSON cannot hold."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


# What a spreadsheet would run as a formula: it begins with = or @ (or a blank that is skipped), or with + or - if more
# than a number or a plain name follows. File names, ids and classes come from strangers.
FORMULA = r"'*(?:[=@\t\r]|[+-](?![\w.,/ -]*$))"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """CSV with nine digits, enough for every float32; a text that is a formula (FORMULA) gets a ', see ``read_csv``."""
    safe = _each_text(table, rf"^(?={FORMULA})", "'")
    kept = {"index": False, "float_format": "%.9g", "lineterminator": "\n"}
    if any("\r" in value for name in safe for value in [name, *safe[name]] if isinstance(value, str)):
        kept["quoting"] = csv.QUOTE_NONNUMERIC  # else Python before 3.13 lets a carriage return end the row
    write_whole(path, lambda temporary: safe.to_csv(temporary, **kept))


def read_csv(path: Path, dtype: Any = None) -> pd.DataFrame:
    """Read what ``write_csv`` wrote, with these column types; raises ValueError that names a damaged file."""
    try:
        table = pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=[""])  # NA may be a patient's name
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more columns than its first row")
    except ValueError as error:  # pandas' parser errors and UnicodeDecodeError are such, and name no file
        raise ValueError(f"{path}: damaged ({' '.join(str(error).split())}); remove its folder and re-run it") from None
    return _each_text(table, rf"^'(?={FORMULA})", "")


def _each_text(table: pd.DataFrame, pattern: str, replacement: str) -> pd.DataFrame:
    """The table with the pattern replaced in every text, column names included; other values stay as they are."""

    def changed(value: Any) -> Any:
        suspect = isinstance(value, str) and value[:1] in set("='@+-\t\r")  # few of a million are
        return re.sub(pattern, replacement, value) if suspect else value

    table = table.rename(columns=changed)
    for position, dtype in enumerate(table.dtypes):
        if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype):
            column = table.iloc[:, position]
            table.isetitem(position, pd.Series(list(map(changed, column)), column.index, dtype))
    return table


def read_json(path: Path, shape: type[BaseModel] | None = None, cure: str = "") -> dict[str, Any]:
    """The file's object, {} where there is none; ValueError names a file that is damaged or has another shape."""
    if not path.is_file():
        return {}
    try:
        if not isinstance(content := json.loads(path.read_text(encoding="utf-8")), dict):
            raise ValueError("no JSON object")
        if shape:
            shape.model_validate(content)
        return content
    except ValidationError as error:
        first = error.errors()[0]
        told = ": ".join([*map(str, first["loc"]), first["msg"]])
    except (ValueError, RecursionError) as error:
        told = str(error)
    raise ValueError(f"{path}: damaged ({told}); {cure or 'remove it; it will be written again'}")


class StudyYaml(yaml.SafeLoader):
    """YAML 1.2 numbers (``1e-3`` is one; PyYAML follows 1.1 and reads a string) and no key given twice."""

    def construct_mapping(self, node, deep=False):
        """Raises ConstructorError where a key is given twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {str(key) for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


StudyYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(content: bytes, name: str, cure: str = "", loader: type[yaml.SafeLoader] = StudyYaml) -> Any:
    """The value of a YAML text; ParameterError in one line: ``name``, the line, what is wrong, ``cure``."""
    try:
        return yaml.load(content.decode("utf-8"), loader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ParameterError(f"{name}, line {line}: not a text in UTF-8{cure}") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = " ".join(str(problem or error).split())
        raise ParameterError(f"{name}{where}: not valid YAML: {what}{cure}") from None


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# What tells that a file is as it was: ctime and inode too, since a copy may bring its size and mtime along.
STAT = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
REMEMBERED: Any = {"path": object} | dict.fromkeys(STAT, "int64") | {"sha256": object}  # columns and their types


def stat_of(file: str | Path) -> tuple[int, ...]:
    """The values of STAT; OSError names a file that is not there."""
    found = os.stat(file)  # noqa: PTH116 - a million Paths would cost more
    return tuple(getattr(found, name) % 2**63 for name in STAT)  # an inode may have 64 bits


def remembered_sha256(
    paths: Sequence[str], cache: Path, sha256_of: Callable[[str], str] = sha256, files: Sequence[str] | None = None
) -> list[str]:
    """What ``sha256_of`` says of each path; the table ``cache`` remembers it while the path's file has the same stat.

    ``files``: the file of each path, where that is not its whole. OSError names a file that cannot be read.
    """
    files = paths if files is None else files
    stats = {file: stat_of(file) for file in dict.fromkeys(files)}
    rows = [(path, *stats[file]) for path, file in zip(paths, files, strict=True)]
    wanted = pd.DataFrame(rows, columns=list(REMEMBERED)[:-1])
    hashed = wanted.merge(_remembered(cache), how="left")["sha256"].astype(object)
    new = hashed.isna().to_numpy(bool)
    if new.any():
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:  # hashing and reading free Python's lock
            hashed[new] = list(pool.map(sha256_of, wanted["path"].to_numpy()[new]))
        known = pd.concat([_remembered(cache), wanted[new].assign(sha256=hashed[new])])
        known = known.drop_duplicates("path", keep="last")
        with suppress(NotWritten):  # of a disk that is full or only read: it costs time, nothing else
            write_whole(cache, lambda beside: known.to_csv(beside, index=False))
    return hashed.tolist()


def _remembered(cache: Path) -> pd.DataFrame:
    """The hashes in the cache; none if it is missing or damaged, since it can be made again."""
    try:
        known = pd.read_csv(cache, dtype=REMEMBERED, usecols=list(REMEMBERED), keep_default_na=False)
        return known.loc[:, list(REMEMBERED)]
    except (FileNotFoundError, ValueError):
        return pd.DataFrame(columns=list(REMEMBERED)).astype(REMEMBERED)


def alone(lock_file: Path, busy: Exception | str, patience: float = 0.0) -> AcquireReturnProxy[Any]:
    """A folder's lock, for `with`, swept of half-written files. Others raise ``busy``, or print it and wait."""
    with explained(lock_file.parent):
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(lock_file).acquire(timeout=patience)
        except Timeout:
            if isinstance(busy, Exception):
                raise busy from None
            print(busy, flush=True)
            held = FileLock(lock_file).acquire()
        sweep(lock_file.parent)
    return held
