"""Whose image it is: the group column, ids in one spelling, and what file or folder names tell of the patient."""

import re
import unicodedata
from collections import Counter
from typing import Any

import pandas as pd

from labkit.data.catalog import DatasetFacts
from labkit.data.readers.label_files import PATIENT, DataError, LabelFile, plain_heading
from labkit.format import some
from labkit.params import DataParams

MISSING = {"", "unknown", "unk", "n/a", "na", "#n/a", "nan", "<na>", "nat", "none", "null", "nil", "missing"}
MISSING |= {"-", "--", "?", ".", "not available", "not known", "anonymous", "anon", "undefined"}
ENOUGH = 0.9  # of the names must have a form for it to be offered
FEW, IMAGES_EACH = 20, 5  # a doubtful column of so few values, with so many images each, is not the patient's
MOST = 0.5  # one patient's share of the images from which on a placeholder is suspected
PATIENTS = {plain_heading(name) for name in PATIENT.split(", ")}
NAMES = (  # forms of paths that tell the patient; none is used unless group_pattern asks for it
    r"(?P<group>TCGA-\w\w-\w{4})",
    r"SOB_[BM]_\w+-(?P<group>\d+-\w+)-\d+-\d+\.",  # BreakHis
    r"(^|[/_ -])(?P<group>(patient|subject|sub|pat|pt|participant|case)[ _-]?\d+)",
    r"(?P<group>[^/]*\d[^/]*?)[ _-]?(?<![a-z])(?P<side>left|right|od|os|l|r)(?![a-z])[^/]*$",
    r"(?P<group>[^/]*\d[^/]*)[_-]\d{1,3}\.\w+$",
)


def group_column(file: LabelFile, rows: pd.DataFrame, params: DataParams, listing: Any) -> int | None:
    """The column that tells the group, if any. Of several that group the images differently it is the patient's, where
    that is the only one for a patient and each group of the others lies within one, or each patient within a group;
    else DataError."""
    places = file.roles.get("group", [])
    keys = {at: rows[at].map(_spelt) for at in places}
    told = [at for at in places if set(keys[at]) - MISSING]
    if not told:
        return places[0] if places else None
    one = file.heading[told[0]]
    for other in told[1:]:
        pairs = pd.DataFrame({"one": keys[told[0]], "two": keys[other]}).drop_duplicates()
        finer, coarser = (not pairs[of].duplicated().any() for of in ("two", "one"))
        sure = plain_heading(one) in PATIENTS and plain_heading(file.heading[other]) not in PATIENTS
        if finer + coarser < 2 - sure:
            both = f"columns {one} and {(two := file.heading[other])} group the images differently"
            cure = f"set group_column: {one} or {two}"
            raise DataError(f"{file.name}: {both}, and either may be the patient's; {cure}")
    listing.doubtful = "" if params.group_column or plain_heading(one) in PATIENTS else one
    said = listing.reading.setdefault("groups", f"column {one} of {file.name}")
    if file.name not in said:
        listing.reading["groups"] = f"{said}, {one} of {file.name}"
    return told[0]


def too_few(groups: list[Any], listing: Any) -> str:
    """Why a doubtful group column is not taken (`group`: control and treated; `visit`: 1, 2, 3); empty where it is."""
    known = {group for group in groups if isinstance(group, str)} - {""}
    if not listing.doubtful or len(known) > FEW or len(groups) < IMAGES_EACH * len(known):
        return ""
    said = f"{listing.reading['groups']} holds {len(known)} values ({some(known)}) for {len(groups):,} images"
    return f"{said}, too few to be patients; if they are, set group_column: {listing.doubtful}"


def _spelt(text: object) -> str:
    """An id as it is compared: without a trailing `.0`, in one case, with single blanks."""
    plain = unicodedata.normalize("NFKC", text if isinstance(text, str) else "")
    return re.sub(r"^(\d+)\.0+$", r"\1", " ".join(plain.split()).casefold())


def one_spelling(ids: list[Any], group: str, notes: list[str]) -> list[str | None]:
    """Ids in one spelling each (of case, blanks, `.0` and leading zeros), None for a placeholder; notes say which."""
    counts = Counter(one if isinstance(one, str) else "" for one in ids)
    keys = {one: _spelt(one) for one in counts}
    known = {key for key in keys.values() if key not in MISSING}
    if known and all(key.isdecimal() for key in known):
        keys = {one: key.lstrip("0") or "0" if key in known else key for one, key in keys.items()}
    if len(keys) == 1 and set(keys.values()) <= {"0", "-1"}:
        keys = dict.fromkeys(keys, "")
    kept: dict[str, list[str]] = {}
    for one in sorted(one for one in counts if keys[one] not in MISSING):
        kept.setdefault(keys[one], []).append(one)
    if empty := sorted(one for one in counts if one and keys[one] in MISSING):
        said = f"{', '.join(map(repr, empty))} for a {group}: a placeholder, so their {group} is unknown"
        notes.append(f"{sum(counts[one] for one in empty):,} images have {said}")
    if several := [ones for ones in kept.values() if len(ones) > 1]:
        said = " and ".join(several[0][:3])
        notes.append(f"{len(several):,} {group} ids are spelt in more than one way and were merged: {said}")
    total = Counter({ones[0]: sum(counts[one] for one in ones) for ones in kept.values()})
    if shortened := [key.upper() for key in kept if re.fullmatch(r"\d([.,]\d+)?e\+\d+", key)]:
        said = f"{len(shortened):,} {group} ids ({some(shortened)}) were shortened by a spreadsheet"
        notes.append(f"{said}, so different {group}s may share one; export the column as text")
    if len(total) not in (0, 2) and (top := total.most_common(1)[0])[1] > MOST * len(ids):
        said = f"{group} {top[0]!r} has {top[1]:,} of {len(ids):,} images"
        notes.append(f"{said}; if it stands for an unknown one, leave it empty")
    return [kept.get(keys[one if isinstance(one, str) else ""], [None])[0] for one in ids]


def offered_pattern(paths: list[str]) -> tuple[str, int] | None:
    """A `group_pattern` that the paths (below the data folder) fit, and how many groups it makes; None without one."""
    folders = {path.split("/")[1] for path in paths if path.count("/") > 1}
    for text in (*NAMES, *[r"^[^/]+/(?P<group>[^/]+)/"] * (len(folders) > 4)):  # a folder for each patient
        form = re.compile(text, re.IGNORECASE)
        matches = [match["group"].lower() for path in paths if (match := form.search(path))]
        sizes = Counter(matches)
        shared = len(matches) >= max(ENOUGH * len(paths), 2) and 2 <= len(sizes) < len(matches)
        if shared and max(sizes.values()) <= MOST * len(matches):
            return text, len(sizes)
    return None


def unknown_groups(table: pd.DataFrame, known: DatasetFacts, why: str) -> list[str]:
    """The note on images whose group is unknown, and why it is; none where there are none."""
    unknown = int(table["group"].isna().to_numpy().sum())
    if not unknown:
        return []
    name, which = known.group_name, "" if unknown == len(table) else f" of {unknown:,} of {len(table):,} images"
    cannot = f"whether one {name}'s images are on both sides of a split cannot be checked"
    return [f"{name}s unknown{which}: {why}; so {cannot}"]


def why_unknown(paths: list[str], listing: Any) -> str:
    """Why no image has a group; `offered_pattern` is filled where the paths (below the data folder) fit one."""
    told = listing.reading.get("groups", "")
    if listing.offered_pattern:  # by the layout, whose folders may be patients
        return told.removeprefix("none; ")
    if listing.beside:
        return f"{listing.beside} may tell it, but the labels are not in that file; write both into one"
    if not told and (offer := offered_pattern(paths)):
        listing.offered_pattern, count = offer
        return f"no column tells it, but paths such as {paths[0]} may: group_pattern: '{offer[0]}' finds {count:,}"
    return "no column or file name tells it"
