"""What a folder of images asks for: its data set, size, split and length of training, each with its reason.

The data set follows from the files' names, the size from the pixels, the split from what is known of groups, class
weights from the counts, the epochs from the number of training images.
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

SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)  # pixels a side to choose from
LARGEST = {"grades": 512, "classes": 224}  # small lesions need pixels; ImageNet weights were trained at 224
SMALL_STEM = 40  # pixels: a ResNet's first two layers make a quarter of each side, which would leave too little
SAMPLE = 200  # images whose size is looked at
IMAGES_SEEN = 300_000  # in training, all epochs together: 11 epochs of EyePACS' 28,100 training images
EPOCHS = (10, 30)  # at least, at most
IMBALANCED = 2.0  # the largest class has so many times the images of the smallest
CPU_SPEED = 60 * 64**2  # pixels a second of a side squared: ResNet-18 trains on 60 images/s of 64 px on two cores


@dataclass(frozen=True)
class Draft:
    """What was seen in a folder, and what follows from it for a study."""

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
        """Images that are learnt from."""
        return self.table["split"].tolist().count("train")

    @property
    def epochs(self) -> int:
        """As many as show the network about IMAGES_SEEN images, within EPOCHS."""
        low, high = EPOCHS
        return min(high, max(low, round(IMAGES_SEEN / max(1, self.training))))

    @property
    def counts(self) -> list[int]:
        """Labelled images by class."""
        label = self.table["label"].dropna().to_numpy(np.int64)
        return np.bincount(label, minlength=len(self.images.facts.classes)).tolist()

    @property
    def imbalance(self) -> float:
        """How many times as many images the largest class has as the smallest."""
        held = [count for count in self.counts if count]
        return max(held) / min(held)

    @property
    def tiny(self) -> bool:
        """Whether a ResNet's usual first layers would leave too few pixels."""
        return self.size < SMALL_STEM

    @property
    def hours(self) -> float:
        """Of one ResNet-18 on two CPU cores."""
        pixels = self.size**2 * (16 if self.tiny else 1)  # the other stem hands on four times as many a side
        return self.training * self.epochs * pixels / CPU_SPEED / 3600


def look(data: str, dataset: str | None = None) -> Draft:
    """Reads the images and chooses. ValueError (DataError) on data that cannot be read or split, or has one class."""
    data, place = _as_parameter(refuse_url(data, "data"))
    chosen = dataset or ("retinopathy" if data in PHANTOMS else guess_dataset(place))
    with contextlib.redirect_stdout(sys.stderr):  # phantoms say that they are drawn
        images, hashes = open_data(chosen, data, cache_root())
    held = images.table["label"].dropna().unique()
    if len(held) < 2:
        raise ValueError(f"{place}: its images are of {len(held)} class(es); a classifier needs two or more")
    split, why = _split(images)
    table = assign_splits(images.table, hashes=hashes, split=split, **_fractions())
    side = _shorter_side(images.table["path"].tolist())
    return Draft(chosen, data, images, table, split, why, side, _size(side, images.facts.task))


def _fractions() -> dict[str, Any]:
    """RunParams' own, so that the counts are those of the runs."""
    fields = RunParams.model_fields
    return {name: fields[name].default for name in ("split_seed", "val_fraction", "test_fraction")}


def _as_parameter(data: str) -> tuple[str, Path]:
    """The folder as the parameter `data` names it (relative to the project, or absolute), and where it is.

    A shell means it relative to where one stands; that comes first.
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
        said = f"by {group}, of whom there are {labelled['group'].nunique():,}"
        if unknown:
            said += f"; {unknown:,} images are of nobody known, and each is dealt by itself"
        if own:
            shared = int(np.count_nonzero(labelled.groupby("group")["split"].nunique() > 1))
            said += "; the data's own parts share "
            said += f"{shared:,} {group}{'s' * (shared > 1)}, so `given` would leak" if shared else f"no {group} either"
        return "group", said
    if own:
        return (
            "given",
            f"as the data came ({', '.join(parts)}); whose image is whose is unknown, so leaks cannot be ruled out",
        )
    return (
        "image",
        f"every image by itself, since no {group} is known and the data has no parts; images of one {group} may leak",
    )


def _shorter_side(paths: list[str]) -> int:
    """Median of the shorter sides of some of the images, evenly spread; unreadable ones are passed over."""
    sides = []
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        with contextlib.suppress(OSError):  # the audit lists these
            if ARRAY_PATH.fullmatch(path):
                sides.append(min(load_image(path).size))
            else:
                with Image.open(path) as image:
                    sides.append(min(image.size))
    if not sides:
        raise ValueError(f"{paths[0]}: neither this image nor any other that was tried can be opened")
    return round(median(sides))


def _size(side: int, task: str) -> int:
    fitting = [size for size in SIZES if size <= min(side, LARGEST[task])]
    return fitting[-1] if fitting else max(16, side)
