"""Random flips, crops and rotations on uint8, and the step from uint8 to what a network reads.

Draws are keyed by (seed, epoch, image): a result does not depend on workers, prefetching or on where a run was resumed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

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
    """What happens to a training image; ``rotate_batches`` leaves the rotation to :func:`rotate` on a GPU.

    ``rotation`` in degrees, as torchvision's RandomRotation takes it: a number for ± that many, or [from, to].
    """

    crop_size: int
    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float | Sequence[float] = 0.0
    seed: int = 0
    rotate_batches: bool = False

    @classmethod
    def of(cls, params: RunParams | ExploreParams, *, rotate_batches: bool = False) -> Self:
        """As the parameters of the same names say; what these parameters do not have stays as it is by default."""
        named = {name: getattr(params, name) for name in cls.__dataclass_fields__ if hasattr(params, name)}
        return cls(**(named | {"crop_size": params.crop_size or params.image_size, "rotate_batches": rotate_batches}))

    def in_words(self) -> str:
        """`mirrored, turned upside down or rotated by up to 20° at random`: what training does to an image."""
        if isinstance(self.rotation, Sequence):
            rotated = f"rotated by {self.rotation[0]:g} to {self.rotation[1]:g}°" if any(self.rotation) else ""
        else:
            rotated = f"rotated by up to {self.rotation:g}° either way" if self.rotation else ""
        flips = ["mirrored"] * self.horizontal_flip + ["turned upside down"] * self.vertical_flip
        changes = [*flips, *([rotated] if rotated else [])]
        first = f"{', '.join(changes[:-1])} or {changes[-1]}" if len(changes) > 1 else "".join(changes)
        return f"{first} at random" if changes else "neither flipped nor rotated"

    def draws(self, epoch: int, count: int, rows: np.ndarray) -> np.ndarray:
        """Uniform numbers (len(rows), DRAWS) of these rows of a data set of ``count`` images in this epoch."""
        return _epoch_draws(self.seed, epoch, count)[rows]

    def angles(self, draws: np.ndarray) -> np.ndarray:
        """Degrees (n,) float32, uniform in ± ``rotation`` or from its first number to its second."""
        if isinstance(self.rotation, Sequence):
            low, high = self.rotation
            return (low + draws[:, 4] * (high - low)).astype(np.float32)
        return ((2 * draws[:, 4] - 1) * self.rotation).astype(np.float32)

    def __call__(self, images: list[np.ndarray], draws: np.ndarray) -> np.ndarray:
        """(B, crop, crop, 3) uint8 from B images (H, W, 3) uint8."""
        crop = self.crop_size
        batch = np.empty((len(images), crop, crop, 3), np.uint8)
        for out, image, draw, angle in zip(batch, images, draws, self.angles(draws), strict=True):
            top, left, mirror, turn = draw[:4]
            y = int(top * (image.shape[0] - crop + 1))
            x = int(left * (image.shape[1] - crop + 1))
            if self.rotation and not self.rotate_batches:
                window = rotated_window(image, float(angle), y, x, crop)
            else:
                window = image[y : y + crop, x : x + crop]
            out[...] = window[::-1] if self.vertical_flip and turn < 0.5 else window
            if self.horizontal_flip and mirror < 0.5:
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


def rotated_window(image: np.ndarray, angle: float, y: int, x: int, crop: int) -> np.ndarray:
    """(crop, crop, 3) of an image (H, W, 3) uint8 rotated by degrees as Pillow does, from row y and column x.

    The pixels of rotating the whole image and cropping it, but only these are computed. Each is the nearest one, as
    torchvision's RandomRotation takes it by default and the reports did: a fifth of the time of interpolating.
    """
    height, width = image.shape[:2]
    radians = -math.radians(angle % 360)
    cos, sin = round(math.cos(radians), 15), round(math.sin(radians), 15)  # rounded as Pillow rounds them
    across, down = x - width / 2, y - height / 2  # of the window's corner, from the centre of rotation
    matrix = (cos, sin, cos * across + sin * down + width / 2, -sin, cos, cos * down - sin * across + height / 2)
    whole = Image.fromarray(image)
    turned = whole.transform((crop, crop), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    return np.asarray(turned)


def to_float(images: torch.Tensor, normalize: str) -> torch.Tensor:
    """Normalised float32 (B, 3, H, W), channels last in memory, from uint8 (B, H, W, 3), on the images' device."""
    mean, std = _statistics_of_a_row(normalize, images.shape[2], images.device)
    rows = images.flatten(2).to(torch.float32, memory_format=torch.contiguous_format)
    return rows.sub_(mean).div_(std).view(images.shape).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _statistics_of_a_row(normalize: str, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (width · 3,) of a row of pixels: vector instructions find no hold in threes.

    Kept, since made anew they would be copied to the device, and waited for, in every step.
    """
    with torch.inference_mode(False):  # what inference mode makes, training could not use
        mean, std = (torch.tensor(values, device=device) * 255 for values in STATISTICS[normalize])
        return mean.repeat(width), std.repeat(width)


def rotate(images: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate uint8 (B, H, W, 3) by degrees (B,), counter-clockwise as Pillow does, to the nearest pixel; for a GPU.

    On a CPU Pillow is many times as fast, which is why Augment rotates there itself.
    """
    radians = torch.deg2rad(angles)
    cos, sin, zero = torch.cos(radians), torch.sin(radians), torch.zeros_like(radians)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    planes = images.permute(0, 3, 1, 2).to(torch.float32)
    grid = functional.affine_grid(matrix, list(planes.shape), align_corners=False)
    turned = functional.grid_sample(planes, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return turned.to(torch.uint8).permute(0, 2, 3, 1)
