"""From the two parameters ``dataset`` and ``data`` to an image table and its files' hashes."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from labkit.data.hashes import file_hashes
from labkit.data.phantoms import phantom
from labkit.data.readers import RELEASE, ImageData, read, with_release_index
from labkit.params import PROJECT, refuse_url

PHANTOMS = {  # built-in sets of synthetic images, in words
    "demo": "the synthetic demo set",
    "demo-source": "a differently drawn, balanced phantom source set",
    "tiny": "a handful of synthetic images",
}


def open_data(dataset: str, data: str, cache: Path) -> tuple[ImageData, pd.Series]:
    """The images of a folder, or of a built-in phantom set (made on first use), and SHA-256 by image_id.

    What the original release's index tells of renamed images is filled in (`with_release_index`). A relative
    folder is relative to the project, wherever the kernel was started. Raises DataError where the folder cannot be
    read as an image table, ParameterError where it is a URL.
    """
    refuse_url(data, "data")
    if data in PHANTOMS:
        images = as_synthetic(read(dataset, phantom(dataset, data, cache)), data)
    else:
        images = read(dataset, (PROJECT / Path(data).expanduser()).resolve())
    hashes = file_hashes(images.table, cache)
    return with_release_index(images, hashes), hashes


def as_synthetic(images: ImageData, data: str) -> ImageData:
    """Phantoms are read as the data set that they imitate; what is said of its origin is not true of them."""
    facts = replace(
        images.facts,
        title=f"Synthetic images ({PHANTOMS[data]}), in the layout of: {images.facts.title}",
        source="drawn by labkit; they depict nobody",
        licence="none needed",
        course_split_note="",
    )
    return replace(images, facts=facts, notes=[note for note in images.notes if RELEASE not in note])
