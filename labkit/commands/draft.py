"""What suits a folder of images: data set, image size, split and number of epochs, each with its reason.

The data set is guessed from the file names, the size from the pixels, the split from the known groups, class weights
from the class counts, the epochs from the number of training images.
"""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from labkit.data.images import ARRAY_PATH, load_image
from labkit.data.readers import ImageData, guess_dataset
from labkit.data.source import PHANTOMS, open_data
from labkit.data.splits import PARTS, assign_splits
from labkit.params import PROJECT, RunParams, refuse_url
from labkit.runs.folder import cache_root

Split = Literal["group", "given", "image"]

SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)  # pixels per side to choose from
LARGEST = {"grades": 512, "classes": 224}  # small lesions need pixels; ImageNet weights were trained at 224
SMALL_STEM = 40  # pixels: a ResNet's first two layers divide each side by four, which would leave too little
SAMPLE = 200  # images whose size is read
IMAGES_SEEN = 300_000  # in training, all epochs together: 11 epochs of EyePACS' 28,100 training images
EPOCHS = (10, 30)  # at least, at most
IMBALANCED = 2.0  # largest class / smallest class, from which on class weights are suggested
CPU_SPEED = 60 * 64**2  # pixels per second: ResNet-18 trains on 60 images/s of 64 px on two cores


@dataclass(frozen=True)
class Draft:
    """What is in a folder, and the settings that suit it."""

    dataset: str
    data: str  # as a study file names it
    images: ImageData
    table: pd.DataFrame  # with the split that the study will have
    split: Split
    why_split: str
    side: int  # median of the shorter sides, pixels
    size: int

    @property
    def training(self) -> int:
        """Number of training images."""
        return self.table["split"].tolist().count("train")

    @property
    def epochs(self) -> int:
        """So many that the network sees about IMAGES_SEEN images, within EPOCHS."""
        low, high = EPOCHS
        return min(high, max(low, round(IMAGES_SEEN / max(1, self.training))))

    @property
    def counts(self) -> list[int]:
        """Labelled images by class."""
        label = self.table["label"].dropna().to_numpy(np.int64)
        return np.bincount(label, minlength=len(self.images.facts.classes)).tolist()

    @property
    def imbalance(self) -> float:
        """Images of the largest class per image of the smallest."""
        held = [count for count in self.counts if count]
        return max(held) / min(held)

    @property
    def tiny(self) -> bool:
        """Whether a ResNet's usual first layers would leave too few pixels."""
        return self.size < SMALL_STEM

    @property
    def hours(self) -> float:
        """Training time of one ResNet-18 on two CPU cores."""
        pixels = self.size**2 * (16 if self.tiny else 1)  # the small stem keeps four times as many per side
        return self.training * self.epochs * pixels / CPU_SPEED / 3600


def look(data: str, dataset: str | None = None) -> Draft:
    """Read the images and choose. ValueError (DataError) if they cannot be read or split, or are of one class."""
    data, place = as_parameter(refuse_url(data, "data"))
    chosen = dataset or ("retinopathy" if data in PHANTOMS else guess_dataset(place))
    with contextlib.redirect_stdout(sys.stderr):  # drawing phantoms prints a line
        images, hashes = open_data(chosen, data, cache_root())
    held = images.table["label"].dropna().unique()
    if len(held) < 2:
        raise ValueError(f"{place}: its images are of {len(held)} class(es); a classifier needs two or more")
    split, why = _split(images)
    table = assign_splits(images.table, hashes=hashes, split=split, **_fractions())
    side = _shorter_side(images.table["path"].tolist())
    return Draft(chosen, data, images, table, split, why, side, _size(side, images.facts.task))


def _fractions() -> dict[str, Any]:
    """RunParams' defaults, so that the counts are those of the runs."""
    fields = RunParams.model_fields
    return {name: fields[name].default for name in ("split_seed", "val_fraction", "test_fraction")}


def as_parameter(data: str) -> tuple[str, Path]:
    """The folder as the parameter `data` names it (relative to the project, or absolute), and where it is.

    In a shell it is relative to the current folder; that comes first.
    """
    if data in PHANTOMS:
        return data, Path(data)
    here, there = Path(data).expanduser().resolve(), (PROJECT / Path(data).expanduser()).resolve()
    if here == there or (there.exists() and not here.exists()):
        return data, there
    return here.as_posix(), here


def _split(images: ImageData) -> tuple[Split, str]:
    """`split`, and why."""
    table, group = images.table, images.facts.group_name
    labelled = table.loc[table["label"].notna()]
    unknown = np.count_nonzero(labelled["group"].isna())
    parts = [part for part in PARTS if part in set(labelled["split"].dropna())]
    own = "train" in parts and len(parts) > 1
    if unknown < len(labelled):
        words = f"by {group}, of whom there are {labelled['group'].nunique():,}"
        if unknown:
            words += f"; {unknown:,} images have no known {group}, and each is a group of its own"
        if own:
            shared = int(np.count_nonzero(labelled.groupby("group")["split"].nunique() > 1))
            words += "; the data's own split shares "
            words += (
                f"{shared:,} {group}{'s' * (shared > 1)}, so `given` would leak" if shared else f"no {group} either"
            )
        return "group", words
    if own:
        words = f"the data's own split ({', '.join(parts)}); its {group}s are unknown, so leaks cannot be ruled out"
        return "given", words
    words = f"by image, since no {group} is known and the data has no split of its own; images of one {group} may leak"
    return "image", words


def _shorter_side(paths: list[str]) -> int:
    """Median of the shorter sides of a sample of the images; unreadable ones are skipped."""
    sides = []
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        with contextlib.suppress(OSError):  # the audit lists these
            if ARRAY_PATH.fullmatch(path):
                sides.append(min(load_image(path).size))
            else:
                with Image.open(path) as image:
                    sides.append(min(image.size))
    if not sides:
        raise ValueError(f"{paths[0]}: neither this image nor any other of the sample can be opened")
    return round(median(sides))


def _size(side: int, task: str) -> int:
    fitting = [size for size in SIZES if size <= min(side, LARGEST[task])]
    return fitting[-1] if fitting else max(16, side)
