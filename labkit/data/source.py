"""From the two parameters ``dataset`` and ``data`` to an image table and its files' hashes."""

from pathlib import Path

import pandas as pd

from labkit.data.phantoms import phantom
from labkit.data.readers import ImageData, file_hashes, read
from labkit.params import PROJECT

PHANTOMS = {  # built-in sets of synthetic images, in words
    "demo": "the synthetic demo set",
    "demo-source": "a differently drawn, balanced phantom source set",
    "tiny": "a handful of synthetic images",
}


def open_data(dataset: str, data: str, cache: Path) -> tuple[ImageData, pd.Series]:
    """The images of a folder, or of a built-in phantom set (made on first use), and SHA-256 by image_id.

    A relative folder is relative to the project, wherever the kernel was started. Raises DataError where the folder
    cannot be read as an image table.
    """
    folder = phantom(dataset, data, cache) if data in PHANTOMS else (PROJECT / Path(data).expanduser()).resolve()
    images = read(dataset, folder)
    return images, file_hashes(images.table, cache)
