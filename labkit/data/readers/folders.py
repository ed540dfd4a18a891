"""Lists each folder once. A path that leads out of the data folder is an error."""

import errno
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


def files_in(folder: Path) -> dict[str, bool]:
    """Names of the files in a folder, and whether each is a link; empty if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries if entry.is_symlink() or entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return {}
        raise


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path, its links followed, lies outside the folder `root`."""
    real = real_path(path)
    return real is not None and not real.is_relative_to(root.resolve())


def real_path(path: Path) -> Path | None:
    """The path with its links followed; None where they go in a circle or a name is longer than the disk allows."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


def which_exist(relative: list[str], rows: pd.DataFrame, root: Path, *, follow_links: bool = False) -> list[bool]:
    """Whether each path (relative to root) is a file; DataError for a link out of the data folder unless followed."""
    listings: dict[str, dict[str, bool]] = {}
    found = []
    for position, path in enumerate(relative):
        folder, _, name = path.rpartition("/")
        if folder not in listings:
            if not follow_links and leads_out(root / folder, root):
                raise leaves(place(rows, position), path, root)
            listings[folder] = files_in(root / folder)
        link = listings[folder].get(name)
        if link and not follow_links and leads_out(root / path, root):
            raise leaves(place(rows, position), path, root)
        found.append(link is not None and (not link or (root / path).is_file()))
    return found
