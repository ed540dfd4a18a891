"""``labkit new``: look at a folder of images, then write a commented study file that suits it.

How the data is read is written down with the reason, and what was guessed as a parameter to correct or to confirm. The
size follows the pixels, the split the known groups and copies, class weights the class counts, epochs the number of
images.
"""

import argparse
import contextlib
import json
import re
import shlex
import sys
import textwrap
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.audit import Findings, audit, stamps
from labkit.audit.damaged import odd_files, problem_sentences
from labkit.commands import add_options, options, short
from labkit.data.catalog import CUSTOM, TASKS, may_be_grades
from labkit.data.hashes import SIDE
from labkit.data.readers import ImageData
from labkit.data.source import as_parameters, open_data, told
from labkit.data.splits import PARTS, Split, assign_splits, split_counts
from labkit.data.store import build_store
from labkit.format import plural
from labkit.params import DataParams, ParameterError, RunParams
from labkit.runs.folder import cache_root
from labkit.studies.file import load_study, study_file

EXAMPLE = "labkit new mine --data demo"

SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)  # pixels per side to choose from
LARGEST = {"grades": 512, "classes": 224}  # small lesions need pixels; ImageNet weights were trained at 224
SMALL_STEM = 40  # pixels: a ResNet's first two layers divide each side by four, which would leave too little
IMAGES_SEEN = 300_000  # in training, all epochs together: 11 epochs of EyePACS' 28,100 training images
EPOCHS = (10, 30)  # at least, at most
IMBALANCED = 2.0  # largest class / smallest class, from which on class weights are suggested
CPU_SPEED = 60 * 64**2  # pixels per second: ResNet-18 trains on 60 images/s of 64 px on two cores
_yaml = partial(json.dumps, ensure_ascii=False)  # JSON is YAML


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file's name, the images, and how they are read."""
    parser.add_argument("study", help="the file to write: params/STUDY.yaml")
    parser.add_argument("--data", required=True, help="folder of your images, or a built-in set (demo, tiny)")
    add_options(parser, DataParams, "data")


def main(arguments: argparse.Namespace) -> int:
    """Write the file, a valid study; print what is wrong with the data, and what to do next. ValueError as `look`."""
    name = re.sub(r"^params/|\.ya?ml$", "", arguments.study)
    RunParams.of({"study": name}, "labkit new")
    path = study_file(name)
    if path.exists():
        raise ParameterError(f"{path} exists already; give another name, or remove it")
    draft = look(arguments.data, **options(arguments, DataParams, "data"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(written(name, draft))
    try:
        load_study(name).run_params()
    except ParameterError:
        path.unlink()  # an invalid study file is of no use
        raise
    print(*(f"- {words}" for words in draft.found), sep="\n", end="\n" * bool(draft.found))
    print(f"wrote {short(path)}; next: labkit run {name} --dry-run, then make report STUDY={name}")
    return 0


@dataclass(frozen=True)
class Draft:
    """What is in a folder, and the settings that suit it."""

    params: DataParams  # `data` is as a study file names it
    images: ImageData
    table: pd.DataFrame  # with the split that the study will have
    split: Split
    why_split: str
    found: list[str]  # what is wrong with the images: sentences of the audit, and what a run would refuse
    stamps: list[str]  # what every figure will carry
    side: int  # median of the shorter sides, pixels
    size: int
    training: int  # images
    epochs: int  # so many that the network sees about IMAGES_SEEN images, within EPOCHS
    counts: list[int]  # labelled images by class

    @property
    def tiny(self) -> bool:
        """Whether a ResNet's usual first layers would leave too few pixels."""
        return self.size < SMALL_STEM


def look(data: str, **options: Any) -> Draft:
    """Read the images and choose. ValueError (DataError) if they cannot be read or split, or are of one class."""
    params, place = as_parameters(data, **options)
    with contextlib.redirect_stdout(sys.stderr):  # drawing phantoms prints a line, and so does decoding
        images, hashes = open_data(params, cache_root())
        store = build_store(images.table, hashes, SIDE, cache_root())
    params = params.model_copy(update={"dataset": images.facts.name})
    if params.dataset == CUSTOM and not params.task and may_be_grades(images.facts.classes):
        images = replace(images, facts=replace(images.facts, task="grades"))
        images.reading["task"] = f"{TASKS['grades']}; a guess by their names"
    held, facts = images.table["label"].dropna().unique(), images.facts
    if len(held) < 2:
        raise ValueError(f"{place}: its images are of {len(held)} class(es); a classifier needs two or more")

    def audited(split: Split, select_on: str = "val") -> tuple[pd.DataFrame, Findings]:
        rule = RunParams.of({"split": split, "select_on": select_on}).split_rule
        table = assign_splits(images.table, hashes=hashes, store=store, **rule)  # as in the runs
        return table, audit(table, hashes, facts.classes, facts.group_name, store)

    labelled = images.table.loc[images.table["label"].notna()]
    parts = [part for part in PARTS if part in set(labelled["split"].dropna())]
    own = audited("given", "last")[1] if "train" in parts and len(parts) > 1 else None
    split, why = _split(labelled, facts.group_name, parts, own)
    table, findings = audited(split)
    found = _leaks(own) if own else []
    if twice := (own or findings).duplicates.n_conflicting:
        found.append(f"{plural(twice, 'image')} labelled in two ways: same bytes, different labels.")
    if copies := (own or findings).named_copies(facts.classes):
        found.append(f"Copies, such as {'; '.join(copies)}")
    refused, files = store.refusal(images.table), odd_files(table, store)
    if not (side := files.side):
        raise ValueError(f"{place}: {refused}")
    found += [f"Every run will stop: {refused}"] if refused else []
    problems = ["blank"] if refused else ["unreadable", "blank"]
    size = max((size for size in SIZES if size <= min(side, LARGEST[facts.task])), default=max(16, side))
    training = table["split"].tolist().count("train")
    epochs = int(np.clip(round(IMAGES_SEEN / max(1, training)), *EPOCHS))
    counts = np.bincount(table["label"].dropna().to_numpy(np.int64), minlength=len(facts.classes)).tolist()
    found, stamped = found + problem_sentences(files, problems), stamps(findings, "val")
    return Draft(params, images, table, split, why, found, stamped, side, size, training, epochs, counts)


def _leaks(findings: Findings) -> list[str]:
    leaks = (words for words in findings.sentences() if words.startswith("Leak: "))
    return [words.replace("Leak: ", "In the data's own split ", 1) for words in leaks]


def _split(labelled: pd.DataFrame, group: str, parts: list[str], own: Findings | None) -> tuple[Split, str]:
    """`split`, and why. `parts`: the data's own; `own`: what was found in them, None where they are no split."""
    unknown = np.count_nonzero(labelled["group"].isna())
    if own and not own.leak:
        words = f"the data's own split ({', '.join(parts)}): no copy of an image is on both sides"
        some = f"of {unknown:,} of {len(labelled):,} images " * bool(unknown < len(labelled))
        cannot = f"; the {group} {some}is unknown, so leaks cannot be ruled out"
        return "given", words + (cannot if unknown else f", and no {group}")
    words = f"by {group}, of whom there are {labelled['group'].nunique():,}"
    if unknown == len(labelled):
        words = f"no {group} is known, so images of one {group} may leak, but copies of an image stay together"
    elif unknown:
        words += f"; {unknown:,} images have no known {group}, and each is a group of its own"
    if own:
        words += ". The data's own split is not kept. " + " ".join(_leaks(own))
    return "group", words


def written(name: str, draft: Draft) -> str:
    """The study file's text."""
    data, facts = draft.params.data, draft.images.facts
    called = Path(data).stem if draft.params.dataset == CUSTOM else facts.title
    what = "grade" if facts.task == "grades" else "tell"
    known = draft.split == "group" and bool(draft.table["group"].notna().any())
    whom = f"of {facts.group_name}s it has never seen" if known else "it has never seen"
    kinds = ", ".join(" ".join(str(kind).split()) for kind in facts.classes)
    start = "do class weights help?" if draft.tiny else "does starting from ImageNet weights help?"
    question = f"How well does a ResNet-18 {what} images {whom} ({kinds}), and {start}"
    commands = f"labkit check {shlex.quote(data)}", f"labkit run {name} --dry-run", f"labkit report {name}"
    lines = [
        *_seen(draft),
        f"title: {_yaml(f'Residual networks on {called}')}",
        "question: >-",
        *_wrapped(question, "  "),
        "defaults:",
        *_defaults(draft),
        "runs:",
        *_runs(draft),
        f"# How to run it (make report STUDY={name} does the last step):",
        *(f"#   {command}" for command in commands),
    ]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 116, initial_indent=indent, subsequent_indent=indent)


def _seen(draft: Draft) -> list[str]:
    """What the folder holds, as comments: images by class and split, the majority baseline, how it was read."""
    counts, table = draft.counts, draft.table
    names = [textwrap.shorten(str(kind), 40) for kind in draft.images.facts.classes]
    shares = [f"{count / sum(counts):.1%}" for count in counts]
    present = [part for part in PARTS if part in set(table["split"])]
    shown = split_counts(table, names).loc[:, present].set_index(pd.Index(names))
    shown.insert(0, "images", counts)
    shown.insert(1, "share", shares)
    formats = {column: str if column == "share" else "{:>8,}".format for column in shown}
    lines = shown.rename_axis(columns="class").to_string(formatters=formats).splitlines()
    most = int(np.argmax(counts))
    words = [f"always predicting {names[most]} is right for {shares[most]} of images: the baseline to beat"]
    if unlabelled := np.count_nonzero(table["label"].isna()):
        words.append(f"{unlabelled:,} images have no label; each run predicts them, to be handed in")
    words += [*told(draft.images, draft.split), *table.attrs["notes"], *draft.found]
    words += [f"every figure will be stamped: {stamp}" for stamp in draft.stamps]
    heading = f"# Written by `labkit new` for {len(table):,} images; edit it as you like."
    return [heading, *(f"#   {line}" for line in lines), *(line for note in words for line in _wrapped(note, "# "))]


def _defaults(draft: Draft) -> list[str]:
    """The parameters that all runs share, each with its reason."""
    seen, schedule = draft.training * draft.epochs, "of AdamW with a cosine schedule"
    rate = ("1e-3", schedule) if draft.tiny else ("3e-4", f"{schedule}: low, since half of the runs are fine-tuned")
    kept = f"{seen:,} images seen in all epochs; the best epoch on validation is kept."
    more = 16 if draft.tiny else 1  # pixels: the small stem keeps four times as many per side
    hours = seen * draft.size**2 * more / CPU_SPEED / 3600
    time = f"About {plural(max(1, round(60 * hours)), 'minute')} per run on two CPU cores."
    if hours >= 1.5:
        small = "to try it on a CPU: -p image_size 64 -p epochs 5 at the end of the command below"
        time = f"About {hours:.0f} hours per run on two CPU cores, so use a GPU; {small}."
    dataset, title = draft.params.dataset, draft.images.facts.title
    why = draft.images.reading["dataset"].partition("; ")[2]
    size = "the size of the images (median of their shorter sides)"
    if draft.size != draft.side:
        capped = draft.size == LARGEST[draft.images.facts.task]
        usual = "larger images cost time and gain little" if capped else "the next lower of the usual sizes"
        usual = usual if draft.size < draft.side else "a network needs at least 16"
        size = f"the images' shorter side is {draft.side:,} px (median); {usual}"
    rows = [
        ("dataset", dataset, "" if dataset == CUSTOM else f"{title}; {why}"),
        ("data", _yaml(draft.params.data), f"replaced by --data; {draft.images.layout}"),
        *_reading(draft),
        ("split", draft.split, draft.why_split),
        ("image_size", str(draft.size), size),
    ]
    if draft.tiny:
        rows += [
            ("deviation", "small_stem", "a first layer that keeps every pixel, for images this small"),
            ("normalize", "half", "no ImageNet weights fit that layer, so it needs no ImageNet mean and deviation"),
        ]
    if dataset in ("leukemia", "bloodmnist"):
        rows.append(("rotation", "90", "a cell has no upright orientation; flips are on already"))
    elif dataset == CUSTOM:
        rows.append(("vertical_flip", "false", "true if the images have no upright orientation (cells, retinas)"))
    batch = 16 if draft.training < 1000 else 32
    rows += [
        ("batch_size", str(batch), f"{plural(-(-draft.training // batch), 'step')} per epoch"),
        ("epochs", str(draft.epochs), f"{kept} {time}"),
        ("learning_rate", *rate),
    ]
    return [line for key, value, why in rows for line in [*_wrapped(why, "  # "), f"  {key}: {value}"]]


def _reading(draft: Draft) -> list[tuple[str, str, str]]:
    """How the data is read: the parameters that were given, then guesses to correct (a key with # is offered only)."""
    given, facts, reading = draft.params.reading, draft.images.facts, draft.images.reading
    rows = [(name, _yaml(value), "") for name, value in given.items()]
    if offer := draft.images.offered_pattern:
        rows.append(("# group_pattern", _yaml(offer), "remove the # if this finds the patient"))
    if draft.params.dataset != CUSTOM:
        return rows
    if len(facts.classes) == 2 and not {"class_names", "positive_class"} & set(given):
        why = f"{reading['classes']}; remove the # to confirm it"
        rows.append(("# positive_class", _yaml(facts.classes[1]), why))
    elif "class_names" not in given and len(facts.classes) > 2:
        rows.append(("# class_names", _yaml(list(facts.classes)), "the order, if another is meant"))
    if "task" not in given and len(facts.classes) > 2:
        rows.append(("task", facts.task, f"a guess by the names, correct it: {' or '.join(TASKS.values())}"))
    return rows


def _runs(draft: Draft) -> list[str]:
    """Two or three runs: from scratch, from ImageNet weights, and with class weights if classes are imbalanced."""
    name, start, lines = "resnet18", "arch: resnet18", []
    if not draft.tiny:
        warning = "  # downloaded at the first run (45 MB); without the internet these runs fail with a message"
        lines = [f"  {name}-scratch: {{{start}}}", warning]
        name, start = f"{name}-finetuned", f"{start}, weights: IMAGENET1K_V1"
    lines.append(f"  {name}: {{{start}}}")
    if (imbalance := max(draft.counts) / min(filter(None, draft.counts))) >= IMBALANCED:
        lines.append(f"  # the largest class has {imbalance:.1f} times the images of the smallest")
        lines.append(f"  {name}-weighted: {{{start}, class_weights: balanced}}")
    if draft.tiny:
        lines.append("  resnet50: {arch: resnet50}")
    elif draft.images.facts.task == "grades":
        lines.append("  # a single output, the grade, often gives a better kappa:")
        lines.append(f"  # {name}-ordinal: {{{start}, loss: ordinal}}")
    return lines
