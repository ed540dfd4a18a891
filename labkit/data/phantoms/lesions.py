"""The lesions of diabetic retinopathy, by grade, as masks to lay over a drawn retina.

Kinds follow the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 2003;110:1677):
1 microaneurysms only; 2 more than that; 3 many haemorrhages in all four quadrants or venous beading; 4 new vessels
or preretinal haemorrhage. Sizes are generous, so that grades 2-4 mostly show at 64 px; neighbouring grades overlap.
"""

from dataclasses import dataclass, field

import numpy as np

from labkit.data.phantoms.canvas import Plane, Points, Sheet, outline

Colour = tuple[float, float, float]
YELLOW, WHITE, SCAR, DRUSEN = (0.98, 0.84, 0.42), (0.93, 0.80, 0.58), (0.88, 0.72, 0.46), (0.88, 0.66, 0.34)


@dataclass(frozen=True)
class _Eye:
    """Where lesions go: landmarks in field radii, the image's size in pixels, and this eye's random stream.

    `pale`, `blood`: masks (0-1) of what is paler than the retina, with its colour, and of blood, with what it absorbs.
    """

    fovea: Points
    disc: Points
    n: int
    zoom: float
    rng: np.random.Generator
    pale: list[tuple[Plane, Colour]] = field(default_factory=list)
    blood: list[tuple[Plane, Colour]] = field(default_factory=list)

    def sheet(self) -> Sheet:
        return Sheet(self.n, self.zoom)

    def count(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def place(self, quadrant: int | None = None, least: float = 0.10, most: float = 0.80) -> Points:
        """A point between two distances from the fovea, off the disc and inside the field."""
        for _ in range(50):
            angle = self.rng.uniform(0, 2 * np.pi) if quadrant is None else (quadrant + self.rng.random()) * np.pi / 2
            at = self.fovea + self.rng.uniform(least, most) * np.array([np.cos(angle), np.sin(angle)])
            if np.hypot(*(at - self.disc)) > 0.2 and np.hypot(*at) < 0.88 and abs(at[1]) < 0.78:
                return at
        return self.fovea + np.array([-0.3, 0.3])


def draw_lesions(grade: int, rng: np.random.Generator, fovea, disc, veins, n: int, zoom: float) -> _Eye:
    """Masks of n x n pixels for one eye of this grade; grade 0 has at most drusen, which are not retinopathy."""
    eye = _Eye(fovea, disc, n, zoom, rng)
    if rng.random() < 0.08:
        _drusen(eye)
    if grade >= 1:
        _haemorrhages(eye, grade)
    if grade >= 2:
        _exudates(eye, eye.count(0, 3))
        _cotton_wool(eye, eye.count(*{2: (-2, 1), 3: (1, 5), 4: (-1, 3)}[grade]))
    if grade == 4:
        _proliferation(eye, veins)
    return eye


def _drusen(eye: _Eye) -> None:
    """Age's own yellow dots near the macula: they look like exudates and mean nothing for the grade."""
    sheet = eye.sheet()
    for _ in range(eye.count(8, 30)):
        sheet.blot(eye.place(least=0.02, most=0.35), eye.rng.uniform(0.008, 0.018), eye.rng, strength=0.6)
    eye.pale.append((sheet.mask(blur=0.006), DRUSEN))


def _haemorrhages(eye: _Eye, grade: int) -> None:
    """Microaneurysms (points), dots and blots, and flames that follow the nerve fibres towards the disc."""
    rng, sheet = eye.rng, eye.sheet()
    for _ in range(eye.count(*((2, 7), (4, 13), (8, 24), (5, 18))[grade - 1])):
        radius = rng.uniform(0.009, 0.014)
        sheet.blot(eye.place(most=0.65), radius, rng, strength=rng.uniform(0.7, 1))
    if grade >= 2:
        for k in range(eye.count(*{2: (3, 10), 3: (16, 36), 4: (4, 24)}[grade])):
            at = eye.place(k % 4 if grade == 3 else None)
            far = at - eye.disc
            flame = np.hypot(*far) < 0.75 and rng.random() < 0.4
            radius = min(0.062, rng.gamma(3, 0.008) + 0.012)
            flat, tilt = rng.uniform(0.6, 1), rng.uniform(0, 3.1)
            if flame:
                flat, tilt = 0.35, float(np.arctan2(far[1], far[0]))
            sheet.blot(at, radius, rng, flat, tilt, rng.uniform(0.5, 0.95))
    age = rng.uniform(0.75, 1.05)
    eye.blood.append((sheet.mask(blur=0.005), (0.40 * age, 0.72 * age, 0.58 * age)))


def _exudates(eye: _Eye, clusters: int) -> None:
    """Hard exudates: sharp yellow grains in clusters, often in a ring round the leak."""
    rng, sheet = eye.rng, eye.sheet()
    for _ in range(clusters):
        centre = eye.place(least=0.12, most=0.5)
        spread, ring = rng.uniform(0.04, 0.11), rng.random() < 0.4
        for _ in range(eye.count(6, 24)):
            angle = rng.uniform(0, 2 * np.pi)
            far = spread * (rng.normal(1, 0.12) if ring else rng.rayleigh(0.6))
            at = centre + far * np.array([np.cos(angle), np.sin(angle)])
            sheet.blot(at, rng.gamma(4, 0.003) + 0.003, rng, rng.uniform(0.5, 1), rng.uniform(0, 3.1), 0.85)
    eye.pale.append((sheet.mask(), YELLOW))


def _cotton_wool(eye: _Eye, spots: int) -> None:
    sheet = eye.sheet()
    for _ in range(spots):
        at = eye.place(least=0.3)
        sheet.blot(at, eye.rng.uniform(0.03, 0.055), eye.rng, 0.6, eye.rng.uniform(0, 3.1), eye.rng.uniform(0.5, 0.85))
    if spots > 0:
        eye.pale.append((sheet.mask(blur=0.016), WHITE))


def _proliferation(eye: _Eye, veins) -> None:
    """New vessels at the disc or on a vein, blood in front of the retina, and often the scars of laser treatment."""
    rng = eye.rng
    if rng.random() < 0.4:
        _laser_scars(eye)
    tufts = eye.sheet()
    for k in range(eye.count(1, 3)):
        trunk = veins[int(rng.integers(len(veins)))][0]
        root = eye.disc + rng.normal(0, 0.05, 2) if k == 0 else trunk[len(trunk) // 2]
        if np.hypot(*root) < 0.85:
            for _ in range(int(rng.integers(8, 14))):  # fine vessels that curl back on themselves
                angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.6, 12))
                steps = 0.017 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
                tufts.thread(root + np.cumsum(steps, axis=0), rng.uniform(0.006, 0.011))
    eye.blood.append((tufts.mask(), (0.22, 0.55, 0.45)))
    if rng.random() < 0.6:
        pool, at, angle = eye.sheet(), eye.place(least=0.3, most=0.6), np.linspace(0, np.pi, 16)
        size = np.array([rng.uniform(0.09, 0.22), rng.uniform(0.06, 0.15)]) * outline(rng, 0.06, 16)[:, None]
        # it settles with a level top: a half-moon below a horizontal line
        pool.fill(at + size * np.stack([np.cos(angle), np.sin(angle)], axis=1), rng.uniform(0.75, 1))
        eye.blood.append((pool.mask(blur=0.008), (0.42, 0.78, 0.66)))
    if rng.random() < 0.35:
        veil = eye.sheet()
        for _ in range(3):
            veil.blot(eye.place(least=0.3), rng.uniform(0.10, 0.25), rng, rng.uniform(0.4, 1), rng.uniform(0, 3.1))
        eye.blood.append((veil.mask(blur=0.07), (0.38, 0.58, 0.5)))


def _laser_scars(eye: _Eye) -> None:
    """Panretinal photocoagulation: a jittered lattice of pale burns outside the arcades, older ones with pigment."""
    rng, pale, dark = eye.rng, eye.sheet(), eye.sheet()
    axis = np.arange(-0.95, 0.96, rng.uniform(0.11, 0.15))
    spots = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    spots = spots + rng.normal(0, 0.03, spots.shape)
    far = (np.hypot(*(spots - eye.fovea).T) > 0.5) & (np.hypot(*(spots - eye.disc).T) > 0.26)
    strength = rng.uniform(0.3, 0.6)
    for at in spots[far & (np.hypot(*spots.T) < 0.97) & (rng.random(len(spots)) < 0.75)]:
        radius = rng.uniform(0.02, 0.036)
        pale.blot(at, radius, rng, strength=strength * rng.uniform(0.5, 1))
        if rng.random() < 0.4:
            dark.blot(at, radius * 0.5, rng)
    eye.pale.insert(0, (pale.mask(blur=0.007), SCAR))
    eye.blood.append((dark.mask(blur=0.004), (0.45, 0.5, 0.5)))
