"""Files that cannot be decoded, are blank or too small, or differ from most in their colour mode."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from PIL import ExifTags, Image
from tqdm import tqdm

from labkit.data.hashes import BLANK
from labkit.data.images import ARRAY_PATH, array_image
from labkit.data.store import MAX_UNREADABLE, Store

UPRIGHT = 1  # EXIF's orientation of an image that is stored as it is to be seen
COLUMNS = ["image_id", "problem", "detail"]
IN_WORDS = {  # in the order of gravity; of what a reader mends by itself it is said how
    "unreadable": "Cannot be decoded",
    "blank": "Blank, all pixels nearly the same",
    "tiny": "Shorter side below {least} px",
    "grayscale": "Grayscale, read as RGB",
    "CMYK": "CMYK, read as RGB",
    "palette": "With a palette, read as RGB",
    "alpha": "Transparent in places, read on black",
    "16-bit gray": "16 bits of gray, of which {low:,} to {high:,} become 0 to 255 in all images",
    "16-bit": "16 bits a channel, of which the upper 8 are read",
    "pages": "Several pages or frames, the first is read",
    "rotated": "Turned by their EXIF tag, read upright",
}


@dataclass(frozen=True)
class Files:
    """`problems`: image_id, problem (a key of IN_WORDS), detail; a file can have several. Sizes in pixels."""

    n: int
    least: int  # an image is tiny whose shorter side has fewer pixels
    problems: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=pd.Index(COLUMNS)))
    smallest: tuple[int, int] | None = None  # width and height of the image with the fewest pixels
    largest: tuple[int, int] | None = None
    side: int = 0  # median of the shorter sides; 0 where no header was read
    gray_range: Sequence[int] | None = None  # of the store

    def counts(self) -> dict[str, int]:
        """Images by problem, in the order of IN_WORDS; problems that none has are left out."""
        found = Counter(self.problems["problem"].tolist())
        return {problem: found[problem] for problem in IN_WORDS if problem in found}


def odd_files(table: pd.DataFrame, store: Store, *, headers: bool = True) -> Files:
    """What the store cannot decode and what is blank in it and, with `headers`, what the header of every file tells.

    Tiny is less than the store's size. The table may lack images that cannot be decoded: they are counted all the same.
    """
    seen: list[Any] = []
    if headers:
        with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:  # waits for the disk, mostly
            told = pool.map(partial(header, least=store.size), table["path"].tolist())
            seen = list(tqdm(told, total=len(table), disable=None, desc="file headers"))
    reasons = store.unreadable.set_index("image_id")["reason"].to_dict()
    left_out = set(reasons) - set(table["image_id"])
    found, sizes = [(image_id, "unreadable", reasons[image_id]) for image_id in left_out], []
    for image_id, told in zip_longest(table["image_id"], seen):
        if image_id in reasons or isinstance(told, str):
            found.append((image_id, "unreadable", reasons.get(image_id, told)))
        elif told:
            sizes.append(told[0])
            found += [(image_id, *problem) for problem in told[1]]
    looks = store.alike["look"]  # of a blank image there was nothing to compare
    names = [name for name in table["image_id"] if name in store.rows and name not in reasons]
    names = [name for name in names if looks[store.rows[name]] < 0]
    grays = (pixels.mean(axis=3, dtype=np.float32) for pixels in store.thumbnails(names))
    contrasts = (contrast for gray in grays for contrast in gray.std(axis=(1, 2)).tolist())  # of the luminance
    pairs = zip(names, contrasts, strict=True)
    found += [(name, "blank", f"contrast {contrast:.1f}") for name, contrast in pairs if contrast < BLANK]
    found.sort(key=lambda row: ([*IN_WORDS].index(row[1]), row[0]))
    problems = pd.DataFrame(found, columns=pd.Index(COLUMNS))
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size)) or [None]
    side = round(np.median([min(size) for size in sizes or [(0, 0)]]))
    return Files(len(table) + len(left_out), store.size, problems, by_area[0], by_area[-1], side, store.gray_range)


def header(path: str, least: int = 0) -> tuple[tuple[int, int], list[tuple[str, str]]] | str:
    """Width and height, and the problems that a header tells; or why it cannot be read."""
    size: tuple[int, ...]
    problems: list[tuple[str, str]]
    try:
        if array := ARRAY_PATH.fullmatch(path):
            pixels = array_image(array["file"], array["split"], int(array["index"]))
            size, problems = pixels.shape[1::-1], [("grayscale", "one channel")] * (pixels.ndim == 2)
        else:
            with Image.open(path) as image:
                size, problems = image.size, list(_oddities(image))
    except Exception as error:  # a damaged header may raise anything
        return str(error).replace(f"{path!r}", "the file") or type(error).__name__
    if min(size) < least:
        problems.append(("tiny", f"{size[0]} × {size[1]} px"))
    return (size[0], size[1]), problems


def _oddities(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Problems as far as the header tells them; nothing is decoded."""
    mode, deep, pages = image.mode, image.mode.startswith("I"), True
    with suppress(Exception):  # the first page can be read, whatever is damaged behind it
        pages = getattr(image, "n_frames", 1) > 1
    odd = {
        "grayscale": deep or mode in ("1", "L", "LA", "La", "F"),
        "CMYK": mode == "CMYK",
        "palette": mode in ("P", "PA"),
        "alpha": image.has_transparency_data,
        "16-bit gray": deep,
        # of RGB the decoder's mode alone tells it
        "16-bit": not deep and ";16" in str(getattr(image, "tile", "")[:1]),
        "pages": pages,
    }
    yield from ((problem, f"mode {mode}") for problem, found in odd.items() if found)
    # asked of a PNG without an EXIF chunk before its pixels, Pillow would decode the whole image to look for a late one
    if image.format != "PNG" or "exif" in image.info:
        turned = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        if turned in range(UPRIGHT + 1, 9):
            yield "rotated", f"orientation {turned}"


def file_sentences(files: Files) -> list[str]:
    """One sentence per problem or, where the headers were read, one that says that there is none."""
    sound = f"All {files.n:,} images can be decoded, show something, and are upright in colours of 8 bits."
    return problem_sentences(files, files.counts()) or [sound] * bool(files.side)


def problem_sentences(files: Files, problems: Iterable[str]) -> list[str]:
    """One sentence for each of these problems that a file has, with the first files."""
    found, counts = [], files.counts()
    low, high = files.gray_range or (0, 0)
    for problem, number in ((problem, counts[problem]) for problem in problems if problem in counts):
        what = IN_WORDS[problem].format(least=files.least, low=low, high=high)
        if number == files.n:
            found.append(f"{what}: all {number:,} images.")
            continue
        first = files.problems.loc[files.problems["problem"] == problem, "image_id"].head(3).tolist()
        some = ", ".join(first) + ", …" * (number > len(first))
        refused = problem == "unreadable" and number > MAX_UNREADABLE * files.n
        some += f"; a run refuses more than {MAX_UNREADABLE:.0%}" * refused
        found.append(f"{what}: {number:,} of {files.n:,} images ({some}).")
    return found
