"""Testing saved checkpoints: every finished run of a study is loaded and predicts its images again."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from labkit.data.loaders import EpochLoader, make_loaders
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation.decide import decide
from labkit.evaluation.ordinal import grade_cuts
from labkit.models.build import load_trained
from labkit.params import ParameterError, RunParams
from labkit.runs.files import read_json
from labkit.runs.folder import cache_root, read_params, read_predictions
from labkit.studies.file import SMALL
from labkit.studies.find import run_folders
from labkit.training.device import set_up
from labkit.training.predict import output_columns, predict
from labkit.training.progress import interactive

# What logits of the same weights may differ by on another machine, device or number of threads. bf16 and fp16 round
# every layer's output, so that a run which predicted in them differs by more from one that predicts in fp32.
TOLERANCE = {"fp32": 1e-3}
ROUNDED = 0.1


@dataclass(frozen=True)
class Retest:
    """What a run's saved weights answer now, beside what its ``predictions.csv`` says they answered."""

    name: str
    split: str
    now: pd.DataFrame  # rows of a predictions table, decided
    kept: pd.DataFrame  # those of predictions.csv, in the same order, decided by the same cuts
    outputs: list[str]  # columns: logit_0 …, or grade
    tolerance: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of this split's images that the saved weights answer correctly now."""
        return np.count_nonzero(self.now["prediction"] == self.now["label"]) / len(self.now)

    @property
    def difference(self) -> float:
        """Largest difference of a logit (or a grade) from the one that was kept."""
        now, kept = (table[self.outputs].to_numpy(np.float32) for table in (self.now, self.kept))
        return float(np.abs(now - kept).max())

    @property
    def same(self) -> bool:
        """Whether no output differs by `tolerance` or more from the one that was kept."""
        return self.difference < self.tolerance

    def __str__(self) -> str:
        head = f"{self.name}: accuracy {self.accuracy:.4f} on {len(self.now):,} {self.split} images"
        what = self.outputs[0].partition("_")[0]
        if self.difference == 0:
            kept = f"the very {what}s that were kept"
        elif self.same:
            kept = f"as kept, but for {self.difference:.0e} in a {what}"
        else:
            changed = np.count_nonzero(self.now["prediction"] != self.kept["prediction"])
            kept = f"NOT as kept: {what}s differ by up to {self.difference:.1g}, {changed:,} answers with them"
        return f"{head}, {self.seconds:.0f} s; {kept}"


def retest(study: str, only: Sequence[str] = ("*",), split: str = "test", data: str | None = None) -> Iterator[Retest]:
    """Every finished run whose name matches a pattern of ``only``; ``data``: where its images lie now.

    No choice depends on it and it repeats answers that are known, so it does not count as another look at test. Raises
    ParameterError where no such run is finished, or where a run's images are not all there.
    """
    folders = run_folders(study)
    chosen = [any(fnmatch(run, pattern) for pattern in only) for run in folders["run"]]
    finished = folders.loc[np.array(chosen, bool) & (folders["state"] == "finished").to_numpy(bool)]
    if finished.empty:
        which = "" if "*" in only else f" called {' or '.join(only)}"
        small = "" if run_folders(study + SMALL).empty else f"; its small form is the study {study + SMALL}"
        raise ParameterError(f"study {study}: no run{which} is finished, so there is nothing to test{small}")
    for folder in finished["folder"]:
        kept = decide(read_predictions(folder), len(read_json(folder / "run.json")["classes"]))
        kept = kept.loc[(kept["split"] == split) & kept["label"].notna()]
        if kept.empty:
            print(f"{folder.name}: it has no labelled {split} image", flush=True)
        else:
            yield _retest(folder, kept, split, data)


def _retest(folder: Path, kept: pd.DataFrame, split: str, data: str | None) -> Retest:
    params = read_params(folder).model_copy(update={"data": data} if data else {})
    manifest = read_json(folder / "run.json")
    n_classes = len(manifest["classes"])
    accelerator = set_up(params.model_copy(update={"num_processes": 1}))
    loader, ids = _loader(params, split, accelerator.device.type)
    if ids != kept["image_id"].tolist():
        raise ParameterError(
            f"{folder.name} was tested on {len(kept):,} images, {params.data} now has {len(ids):,} others"
        )
    model = load_trained(folder)
    model = accelerator.prepare_model(model.to(memory_format=torch.channels_last), evaluation_mode=True)  # as in fit
    started = time.monotonic()
    outputs = output_columns(predict(model, _with_bar(loader, folder.name), params.normalize))
    seconds = time.monotonic() - started
    now = kept.reset_index(drop=True)
    now[outputs.columns] = outputs
    cuts = grade_cuts(read_predictions(folder), n_classes) if params.loss == "ordinal" else None
    return Retest(
        name=folder.name,
        split=split,
        now=decide(now, cuts=cuts),
        kept=kept.reset_index(drop=True),
        outputs=list(outputs.columns),
        tolerance=TOLERANCE.get(manifest["precision"], ROUNDED),
        seconds=seconds,
    )


def _loader(params: RunParams, split: str, device: str) -> tuple[EpochLoader, list[str]]:
    """The run's images of one split, prepared as it prepared them, with their ids."""
    images, hashes = open_data(params.dataset, params.data, cache_root())
    store = build_store(images.table, hashes, params.image_size, cache_root())
    table = assign_splits(
        store.keep_readable(images.table),
        hashes=hashes,
        **params.split_rule,
    )
    table = table.loc[table["split"] == split]
    if table.empty:
        raise ParameterError(f"{params.data} has no {split} image")
    loader = make_loaders(table, store, params, device)[split]
    loader.set_epoch(0)  # as the run predicted; matters under augment_test only
    return loader, table["image_id"].tolist()


def _with_bar(loader: EpochLoader, name: str) -> Iterable:
    return tqdm(loader, desc=name, unit="batch", leave=False, disable=not interactive())
