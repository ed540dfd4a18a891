"""What the phantoms are drawn with: smooth noise and bumps, random outlines, and masks from Pillow's pen."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.floating]  # (n, n) or broadcastable to it
Points = NDArray[np.floating]  # (k, 2), or (2,) for one point; x to the right, y down
FINER = 4  # masks are drawn at this many times the size and averaged, which smooths their edges


def grid(n: int, zoom: float = 1.0) -> tuple[Plane, Plane]:
    """Row x (1, n) and column y (n, 1) of pixel centres; the middle of the image is 0, its edge 1 / zoom."""
    axis = ((np.arange(n, dtype=np.float32) + 0.5) / n * 2 - 1) / np.float32(zoom)
    return axis[None, :], axis[:, None]


def bump(x: Plane, y: Plane, centre: Points, width: float, tall: float = 1.0) -> Plane:
    """Gaussian of height 1, as a product of a row and a column: one multiplication a pixel."""
    across = np.exp(-(((x - float(centre[0])) / width) ** 2) / 2)
    down = np.exp(-(((y - float(centre[1])) / (width * tall)) ** 2) / 2)
    return across * down


def clouds(rng: np.random.Generator, cells: int, n: int) -> Plane:
    """Smooth noise (n, n) with `cells` independent standard normal values across."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((n, n), Image.Resampling.BICUBIC))


def outline(rng: np.random.Generator, rough: float, points: int, waves: int = 6) -> NDArray[np.floating]:
    """Radius, about 1, at `points` equal angles of a closed curve; slow waves are the larger ones."""
    angle = np.arange(points) * (2 * np.pi / points)
    k = np.arange(2, 2 + waves)[:, None]
    height = rough * rng.standard_normal((waves, 1)) / (k - 1)
    return 1 + (height * np.cos(k * angle + rng.uniform(0, 2 * np.pi, (waves, 1)))).sum(axis=0)


class Sheet:
    """A mask of n x n pixels, drawn in the coordinates of `grid`, its whole image from -1/zoom to 1/zoom."""

    def __init__(self, n: int, zoom: float):
        self.scale, self.zoom = FINER * n / 2, zoom
        self.image = Image.new("L", (FINER * n, FINER * n))
        self.pen = ImageDraw.Draw(self.image)

    def pixels(self, points: Points) -> list[float]:
        """Points (n, 2) of the grid as Pillow's flat list x, y, x, y … in pixels of the finer image."""
        return ((points * self.zoom + 1) * self.scale).ravel().tolist()

    def fill(self, points: Points, strength: float = 1.0) -> None:
        """A polygon with these corners; `strength` 0 to 1 is its coverage."""
        self.pen.polygon(self.pixels(points), fill=round(255 * strength))

    def blot(
        self, at: Points, radius: float, rng: np.random.Generator, flat: float = 1.0, tilt: float = 0.0, strength=1.0
    ) -> None:
        """An uneven spot; `flat` below 1 makes it long in the direction `tilt` (radians)."""
        angle = np.arange(16) * (np.pi / 8)
        r = radius * outline(rng, 0.16, 16, 4)
        u, v = r * np.cos(angle) / np.sqrt(flat), r * np.sin(angle) * np.sqrt(flat)
        c, s = np.cos(tilt), np.sin(tilt)
        self.fill(at + np.stack([u * c - v * s, u * s + v * c], axis=1), strength)

    def thread(self, points: Points, width: float, strength: float = 1.0) -> None:
        """A line through these points, `width` in the grid's units, at least a pixel wide."""
        thick = max(1, round(width * self.zoom * self.scale))
        self.pen.line(self.pixels(points), fill=round(255 * strength), width=thick, joint="curve")

    def taper(self, points: Points, widths: Points) -> None:
        """A thread whose width changes at every second point."""
        pixels = self.pixels(points)
        thick = (widths * self.zoom * self.scale).tolist()
        for k in range(0, len(points) - 1, 2):
            self.pen.line(pixels[2 * k : 2 * k + 6], fill=255, width=max(1, round(thick[k])), joint="curve")

    def mask(self, blur: float = 0.0) -> Plane:
        """Coverage 0-1, blurred by a Gaussian of this width (in the grid's units)."""
        small = self.image.reduce(FINER)
        if blur:
            small = small.filter(ImageFilter.GaussianBlur(blur * self.zoom * self.scale / FINER))
        return np.asarray(small, dtype=np.float32) / 255
