"""Lists each folder once. A path that leads out of the data folder is an error."""

import os
import posixpath
from pathlib import Path

import pandas as pd

from labkit.data.readers.label_files import DataError, place


def tidy_paths(rows: pd.DataFrame, root: Path) -> list[str]:
    """The `path` column relative to `root`, with `/` between folders. DataError for a path that leaves the folder."""
    prefixes = tuple({f"{posix}/" for posix in (root.as_posix(), root.resolve().as_posix())})
    tidy = []
    for position, written in enumerate(rows["path"].tolist()):
        if "://" in written:
            where = place(rows, position)
            raise DataError(f"{where}: {written!r} is a URL; put the image into {root} and give its path there")
        path = (written.replace("\\", "/") if "\\" in written else written).removeprefix("./")
        if path.startswith(prefixes):
            path = path[max(len(prefix) for prefix in prefixes if path.startswith(prefix)) :]
        if path.startswith("/") or path[1:2] == ":":  # C:\\…
            raise leaves(place(rows, position), written, root)
        if "./" in path or "//" in path or path.endswith((".", "/")):
            path = posixpath.normpath(path)
            if path == ".." or path.startswith("../"):
                raise leaves(place(rows, position), written, root)
        tidy.append(path)
    return tidy


def leaves(where: str, path: str, root: Path) -> DataError:
    """The error for a path that leads out of the data folder; `where` names the file and row that give it."""
    cure = "put the images inside it, or set follow_links: true if links may lead out of it"
    return DataError(f"{where}: {path!r} lies outside the data folder {root}; {cure}")


def real_path(path: Path) -> Path | None:
    """The path with its links followed; None where they go in a circle or a name is longer than the disk allows."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


def which_exist(relative: list[str], rows: pd.DataFrame, root: Path, *, follow_links: bool = False) -> list[bool]:
    """Whether each path (relative to root) is a file; DataError for a link out of the data folder unless followed."""
    inside = root.resolve()

    def leads_out(path: str) -> bool:
        real = None if follow_links else real_path(root / path)
        return real is not None and not real.is_relative_to(inside)

    held: dict[str, dict[str, bool]] = {}  # folder -> names of its files, and whether each is a link
    found = []
    for position, path in enumerate(relative):
        folder, _, name = path.rpartition("/")
        if folder not in held and leads_out(folder):
            raise leaves(place(rows, position), path, root)
        if folder not in held:
            entries = os.scandir(root / folder) if os.path.isdir(root / folder) else ()  # noqa: PTH112
            held[folder] = {one.name: one.is_symlink() for one in entries if one.is_symlink() or one.is_file()}
        link = held[folder].get(name)
        if link and leads_out(path):
            raise leaves(place(rows, position), path, root)
        found.append(link is not None and (not link or (root / path).is_file()))
    return found
