"""One image: decoded to RGB, hashed, or named with the reason why it cannot be."""

import os
import re
import threading
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labkit.params import as_typed, refuse_url

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".jfif", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm")
ARRAY_PATH = re.compile(r"(?P<file>.+\.npz)#(?P<split>[a-z]+)/(?P<index>\d+)")
# what NumPy and zipfile raise on a damaged array file
DAMAGED_ARRAY = (ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile, NotImplementedError)

_LOCK = threading.Lock()
MAX_ASPECT = 100  # sides of 1 : 100 are no picture; cut square and enlarged, a line of pixels would fill the memory
IMAGE, POINTER, DICOM = "an image", "a Git LFS pointer; run git lfs pull", "a DICOM file; save its picture as PNG"
WHAT_IT_IS = {  # how a file begins, in lower case -> what it is
    **dict.fromkeys((b"\xff\xd8\xff", b"\x89png\r\n", b"gif8", b"ii*\0", b"mm\0*"), IMAGE),
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing",
    b"%pdf": "a PDF",
    b"pk\3\4": "a zip archive",
    b"version https://git-lfs": POINTER,
}


def kind_of(path: Path | str) -> str:
    """What a file is by its first bytes; empty if that is not known."""
    with Path(path).open("rb") as file:
        head = file.read(200)
    if head[128:132] == b"DICM":
        return DICOM
    if head[4:8] == b"ftyp" and b"hei" in head[8:32]:
        return "an HEIC photograph; save it as JPEG"
    if (head[:2] == b"BM" and head[6:10] == bytes(4)) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return IMAGE
    if not head:
        return "empty, of 0 bytes; copy it again"
    return next((what for start, what in WHAT_IT_IS.items() if head.lstrip().lower().startswith(start)), "")


def is_image(name: str) -> bool:
    """Hidden files are not images: macOS leaves a `._x.jpeg` beside each `x.jpeg` on foreign disks."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def stem(name: str) -> str:
    """A file name without its folder and without an image suffix (other dots stay)."""
    name = name.rpartition("/")[2]
    base, dot, suffix = name.rpartition(".")
    return base if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def load_image(path: str, at_least: int | None = None) -> Image.Image:
    """The image as RGB, upright by its EXIF tag; `file.npz#train/17` reads a row of an array file.

    `at_least`: so many pixels of the shorter side are enough; a JPEG may then come at a half, a quarter or an eighth of
    its size, which decodes in a third of the time.
    Gray, palette, CMYK and 16-bit images are converted, transparent ones laid on black, of an animation the first frame
    is taken; colour profiles are not applied, the numbers are taken as they stand. OSError names the file and the
    reason, also where Pillow suspects a decompression bomb.
    """
    try:
        if array := ARRAY_PATH.fullmatch(path):
            return Image.fromarray(array_image(array["file"], array["split"], int(array["index"]))).convert("RGB")
        with Image.open(path) as image:
            if max(image.size) > MAX_ASPECT * min(image.size):
                raise ValueError(f"{image.width} × {image.height} pixels are no picture; cut it to its content")
            if at_least is not None:
                image.draft(None, (at_least, at_least))  # pyright: ignore[reportArgumentType] - None: the file's own
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image))
    # a damaged file may raise anything: SyntaxError, struct.error, ValueError, DecompressionBombError …
    except Exception as error:
        raise OSError(f"{path}: {_reason_of(error, path)}") from error


def _reason_of(error: Exception, path: str) -> str:
    """Why a file could not be decoded, in one line, with the cure where there is one."""
    if isinstance(error, Image.DecompressionBombError):
        return f"{error}; save it smaller"
    if isinstance(error, UnidentifiedImageError):
        what = kind_of(path)
        return f"cannot identify image file: it is {what}" if what not in ("", IMAGE) else "cannot identify image file"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.replace(f" {path!r}", "").split()) or type(error).__name__


def find_images(places: Sequence[str], besides: str | None = None) -> dict[str, str]:
    """Path of every image at these places, by the part of it that the places do not share.

    A place is a file, whatever its name, or a folder with all images below it; hidden ones are left out. `besides`: a
    folder that will be written to. Raises ValueError where a place is not there or holds no image, or where that folder
    lies in one of them: its pictures would be photographs the next time.
    """
    where = [as_typed(refuse_url(place, "images")) for place in places]
    for place in where:
        if besides is not None and as_typed(besides).is_relative_to(place):
            raise ValueError(f"{besides} lies in {place}, whose images are read; name a folder outside it")
    found = dict.fromkeys(path for place in where for path in _images_at(place))
    shared = os.path.commonpath([place if place.is_dir() else place.parent for place in where])
    return {os.path.relpath(path, shared): path for path in found}


def _images_at(place: Path) -> list[str]:
    if place.is_file():
        return [place.as_posix()]
    files = (file for file in place.rglob("*") if is_image(file.name))
    hidden = re.compile(r"(^|/)\.")
    found = sorted(file.as_posix() for file in files if not hidden.search(file.relative_to(place).as_posix()))
    if not found:
        raise ValueError(f"{place}: {'no image below this folder' if place.is_dir() else 'no such file or folder'}")
    return found


def try_load(path: str) -> Image.Image | str:
    """The image, or the reason why it cannot be decoded."""
    try:
        return load_image(path)
    except OSError as error:
        return str(error).removeprefix(f"{path}: ")


def array_image(file: str, split: str, index: int) -> np.ndarray:
    """(h, w) or (h, w, 3) uint8 from an array file; each of its arrays is read once and kept in memory.

    OSError names a file that is damaged.
    """
    try:
        with _LOCK:  # else threads that come at once would each read the whole array
            images = _array(file, f"{split}_images", Path(file).stat().st_mtime_ns)
    except DAMAGED_ARRAY as error:
        raise OSError(f"{file}: {split}_images cannot be read ({error}); download it again") from error
    if images.dtype != np.uint8:
        raise ValueError(f"{split}_images are {images.dtype}, not uint8")
    image = images[index]
    return image[..., 0] if image.shape[-1] == 1 and image.ndim == 3 else image


@lru_cache(maxsize=6)  # two files of three splits; the time of change makes a rewritten file a new one
def _array(file: str, member: str, mtime_ns: int) -> np.ndarray:
    with np.load(file, allow_pickle=False) as arrays:
        return arrays[member]


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits (Pillow's I;16, or I where it was widened): 65535 becomes 255
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values.clip(0, 65535) // 257 if values.max() > 255 else values).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")
