"""From the image table and the store to batches: a torch Dataset and DataLoader whose workers need no state."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from labkit.data.augment import Augment, centre_crop, fixed_point
from labkit.data.store import Store
from labkit.params import ExploreParams, ParameterError, RunParams

# images (B, H, W, 3) uint8, labels (B,) int64 (-1: none), index (B,) int64; of images that the device is to warp,
# maps (B, 6) int32
Batch = dict[str, torch.Tensor]
DECIDE_BATCHES = {"seed", "batch_size", "sampling", "num_processes", "num_workers"}
DECIDE_BATCHES |= ExploreParams.model_fields.keys() - {"study", "select_on"}


class StoreDataset(Dataset):
    """Images of one split. Its keys are (epoch, index) pairs, so that draws need no state in the workers."""

    def __init__(
        self, table: pd.DataFrame, store: Store, crop_size: int, augment: Augment | None = None, whole: bool = False
    ):
        self.store, self.crop_size, self.augment = store, crop_size, augment
        self.rows = np.array([store.rows[name] for name in table["image_id"]], np.int64)
        self.labels = table["label"].fillna(-1).to_numpy(np.int64)
        self.whole = whole  # images with the maps that augment them, to be warped by the device
        self._images: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict:
        """Workers open the memory map themselves: pickled, it would be copied whole."""
        return self.__dict__ | {"_images": None}

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        """A whole batch at once, in the order of the keys, which are all of one epoch."""
        if self._images is None:
            self._images = np.asarray(self.store.images)  # the same map, without memmap's dear indexing
        index = np.array([key[1] for key in keys], np.int64)
        rows = self.rows[index]
        batch = {"labels": self.labels[index], "index": index}
        if self.augment is None:
            images = centre_crop(self._images, self.crop_size)[rows]
        else:
            draws = self.augment.draws(keys[0][0] if keys else 0, len(self), index)
            images = self._images[rows] if self.whole else self.augment([self._images[row] for row in rows], draws)
            if self.whole:
                batch["maps"] = fixed_point(self.augment.maps(draws, *images.shape[1:3]))
        batch["images"] = np.ascontiguousarray(images)
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class EpochBatches(Sampler):
    """Batches of (epoch, index) keys, shuffled by (seed, epoch) if there is a seed; ``first``: how many to skip.

    Of ``count`` processes each gets every count-th key of a batch, so maybe none.
    """

    epoch, first, process, count = 0, 0, 0, 1

    def __init__(self, images: int, size: int, seed: int | None, drop_last: bool):
        self.images, self.size, self.seed, self.drop_last = images, size, seed, drop_last

    def __len__(self) -> int:
        return self.images // self.size if self.drop_last else -(-self.images // self.size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.arange(self.images)
        if self.seed is not None:
            np.random.Generator(np.random.Philox(key=[self.seed, 2**32 + self.epoch])).shuffle(order)
        for number in range(self.first, len(self)):
            whole = order[number * self.size : (number + 1) * self.size]
            yield [(self.epoch, int(index)) for index in whole[self.process :: self.count]]


class EpochLoader(DataLoader):
    """A DataLoader that knows its epoch; ``set_epoch`` before each pass decides order and draws."""

    dataset: StoreDataset
    batch_sampler: EpochBatches
    made_from: dict[str, Any]  # parameters that decided its batches

    def __init__(
        self, dataset: StoreDataset, size: int, seed: int | None, num_workers: int, drop_last: bool, device: str
    ):
        self.ahead = device != "cpu" and num_workers == 0
        super().__init__(
            dataset,
            batch_sampler=cast(Any, EpochBatches(len(dataset), size, seed, drop_last)),
            collate_fn=_whole,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device == "cuda" and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),  # its own, so that workers do not shift the global one
        )

    def __iter__(self) -> Any:
        """Batches, gathered ahead by a thread where another device trains. ParameterError: too little shared memory."""
        try:
            yield from ahead(super().__iter__()) if self.ahead else super().__iter__()
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            cure = "set num_workers to 0, or give the container more of it (docker run --shm-size=8g)"
            small = f"num_workers: got {self.num_workers}, but /dev/shm is too small for their batches"
            raise ParameterError(f"{small}; {cure}") from None

    def restart(self, process: int = 0, count: int = 1) -> None:
        """Begin anew, as one of ``count`` processes; with new workers: an interrupt has ended those that it cut off."""
        self._iterator = None
        self.batch_sampler.process, self.batch_sampler.count = process, count

    @property
    def labels(self) -> np.ndarray:
        """(n,) int64, -1 where there is none: in the table's order, and as drawn in an epoch if it is oversampled."""
        return self.dataset.labels

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """The next pass is of this epoch (training counts from 1) and begins at its batch ``first_step``."""
        self.batch_sampler.epoch, self.batch_sampler.first = epoch, first_step


def _whole(batch: Any) -> Batch:
    """The batch as it is. A worker shares its memory here: an error in the thread that sends it would be lost."""
    in_worker = torch.utils.data.get_worker_info() is not None
    return {name: values.share_memory_() for name, values in batch.items()} if in_worker else batch


def ahead(batches: Iterator[Batch], count: int = 2) -> Iterator[Batch]:
    """The same batches in the same order, up to ``count`` of them gathered by a thread before they are asked for.

    A gather of bytes happens outside Python's lock and keeps up with a GPU (7,000 images/s a core at 480 px), without
    processes to start. On a CPU the thread would take its core from training.
    """
    end: Batch = {}
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        pending = deque(thread.submit(next, batches, end) for _ in range(count))
        while (batch := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, batches, end))
            yield batch


def evaluation_batch(params: RunParams, device: str) -> int:
    """Images a batch where nothing is learnt: without gradients memory holds more of them, and a GPU wants many."""
    return max(64 if device == "cpu" else 256, params.batch_size)


def make_loaders(table: pd.DataFrame, store: Store, params: RunParams, device: str = "cpu") -> dict[str, EpochLoader]:
    """Loaders of the table's splits (of train, val, test, unlabeled); only ``train`` is shuffled and oversampled.

    The other splits are augmented under ``augment_test`` alone, in every epoch anew. A last batch of one image, or
    of less than two for each process, is dropped in training: BatchNorm has no variance of one.
    """
    loaders = {}
    for split, part in table.groupby("split", sort=False):
        train = split == "train"
        part = part.reset_index(drop=True)
        if train and params.sampling == "oversample":
            part = oversampled(part, params.seed)
        augment = Augment.of(params) if train or params.augment_test else None
        on_device = train and device != "cpu" and bool(params.rotation)  # crops and flips alone are a gather of bytes
        dataset = StoreDataset(part, store, params.input_size, augment, on_device)
        size, seed = (params.batch_size, params.seed) if train else (evaluation_batch(params, device), None)
        drop_last = train and 0 < len(part) % size < 2 * params.num_processes
        loader = loaders[str(split)] = EpochLoader(dataset, size, seed, params.num_workers, drop_last, device)
        loader.made_from = params.model_dump(include=DECIDE_BATCHES) | {"image_size": store.size}
        loader.made_from |= table.attrs.get("made_from", {})
    return loaders


def oversampled(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The labelled table and, below it, rows of it again, each equally often, until all classes are as frequent."""
    labels = table["label"].to_numpy(np.int64)
    wanted = np.bincount(labels).max()
    draw = np.random.Generator(np.random.Philox(key=[seed, 2**33]))
    chosen = [np.arange(len(labels))]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        times, rest = divmod(wanted - len(rows), len(rows))
        chosen += [np.tile(rows, times), draw.choice(rows, rest, replace=False)]
    return table.iloc[np.concatenate(chosen)].reset_index(drop=True)
