"""Folders in folders: which level names the class, which one the part (train, val, test), and which is neither."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from labkit.data.readers.inventory import IMAGE_FOLDER, MASK_FOLDER, Folder, plain
from labkit.data.readers.label_files import SPLITS, DataError
from labkit.format import some

PART_WORD = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})(set|data|images)?")
BESIDE_A_PART = re.compile(r"set|data|dataset|images?|imgs?|split|part|folder|[a-z]|\d+")  # a. Training Set
DOWNLOAD = {"part", "fold", "batch", "chunk", "shard", "set", "archive", "zip", "folder", "data", "dataset", "images"}
PERSON = {"patient", "pat", "subject", "subj", "sub", "case", "person", "participant", "id", "p", "s"}
EYE = re.compile(r"(l|r|left|right|o[dsu]|linke?s?|rechte?s?)( eyes?| auge)?")
LIKE = {"part": "parts of the data", "download": "numbered parts of a download", "person": "patients"}
LIKE |= {"eye": "the left and the right eye", "class": "one folder for all images"}
NO_CLASS = [re.compile(f"^{form.pattern}$") for form in (IMAGE_FOLDER, MASK_FOLDER)]
NO_CLASS.append(re.compile(r"\b(part|fold|batch|chunk|shard) ?\d+$"))
FEW = 20  # classes; more folders that differ by a number only are patients


@dataclass(frozen=True)
class Levels:
    """`label`: which folder on the way to an image is its class; `split`: which is its part, if one is."""

    label: int
    split: int | None
    parts: dict[str, str]  # folder name -> train, val, test, unlabeled
    kinds: list[str]  # of each level: class, part, mixed, download (numbered parts of one), eye or person


def telling(folders: Iterable[Folder]) -> dict[Folder, list[int]]:
    """Positions of the names that say something: not one alone in its folder and called images, or as that folder."""
    holding = set(folders)
    inside = _inside(holding)

    def says_nothing(above: Folder, name: str) -> bool:
        generic = IMAGE_FOLDER.fullmatch(plain(name)) or (above and plain(name) == plain(above[-1]))
        return bool(generic) and len(inside[above]) == 1 and above not in holding

    said = {way: [at for at, name in enumerate(way) if not says_nothing(way[:at], name)] for way in holding}
    return {way: positions or [0][: len(way)] for way, positions in said.items()}


def _inside(folders: set[Folder]) -> dict[Folder, set[str]]:
    """The names of the folders in each folder."""
    inside: defaultdict[Folder, set[str]] = defaultdict(set)
    for folder in folders:
        for depth, name in enumerate(folder):
            inside[folder[:depth]].add(name)
    return inside


def find_levels(root: Path, folders: set[Folder], class_names: list[str] | None) -> Levels:
    """The levels of the folders that hold images; classes are at the level that has most of `class_names`.

    DataError where they can be read in two ways, or in none.
    """
    names = [{folder[at] for folder in folders if len(folder) > at} for at in range(max(map(len, folders)))]
    kinds, first = [_kind(level) for level in names], _parts(names[0])
    holds = len(first) < len(names[0]) and any(way[0] in first and way[1:] for way in folders)
    if kinds[0] == "mixed" and "train" in first.values() and holds:
        kinds[0] = "part"  # what lies beside train/ is left out
    if class_names:
        wanted = {plain(name) for name in class_names}
        held = [sum(plain(name) in wanted for name in level) for level in names]
        if not any(held):
            raise DataError(f"{root}: no folder is called {some(class_names)}; class_names must name class folders")
        label = held.index(max(held))
        split = next((at for at, kind in enumerate(kinds) if kind == "part" and at != label), None)
        split = None if split and any(label < len(folder) <= split for folder in folders) else split
        return Levels(label, split, _parts(names[split]) if split is not None else {}, kinds)
    _refuse_copies(root, folders)
    if "mixed" in kinds:
        at = kinds.index("mixed")
        raise _two_readings(root, set(_parts(names[at])), names[at], names[max(0, at - 1)])
    folders = {way for way in folders if kinds[0] != "part" or way[0] in first}
    split = kinds.index("part") if "part" in kinds else None
    if kinds.count("part") > 1 or (split and "download" in kinds[:split]):
        shown = " and ".join(f"{some(names[at])}/" for at, kind in enumerate(kinds) if kind in ("part", "download"))
        raise DataError(f"{root}: {shown} are splits inside splits; name the one to read as the data folder")
    label = kinds.index("class") if "class" in kinds else len(kinds)
    classes = {folder[label] for folder in folders if len(folder) > label}
    if len(classes) < 2:
        said = "; ".join(f"the folders {some(names[at])} look like {LIKE[kind]}" for at, kind in enumerate(kinds))
        cure = "put each class into a folder of its own, write labels.csv (path,label), or set class_names if these are"
        raise DataError(f"{root}: {said}, and no two classes are found; {cure} the classes")
    names[label] = classes
    if odd := {name for name in names[label] if any(form.search(plain(name)) for form in NO_CLASS)}:
        raise _two_readings(root, odd, names[label], names[label])
    if split and (loose := [folder for folder in folders if label < len(folder) <= split]):
        said = f"{some(names[split])} are parts, but images of {'/'.join(sorted(loose)[0])}/ lie in none"
        raise DataError(f"{root}: {said}; move them into one, or leave the parts unread: {_set(names[label])}")
    below = [at for at in range(label + 1, len(names)) if kinds[at] == "class"]
    _refuse_other_classes(root, {folder for folder in folders if len(folder) > label}, label, below)
    return Levels(label, split, _parts(names[split]) if split is not None else {}, kinds)


def _two_readings(root: Path, odd: set[str], names: set[str], classes: set[str]) -> DataError:
    either = f"parts of the data or masks or, as {some(names - odd) or 'no other'} beside them, classes"
    cure = f"move one kind elsewhere, or say which are the classes: {_set(classes)}"
    return DataError(f"{root}: the folders {some(odd)} may be {either}; {cure}")


def _set(classes: Iterable[str]) -> str:
    """The parameter as a study writes it, with quotes where YAML needs them."""
    text = yaml.safe_dump(sorted(classes), default_flow_style=True, width=10**6, allow_unicode=True)
    return f"class_names: {text.strip()}"


def _kind(names: set[str]) -> str:
    """What the folders of one level are: part, mixed (some are, or a part and a class in one name), download, eye …"""
    if parts := _parts(names):
        joined = len({_part_word(name)[1] for name in parts} - {""}) > 1
        return "mixed" if len(parts) < len(names) or joined else "part"
    if all(EYE.fullmatch(plain(name)) for name in names):
        return "eye"
    numbered = [found for name in names if (found := re.fullmatch(r"(.*?) ?(\d+)", plain(name)))]
    before = {found[1] for found in numbered}
    if len(before) != 1 or len(numbered) < len(names):
        return "download" if all(set(plain(name).split()) <= DOWNLOAD for name in names) else "class"
    words = set(before.pop().split())
    if words & DOWNLOAD:
        return "download"
    numbers = sorted(int(found[2]) for found in numbered)
    grades = words or numbers in (list(range(len(names))), list(range(1, len(names) + 1)))
    return "person" if words & PERSON or len(names) > FEW or not grades else "class"


def _parts(names: set[str]) -> dict[str, str]:
    """Those of the names that are parts, with their split: alone a part's word, or alike but for that word."""
    alike: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in sorted(names):
        split, rest = _part_word(name)
        if split:
            alike[rest][name] = split
    found = [parts for rest, parts in alike.items() if not rest or len(set(parts.values())) > 1]
    return {name: split for parts in found for name, split in parts.items()}


def _part_word(name: str) -> tuple[str, str]:
    """The split that a folder name has the word of (empty if it has none, or two), and what else it says."""
    words = plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).split()
    found = [match for word in words if (match := PART_WORD.fullmatch(word))]
    rest = [word for word in words if not PART_WORD.fullmatch(word) and not BESIDE_A_PART.fullmatch(word)]
    return (SPLITS[found[0][1]] if len(found) == 1 else "", " ".join(rest))


def _refuse_copies(root: Path, folders: set[Folder]) -> None:
    """DataError for a folder that holds folders named like those beside it."""
    inside = _inside(folders)
    for above, names in sorted(inside.items()):
        for name in sorted(names):
            own = inside.get((*above, name), set())
            again = {other for other in own & (names - {name}) if not other.isdigit()}
            if len(again) > 1 or (again and again == own):
                copy = "/".join((*above, name))
                said = f"{copy}/ holds folders named like those beside it ({some(again)}), so it is a copy or no class"
                raise DataError(f"{root}: {said}; move it elsewhere, or give {root / copy} as data folder")


def _refuse_other_classes(root: Path, folders: set[Folder], label: int, levels: list[int]) -> None:
    """DataError where folders of one of the levels below the classes may be the classes: a few in each."""
    for at in levels:
        below: defaultdict[str, set[str]] = defaultdict(set)
        for folder in folders:
            below[folder[label]].add(folder[at] if len(folder) > at else "")
        deep = [held for held in below.values() if "" not in held]  # of classes without an image above that level
        within = set().union(*deep)
        if deep and len(within) <= FEW and all(len(held) > 1 for held in deep):
            either = f"the classes may be the folders {some(below)} or, in them, {some(within)}"
            raise DataError(f"{root}: {either}; say which: {_set(below)} or {_set(within)}")
