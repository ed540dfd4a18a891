"""Random flips, crops and rotations on uint8, and the step from uint8 to what a network reads.

Draws are keyed by (seed, epoch, image): a result does not depend on workers, prefetching or on where a run was resumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from PIL import Image

from labkit.format import listing
from labkit.params import ExploreParams, RunParams

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training images, as torchvision's weights expect
IMAGENET_STD = (0.229, 0.224, 0.225)
STATISTICS = {  # mean and deviation of pixels in [0, 1]
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "unit": ((0.0,) * 3, (1.0,) * 3),
    "twice": ((0.0,) * 3, (255.0,) * 3),  # one report's Normalize(0, 255) of pixels that ToTensor had divided by 255
}


# Uniform numbers an image and epoch: place of the crop (two), mirror, upside down, rotation.
DRAWS = 5


@dataclass(frozen=True)
class Augment:
    """What happens to a training image: one affine map for each, by Pillow here or by :func:`warp` on a GPU.

    ``rotation`` in degrees, as torchvision's RandomRotation takes it: a number for ± that many, or [from, to].
    """

    crop_size: int
    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float | Sequence[float] = 0.0
    seed: int = 0

    @classmethod
    def of(cls, params: RunParams | ExploreParams) -> Self:
        """As the parameters of the same names say; what these parameters do not have stays as it is by default."""
        named = {name: getattr(params, name) for name in cls.__dataclass_fields__ if hasattr(params, name)}
        return cls(**{**named, "crop_size": params.crop_size or params.image_size})

    def in_words(self) -> str:
        """`mirrored left to right or rotated by up to 20° at random`: what training does to an image."""
        if isinstance(self.rotation, Sequence):
            rotated = f"rotated by {self.rotation[0]:g} to {self.rotation[1]:g}°" if any(self.rotation) else ""
        else:
            rotated = f"rotated by up to {self.rotation:g}° either way" if self.rotation else ""
        flips = ["mirrored left to right"] * self.horizontal_flip + ["mirrored top to bottom"] * self.vertical_flip
        changes = [*flips, *([rotated] if rotated else [])]
        return f"{listing(changes, 'or')} at random" if changes else "neither flipped nor rotated"

    def draws(self, epoch: int, count: int, rows: np.ndarray) -> np.ndarray:
        """Uniform numbers (len(rows), DRAWS) of these rows of a data set of ``count`` images in this epoch."""
        return _epoch_draws(self.seed, epoch, count)[rows]

    def angles(self, draws: np.ndarray) -> np.ndarray:
        """Degrees (n,), uniform in ± ``rotation`` or from its first number to its second."""
        low, high = self.rotation if isinstance(self.rotation, Sequence) else (-self.rotation, self.rotation)
        return low + draws[:, 4] * (high - low)

    def _corners_and_flips(self, draws: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
        """Row and column (n,) where the crops begin, and which of them are turned upside down and mirrored."""
        top, left = (draws[:, :2] * (np.array([height, width]) - self.crop_size + 1)).astype(np.int64).T
        return top, left, (draws[:, 3] < 0.5) & self.vertical_flip, (draws[:, 2] < 0.5) & self.horizontal_flip

    def maps(self, draws: np.ndarray, height: int, width: int) -> np.ndarray:
        """Affine maps (n, 6) from a place (x, y) in the crop to its place in the image (H, W), as Pillow takes them.

        In them the image is rotated about its middle, cropped, turned upside down and mirrored, in this order: places
        of the crop (a b c; d e f) lie at (a x + b y + c, d x + e y + f). Rounded as Pillow's ``rotate`` rounds.
        """
        top, left, turned, mirrored = self._corners_and_flips(draws, height, width)
        radians = -np.deg2rad(self.angles(draws) % 360)
        cos, sin = np.cos(radians).round(15), np.sin(radians).round(15)
        across = left + self.crop_size * mirrored - width / 2  # of the crop's first corner, from the middle
        down = top + self.crop_size * turned - height / 2
        x, y = 1 - 2 * mirrored, 1 - 2 * turned
        place = cos * across + sin * down + width / 2, cos * down - sin * across + height / 2
        return np.stack([cos * x, sin * y, place[0], -sin * x, cos * y, place[1]], axis=1)

    def __call__(self, images: list[np.ndarray], draws: np.ndarray) -> np.ndarray:
        """(B, crop, crop, 3) uint8 from B images of one size (H, W, 3) uint8.

        Each pixel is the nearest one, as torchvision's RandomRotation takes it by default; what lies outside is black.
        """
        size = self.crop_size, self.crop_size
        height, width = images[0].shape[:2] if images else size
        batch = np.empty((len(images), *size, 3), np.uint8)
        if self.rotation:
            for out, image, matrix in zip(batch, images, self.maps(draws, height, width).tolist(), strict=True):
                out[...] = np.asarray(Image.fromarray(image).transform(size, Image.Transform.AFFINE, matrix))
        else:
            placed = zip(*self._corners_and_flips(draws, height, width), strict=True)
            for out, image, (y, x, turned, mirrored) in zip(batch, images, placed, strict=True):
                window = image[y : y + size[0], x : x + size[1]]
                out[...] = window[::-1] if turned else window
                if mirrored:
                    pixels = torch.from_numpy(out)  # NumPy mirrors pixel by pixel, fifteen times as slowly
                    pixels.copy_(pixels.flip(1))
        return batch


@lru_cache(maxsize=2)
def _epoch_draws(seed: int, epoch: int, count: int) -> np.ndarray:
    """Philox is keyed, so an epoch needs no state from the epochs before; more DRAWS do not change the first five."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return np.hstack([generator.random((count, 5)), generator.random((count, DRAWS - 5))])


def centre_crop(images: np.ndarray, crop: int) -> np.ndarray:
    """(B, crop, crop, 3) from (B, H, W, 3), the middle."""
    top, left = (images.shape[1] - crop) // 2, (images.shape[2] - crop) // 2
    return images[:, top : top + crop, left : left + crop]


def to_float(images: torch.Tensor, normalize: str) -> torch.Tensor:
    """Normalised float32 (B, 3, H, W), channels last in memory, from uint8 (B, H, W, 3), on the images' device."""
    mean, std = _statistics_of_a_row(normalize, images.shape[2], images.device)
    rows = images.flatten(2).to(torch.float32, memory_format=torch.contiguous_format)
    return rows.sub_(mean).div_(std).view(images.shape).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _statistics_of_a_row(normalize: str, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (width · 3,) of a row, for vector instructions; kept, since a copy takes time in each step."""
    with torch.inference_mode(False):  # what inference mode makes, training could not use
        mean, std = (torch.tensor(values, device=device) * 255 for values in STATISTICS[normalize])
        return mean.repeat(width), std.repeat(width)


def fixed_point(maps: np.ndarray) -> np.ndarray:
    """Affine maps (n, 6) int32 in 65,536ths of a pixel, from the middle of the first pixel, as Pillow makes them."""
    maps = maps.copy()
    maps[:, 2::3] += maps[:, 0::3] * 0.5 + maps[:, 1::3] * 0.5
    return np.floor(maps * 65536 + 0.5).astype(np.int32)


def warp(images: torch.Tensor, maps: torch.Tensor, crop: int) -> torch.Tensor:
    """(B, crop, crop, 3) of whole images (B, H, W, 3) uint8 by maps from `fixed_point`; for a GPU.

    In whole numbers, so the pixels are those of Pillow, on every device. On a CPU Pillow is many times as fast.
    """
    height, width = images.shape[1:3]
    x = torch.arange(crop, dtype=torch.int32, device=images.device)
    y, (a, b, c, d, e, f) = x[:, None], maps[:, :, None, None].unbind(1)
    column, row = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1).to(torch.int64)
    pixels = images.flatten(1, 2).gather(1, place[:, :, None].expand(-1, -1, 3))
    return pixels.view(*inside.shape, 3) * inside[..., None]
