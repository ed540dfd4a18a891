"""Retinal vessels: they leave the disc in pairs, arch round the macula, branch and taper."""

import numpy as np

from labkit.data.phantoms.canvas import Plane, Points, Sheet

Vessel = tuple[Points, Points]  # points (k, 2) and widths (k,), in field radii


def _grow(start, heading: float, turn: float, length: float, width: float, winding: float, rng, steps: int) -> Vessel:
    """A vessel from `start`: `turn` (radians) is taken mostly early, as the arcades do; it tapers to less than half."""
    t = np.linspace(0, 1, steps)
    wander = (0.06 * winding * rng.standard_normal(steps)).cumsum()
    angle = heading + turn * (2 * t - t * t) + wander + 0.13 * winding * np.sin(t * 11 * length + rng.uniform(0, 6.3))
    points = np.empty((steps, 2))
    points[:, 0], points[:, 1] = np.cos(angle), np.sin(angle)
    points *= length / (steps - 1)
    points[0] = start
    return points.cumsum(axis=0), width * (1 - 0.6 * t)


def _branches(trunk: Vessel, count: int, length: float, winding: float, rng, fovea, depth: int = 1) -> list[Vessel]:
    """Daughters leaving a vessel to alternating sides and bending along with it; none runs into the macula."""
    points, widths = trunk
    last = len(points) - 2
    side = 1 if rng.random() < 0.5 else -1
    out = []
    for at in np.linspace(0, 1, count + 2)[1:-1] + rng.normal(-0.05, 0.05, count):
        k = int(min(max(at, 0.06), 0.95) * last)
        dx, dy = points[k + 1] - points[k]
        heading = float(np.arctan2(dy, dx)) + side * rng.uniform(0.5, 1.1)
        reach = length * rng.uniform(0.5, 1.4)
        bend = -side * rng.uniform(-0.2, 0.7)
        daughter = _grow(points[k], heading, bend, reach, widths[k] * rng.uniform(0.45, 0.7), winding, rng, 10)
        near = ((daughter[0] - fovea) ** 2).sum(axis=1) < 0.15**2
        if near.any():
            stop = max(2, int(near.argmax()))
            daughter = (daughter[0][:stop], daughter[1][:stop])
        out.append(daughter)
        if depth and reach > 0.25:
            out += _branches(daughter, 2, reach * 0.5, winding, rng, fovea, depth - 1)
        side = -side
    return out


def draw_vessels(fovea, disc, calibre: float, winding: float, rng: np.random.Generator) -> tuple[list, list]:
    """Veins and arteries: each two temporal arcades, two nasal trunks and two twigs to the macula, with branches."""
    kinds = []
    for width, lag in ((0.033 * calibre, 0.0), (0.024 * calibre, 0.14)):
        vessels: list[Vessel] = []
        for up in (-1, 1):
            root = disc + np.array([rng.normal(0, 0.012), up * 0.015])
            heading = up * (np.pi / 2 + rng.normal(lag - 0.05, 0.12))
            arcade = _grow(root, heading, up * rng.normal(1.75, 0.15), 1.7, width, winding, rng, 28)
            vessels += [arcade, *_branches(arcade, 6, 0.5, winding, rng, fovea)]
            away, bend = up * rng.uniform(0.5, 1.2), -up * rng.normal(0, 0.3)
            nasal = _grow(root, away, bend, 0.8, width * 0.75, winding, rng, 16)
            vessels += [nasal, *_branches(nasal, 3, 0.35, winding, rng, fovea, 0)]
            reach = max(0.1, disc[0] - fovea[0] - 0.22)
            vessels.append(_grow(disc, np.pi - up * 0.5, up * 0.5, reach, width * 0.4, winding, rng, 10))
        kinds.append(vessels)
    return kinds[0], kinds[1]


def beaded(vessel: Vessel, rng: np.random.Generator) -> Vessel:
    """The same vein with beading: its calibre swells and narrows, a sign that makes the grade severe."""
    points, widths = vessel
    return points, widths * (1.05 + 0.35 * np.sin(np.arange(len(widths)) * 1.9 + rng.uniform(0, 6.3)))


def vessel_mask(vessels: list[Vessel], n: int, zoom: float) -> Plane:
    """Coverage 0-1 of the vessels on n x n pixels."""
    sheet = Sheet(n, zoom)
    for points, widths in vessels:
        sheet.taper(points, widths)
    return sheet.mask()
