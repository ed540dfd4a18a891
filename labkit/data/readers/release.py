"""What C-NMC's own index of files tells of images that were renamed: the subject, and the label of those without one.

The leukemia course renamed the release's files but did not change a byte, so their SHA-256 still names them.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.data.readers.label_files import RELEASE_INDEX, DataError, first
from labkit.data.readers.patients import unknown_groups
from labkit.data.readers.read import ImageData

COLUMNS = ["sha256", "subject", "label"]


def with_release_index(images: ImageData, hashes: pd.Series) -> ImageData:
    """Leukemia images with subjects and missing labels from `cnmc2019_train_index.csv`, in or beside their folder.

    Images are known by their SHA-256 (`hashes`, by image_id). Subjects and labels that the data has are kept. An image
    that gets its label becomes test: the course hands it out as its test set. DataError: the index cannot be read.
    """
    places = [folder / RELEASE_INDEX for folder in (images.root, images.root.parent)]
    path = next((place for place in places if place.is_file()), None)
    if images.facts.name != "leukemia" or path is None:
        return images
    index = _read(path, images.facts.classes)
    before, table = images.table, images.table.copy()
    sha = before["image_id"].map(hashes.to_dict().get)
    label = pd.Series(sha.map(dict(zip(index["sha256"], index["label"], strict=True)).get), dtype="Int64")
    unlabelled = before["label"].isna().to_numpy(bool)
    found = unlabelled & label.notna().to_numpy(bool)
    table["group"] = before["group"].fillna(_subjects(before["image_id"].tolist(), sha.tolist(), index))
    table["label"] = before["label"].fillna(label)
    own_split = bool(before["split"].loc[~unlabelled].notna().any())
    table.loc[found, "split"] = "test" if own_split else pd.NA

    notes = [note for note in images.notes if not note.startswith(f"{images.facts.group_name}s unknown")]
    named, why = any(table["group"].notna().tolist()), f"neither the data nor {RELEASE_INDEX} tells it"
    told = int(np.count_nonzero(before["group"].isna() & table["group"].notna()))
    lists = f"{RELEASE_INDEX} lists {label.notna().sum():,} of {len(table):,} images, by the SHA-256 of the files"
    if told:
        lists += f"; from there the subject of {told:,} images is known, so a split can go by subject, and whether"
        lists += " one subject's images are on both sides of a split can be checked"
    notes.append(lists)
    if found.any():
        test = "the course's hidden test set is not hidden, and serves as the test part with these labels"
        notes.append(f"{found.sum():,} images have no label in their list but one in {RELEASE_INDEX}: {test}")
    against = (label != table["label"]).fillna(False).to_numpy(bool)
    if (at := first(against)) is not None:
        kept = f"and are kept as given (the first: {table['image_id'].iloc[at]})"
        notes.append(f"{against.sum():,} labels differ from {RELEASE_INDEX} {kept}")
    notes += unknown_groups(table, images.facts, why)
    images = replace(images, table=table, notes=notes)
    if named and not any(before["group"].notna().tolist()):
        reading = images.reading | {"groups": f"{RELEASE_INDEX}, by the SHA-256 of the files"}
        images = replace(images, reading=reading, offered_pattern="")
    return images


def _read(path: Path, classes: tuple[str, ...]) -> pd.DataFrame:
    """The index's sha256, subject (upper case: 36 files of the release spell h3) and label (class number)."""
    try:
        index = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", usecols=COLUMNS)
    except ValueError as error:  # also what is no CSV file, or no text
        raise DataError(f"{path}: not an index with the columns {', '.join(COLUMNS)}: {error}") from None
    index["subject"] = index["subject"].str.strip().str.upper()
    index["sha256"] = index["sha256"].str.strip().str.lower()
    names = index["label"].str.strip().str.upper()
    if (row := first(~names.isin(classes))) is not None:
        allowed = ", ".join(classes).lower()
        raise DataError(f"{path}, row {row + 2}: label {index['label'][row]!r} is not one of {allowed}")
    index["label"] = names.map({name: number for number, name in enumerate(classes)})
    return index


def _subjects(image_ids: list[str], sha: list[str], index: pd.DataFrame) -> pd.Series:
    """The subject of each image, missing where the index does not tell it.

    The release lists 99 cells under two subjects each, byte for byte. Where both files are here, one goes to either;
    where only one is, its subject stays unknown.
    """
    listed: dict[str, list[str]] = {}
    for content, subject in sorted(zip(index["sha256"], index["subject"], strict=True)):
        listed.setdefault(content, []).append(subject)
    copies = Counter(sha)
    subject_of: dict[str, str] = {}
    for image_id, content in sorted(zip(image_ids, sha, strict=True)):
        subjects = listed.get(content, [])
        if len(set(subjects)) == 1:
            subject_of[image_id] = subjects[0]
        elif len(subjects) == copies[content]:
            subject_of[image_id] = subjects.pop(0)
            copies[content] -= 1
    return pd.Series(pd.array([subject_of.get(image_id, pd.NA) for image_id in image_ids], dtype="string"))
