"""A run's own test images, and its network, for the figures that look at single answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.data.augment import centre_crop
from labkit.data.source import open_data
from labkit.data.store import Store, build_store
from labkit.evaluation.subgroups import brightness_and_sharpness
from labkit.params import RunParams
from labkit.runs.folder import cache_root


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
