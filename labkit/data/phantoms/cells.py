"""Single white blood cells on black, as C-NMC 2019 publishes them: lymphoblasts (ALL) and normal cells (HEM).

A blast is larger, its nucleus fills more of the cell and may be cleft, its chromatin is finer, with a nucleolus or two;
a normal lymphocyte is smaller and rounder, its chromatin in clumps. The ranges overlap, and the subject's stain varies
more than the cells do.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from labkit.data.phantoms.canvas import Plane, bump, clouds, grid, outline
from labkit.data.phantoms.plans import Origin

STAINS = {"own": (66.0, 27.0, 76.0), "source": (78.0, 40.0, 104.0), "other": (96.0, 38.0, 72.0)}


class Subject:
    """One person's slide: colours (0-255) of nucleus and cytoplasm, contrast of the chromatin, size, focus.

    `source` and `other` come from other laboratories: stained bluer and brighter, or redder.
    """

    def __init__(self, rng: np.random.Generator, origin: Origin = "own") -> None:
        self.nucleus = (
            np.array(STAINS[origin]) * rng.uniform(0.72, 1.5) * rng.uniform([0.78, 0.6, 0.85], [1.22, 1.7, 1.2])
        )
        self.cytoplasm = self.nucleus * rng.uniform(1.05, 1.5) + rng.uniform([0, 5, 0], [22, 30, 24])
        self.contrast = float(rng.uniform(0.6, 1.3))
        self.scale = float(rng.normal(1, 0.05))
        self.blur = float(rng.uniform(0.5, 1.4))
        self.speck = float(rng.uniform(0.8, 1.3))


def cell(label: int, rng: np.random.Generator, subject: Subject, size: int = 96) -> NDArray[np.uint8]:
    """One segmented cell on black, uint8 (size, size, 3), that spans 0.55 to 0.9 of it; label 1 is ALL, 0 HEM."""
    blast, n = label == 1, 2 * size
    x, y = grid(n)
    big = subject.scale * rng.normal(0.76 if blast else 0.68, 0.05)
    body = np.minimum(big * _around(np.arctan2(y, x), outline(rng, 0.045, 180) * _torn(rng)), 0.97)
    aside, below = rng.normal(0, 0.03, 2).tolist()
    angle, radius = np.arctan2(y - below, x - aside), np.hypot(x - aside, y - below)
    share = rng.normal(0.97, 0.025) if blast else rng.normal(0.90, 0.04)
    core = big * min(share, 1.02) * _around(angle, outline(rng, 0.05 if blast else 0.025, 180) * _cleft(rng, blast))
    inward = core - radius  # how deep inside the nucleus a pixel lies
    nucleus = np.clip(inward * (n / 8) + 0.5, 0, 1)[:, :, None]
    tone = 1 + 0.10 * clouds(rng, 4, n) - 0.14 * np.clip(1 - inward / 0.10, 0, 1)
    grain = _chromatin(blast, rng, subject, x, y)
    # where chromatin is loose the stain is redder: contrast is largest in red and green
    shades = np.stack([tone + 1.2 * grain, tone + 1.0 * grain, tone + 0.5 * grain], axis=2)
    chromatin = shades * subject.nucleus.astype(np.float32)
    plasma = (1 + 0.08 * clouds(rng, 16, n))[:, :, None] * subject.cytoplasm.astype(np.float32)
    stain = np.clip(plasma + nucleus * (chromatin - plasma), 1, 255).astype(np.uint8)
    sheet = Image.fromarray(stain).filter(ImageFilter.GaussianBlur(subject.blur * size / 96)).reduce(2)
    inside = Image.fromarray((np.hypot(x, y) < body).astype(np.uint8) * 255).reduce(2)
    # cut out hard, as the published segmentation is: a pixel is of the cell or black
    return np.asarray(sheet) * (np.asarray(inside) > 127)[:, :, None]


def _around(angle: Plane, curve: NDArray[np.floating]) -> Plane:
    """A curve given at 180 equal angles, interpolated at each pixel's angle."""
    fine = np.interp(np.arange(1440) / 8, np.arange(181), np.append(curve, curve[0])).astype(np.float32)
    return fine[(angle * (720 / np.pi)).astype(np.int16) % 1440]


def _torn(rng: np.random.Generator) -> NDArray[np.floating]:
    """Faults of the segmentation: fine jags, and in some cells a bite or a scrap of a neighbour left on."""
    jags = 1 + 0.005 * rng.standard_normal(180)
    if rng.random() < 0.3:
        off = np.abs((np.arange(180) - rng.integers(180) + 90) % 180 - 90)
        jags = jags + rng.uniform(-0.16, 0.14) * (off < rng.uniform(4, 14)) * rng.uniform(0.8, 1.1, 180)
    return jags


def _cleft(rng: np.random.Generator, blast: bool) -> NDArray[np.floating]:
    """A notch in the nucleus at one angle, in half the blasts and few of the normal cells."""
    if rng.random() > (0.55 if blast else 0.12):
        return np.ones(180)
    off = np.abs((np.arange(180) - rng.integers(180) + 90) % 180 - 90) * (np.pi / 90)
    return 1 - rng.uniform(0.12, 0.38) * np.exp(-((off / rng.uniform(0.15, 0.35)) ** 2))


def _chromatin(blast: bool, rng: np.random.Generator, subject: Subject, x: Plane, y: Plane) -> Plane:
    """Deviation of the stain: fine grain and pale nucleoli in blasts, coarser clumps in normal cells."""
    n = x.size
    fine = clouds(rng, round(52 / subject.speck), n)
    coarse = clouds(rng, round(20 / subject.speck), n)
    if not blast:
        return subject.contrast * (0.15 * np.tanh(1.3 * coarse) + 0.05 * fine)
    grain = 0.09 * fine + 0.05 * coarse
    for _ in range(int(rng.integers(0, 3))):
        grain = grain + 0.25 * bump(x, y, rng.uniform(-0.4, 0.4, 2), rng.uniform(0.04, 0.07))
    return subject.contrast * grain
