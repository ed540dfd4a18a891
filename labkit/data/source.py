"""The images and hashes that ``dataset`` and ``data`` name, and the files to hand in for unlabelled test lists."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.catalog import GUESS
from labkit.data.hashes import file_hashes
from labkit.data.phantoms.make import phantom
from labkit.data.readers import READING, RELEASE, ImageData, read, with_release_index
from labkit.data.splits import PARTS
from labkit.params import PROJECT, DataParams, as_typed

MAX_UNPREDICTED = 0.01  # of a list; more is no unreadable file, but images that the run has learnt from
PHANTOMS = {  # built-in sets of synthetic images, in words
    "demo": "the synthetic demo set",
    "demo-source": "a second synthetic set, to pretrain on",
    "demo-camera": "a synthetic set of another camera",
    "tiny": "a handful of synthetic images",
}


def told(images: ImageData, split: str | None) -> list[str]:
    """What the data was taken for and why, a line each, then what is odd; `split`: what the images get, if any."""
    reading = images.reading
    if split not in (None, "given") and not set(PARTS).isdisjoint(images.table["split"].tolist()):
        reading = reading | {"split": reading["split"] + " (not used)"}
    return [f"{READING[part]}: {why}" for part, why in reading.items() if why] + images.notes


def open_data(params: DataParams, cache: Path) -> tuple[ImageData, pd.Series]:
    """The images of a folder, or of a built-in phantom set (made on first use), and SHA-256 by image_id.

    A relative folder is relative to the project. DataError where it cannot be read as an image table.
    """
    data = params.data
    if data in PHANTOMS:
        images = read(params, phantom(params.dataset, data, cache))
        facts = replace(  # what is said of the real images' origin is not true of these
            images.facts,
            title=f"Synthetic images ({PHANTOMS[data]}), in the layout of: {images.facts.title}",
            source="drawn by labkit; they depict nobody",
            licence="none needed",
            course_split_note="",
        )
        images = replace(images, facts=facts, notes=[note for note in images.notes if RELEASE not in note])
    else:
        images = read(params, (PROJECT / Path(data).expanduser()).resolve())
        if any(RELEASE in note for note in images.notes):  # a part of the release, or other images in its form
            source = f"not checked; read in the form of {images.facts.source}"
            images = replace(images, facts=replace(images.facts, source=source, course_split_note=""))
    hashes = file_hashes(images.table, cache)
    images = with_release_index(images, hashes)
    images.table.attrs["made_from"] = params.model_dump(include=set(DataParams.model_fields))
    return images, hashes


def as_parameters(data: str, dataset: str | None = None, **reading: Any) -> tuple[DataParams, Path]:
    """The parameters for a folder (relative to the project, or absolute) that is to be read so, and where it is.

    In a shell it is relative to the current folder; that comes first. The data set is GUESS where none is given.
    """
    if data in PHANTOMS:
        return DataParams.of({"dataset": dataset or "retinopathy", "data": data} | reading), Path(data)
    params = DataParams.of({"dataset": dataset or GUESS, "data": data} | reading)
    place = as_typed(data).resolve()
    if place != (PROJECT / Path(data).expanduser()).resolve():
        params = params.model_copy(update={"data": place.as_posix()})
    return params, place


def submissions(images: ImageData, predictions: pd.Series) -> dict[str, pd.DataFrame]:
    """List file name -> `ID` (path as the list writes it), `label` (class number), one row for each of the list's.

    `predictions`: class number by image_id. A file to hand in must be complete, so images without a prediction get the
    class predicted most often in their list; `.attrs["notes"]` says so. A list of which more than one image and 1 % are
    not predicted is left out: the network has learnt from the rest.
    """
    by_image = predictions.astype("Int64").to_dict()
    done = {}
    for name, listed in images.lists.items():
        label = pd.Series([by_image.get(image, pd.NA) for image in listed["image_id"]], dtype="Int64")
        open_ = label.isna().to_numpy(bool)
        if open_.all() or open_.sum() > max(1, MAX_UNPREDICTED * len(label)):
            continue
        usual = int(np.bincount(label.dropna().to_numpy(np.int64)).argmax())
        done[name] = pd.DataFrame({"ID": listed["path"], "label": label.fillna(usual).astype("int64")})
        done[name].attrs["notes"] = []
        if open_.any():
            said = f"{name}: {open_.sum():,} of {len(label):,} images cannot be read and are handed in as the class"
            said += f" predicted most often, {images.facts.classes[usual]}"
            done[name].attrs["notes"].append(f"{said}: {', '.join(listed.loc[open_, 'path'].head(5))}")
    return done
