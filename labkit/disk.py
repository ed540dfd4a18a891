"""Files that appear whole or not at all, and locks that say who holds them: nothing here knows what is written."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write(temporary path)`` and rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Text as UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, whole or not at all; raises TypeError on what JSON cannot hold."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """CSV with nine significant digits: enough to give back every float32 exactly."""
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n"))


def read_json(path: Path) -> dict[str, Any]:
    """The file's content, {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def alone(lock_file: Path, refusal: Exception) -> Iterator[None]:
    """One process at a time; a second one is refused at once, by raising ``refusal``."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()
