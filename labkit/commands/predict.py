"""``labkit predict``: a finished run classifies new images, compares them with its operating point and draws Grad-CAM.

Not a medical device. Exit code 1 if an image cannot be read. predict.ipynb uses the same functions.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

from labkit.data.augment import centre_crop
from labkit.data.catalog import facts_of
from labkit.data.hashes import sha256_of
from labkit.data.images import find_images
from labkit.data.loaders import evaluation_batch
from labkit.data.source import as_parameters, open_data, submissions
from labkit.data.store import load_square
from labkit.evaluation.decide import decide
from labkit.evaluation.gradcam import Maps, grad_cam
from labkit.evaluation.ordinal import Cuts, grade_cuts
from labkit.evaluation.thresholds import WANTED, ScreeningPoint, screening_point
from labkit.format import fixed, missing, percent, plural, whole
from labkit.models.build import load_trained
from labkit.params import ParameterError, RunParams
from labkit.reporting.exhibits.saliency import looked_at
from labkit.reporting.images import class_bars
from labkit.runs.files import write_csv, write_whole
from labkit.runs.folder import cache_root, read_manifest, read_params, read_predictions
from labkit.studies.find import find_run
from labkit.training.device import set_up
from labkit.training.predict import output_columns, predict_images, prepare

EXAMPLE = "labkit predict eye.jpg more-eyes/ --study demo --csv predictions.csv --cam cams"
NOT_A_DEVICE = "This is not a medical device: these are predictions of a network trained for a lab report. "
NOT_A_DEVICE += "They have not been validated for your camera or your patients."


@dataclass(frozen=True)
class Batch:
    """One batch of images. `table`: a row per image that could be read, as `decide` returns it, with `image`, `score`
    (compared with the threshold; NaN without one) and `learnt_from` (this file trained the run or chose its epoch)."""

    table: pd.DataFrame
    pixels: np.ndarray  # uint8 (n, S, S, 3), the network's input
    unreadable: dict[str, str]  # image -> reason

    def head(self, most: int) -> "Batch":
        """The first images that were read."""
        return Batch(self.table.head(most), self.pixels[:most], {})


@dataclass(frozen=True)
class Predictor:
    """A finished run, ready to predict; see `open_predictor`. `learnt`: SHA-256 of the images used to train it."""

    folder: Path
    params: RunParams
    manifest: dict[str, Any]
    model: nn.Module
    cuts: Cuts | None  # of an ordinal run
    point: ScreeningPoint
    learnt: frozenset[str]

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of the outputs."""
        return self.manifest["classes"]

    def predict(self, photographs: Mapping[str, str]) -> Iterator[Batch]:
        """Predictions for images (name -> path), in their order, batch by batch.

        The batches have the size that the run itself predicted with, so on the same machine its own test images get
        exactly the outputs in its `predictions.csv` (not under `augment_test`, which changed them at random).
        """
        size = evaluation_batch(self.params, next(self.model.parameters()).device.type)
        names, pixels, unreadable = [], np.empty((0, *[self.params.image_size] * 2, 3), np.uint8), {}
        left = list(photographs)
        while left or names or unreadable:
            part, left = left[: size - len(names)], left[size - len(names) :]
            paths = [photographs[name] for name in part]
            squares, failed = load_square(paths, self.params.image_size, self.manifest.get("gray_range"))
            pixels = np.concatenate([pixels, squares])
            names += [name for name in part if photographs[name] not in failed]
            unreadable |= {name: failed[photographs[name]] for name in part if photographs[name] in failed}
            if len(names) == size or not left:
                yield self._predict_batch({name: photographs[name] for name in names}, pixels, unreadable)
                names, pixels, unreadable = [], pixels[:0], {}

    def _predict_batch(self, photographs: dict[str, str], pixels: np.ndarray, unreadable: dict[str, str]) -> Batch:
        pixels = centre_crop(pixels, self.params.input_size)
        if not photographs:
            return Batch(pd.DataFrame({"image": []}), pixels, unreadable)
        outputs = predict_images(self.model, pixels, self.params.normalize, batch_size=len(pixels))
        table = decide(output_columns(outputs).assign(image=list(photographs)), cuts=self.cuts)
        table["score"] = self.point.scores(table)
        table["learnt_from"] = [bool(self.learnt) and sha256_of(path) in self.learnt for path in photographs.values()]
        return Batch(table, pixels, unreadable)

    def saliency(self, batch: Batch) -> Maps:
        """Grad-CAM (n, h, w) of each predicted class; n may be 0."""
        if batch.table.empty:
            return np.empty((0, 1, 1), np.float32)
        predicted = batch.table["prediction"].to_numpy(np.int64)
        return grad_cam(self.model, batch.pixels, predicted, self.params.normalize)


def open_predictor(folder: Path) -> Predictor:
    """A finished run's network, set up as in the run; on another device if the run's is not there."""
    params, manifest = read_params(folder), read_manifest(folder)
    params = params.model_copy(update={"num_processes": 1})  # a few images need only one
    kept, n_classes = read_predictions(folder), len(manifest["classes"])
    try:
        accelerator = set_up(params)
    except ParameterError:
        accelerator = set_up(params.model_copy(update={"device": "auto", "precision": "auto"}))
    model = prepare(accelerator, load_trained(folder))
    cuts = grade_cuts(kept, n_classes) if params.loss == "ordinal" else None
    point = screening_point(decide(kept, cuts=cuts), manifest["classes"], facts_of(params).task)
    learnt = folder / "learnt_from.csv"
    sums = pd.read_csv(learnt, dtype="string")["sha256"].dropna() if learnt.is_file() else []
    return Predictor(folder, params, manifest, model, cuts, point, frozenset(sums))


def own_photographs(predictor: Predictor, most: int = 10) -> tuple[dict[str, str], dict[str, str]]:
    """Paths and true classes, by image_id, of the run's first test images; without any, of others that it predicted."""
    paths = open_data(predictor.params, cache_root())[0].table.set_index("image_id")["path"]
    kept = read_predictions(predictor.folder).set_index("image_id")
    tested = kept.loc[kept["split"] == "test"]
    chosen = (tested if len(tested) else kept).head(most)
    labels = {str(name): predictor.classes[int(label)] for name, label in chosen["label"].dropna().to_dict().items()}
    return paths.loc[chosen.index].to_dict(), labels


def for_people(predictor: Predictor, batch: Batch, labels: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """One row per image; images that could not be read come last. `labels`: true classes by image, where known.

    `image, prediction` (the class's name), `label` (with `labels`), `probability` of it and `p_<class>` of each, or an
    ordinal run's `grade`; with a threshold: `question`, `decision` (positive or negative), `score` (compared with it),
    `threshold`; `learnt_from`; `unreadable`: why, else None.
    """
    classes, point, rows = predictor.classes, predictor.point, []
    for row in batch.table.to_dict("records"):
        cells: dict[str, Any] = {"image": row["image"], "prediction": classes[row["prediction"]]}
        cells |= {"label": labels.get(row["image"])} if labels else {}
        cells |= {"grade": row["grade"]} if predictor.cuts else {"probability": row[f"p_{row['prediction']}"]}
        if point.question and point.threshold is not None:
            decision = "positive" if row["score"] >= point.threshold else "negative"
            cells |= {"question": point.question.name, "decision": decision, "score": row["score"]}
            cells |= {"threshold": point.threshold}
        if not predictor.cuts:
            cells |= {f"p_{name}": row[f"p_{number}"] for number, name in enumerate(classes)}
        rows.append(cells | {"learnt_from": row["learnt_from"], "unreadable": None})
    return rows + [{"image": name, "unreadable": reason} for name, reason in batch.unreadable.items()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which images, with which run, and what to write."""
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--study", help="study of the run (default: that of the last run)")
    default = "default: the study's best on validation; of runs started by hand the last"
    parser.add_argument("--run", help=f"a run's name or folder ({default})")
    parser.add_argument("--csv", metavar="FILE", help="also write the predictions to this .csv: one row per image")
    parser.add_argument("--cam", metavar="FOLDER", help="write a picture of each image and its Grad-CAM here")
    lists = "instead: write a file to hand in for each unlabelled test list here"
    parser.add_argument("--submission", metavar="FOLDER", help=lists)
    parser.add_argument("--data", help="with --submission: folder that holds the lists (default: the run's own data)")


def main(arguments: argparse.Namespace) -> int:
    """1 if an image cannot be read."""
    if arguments.submission:
        return _write_submissions(arguments)
    if arguments.data or not arguments.images:
        raise ParameterError("predict: got no IMAGE; name files or folders (--data goes with --submission alone)")
    csv = as_csv_path(arguments.csv)
    _refuse_run("cam", arguments.cam)
    images = find_images(arguments.images, besides=arguments.cam)
    predictor = _open_and_describe(arguments)
    rows = []
    with tqdm(total=len(images), unit="image", leave=False, disable=None) as bar:  # None: only on a terminal
        for batch in predictor.predict(images):
            new = for_people(predictor, batch)
            for row in new:
                bar.write(_plain(prediction_text(row)), file=sys.stderr if row["unreadable"] else sys.stdout)
            if arguments.cam:
                write_pictures(predictor, batch, Path(arguments.cam).expanduser())
            bar.update(len(new))
            rows += new
    print(_plain(f"\n{count_sentence(rows)}"))
    if csv:
        write_csv(csv, pd.DataFrame(rows).set_index("image").loc[list(images)].reset_index())
        print(f"Table: {csv}")
    if arguments.cam:
        print(f"Grad-CAM pictures: {arguments.cam}")
    print(NOT_A_DEVICE)
    return 1 if any(row["unreadable"] for row in rows) else 0


def _write_submissions(arguments: argparse.Namespace) -> int:
    if arguments.images or arguments.csv or arguments.cam:
        raise ParameterError("--submission: the lists say which images are predicted; leave out IMAGE, --csv and --cam")
    _refuse_run("submission", arguments.submission)
    for name, rows in hand_in(_open_and_describe(arguments), arguments.data).items():
        file = Path(arguments.submission).expanduser() / f"submission-{name}"
        write_csv(file, rows)
        print(f"{file}: {len(rows):,} images in the order of {name}", *rows.attrs["notes"], sep="; ")
    print(NOT_A_DEVICE)
    return 0


def _open_and_describe(arguments: argparse.Namespace) -> Predictor:
    """The run that the arguments name; prints what a reader of its predictions must know first."""
    predictor = open_predictor(find_run(arguments.study, arguments.run))
    print(_plain(run_sentence(predictor.folder.name, predictor.params, predictor.manifest)))
    for stamp in predictor.manifest["stamps"]:
        print(f"WARNING: {_plain(stamp)}")
    if not arguments.submission:
        print(_plain(point_sentence(predictor)))
    print(flush=True)
    return predictor


def _plain(text: str) -> str:
    """With plain spaces for those that do not break: shell tools look for them."""
    return text.replace("\xa0", " ")


def as_csv_path(text: str | None, where: Path = Path()) -> Path | None:
    """The file for the table, below `where`; ParameterError if it is no .csv, or a file of somebody else's."""
    if not text:
        return None
    if not text.lower().endswith(".csv"):
        raise ParameterError(f"csv: got {text!r}; the table is written to a file whose name ends in .csv")
    path = where / Path(text).expanduser()
    _refuse_run("csv", path.parent)
    if path.is_file() and not re.match(rb"image,prediction,.*,unreadable\r?\n", path.read_bytes()):
        raise ParameterError(f"csv: got {text!r}, which exists and holds something else; name another file")
    return path


def _refuse_run(option: str, folder: Path | str | None) -> None:
    if folder and (Path(folder).expanduser() / "run.json").exists():
        raise ParameterError(f"{option}: {folder} is the folder of a run, whose files must stay; name another folder")


def write_pictures(predictor: Predictor, batch: Batch, folder: Path) -> None:
    """``<image>.png`` of each image that was read: what the network saw, and its Grad-CAM map over it."""
    rows = for_people(predictor, batch)[: len(batch.table)]
    for place, (row, one) in enumerate(zip(rows, predictor.saliency(batch), strict=True)):
        title, of_map = prediction_text(row, "\n"), "Grad-CAM of this class\nnot a medical device"
        figure = looked_at(batch.pixels[place : place + 1], one[None], [title], of_map, pairs=1)
        write_whole(folder / f"{row['image']}.png", partial(figure.savefig, format="png"))


def hand_in(predictor: Predictor, data: str | None = None) -> dict[str, pd.DataFrame]:
    """`submissions` for a folder (default: the run's data). ParameterError: no list, other classes, or learnt from."""
    data = as_parameters(data, "custom")[0].data if data else predictor.params.data
    images, hashes = open_data(predictor.params.model_copy(update={"data": data}), cache_root())
    if not images.lists:
        raise ParameterError(f"{data} ({images.layout}): no list of unlabelled test images, so nothing to hand in")
    if images.facts.classes and list(images.facts.classes) != predictor.classes:
        theirs, ours = ", ".join(images.facts.classes), ", ".join(predictor.classes)
        raise ParameterError(f"{data}: its classes are {theirs}, those of {predictor.folder.name} are {ours}")
    asked = {name for listed in images.lists.values() for name in listed["image_id"]}
    unseen = ~images.table["image_id"].map(hashes.to_dict().get).isin(list(predictor.learnt))
    table = images.table.loc[images.table["image_id"].isin(list(asked)) & unseen]
    batches = predictor.predict(dict(zip(table["image_id"], table["path"], strict=True)))
    numbers = {row["image"]: row["prediction"] for batch in batches for row in batch.table.to_dict("records")}
    ours = replace(images, facts=replace(images.facts, classes=tuple(predictor.classes)))
    if not (files := submissions(ours, pd.Series(numbers, dtype="Int64"))):
        raise ParameterError(f"{data}: {predictor.folder.name} was trained on these test images, or none can be read")
    return files


def run_sentence(name: str, params: RunParams, manifest: Mapping[str, Any]) -> str:
    """Which network predicts, and what it was trained on."""
    of = f"{whole(manifest['n_images']['train'])} images of {params.dataset} ({params.data})"
    return f"{name} (study {params.study}): {params.arch}, {manifest['start']}; trained on {of}."


def point_sentence(predictor: Predictor) -> str:
    """The decision, its threshold and scores on test, and how it goes with the class; or why there is no decision."""
    point = predictor.point
    if point.question is None or point.threshold is None:
        asked = f" on {point.question.name}" if point.question else ""
        return f"No decision{asked}: {point.reason}."
    level = (
        f"a grade of {fixed(point.threshold, 2)}" if predictor.cuts else f"a probability of {percent(point.threshold)}"
    )
    text = f"Positive for {point.question.name} at {level} or more, the highest threshold with at least "
    text += f"{percent(WANTED, 0)} sensitivity on {plural(point.n, 'validation image')}"
    known = [(name, *point.on_test[name]) for name in ("sensitivity", "specificity") if name in point.on_test]
    on_test = ", ".join(f"{name} {percent(value)} (n = {whole(n)})" for name, value, n in known if not missing(value))
    text += f"; on the run's test images: {on_test}." if on_test else "."
    if not predictor.cuts:
        summed = " + ".join(predictor.classes[number] for number in point.question.positive)
        text += f" What is compared is the probability of {summed}, so an image can be positive although another class "
        text += "is the most probable one."
    return text


def prediction_text(row: Mapping[str, Any], joint: str = "; ") -> str:
    """One image's prediction, or why there is none; `row`: of `for_people`. With `joint` a title of several lines."""
    if row["unreadable"]:
        return f"{row['image']}: not read, {row['unreadable']}"
    sure = f"grade {fixed(row['grade'], 2)}" if "grade" in row else percent(row["probability"])
    parts = [f"{row['image']}{': ' if joint == '; ' else joint}{row['prediction']} ({sure})"]
    parts += [f"{question}: {decision}" for question, decision in _decision(row).items()]
    parts += [f"true class: {row['label']}"] if row.get("label") else []
    return joint.join(parts + ["this image was used for training"] * bool(row["learnt_from"]))


def _decision(row: Mapping[str, Any]) -> dict[str, str]:
    """By the question's short name, as `point_sentence` has its full one; {} without a threshold."""
    score = "" if "grade" in row or "decision" not in row else f" ({percent(row['score'])})"
    return {row["question"].partition(" (")[0]: row["decision"] + score} if "decision" in row else {}


def count_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many images were predicted, could not be read, or were used for training."""
    failed = sum(row["unreadable"] is not None for row in rows)
    known = sum(row["unreadable"] is None and row["learnt_from"] for row in rows)
    text = f"{plural(len(rows) - failed, 'image')} predicted"
    text += f", {whole(failed)} of {whole(len(rows))} could not be read" if failed else ""
    return text + (f"; {whole(known)} of them were used for training." if known else ".")


def predictions_to_show(rows: Sequence[Mapping[str, Any]], most: int = 100) -> pd.DataFrame:
    """The first predictions as a table: image, [true class], prediction, probability (or grade), and decision."""
    shown = []
    for row in [row for row in rows if row["unreadable"] is None][:most]:
        cells = {"image": row["image"]} | ({"true class": row["label"]} if "label" in row else {})
        cells |= {"prediction": row["prediction"]}
        cells |= {"grade": fixed(row["grade"], 2)} if "grade" in row else {"probability": percent(row["probability"])}
        shown.append(cells | _decision(row))
    return pd.DataFrame(shown)


def probability_bars(predictor: Predictor, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel per image of `for_people`, a bar per class; those that are added up for the decision are orange."""
    asked = predictor.point.question
    positive = [predictor.classes[number] for number in asked.positive] if asked else []
    titles = [prediction_text(row, "\n") for row in rows]
    shares = pd.DataFrame([[row[f"p_{name}"] for name in predictor.classes] for row in rows], columns=predictor.classes)
    return class_bars(shares, titles, positive)
