"""What lies in a data folder, from one walk of it: images, masks, tables, and what is left out, counted by ending."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labkit.data.images import DICOM, IMAGE, IMAGE_SUFFIXES, POINTER, is_image, kind_of, stem
from labkit.data.readers.folders import leaves, real_path
from labkit.data.readers.label_files import DataError
from labkit.format import plural

LISTS = (".csv", ".tsv", ".xlsx", ".jsonl")
TABLES = (*LISTS, ".txt", ".json")  # in any case, at the top and one level down
POINTER_SIZE = 1024  # bytes; Git LFS: a pointer is smaller
CLUTTER = ("thumbs.db", "desktop.ini")
PACKAGES = {  # ending -> what reads such files
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "pydicom"),
    **dict.fromkeys((".nii", ".nii.gz"), "nibabel"),
    **dict.fromkeys((".mha", ".mhd", ".nrrd"), "SimpleITK"),
    **dict.fromkeys((".heic", ".heif"), "pillow-heif"),
    **dict.fromkeys((".svs", ".ndpi", ".mrxs", ".scn"), "openslide-python"),
    **dict.fromkeys((".dng", ".cr2", ".nef", ".arw"), "rawpy"),
    **dict.fromkeys((".jp2", ".avif"), "Pillow"),
    **dict.fromkeys((".h5", ".hdf5"), "h5py"),
    **{".mat": "scipy", ".npy": "numpy", ".parquet": "pandas with pyarrow"},
}
IMAGE_FOLDER = re.compile(r"(images?|imgs?|photos?|pictures?|pics?|jpe?gs?|pngs?|originals?|inputs?)")
MASK_FOLDER = re.compile(r"(masks?|segmentations?|annotations?|ground ?truths?|gt|labels?|(1st|2nd) manual)")
MASK_NAME = re.compile(
    r"^masks?[ _-]+"
    r"|[ _-]+(masks?|seg|segmentation|gt|ground_?truth|annotation|label|superpixels|[12](st|nd)HO)([ _-]?\d+)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Inventory:
    """Everything that a data folder holds, paths relative to `root`, with `/`, sorted; hidden files are not in it.

    `root` is where the data begins: the folder that was given or, where that holds one folder and nothing else to
    read, the one inside (`wrapper`, relative to the folder given; else "").
    """

    root: Path
    wrapper: str
    images: list[str]  # by their names; files without an ending by their first bytes. Without masks
    masks: list[str]  # images that mark a region of another image, by folder or by name
    tables: list[str]  # label lists, or not: files of an ending in TABLES
    folders: list[str]  # also empty ones
    others: dict[str, int]  # ending (".dcm", "" without one) -> number of files that nothing here reads
    pointers: list[str]  # images and tables that are Git LFS pointers; the images are in `images` too
    unnamed: list[str]  # names that are not UTF-8, in printable form; they are in no other list
    astray: list[DataError]  # links that must not or cannot be followed; what they lead to is in no list

    def notes(self) -> list[str]:
        """What was seen and not used, with counts."""
        notes = [f"the folder holds nothing but {self.wrapper}/, so that is read"] if self.wrapper else []
        if self.unnamed:
            named = plural(len(self.unnamed), "name")
            cure = "rename what is called so: convmv -f latin1 -t utf8 -r --notest"
            notes.append(f"left out: {named} not in UTF-8 ({_first(self.unnamed)}); {cure}")
        if self.pointers:
            files = plural(len(self.pointers), "Git LFS pointer")
            notes.append(f"not images yet: {files} ({_first(self.pointers)}); git lfs pull fetches the images")
        if self.astray:
            notes.append(f"not followed: {plural(len(self.astray), 'link')} (the first: {self.astray[0]})")
        if self.masks:
            notes.append(f"left out: {plural(len(self.masks), 'mask')} ({_first(self.masks)})")
        if self.others:
            kinds = sorted(self.others.items(), key=lambda kind: (-kind[1], kind[0]))
            said = [f"{count:,} {name or 'without an ending'}{_reader(name)}" for name, count in kinds]
            files = plural(sum(self.others.values()), "file")
            notes.append(f"left out: {files} of other kinds: {', '.join(said)}")
        return notes


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", …" * (len(names) > 3)


def _reader(ending: str) -> str:
    return f" ({PACKAGES[ending]} reads them; save them as PNG)" if ending in PACKAGES else ""


def plain(name: str) -> str:
    """A folder name in lower case, with blanks for `_`, `-` and dots."""
    return " ".join(re.split(r"[\s_.-]+", name.strip().lower()))


def take_inventory(root: Path, *, follow_links: bool = False) -> Inventory:
    """Walks the folder once. `follow_links`: links that lead out of it are followed, not refused.

    DataError where a table or all images are Git LFS pointers.
    """
    if _printable(name := root.resolve().as_posix()) != name:
        raise DataError(f"{_printable(name)}: the name of this folder is not UTF-8; rename it")
    walk = _Walk(root, root.resolve(), follow_links)
    walk.enter("")
    kinds = {
        path: kind_of(root / path)
        for path, size in walk.files.items()
        if not _ending(path) or (0 < size < POINTER_SIZE and _ending(path) in (*IMAGE_SUFFIXES, *TABLES))
    }
    bare = {path for path, kind in kinds.items() if kind == IMAGE and not _ending(path)}
    named = [path for path in walk.files if path in bare or is_image(path)]
    rest = walk.files.keys() - set(named)
    wrapper = _wrapper(named, [path for path in rest if _ending(path) in LISTS])
    inside = f"{wrapper}/" if wrapper else ""
    images = [path.removeprefix(inside) for path in named]
    tables = [
        path.removeprefix(inside)
        for path in sorted(rest)
        if path.startswith(inside) and path.count("/") <= inside.count("/") + 1 and _is_table(path, walk.files)
    ]
    pointers = [path.removeprefix(inside) for path, kind in kinds.items() if kind == POINTER]
    unread = {path for path in rest if not path.lower().endswith(CLUTTER)} - {inside + path for path in tables}
    others = Counter(".dcm" if kinds.get(path) == DICOM else _ending(path) for path in unread)
    if pointers and (set(pointers) & set(tables) or set(pointers) >= set(images)):
        what = f"{len(pointers):,} files are Git LFS pointers, not what they stand for"
        raise DataError(f"{root}: {what} (the first: {pointers[0]}); run git lfs pull")
    masks = _masks(images)
    images = [path for path in images if path not in masks]
    folders = [path.removeprefix(inside) for path in walk.folders if path.startswith(inside)]
    return Inventory(
        root / wrapper,
        wrapper,
        images,
        sorted(masks),
        tables,
        folders,
        dict(others),
        pointers,
        walk.unnamed,
        walk.astray,
    )


class _Walk:
    """Files (relative path -> bytes), folders and names that are not UTF-8, below `root`, without hidden ones."""

    def __init__(self, root: Path, real: Path, follow_links: bool) -> None:
        self.root, self.real, self.follow_links = root, real, follow_links
        self.files: dict[str, int] = {}
        self.folders: list[str] = []
        self.unnamed: list[str] = []
        self.astray: list[DataError] = []
        self.followed = {real}  # folders, their links resolved

    def enter(self, below: str) -> None:
        with os.scandir(self.root / below) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            path = f"{below}/{entry.name}" if below else entry.name
            if _printable(path) != path:
                self.unnamed.append(_printable(path))
            elif self._leads_on(entry, path):
                if entry.is_dir():
                    self.folders.append(path)
                    self.enter(path)
                elif entry.is_file():
                    self.files[path] = entry.stat().st_size
                elif is_image(entry.name):  # a pipe would be waited for without end
                    what = "a link that leads nowhere" if entry.is_symlink() else "neither a file nor a folder"
                    self.astray.append(DataError(f"{self.root / path}: {what}; remove it, or put the image there"))

    def _leads_on(self, entry: os.DirEntry[str], path: str) -> bool:
        """False for a link to a folder whose images are listed anyway, and for one that must not be followed."""
        if not entry.is_symlink():
            return True
        real = real_path(self.root / path)
        if real is None:
            self.astray.append(DataError(f"{self.root / path}: a link that leads in a circle; remove it"))
            return False
        outside = not real.is_relative_to(self.real)
        if outside and not self.follow_links:
            self.astray.append(leaves(path, entry.name, self.root))
            return False
        if not entry.is_dir():
            return True
        if outside and any(real.is_relative_to(one) or one.is_relative_to(real) for one in self.followed):
            self.astray.append(DataError(f"{self.root / path}: leads to a folder that is read already; remove it"))
            return False
        self.followed.add(real)
        return outside


def _printable(path: str) -> str:
    """A path with `\\xfc` for what is not UTF-8."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _ending(path: str) -> str:
    """`.png`, `.nii.gz`; empty for a name without one, as DICOM's 1.2.840.10008 is."""
    found = re.search(r"(\.nii|\.tar)?\.(?=\w*[a-z])\w{1,12}$", path.rpartition("/")[2].lower())
    return found[0] if found else ""


def _is_table(path: str, files: dict[str, int]) -> bool:
    """Whether a file may be a list of labels; a text beside an image of its name tells of that image only."""
    beside = (f"{path.rpartition('.')[0]}{suffix}" in files for suffix in IMAGE_SUFFIXES)
    return _ending(path) in LISTS or (_ending(path) in TABLES and not any(beside))


def _wrapper(images: list[str], lists: list[str]) -> str:
    """The folder that holds everything to read, where it is no class itself; else empty."""
    inside, files = "", [*images, *lists]
    while files and all("/" in path for path in files) and len({path.partition("/")[0] for path in files}) == 1:
        top = files[0].partition("/")[0]
        images, lists = ([path.partition("/")[2] for path in paths] for paths in (images, lists))
        if not images or (any("/" not in path for path in images) and all("/" in path for path in lists)):
            break
        inside, files = f"{inside}{top}/", [*images, *lists]
    return inside.rstrip("/")


def _masks(images: list[str]) -> set[str]:
    """The images that are masks: `x_mask.png` beside `x.png`; `masks/` beside `images/`, or with the same names."""
    names = {path[: len(path) - len(path.rpartition("/")[2])] + stem(path) for path in images}
    folders = {path[: position.start()] for path in images for position in re.finditer("/", path)}
    beside = {
        folder.rpartition("/")[0] for folder in folders if IMAGE_FOLDER.fullmatch(plain(folder.rpartition("/")[2]))
    }
    masks, matched = set(), {}
    for path in images:
        folder, slash, _ = path.rpartition("/")
        base = MASK_NAME.sub("", stem(path))
        if base != stem(path) and f"{folder}{slash}{base}" in names:
            masks.add(path)
        parts = path.split("/")
        for depth, part in enumerate(parts[:-1]):
            if MASK_FOLDER.fullmatch(plain(part)):
                above = "/".join(parts[:depth])
                other = "/".join([*parts[:depth], *parts[depth + 1 : -1], base])
                matched.setdefault("/".join(parts[: depth + 1]), []).append((path, above in beside or other in names))
                break
    for pairs in matched.values():
        if 2 * sum(found for _, found in pairs) >= len(pairs):
            masks |= {path for path, _ in pairs}
    return masks
