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
HIDDEN = re.compile(r"(^|/)\.(?!$)")
GRAY = (-(2**15), 2**16)  # values that gray of 16 bits can have, signed or not
STRAY = 100_000  # one pixel in so many may lie outside the range of a set: a dead pixel must not decide it
NO_RANGE = "gray of 16 bits, for which no range of values is set; save it with 8 bits"
MAX_ASPECT = 100  # sides of 1 : 100 are no picture; cut square and enlarged, a line of pixels would fill the memory
IMAGE, POINTER, DICOM = "an image", "a Git LFS pointer; run git lfs pull", "a DICOM file; save its picture as PNG"
WHAT_IT_IS = {  # how a file begins, in lower case -> what it is
    **dict.fromkeys((b"\xff\xd8\xff", b"\x89png\r\n", b"gif8", b"ii*\0", b"mm\0*"), IMAGE),
    **dict.fromkeys((b"<!doctype", b"<html"), "a web page"),
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


def printable(path: str) -> str:
    """A path with `\\xfc` for what is not UTF-8, which no table could hold."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def stem(name: str) -> str:
    """A file name without its folder and without an image suffix (other dots stay)."""
    name = name.rpartition("/")[2]
    base, dot, suffix = name.rpartition(".")
    return base if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def load_image(path: str, gray_range: Sequence[int] | None = None, at_least: int | None = None) -> Image.Image:
    """The image as RGB, upright by its EXIF tag; `file.npz#train/17` reads a row of an array file.

    `gray_range`: the values (low, high) of gray of 16 bits that become 0 and 255 in all images of a set; without it an
    image of them is refused. `at_least`: so many pixels of the shorter side are enough; a JPEG may come smaller.
    Transparent images are laid on black, of an animation the first frame is taken, colour profiles are not applied.
    OSError names the file and the reason.
    """
    try:
        if array := ARRAY_PATH.fullmatch(path):
            return Image.fromarray(array_image(array["file"], array["split"], int(array["index"]))).convert("RGB")
        with Image.open(path) as image:
            if max(image.size) > MAX_ASPECT * min(image.size):
                raise ValueError(f"{image.width} × {image.height} pixels are no picture; cut it to its content")
            if at_least is not None:
                image.draft(None, (at_least, at_least))  # pyright: ignore[reportArgumentType] - None: the file's own
            if image.mode.startswith("I") and gray_range is None:
                raise ValueError(NO_RANGE)
            if image.mode == "F":
                raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
            image.load()
            upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I") and gray_range is not None:  # Pillow's I;16, or I where it was widened
            low, high = gray_range
            values = np.asarray(upright).astype(np.int64).clip(low, high) - low
            upright = Image.fromarray(((values * 255 + (high - low) // 2) // (high - low)).astype(np.uint8))
        if upright.has_transparency_data:
            black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, upright.convert("RGBA"))
        return upright.convert("RGB")
    # a damaged file may raise anything: SyntaxError, struct.error, ValueError, DecompressionBombError …
    except Exception as error:
        raise OSError(f"{path}: {_reason_of(error, path)}") from error


def _reason_of(error: Exception, path: str) -> str:
    """Why a file could not be decoded, in one line, with the cure where there is one."""
    if isinstance(error, Image.DecompressionBombError):
        return f"{error}; save it smaller"
    if isinstance(error, UnidentifiedImageError):
        what = kind_of(path)
        return "cannot identify image file" + (f": it is {what}" if what not in ("", IMAGE) else "")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.replace(f" {path!r}", "").split()) or type(error).__name__


def find_images(places: Sequence[str], besides: str | None = None) -> dict[str, str]:
    """Path of every image at these places (files, or folders with all below but hidden ones), by what is not shared.

    ValueError: no image, or `besides`, a folder that will be written to, lies in a place: the next call would read it.
    """
    where = [as_typed(refuse_url(place, "images")) for place in places]
    for place in where:
        if besides is not None and as_typed(besides).is_relative_to(place):
            raise ValueError(f"{besides} lies in {place}, whose images are read; name a folder outside it")
    found: list[str] = []
    for place in where:
        files = [place] if place.is_file() else [file for file in place.rglob("*") if is_image(file.name)]
        seen = [file.as_posix() for file in files if not HIDDEN.search(file.relative_to(place).as_posix())]
        if not seen:
            what = "no image below this folder" if place.is_dir() else "no such file or folder"
            raise ValueError(f"{place}: {what}")
        found += sorted(seen)
    shared = os.path.commonpath([place if place.is_dir() else place.parent for place in where])
    return {printable(os.path.relpath(path, shared)): path for path in dict.fromkeys(found)}


def gray_counts(path: str) -> np.ndarray | str:
    """How often an image of 16-bit gray has each value of GRAY, (98304,) int64; or why it cannot be decoded."""
    try:
        with Image.open(path) as image:
            image.load()  # NumPy would not say what is damaged
            values = np.asarray(image).astype(np.int64)
    except Exception as error:  # as in load_image
        return _reason_of(error, path)
    if values.min() < GRAY[0] or values.max() >= GRAY[1]:
        return "its gray values do not fit into 16 bits; save it with 8 or 16 bits"
    return np.bincount(values.ravel() - GRAY[0], minlength=GRAY[1] - GRAY[0])


def range_of(counts: np.ndarray) -> tuple[int, int]:
    """The range of a set's gray values, from the sum of its images' `gray_counts`: the lowest and the highest value
    but for one pixel in STRAY at either end; 0 to 255 where all lie there, since those are 8 bits in a 16-bit file.
    """
    stray = counts.sum() // STRAY
    low = int(np.argmax(counts.cumsum() > stray)) + GRAY[0]
    high = GRAY[1] - 1 - int(np.argmax(counts[::-1].cumsum() > stray))
    return (0, 255) if low >= 0 and high <= 255 else (low, max(high, low + 1))


def try_load(path: str, gray_range: Sequence[int] | None = None) -> Image.Image | str:
    """The image, or the reason why it cannot be decoded."""
    try:
        return load_image(path, gray_range)
    except OSError as error:
        return str(error).removeprefix(f"{path}: ")


def array_image(file: str, split: str, index: int) -> np.ndarray:
    """(h, w) or (h, w, 3) uint8 from an array file, whose arrays are read once; OSError names a damaged one."""
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
