"""Which data set of the catalog a folder holds, by the names of its files."""

import re
from pathlib import Path

import numpy as np

from labkit.data.catalog import CATALOG, CUSTOM
from labkit.data.images import stem
from labkit.data.readers.layouts import RELEASE_INDEX
from labkit.data.readers.read import ImageData, read
from labkit.data.readers.trees import array_files

ENOUGH = 0.9  # of the names must have the data set's form


def guess_dataset(root: Path) -> str:
    """A name of the catalog, or `custom`. Raises DataError where the folder cannot be read at all.

    MedMNIST's array files bear the name; EyePACS and C-NMC files have names of a form of their own; the renamed C-NMC
    files of the leukemia course are known by the release's index in or beside the folder. A data set whose labels do
    not fit is not taken.
    """
    named = {path.stem.split("_")[0] for path in array_files(root)} & set(CATALOG)
    if len(named) == 1 and _reads(named_one := next(iter(named)), root):
        return named_one
    images = read(CUSTOM, root, require_images=False)
    for name, known in CATALOG.items():
        if known.group_pattern and _share(known.group_pattern, images) >= ENOUGH and _reads(name, root):
            return name
    indexed = any((folder / RELEASE_INDEX).is_file() for folder in (root, root.parent))
    renamed = indexed and images.layout.startswith("tables by split") and _reads("leukemia", root)
    return "leukemia" if renamed else CUSTOM


def _share(pattern: str, images: ImageData) -> float:
    """The share of the images whose file name has the pattern's form."""
    form = re.compile(pattern, re.IGNORECASE)
    return float(np.mean([bool(form.search(stem(path))) for path in images.table["path"].tolist()]))


def _reads(name: str, root: Path) -> bool:
    try:
        read(name, root, require_images=False)
    except ValueError:
        return False
    return True
