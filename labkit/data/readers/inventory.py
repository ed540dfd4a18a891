"""What lies in a data folder, from one walk of it, and which listed paths are in it; none may lead out of it."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from posixpath import basename, dirname, normpath

import pandas as pd

from labkit.data.images import DICOM, IMAGE, IMAGE_SUFFIXES, POINTER, is_image, kind_of, printable, stem
from labkit.data.readers.label_files import DataError, place
from labkit.format import plural, some

LISTS = (".csv", ".tsv", ".jsonl", ".xlsx", ".xls", ".ods", ".parquet")
TABLES = (*LISTS, ".txt", ".json")  # in any case, at the top and one level down
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini")
READERS = {  # what reads the files of other endings
    **{"pydicom": ".dcm .ima", "nibabel": ".nii .nii.gz", "SimpleITK": ".mha .mhd .nrrd", "rawpy": ".dng .cr2 .nef"},
    **{"pillow-heif": ".heic .heif", "openslide-python": ".svs .ndpi .mrxs", "Pillow": ".jp2 .avif", "h5py": ".h5"},
    **{"scipy": ".mat", "numpy": ".npy"},
}
PACKAGES = {ending: package for package, endings in READERS.items() for ending in endings.split()}
IMAGE_FOLDER = re.compile(r"(images?|imgs?|photos?|pictures?|pics?|jpe?gs?|pngs?|originals?|inputs?)")
MASK_FOLDER = re.compile(r"(masks?|segmentations?|annotations?|ground ?truths?|gt|labels?|(1st|2nd) manual)")
MASK_NAME = re.compile(
    r"^masks?[ _-]+"
    r"|[ _-]+(masks?|seg|segmentation|gt|ground_?truth|annotation|label|superpixels|[12](st|nd)HO)([ _-]?\d+)?$",
    re.IGNORECASE,
)
ENDING = re.compile(r"(\.nii(?=\.gz$))?\.(?=\w*[a-z])\w{1,12}$")  # .png, .nii.gz; DICOM's 1.2.840.10008 has none
Folder = tuple[str, ...]  # the names on the way to an image


@dataclass(frozen=True)
class Inventory:
    """Everything that a data folder holds, paths relative to `root`, with `/`, sorted; hidden files are not in it.

    `root`: the folder given or, where that holds one folder and nothing else to read, the one inside (`wrapper`).
    """

    root: Path
    wrapper: str
    images: list[str]  # by their endings, and without one by their first bytes
    masks: list[str]  # of regions in other images, by folder or by name; not in `images`
    tables: list[str]  # files of an ending in TABLES, lists of labels or not
    folders: list[str]  # also empty ones
    others: dict[str, int]  # ending (".dcm", "" without one) -> number of files that nothing here reads
    pointers: list[str]  # images and tables that are Git LFS pointers; the images are in `images` too
    unnamed: list[str]  # names that are not UTF-8, in printable form; in no other list
    astray: list[DataError]  # links that must not or cannot be followed; what they lead to is in no list

    @cached_property
    def _named(self) -> dict[str, list[str]]:
        named: defaultdict[str, list[str]] = defaultdict(list)
        for path in self.images:
            for key in {_key(basename(path)), _number(_key(basename(path)))}:
                named[key].append(path)
        return dict(named)

    def named(self, path: str) -> list[str]:
        """The images that a listed path may mean, whatever ending, case, Unicode form and leading zeros of a number."""
        folder, _, name = path.rpartition("/")
        found = self._named.get(key := _key(name)) or self._named.get(_number(key), [])
        one = len({_key(basename(image)) for image in found}) == 1
        within = folder and f"/{_key(folder)}"
        return [image for image in found if one and f"/{_key(dirname(image))}".endswith(within)]

    def count(self, listed: list[str]) -> int:
        """How many of the listed paths have the name of an image."""
        return sum(bool(self.named(basename(path.replace("\\", "/")))) for path in listed)

    def notes(self) -> list[str]:
        """What was seen and not used, with counts."""
        notes = [f"the folder holds nothing but {self.wrapper}/, so that is read"] if self.wrapper else []
        if self.unnamed:
            cure = "rename what is called so: convmv -f latin1 -t utf8 -r --notest"
            names = f"{plural(len(self.unnamed), 'name')} not in UTF-8 ({some(self.unnamed, 3)})"
            notes.append(f"left out: {names}; {cure}")
        if self.pointers:
            files = f"{plural(len(self.pointers), 'Git LFS pointer')} ({some(self.pointers, 3)})"
            notes.append(f"not images yet: {files}; git lfs pull fetches the images")
        if self.astray:
            notes.append(f"not followed: {plural(len(self.astray), 'link')} (the first: {self.astray[0]})")
        if self.masks:
            notes.append(f"left out: {plural(len(self.masks), 'mask')} ({some(self.masks, 3)})")
        if self.others:
            kinds = sorted(self.others.items(), key=lambda kind: (-kind[1], kind[0]))
            packages = {name: f" ({package} reads them; save them as PNG)" for name, package in PACKAGES.items()}
            said = [f"{count:,} {name or 'without an ending'}{packages.get(name, '')}" for name, count in kinds]
            files = plural(sum(self.others.values()), "file")
            notes.append(f"left out: {files} of other kinds: {', '.join(said)}")
        return notes


def _key(path: str) -> str:
    name = basename(path)
    key = path.removesuffix(name) + stem(name)
    return (key if key.isascii() else unicodedata.normalize("NFC", key)).casefold()


def _number(key: str) -> str:
    """The number that a name is, in a form that no name has; the name itself where it is none."""
    return re.sub(r"^0*(\d+?)(\.0+)?$", r"/\1", key)


def plain(name: str) -> str:
    """A folder name in NFC and lower case, with blanks for `_`, `-` and dots."""
    return " ".join(re.split(r"[\s_.-]+", unicodedata.normalize("NFC", name).strip().lower()))


def take_inventory(root: Path, *, follow_links: bool = False) -> Inventory:
    """Walks the folder once. DataError where a table or all images are Git LFS pointers."""
    if printable(name := root.resolve().as_posix()) != name:
        raise DataError(f"{printable(name)}: the name of this folder is not UTF-8; rename it")
    real = [root.resolve()]  # the folders that were entered, links resolved
    sizes: dict[str, int] = {}  # of files
    folders, unnamed, astray = list[str](), list[str](), list[DataError]()

    def problem(entry: os.DirEntry[str], path: str) -> DataError | None:
        """Why a link is not followed, or a file not opened."""
        place, link = root / path, entry.is_symlink()
        target = real_path(place) if link else real[0]
        if is_image(entry.name) and not place.is_file() and not place.is_dir():  # a pipe would be waited for forever
            what = "a link that leads nowhere" if link else "neither a file nor a folder"
            return DataError(f"{place}: {what}; remove it, or put the image there")
        if target.is_relative_to(real[0]):
            return None
        if not follow_links:
            return leaves(path, entry.name, root)
        if place.is_dir():
            if any(target.is_relative_to(one) or one.is_relative_to(target) for one in real):
                return DataError(f"{place}: leads to a folder that is read already; remove it")
            real.append(target)
        return None

    def enter(below: str) -> None:
        with os.scandir(root / below) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for entry in entries:
            place = root / (path := f"{below}/{entry.name}" if below else entry.name)
            if entry.name.startswith(".") or entry.name.lower() in CLUTTER:
                continue
            if printable(path) != path:
                unnamed.append(printable(path))
            elif not entry.is_file(follow_symlinks=False) and (found := problem(entry, path)):
                astray.append(found)
            elif place.is_file():  # entry.is_file would raise on a link in a circle
                sizes[path] = entry.stat().st_size
            elif place.is_dir() and not (entry.is_symlink() and real_path(place) not in real[1:]):
                folders.append(path)  # a link inside the data folder shows images that are listed anyway
                enter(path)

    enter("")
    found = {path: ENDING.search(basename(path).lower()) for path in sizes}
    endings = {path: match[0] if match else "" for path, match in found.items()}
    small = {path for path, size in sizes.items() if 0 < size < 1024}  # which may be pointers
    unsure = [p for p, ending in endings.items() if not ending or (p in small and ending in (*IMAGE_SUFFIXES, *TABLES))]
    kinds = {path: kind_of(root / path) for path in unsure}  # by the first bytes
    named = [p for p, ending in endings.items() if ending in IMAGE_SUFFIXES or (not ending and kinds[p] == IMAGE)]
    rest = sorted(sizes.keys() - set(named))
    wrapper = _wrapper(named, [path for path in rest if endings[path] in LISTS])
    inside = f"{wrapper}/" if wrapper else ""
    near = [path for path in rest if path.startswith(inside) and path.count("/") <= inside.count("/") + 1]
    images = {path.rpartition(".")[0] for path in named if endings[path]}  # a text of that name tells of one image only
    tables = [p for p in near if endings[p] in LISTS or (endings[p] in TABLES and p.rpartition(".")[0] not in images)]
    left = sorted(set(rest) - set(tables))
    others = dict(Counter(".dcm" if kinds.get(path) == DICOM else endings[path] for path in left))
    pointers = [path for path, kind in kinds.items() if kind == POINTER]
    if pointers and (set(pointers) & set(tables) or set(pointers) >= set(named)):
        what = f"{len(pointers):,} files are Git LFS pointers, not what they stand for"
        raise DataError(f"{root}: {what} (the first: {pointers[0]}); run git lfs pull")
    lists = (named, tables, [path for path in folders if path.startswith(inside)], pointers)
    images, tables, folders, pointers = ([path.removeprefix(inside) for path in paths] for paths in lists)
    masks = _masks(images)
    images = [path for path in images if path not in masks]
    held = (images, sorted(masks), tables, folders, others, pointers, unnamed, astray)
    return Inventory(root / wrapper, wrapper, *held)


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
    ways = {path: (*(folders := path.split("/"))[:-1], stem(folders[-1])) for path in images}
    names = set(ways.values())
    folders = {name: plain(name) for name in {name for way in names for name in way[:-1]}}
    of_images = {name for name in folders if IMAGE_FOLDER.fullmatch(folders[name])}
    of_masks = {name for name in folders if MASK_FOLDER.fullmatch(folders[name])}
    beside = {way[:at] for way in names for at, name in enumerate(way[:-1]) if name in of_images}
    masks: set[str] = set()
    held: defaultdict[Folder, dict[str, bool]] = defaultdict(dict)  # path -> whether it is named like an image
    for path, (*folder, name) in ways.items():
        base = MASK_NAME.sub("", name)
        if base != name and (*folder, base) in names:
            masks.add(path)
        if at := next((at for at, name in enumerate(folder, 1) if name in of_masks), 0):
            above = tuple(folder[: at - 1])
            held[tuple(folder[:at])][path] = above in beside or (*above, *folder[at:], base) in names
    return masks.union(*(paths for paths in held.values() if 2 * sum(paths.values()) >= len(paths)))


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
            raise leaves(place(rows, position), written, root, link=False)
        if "./" in path or "//" in path or path.endswith((".", "/")):
            path = normpath(path)
            if path == ".." or path.startswith("../"):
                raise leaves(place(rows, position), written, root, link=False)
        tidy.append(path)
    return tidy


def leaves(where: str, path: str, root: Path, *, link: bool = True) -> DataError:
    """The error for a path that leads out of the data folder; `where` names the file and row that give it."""
    cure = "or set follow_links: true if links may lead out of it" if link else "and write the path below it: img/1.png"
    return DataError(f"{where}: {path!r} lies outside the data folder {root}; put the images inside it, {cure}")


def real_path(path: Path) -> Path:
    """The path with its links followed, as far as they lead anywhere; Path.resolve would raise where they do not."""
    return Path(os.path.realpath(path))


def which_exist(relative: list[str], rows: pd.DataFrame, root: Path, *, follow_links: bool = False) -> list[bool]:
    """Whether each path (relative to root) is a file; DataError for a link out of the data folder unless followed."""
    inside = root.resolve()

    def leads_out(path: str) -> bool:
        return not follow_links and not real_path(root / path).is_relative_to(inside)

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
