"""A run's own test images, and its network, for the figures that look at single answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from labkit.data.augment import centre_crop
from labkit.data.source import open_data
from labkit.data.store import Store, build_store
from labkit.evaluation.gradcam import agreement, grad_cam
from labkit.evaluation.subgroups import brightness_and_sharpness
from labkit.models.build import build_model, load_trained
from labkit.params import RunParams
from labkit.runs.folder import cache_root, read_params

UNTRAINED = 3  # networks of random weights that a trained one is compared with: one alone may agree by chance


@dataclass(frozen=True)
class Pixels:
    """The store of one run's images, cut as its network saw them."""

    params: RunParams
    store: Store

    def of(self, image_ids: Sequence[str]) -> np.ndarray:
        """uint8 (n, S, S, 3), in this order; KeyError names an image that is not there any more."""
        images = self.store.images[[self.store.rows[name] for name in image_ids]]
        return centre_crop(images, self.params.input_size)

    def quality(self, image_ids: Sequence[str]) -> pd.DataFrame:
        """Columns brightness and sharpness, indexed by image_id; read one by one, so that any number fits."""
        return brightness_and_sharpness(self._each(image_ids)).set_index(pd.Index(image_ids, name="image_id"))

    def _each(self, image_ids: Sequence[str]) -> Iterator[np.ndarray]:
        images = self.store.images
        for name in image_ids:
            yield centre_crop(images[self.store.rows[name]][None], self.params.input_size)[0]


def open_pixels(params: RunParams) -> Pixels:
    """Raises DataError where the data cannot be read any more."""
    images, hashes = open_data(params.dataset, params.data, cache_root())
    return Pixels(params, build_store(images.table, hashes, params.image_size, cache_root()))


def load_networks(folder: Path, n_classes: int) -> Iterator[nn.Module]:
    """A finished run's network on the CPU, and then UNTRAINED ones of the same build whose weights are random."""
    yield load_trained(folder)
    params = read_params(folder)
    design = {"deviation": params.deviation, "image_size": params.input_size}
    for seed in range(params.seed + 1, params.seed + 1 + UNTRAINED):
        yield build_model(params.arch, params.outputs(n_classes), seed=seed, **design)


def gaze(folder: Path, pixels: Pixels, rows: pd.DataFrame, n_classes: int) -> tuple[np.ndarray, float]:
    """Grad-CAM of each row's prediction (n, h, w), and how far networks of random weights draw the same maps."""
    images, answers = pixels.of(rows["image_id"].tolist()), rows["prediction"].to_numpy(np.int64)
    networks = load_networks(folder, n_classes)
    trained, *untrained = (grad_cam(model, images, answers, pixels.params.normalize) for model in networks)
    return trained, float(np.mean([agreement(trained, maps) for maps in untrained]))
