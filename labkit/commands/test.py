"""``labkit test``: load the weights of a study's finished runs, predict their images again and compare.

Exit code 1 if predictions changed.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from labkit.data.loaders import EpochLoader, make_loaders
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation.decide import decide
from labkit.models.build import load_trained
from labkit.params import ParameterError, RunParams
from labkit.runs.files import read_json
from labkit.runs.folder import cache_root, read_params, read_predictions
from labkit.studies.file import SMALL
from labkit.studies.find import run_folders
from labkit.training.device import set_up
from labkit.training.predict import output_columns, predict, prepare
from labkit.training.progress import interactive

EXAMPLE = "labkit test demo --split test"
# How far logits of the same weights may differ on another machine, device or number of threads. bf16 and fp16 round
# every layer's output, so a run that predicted in them differs more from one that predicts in fp32.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.1}


@dataclass(frozen=True)
class Retest:
    """What a run's saved weights predict now, compared with its ``predictions.csv``."""

    name: str
    split: str
    now: pd.DataFrame  # rows of a predictions table, decided
    kept: pd.DataFrame  # those of predictions.csv, in the same order, decided by the same cuts
    outputs: list[str]  # columns: logit_0 …, or grade
    tolerance: float
    seconds: float

    @property
    def difference(self) -> float:
        """Largest difference of a logit (or a grade) from the saved one."""
        now, kept = (table[self.outputs].to_numpy(np.float32) for table in (self.now, self.kept))
        return float(np.abs(now - kept).max())

    @property
    def same(self) -> bool:
        """Whether no output differs by `tolerance` or more from the saved one."""
        return self.difference < self.tolerance

    def __str__(self) -> str:
        accuracy = np.count_nonzero(self.now["prediction"] == self.now["label"]) / len(self.now)
        head = f"{self.name}: accuracy {accuracy:.4f} on {len(self.now):,} {self.split} images"
        what = self.outputs[0].partition("_")[0]
        if self.difference == 0:
            result = f"{what}s identical to predictions.csv"
        elif self.same:
            result = f"matches predictions.csv, {what}s within {self.difference:.0e}"
        else:
            changed = np.count_nonzero(self.now["prediction"] != self.kept["prediction"])
            result = f"MISMATCH: {what}s differ by up to {self.difference:.1g}, {changed:,} predictions changed"
        return f"{head}, {self.seconds:.0f} s; {result}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, on which images."""
    parser.add_argument("study", help="a study whose runs are finished")
    parser.add_argument("--data", help="where the images are now, if they were moved")
    parser.add_argument("--split", choices=["test", "val"], default="test", help="images to predict (default: test)")
    parser.add_argument("--runs", nargs="+", default=["*"], metavar="RUN", help="only these, such as 'resnet18*'")


def main(arguments: argparse.Namespace) -> int:
    """1 if the predictions of a run changed."""
    same = True
    for result in retest(arguments.study, arguments.runs, arguments.split, arguments.data):
        print(result, flush=True)
        same &= result.same
    return 0 if same else 1


def retest(study: str, only: Sequence[str] = ("*",), split: str = "test", data: str | None = None) -> Iterator[Retest]:
    """Every finished run whose name matches a pattern of ``only``; ``data``: where its images are now.

    It repeats known predictions and no choice depends on it, so it does not count as another look at test. Raises
    ParameterError if no such run is finished, or if a run's images have changed.
    """
    folders = run_folders(study)
    chosen = [any(fnmatch(run, pattern) for pattern in only) for run in folders["run"]]
    finished = folders.loc[np.array(chosen, bool) & (folders["state"] == "finished")]
    if finished.empty:
        which = "" if "*" in only else f" called {' or '.join(only)}"
        small = "" if run_folders(study + SMALL).empty else f"; its small form is the study {study + SMALL}"
        raise ParameterError(f"study {study}: no run{which} is finished, so there is nothing to test{small}")
    for folder in finished["folder"]:
        kept = read_predictions(folder)
        if split not in set(kept.dropna(subset=["label"])["split"]):
            print(f"{folder.name}: it has no labelled {split} image", flush=True)
        else:
            yield _retest(folder, kept, split, data)


def _retest(folder: Path, predictions: pd.DataFrame, split: str, data: str | None) -> Retest:
    params = read_params(folder).model_copy(update={"data": data} if data else {})
    manifest = read_json(folder / "run.json")
    accelerator = set_up(params.model_copy(update={"num_processes": 1}))
    loader, ids = _loader(params, split, accelerator.device.type)
    loader.set_epoch(manifest.get("best_epoch", 0))  # as the run predicted; matters under augment_test only
    wanted = (predictions["split"] == split) & predictions["label"].notna()
    kept = decide(predictions, len(manifest["classes"])).loc[wanted].reset_index(drop=True)
    if ids != kept["image_id"].tolist():
        raise ParameterError(
            f"{folder.name} was tested on {len(kept):,} images; {params.data} now has {len(ids):,}, not the same ones"
        )
    model = prepare(accelerator, load_trained(folder))
    started = time.monotonic()
    bar = tqdm(loader, desc=folder.name, unit="batch", leave=False, disable=not interactive())
    outputs = output_columns(predict(model, bar, params.normalize))
    seconds = time.monotonic() - started
    now = predictions.copy()
    now.loc[wanted, outputs.columns] = outputs.to_numpy(np.float64)
    now = decide(now, len(manifest["classes"])).loc[wanted].reset_index(drop=True)
    return Retest(
        name=folder.name,
        split=split,
        now=now,
        kept=kept,
        outputs=list(outputs.columns),
        tolerance=TOLERANCE[manifest["precision"]],
        seconds=seconds,
    )


def _loader(params: RunParams, split: str, device: str) -> tuple[EpochLoader, list[str]]:
    """The run's images of one split, prepared as it prepared them, with their ids."""
    images, hashes = open_data(params.dataset, params.data, cache_root())
    store = build_store(images.table, hashes, params.image_size, cache_root())
    table = assign_splits(store.keep_readable(images.table), hashes=hashes, store=store, **params.split_rule)
    table = table.loc[table["split"] == split]
    if table.empty:
        raise ParameterError(f"{params.data} has no {split} image")
    return make_loaders(table, store, params, device)[split], table["image_id"].tolist()
