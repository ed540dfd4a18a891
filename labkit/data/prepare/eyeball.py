"""The eyeball in a fundus photograph: where the bright disc lies, and the square around it, so that round stays round.

Found on a thumbnail, whose pixels have little noise: the disc is the largest part that is brighter than the border, and
the ends of its rows, or of its columns, lie on a circle wherever neither frame nor field stop cuts it straight.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

THUMBNAIL = 256  # pixels of its longer side, at most
CONTRAST = 12.0  # grey levels between border and retina, at least; a lens cap's noise has less
# of that contrast: what is brighter is no border. The rim of a retina is dark, so the lowest that shows a disc is
# taken; a border full of noise needs a higher one
EDGES = (0.12, 0.25, 0.4, 0.55)
BAND = 0.025  # of the radius: so near the circle a row's end counts as on it
ROUND = 0.6  # share of the ends that must lie on the circle, or there is none
TINY = 0.2  # of the picture's shorter side: a smaller bright spot is no eyeball
STRIP = 0.4  # of its width (or height): what is bright and lower (or narrower) is no eyeball either

Points = NDArray[np.floating]  # (n, 2), x to the right and y down


class NoEyeball(ValueError):
    """A picture that no crop can be had from; the message says why."""


@dataclass(frozen=True)
class Disc:
    """Centre and radius in pixels of the picture that it was found in; parts may lie outside the picture."""

    x: float
    y: float
    radius: float


def find_eyeball(image: Image.Image) -> Disc:
    """The disc of the retina in an RGB picture; of what no circle bounds, the one around its box; or NoEyeball."""
    factor = -(-max(image.size) // THUMBNAIL)
    red, green, blue = (np.asarray(band, dtype=np.float32) for band in image.reduce(factor).split())
    lightest, darkest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    light = ndimage.uniform_filter(lightest, 3, mode="nearest")
    disc = _disc_in(light)
    if (lightest - darkest).max() < CONTRAST:
        raise NoEyeball("no colour in it; grades are given on colour photographs")
    found = Disc(disc.x * factor, disc.y * factor, disc.radius * factor)
    if (share := 2 * found.radius / min(image.size)) < TINY:
        raise NoEyeball(f"no eyeball: the largest bright spot spans {share:.0%} of the picture")
    return found


def _disc_in(light: NDArray[np.floating]) -> Disc:
    lowest = _bright_part(light, EDGES[0])
    disc = _circle_around(lowest)
    for edge in EDGES[1:]:
        if disc is None:
            disc = _circle_around(_bright_part(light, edge))
            disc = disc if disc and _has_edge(light, disc) else None
    if disc is None:
        rows, columns = np.flatnonzero(lowest.any(axis=1)), np.flatnonzero(lowest.any(axis=0))
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        _refuse_strip(bottom - top, right - left)
        disc = Disc((left + right) / 2, (top + bottom) / 2, max(bottom - top, right - left) / 2)
    height, width = light.shape
    shown = min(disc.y + disc.radius, height) - max(disc.y - disc.radius, 0)
    _refuse_strip(shown, min(disc.x + disc.radius, width) - max(disc.x - disc.radius, 0))
    return disc


def _bright_part(light: NDArray[np.floating], edge: float) -> NDArray[np.bool_]:
    """The largest connected part that is brighter than the border, (h, w)."""
    border, retina = np.percentile(light, [1, 90])  # an eyeball may take a tenth of the picture, a border a hundredth
    if retina - border < CONTRAST:  # or less
        retina = light.max()
    if retina - border < CONTRAST:
        raise NoEyeball(f"no eyeball: one brightness all over ({np.median(light):.0f} of 255)")
    parts = np.empty(light.shape, dtype=np.int32)
    ndimage.label(light > border + max(edge * (retina - border), CONTRAST / 3), output=parts)
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def _refuse_strip(height: float, width: float) -> None:
    if min(height, width) < STRIP * max(height, width):
        share = min(height, width) / max(height, width)
        raise NoEyeball(f"no eyeball: what is bright is a strip, {share:.0%} as wide as it is long")


def _circle_around(bright: NDArray[np.bool_]) -> Disc | None:
    """The circle through the ends of the rows or, where these fit none, of the columns."""
    by_row, by_column = _ends(bright), _ends(bright.T)[:, ::-1]
    for points in (by_row, by_column, np.concatenate([by_row, by_column])):
        disc = _fit(points, max(bright.shape))
        if disc is not None and _fills(bright, disc):
            return disc
    return None


def _ends(bright: NDArray[np.bool_]) -> Points:
    """First and last bright pixel's outer edge of every row, but where the frame cuts it: (n, 2)."""
    height, width = bright.shape
    rows = np.flatnonzero(bright.any(axis=1))
    rows = rows[(rows > 0) & (rows < height - 1)]
    first = bright[rows].argmax(axis=1)
    last = width - bright[rows, ::-1].argmax(axis=1)
    left = np.stack([first, rows + 0.5], axis=1)[first > 0]
    right = np.stack([last, rows + 0.5], axis=1)[last < width]
    return np.concatenate([left, right]).astype(np.float64)


def _fit(points: Points, longest: int) -> Disc | None:
    """The circle through most of the points, or None: Kåsa's fit, x² + y² = 2ax + 2by + c, on those that stay near."""
    kept = points
    for band in (0.1, 0.05, BAND, BAND):
        if len(kept) < 12:
            return None
        (a, b, c), *_ = np.linalg.lstsq(np.c_[2 * kept, np.ones(len(kept))], (kept**2).sum(axis=1), rcond=None)
        square = c + a * a + b * b
        if not 0 < square < longest**2:
            return None
        radius = float(np.sqrt(square))
        near = np.abs(np.hypot(*(points - (a, b)).T) - radius) < max(band * radius, 1.0)
        kept = points[near]
    sides = kept[:, 0] - a, kept[:, 1] - b  # of the centre: an arc on one side alone says little of its circle
    spans = any(min((side < 0).sum(), (side > 0).sum()) > 0.2 * len(kept) for side in sides)
    if len(kept) < ROUND * len(points) or not spans:
        return None
    return Disc(float(a), float(b), radius)


def _fills(bright: NDArray[np.bool_], disc: Disc) -> bool:
    """Whether what is bright is this disc, as far as it lies in the picture; a dark side is forgiven, a square not."""
    y, x = np.ogrid[: bright.shape[0], : bright.shape[1]]
    inside = (x + 0.5 - disc.x) ** 2 + (y + 0.5 - disc.y) ** 2 < (1.03 * disc.radius) ** 2
    return (bright & inside).sum() > 0.97 * bright.sum() and (bright & inside).sum() > 0.5 * inside.sum()


def _has_edge(light: NDArray[np.floating], disc: Disc) -> bool:
    """Whether light falls at the circle itself: a higher threshold may find a round patch of the retina."""
    y, x = np.ogrid[: light.shape[0], : light.shape[1]]
    away = np.hypot(x + 0.5 - disc.x, y + 0.5 - disc.y) / disc.radius
    inside, outside = light[(away > 0.88) & (away < 0.96)], light[(away > 1.04) & (away < 1.12)]
    if not min(inside.size, outside.size):
        return False
    return bool(np.median(inside) - np.median(outside) > 0.5 * (np.percentile(light, 90) - np.median(outside)))


def crop_square(image: Image.Image, disc: Disc, size: int) -> Image.Image:
    """The square around the disc, (size, size) pixels; what lies outside the picture is black."""
    left, top = disc.x - disc.radius, disc.y - disc.radius
    x, y = floor(left), floor(top)
    side = ceil(2 * disc.radius) + 1
    around = image.crop((x, y, x + side, y + side))
    box = (left - x, top - y, left - x + 2 * disc.radius, top - y + 2 * disc.radius)
    return around.resize((size, size), Image.Resampling.LANCZOS, box=box)
