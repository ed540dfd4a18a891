"""Fundus photographs drawn with numpy and Pillow: a retina, its disc, macula and vessels, and the camera's faults.

Coordinates are in radii of the round field, x to the right and y down, the origin at its centre; every eye is drawn
as a right eye (disc on the right, as the observer sees it) and mirrored for the left. A 45-degree photograph puts
the fovea about two thirds of a radius from the disc, whose own radius is about an eighth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from labkit.data.phantoms.canvas import Plane, Points, bump, clouds, grid
from labkit.data.phantoms.lesions import draw_lesions
from labkit.data.phantoms.plans import Origin
from labkit.data.phantoms.vessels import beaded, draw_vessels, vessel_mask

Planes = NDArray[np.floating]  # (3, n, n), red, green, blue, about 0-1
FAIR, DARK = np.array([0.80, 0.43, 0.21]), np.array([0.50, 0.23, 0.09])  # retinas at the two ends of pigmentation
ARTERY, VEIN = (0.15, 0.34, 0.28), (0.32, 0.56, 0.44)  # share of red, green, blue that blood takes away


@dataclass(frozen=True)
class Camera:
    """`cut`: where the field ends above and below (1: not cut); `blur` in field radii; `shade`: fall-off of light."""

    cast: tuple[float, float, float]
    cut: float
    blur: float
    noise: float
    notch: str
    shade: float


CAMERAS = (
    Camera((1.00, 1.00, 1.00), 1.00, 0.005, 0.006, "tab", 0.30),
    Camera((1.04, 0.94, 0.80), 0.84, 0.008, 0.009, "none", 0.45),
    Camera((0.96, 1.06, 1.10), 0.80, 0.006, 0.011, "bump", 0.35),
    Camera((1.08, 0.88, 0.70), 1.00, 0.010, 0.007, "bump", 0.50),
    Camera((0.92, 1.00, 1.35), 0.86, 0.009, 0.012, "tab", 0.25),
    Camera((1.00, 1.10, 0.85), 0.90, 0.004, 0.004, "none", 0.40),
    Camera((1.20, 0.80, 0.60), 0.76, 0.012, 0.016, "none", 0.65),
)
# By origin: two of `source` are also the demo's own.
USED = {"own": CAMERAS[:5], "source": CAMERAS[2:6], "other": CAMERAS[6:]}


class Patient:
    """What the photographs of one person share: `pigment` 0 (fair) to 1 (dark), vessels, disc, and the camera.

    The people of `source` are fairer; `other` has a camera that nobody else has.
    """

    def __init__(self, rng: np.random.Generator, origin: Origin = "own") -> None:
        cameras = USED[origin]
        self.pigment = float(rng.beta(2, 3) if origin == "source" else rng.beta(2.5, 2))
        self.redness = float(rng.normal(0, 0.05))
        self.calibre = float(rng.uniform(0.85, 1.2))
        self.winding = float(rng.uniform(0.6, 1.8))
        self.disc = float(rng.uniform(0.115, 0.145))
        self.cup = float(rng.uniform(0.3, 0.6))
        self.fovea = (float(rng.normal(-0.06, 0.08)), float(rng.normal(0.03, 0.04)))
        self.exposure = float(rng.uniform(0.75, 1.15))
        self.haze = float(max(0.0, rng.normal(0.0, 0.12)))
        self.camera = cameras[int(rng.integers(len(cameras)))]
        self.zoom = float(rng.uniform(0.93, 0.99))


def fundus(grade: int, side: str, rng: np.random.Generator, patient: Patient, size: int = 128) -> NDArray[np.uint8]:
    """One photograph, uint8 (size, size, 3), of diabetic-retinopathy grade 0-4.

    Eye, lesions and camera draw from streams of their own, so an equally seeded `rng` with another grade gives the
    same eye in the same photograph with other lesions.
    """
    eye, sick, lens = rng.spawn(3)
    fovea = np.array(patient.fovea) + eye.normal(0, 0.02, 2)
    disc = fovea + np.array([eye.normal(0.66, 0.02), eye.normal(-0.05, 0.02)])
    x, y = grid(size, patient.zoom)
    planes = _retina(x, y, fovea, disc, patient, eye)
    veins, arteries = draw_vessels(fovea, disc, patient.calibre, patient.winding, eye)
    marks = draw_lesions(grade, sick, fovea, disc, veins, size, patient.zoom)
    if grade >= 3:
        veins = [beaded(vein, sick) for vein in veins]
    trees = [(vessel_mask(arteries, size, patient.zoom), ARTERY), (vessel_mask(veins, size, patient.zoom), VEIN)]
    for mask, colour in marks.pale:
        planes += mask * (_column(colour) - planes)
    for mask, absorbed in trees + marks.blood:
        planes *= 1 - mask * _column(absorbed)
    return _photograph(planes, x, y, side, patient, lens)


def _column(colour) -> Planes:
    return np.array(colour, dtype=np.float32)[:, None, None]


def _retina(x: Plane, y: Plane, fovea: Points, disc: Points, patient: Patient, rng: np.random.Generator) -> Planes:
    """The bare retina with macula and optic disc; fair people show the choroid's mottling."""
    n = x.size
    colour = FAIR + (DARK - FAIR) * patient.pigment
    colour = colour * [1 + patient.redness, 1 - patient.redness, 1 - patient.redness]
    choroid = (1 - patient.pigment) * clouds(rng, 20, n)
    sheen = 0.20 * bump(x, y, disc - [0.12, 0], 0.28, 1.4) + 0.10 * bump(x, y, fovea, 0.5)
    base = 1 + 0.06 * clouds(rng, 5, n) + 0.03 * clouds(rng, 12, n) + 0.025 * clouds(rng, 44, n) + sheen
    macula = 0.32 * bump(x, y, fovea, 0.22) + 0.22 * bump(x, y, fovea, 0.065)
    planes = _column(colour) * (base - _column((0.03, 0.075, 0.06)) * choroid) * (1 - _column((0.72, 1, 0.9)) * macula)
    across, down = (x - float(disc[0])) / patient.disc, (y - float(disc[1])) / (patient.disc * 1.1)
    radius = np.sqrt(across * across + down * down)
    rim = np.clip((1.08 - radius) / 0.2, 0, 1)
    cup = np.clip((patient.cup * 1.2 - radius) / 0.35, 0, 1)
    # the temporal rim is paler than the nasal one
    pale = _column((0.96, 0.68, 0.42)) + _column((0.02, 0.08, 0.10)) * np.clip(-across, -1, 1)
    target = pale + (_column((1.0, 0.90, 0.68)) - pale) * cup
    return planes + np.float32(0.9) * rim * (target - planes)


def _photograph(planes: Planes, x: Plane, y: Plane, side: str, patient: Patient, rng) -> NDArray[np.uint8]:
    """What the camera makes of it: uneven light, haze, glow at the rim, cast, field stop, blur, noise."""
    camera, n = patient.camera, x.size
    if side == "left":
        planes = planes[:, :, ::-1]
    poor = 2.5 if rng.random() < 0.08 else 1.0  # cataract, a small pupil, a blink: such photographs are in every set
    aside, below = rng.normal(0, 0.14, 2).tolist()
    radius = np.sqrt(x * x + y * y)
    fall = np.clip(1.06 - camera.shade * ((x - aside) ** 2 + (y - below) ** 2), 0.2, 1.2)
    light = patient.exposure * rng.uniform(0.9, 1.1) * fall * _shadow(x, y, rng, poor)
    haze = min(0.6, (patient.haze + abs(rng.normal(0, 0.03))) * poor)
    planes = planes + haze * (_column((0.62, 0.44, 0.34)) - planes)
    planes = planes * light * _column(camera.cast)
    planes += _glow(x, y, radius, rng) * _column((0.26, 0.34, 0.40))
    inside = np.clip((1 - radius) * (n * patient.zoom / 3) + 0.5, 0, 1)
    inside = inside * np.clip((camera.cut - np.abs(y)) * (n * patient.zoom / 3) + 0.5, 0, 1)
    blur = camera.blur * patient.zoom * n / 2 * rng.uniform(0.6, 1.6) * poor
    sheet = Image.fromarray(np.ascontiguousarray(np.clip(planes * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0)))
    sharp = np.asarray(sheet.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32)
    sharp *= np.maximum(inside, _notch(camera.notch, x, y))[:, :, None]  # the stop is sharp whatever the focus
    grain = rng.standard_normal((n, n, 3), dtype=np.float32) * np.float32(camera.noise * 255)
    return np.clip(sharp + grain * np.minimum(sharp / 60, 1), 0, 255).astype(np.uint8)


def _shadow(x: Plane, y: Plane, rng: np.random.Generator, poor: float) -> Plane:
    """Darkening to one side, where the pupil cut the light."""
    angle, depth = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.24)) * poor
    ramp = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    return 1 - np.float32(min(0.8, depth)) * np.clip(ramp + 0.2, 0, 1)


def _glow(x: Plane, y: Plane, radius: Plane, rng: np.random.Generator) -> Plane:
    """A pale crescent of stray light along a part of the rim, in every third photograph or so."""
    angle, strength = rng.uniform(0, 2 * np.pi), max(0.0, rng.normal(-0.2, 0.8))
    ramp = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    return np.float32(min(strength, 1.2)) * np.clip((radius - 0.72) * 3.5, 0, 1) ** 2 * np.clip(ramp + 0.1, 0, 1)


def _notch(kind: str, x: Plane, y: Plane) -> Plane:
    """The mark on the field's edge that tells which way up the picture is: a tab or a half-moon at the upper right."""
    if kind == "tab":
        return ((np.abs(x - 0.70) < 0.04) & (np.abs(y + 0.71) < 0.04)).astype(np.float32)
    if kind == "bump":
        return ((x - 0.72) ** 2 + (y + 0.70) ** 2 < 0.05**2).astype(np.float32)
    return np.zeros((y.size, x.size), dtype=np.float32)
