"""``labkit test``: load the weights of a study's finished runs, predict their images again and compare."""

import argparse
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from tqdm import tqdm

from labkit.data.loaders import make_loaders
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation.decide import decide
from labkit.models.build import load_trained
from labkit.params import ParameterError
from labkit.runs.folder import DAMAGED, cache_root, damage, read_manifest, read_params, read_predictions
from labkit.studies.file import SMALL
from labkit.studies.find import run_folders
from labkit.training.device import set_up
from labkit.training.predict import output_columns, predict, prepare
from labkit.training.progress import interactive

EXAMPLE = "labkit test demo --split test"
# How far logits of the same weights may differ on another machine, device or number of threads. bf16 and fp16 round
# every layer's output, so a run that predicted in them differs more from one that predicts in fp32.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, on which images."""
    parser.add_argument("study", help="a study whose runs are finished")
    parser.add_argument("--data", help="where the images are now, if they were moved")
    parser.add_argument("--split", choices=["test", "val"], default="test", help="images to predict (default: test)")
    parser.add_argument("--runs", nargs="+", default=["*"], metavar="RUN", help="only these, such as 'resnet18*'")


def main(arguments: argparse.Namespace) -> int:
    """1 if predictions changed. As it repeats known ones and no choice depends on it, it is no other look at test."""
    study, only, same = arguments.study, arguments.runs, True
    folders = run_folders(study)
    chosen = [any(fnmatch(run, pattern) for pattern in only) for run in folders["run"]]
    finished = folders.loc[np.array(chosen, bool) & folders["state"].isin(["finished", DAMAGED])]
    if finished.empty:
        which = "" if "*" in only else f" called {' or '.join(only)}"
        small = "" if run_folders(study + SMALL).empty else f"; its small form is the study {study + SMALL}"
        raise ParameterError(f"study {study}: no run{which} is finished, so there is nothing to test{small}")
    for folder in finished["folder"]:
        line, as_kept = _retest(folder, arguments.split, arguments.data)
        print(f"{folder.name}: {line}", flush=True)
        same &= as_kept
    return 0 if same else 1


def _retest(folder: Path, split: str, data: str | None) -> tuple[str, bool]:
    """What a run's saved weights predict now, compared with its ``predictions.csv``; classes are decided alike."""
    if found := damage(folder):
        return found, False
    predictions = read_predictions(folder)
    if split not in set(predictions.dropna(subset=["label"])["split"]):
        return f"it has no labelled {split} image", True
    wanted = (predictions["split"] == split) & predictions["label"].notna()
    params, manifest = read_params(folder).model_copy(update={"data": data} if data else {}), read_manifest(folder)
    accelerator = set_up(params.model_copy(update={"num_processes": 1}))
    images, hashes = open_data(params, cache_root())
    store = build_store(images.table, hashes, params.image_size, cache_root())
    table = assign_splits(store.keep_readable(images.table), hashes=hashes, store=store, **params.split_rule)
    table = table.loc[table["split"] == split]
    kept = decide(predictions, len(manifest["classes"])).loc[wanted].reset_index(drop=True)
    if table["image_id"].tolist() != kept["image_id"].tolist():
        now = f"{params.data} now has {len(table):,}, not the same ones"
        raise ParameterError(f"{folder.name} was tested on {len(kept):,} images; {now}")
    loader = make_loaders(table, store, params, accelerator.device.type)[split]
    loader.set_epoch(manifest.get("best_epoch", 0))  # as the run predicted; matters under augment_test only
    model = prepare(accelerator, load_trained(folder))
    started = time.monotonic()
    bar = tqdm(loader, desc=folder.name, unit="batch", leave=False, disable=not interactive())
    outputs = output_columns(predict(model, bar, params.normalize))
    seconds = time.monotonic() - started
    now = predictions.copy()
    now.loc[wanted, outputs.columns] = outputs.to_numpy(np.float64)
    now = decide(now, len(manifest["classes"])).loc[wanted].reset_index(drop=True)
    difference = np.abs(outputs.to_numpy(np.float32) - kept[outputs.columns].to_numpy(np.float32)).max()
    same = bool(difference < TOLERANCE[manifest["precision"]])
    what = outputs.columns[0].partition("_")[0]
    if difference == 0:
        result = f"{what}s identical to predictions.csv"
    elif same:
        result = f"matches predictions.csv, {what}s within {difference:.0e}"
    else:
        changed = np.count_nonzero(now["prediction"] != kept["prediction"])
        result = f"MISMATCH: {what}s differ by up to {difference:.1g}, {changed:,} predictions changed"
    accuracy = np.count_nonzero(now["prediction"] == now["label"]) / len(now)
    return f"accuracy {accuracy:.4f} on {len(now):,} {split} images, {seconds:.0f} s; {result}", same
