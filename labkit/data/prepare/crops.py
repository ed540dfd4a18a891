"""One raw photograph to one square crop on the disk: whole, kept from before, or failed with a reason."""

import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from PIL import Image

from labkit.data.images import load_image
from labkit.data.prepare.eyeball import NoEyeball, crop_square, find_eyeball

QUALITY = 92  # of the JPEGs
MARGIN = 1.1  # a disc decoded at so many times the crop's side looks as the full photograph does: SSIM 0.986 and more
TOO_SMALL = 0.5  # of the crop's side: a smaller eyeball would be blown up to more than twice its size

Task = tuple[str, str]  # photograph, crop


@dataclass(frozen=True)
class Outcome:
    """What came of one photograph: `reason` says why it failed."""

    file: str
    state: Literal["made", "kept", "failed"]
    reason: str = ""


def prepare_one(task: Task, size: int) -> Outcome:
    """One photograph to one crop, unless it is there. OSError only where the crop cannot be written."""
    photograph, crop = task
    path = Path(crop)
    if is_whole(path, size):
        return Outcome(photograph, "kept")
    path.unlink(missing_ok=True)  # of another size, or broken: it must not stand for a photograph that now fails
    try:
        square = crop_photograph(photograph, size)
    except NoEyeball as error:
        return Outcome(photograph, "failed", str(error))
    except OSError as error:
        return Outcome(photograph, "failed", str(error).removeprefix(f"{photograph}: "))
    beside = path.with_name(f".{path.name}.part")
    square.save(beside, "JPEG", quality=QUALITY)
    beside.replace(path)  # no fsync, which would cost more than the crop: after a power cut is_whole finds the broken
    return Outcome(photograph, "made")


def crop_photograph(path: str, size: int) -> Image.Image:
    """The square around the eyeball, (size, size) RGB, of a photograph decoded no finer than it has to be.

    NoEyeball: there is none, or it is too small. OSError: the file cannot be decoded.
    """
    wanted = ceil(MARGIN * size)
    image = load_image(path, wanted)
    disc = find_eyeball(image)
    if 2 * disc.radius < wanted:  # a wide border
        image = load_image(path, ceil(wanted * min(image.size) / (2 * disc.radius)))
        disc = find_eyeball(image)
    if 2 * disc.radius < TOO_SMALL * size:
        raise NoEyeball(f"the eyeball is {2 * disc.radius:.0f} px wide, too small for a crop of {size} px")
    return crop_square(image, disc, size)


def is_whole(path: Path, size: int) -> bool:
    """Whether a crop of this size is there, from its first byte to its last; its pixels are not decoded."""
    try:
        with Image.open(path) as image, path.open("rb") as file:
            file.seek(-2, os.SEEK_END)
            return image.format == "JPEG" and image.size == (size, size) and file.read() == b"\xff\xd9"
    except OSError:
        return False
