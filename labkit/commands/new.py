"""``labkit new``: write a commented study file for a folder of images, after `draft.look` has looked at it."""

import argparse
import json
import shlex
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np

from labkit.commands import short
from labkit.commands.draft import IMBALANCED, LARGEST, Draft, look
from labkit.data.catalog import CUSTOM
from labkit.data.splits import PARTS
from labkit.params import ParameterError, RunParams
from labkit.studies.file import load_study, study_file

EXAMPLE = "labkit new mine --data demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file's name, and the images."""
    parser.add_argument("study", help="the file to write: params/STUDY.yaml")
    parser.add_argument("--data", required=True, help="folder of your images, or a built-in set (demo, tiny)")
    parser.add_argument("--dataset", help="retinopathy, leukemia, …, custom (default: guessed from the file names)")


def main(arguments: argparse.Namespace) -> int:
    """Writes the file and prints what to do next."""
    name = arguments.study
    path = new_study(name, arguments.data, arguments.dataset)
    print(f"wrote {short(path)}; next: labkit run {name} --dry-run, then make report STUDY={name}")
    return 0


def new_study(name: str, data: str, dataset: str | None = None) -> Path:
    """Write params/<name>.yaml for the images in `data` (a folder, a MedMNIST file or a built-in set); its path.

    The file is a valid study. Raises ParameterError if it exists already or the name is not valid, and ValueError
    (DataError) if the data cannot be read or split, or is of one class.
    """
    RunParams.of({"study": name}, "labkit new")
    path = study_file(name)
    if path.exists():
        raise ParameterError(f"{path} exists already; give another name, or remove it")
    text = written(name, look(data, dataset))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    try:
        load_study(name).run_params()
    except ParameterError:
        path.unlink()  # an invalid study file is of no use
        raise
    return path


def written(name: str, draft: Draft) -> str:
    """The study file's text."""
    lines = _seen(draft)
    lines += [
        f"title: {json.dumps(f'Residual networks on {_called(draft)}', ensure_ascii=False)}",
        "question: >-",
        *_wrapped(_question(draft), "  "),
        "defaults:",
        *_defaults(draft),
        "runs:",
        *_runs(draft),
        *_wrapped(_how_to_run(name, draft), "# "),
    ]
    return "\n".join(lines) + "\n"


def _called(draft: Draft) -> str:
    return Path(draft.data).stem if draft.dataset == CUSTOM else draft.images.facts.title


def _wrapped(text: str, indent: str, width: int = 116) -> list[str]:
    return [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, width, initial_indent=indent, subsequent_indent=indent)
    ]


def _seen(draft: Draft) -> list[str]:
    """What the folder holds, as comments: images by class and split, the majority baseline, notes."""
    classes, counts, table = draft.images.facts.classes, draft.counts, draft.table
    parts = [part for part in PARTS if part in set(table["split"])]
    tally = Counter(zip(table["split"].tolist(), table["label"].fillna(-1).astype("Int64").tolist(), strict=True))
    names = [textwrap.shorten(str(kind), 40) for kind in classes]
    wide = max(map(len, [*names, "class"]))
    lines = [f"{'class':<{wide}}  {'images':>8}  {'share':>6}  " + "  ".join(f"{part:>7}" for part in parts)]
    for number, kind in enumerate(names):
        by_part = "  ".join(f"{tally[part, number]:>7,}" for part in parts)
        lines.append(f"{kind:<{wide}}  {counts[number]:>8,}  {counts[number] / sum(counts):>6.1%}  {by_part}")
    most = counts.index(max(counts))
    words = [
        f"always predicting {names[most]} is right for {max(counts) / sum(counts):.1%} of images: the baseline to beat"
    ]
    if unlabelled := np.count_nonzero(table["label"].isna()):
        words.append(f"{unlabelled:,} images have no label; each run predicts them, to be handed in")
    words += [*draft.images.notes, *table.attrs.get("notes", [])]
    heading = f"Written by `labkit new` for {len(table):,} images, {draft.images.layout}; edit it as you like."
    return [
        *_wrapped(heading, "# "),
        *(f"#   {line}" for line in lines),
        *(line for note in words for line in _wrapped(note, "# ")),
    ]


def _question(draft: Draft) -> str:
    facts = draft.images.facts
    what = "grade" if facts.task == "grades" else "tell"
    whom = f"of {facts.group_name}s it has never seen" if draft.split == "group" else "it has never seen"
    kinds = ", ".join(" ".join(str(kind).split()) for kind in facts.classes)
    start = "do class weights help?" if draft.tiny else "does starting from ImageNet weights help?"
    return f"How well does a ResNet-18 {what} images {whom} ({kinds}), and {start}"


def _defaults(draft: Draft) -> list[str]:
    """The parameters that all runs share, each with its reason."""
    seen = f"{draft.training * draft.epochs:,} images seen in all epochs; the best epoch on validation is kept."
    rows = [
        ("dataset", draft.dataset, "" if draft.dataset == CUSTOM else draft.images.facts.title),
        ("data", json.dumps(draft.data, ensure_ascii=False), f"replaced by --data; {draft.images.layout}"),
        ("split", draft.split, draft.why_split),
        ("image_size", str(draft.size), _why_size(draft)),
    ]
    if draft.tiny:
        rows.append(("deviation", "small_stem", "a first layer that keeps every pixel, for images this small"))
        rows.append(
            (
                "normalize",
                "half",
                "no ImageNet weights fit that layer, so it needs no ImageNet mean and deviation",
            )
        )
    if draft.dataset in ("leukemia", "bloodmnist"):
        rows.append(("rotation", "90", "a cell has no upright orientation; flips are on already"))
    elif draft.dataset == CUSTOM:
        rows.append(("vertical_flip", "false", "true if the images have no upright orientation (cells, retinas)"))
    batch = 16 if draft.training < 1000 else 32
    steps = -(-draft.training // batch)
    rows += [
        ("batch_size", str(batch), f"{steps:,} step{'s' * (steps > 1)} per epoch"),
        ("epochs", str(draft.epochs), f"{seen} {_time(draft.hours)}"),
        ("learning_rate", "3e-4", "of AdamW with a cosine schedule: low, since half of the runs are fine-tuned"),
    ]
    if draft.tiny:
        rows[-1] = ("learning_rate", "1e-3", "of AdamW with a cosine schedule")
    lines = []
    for key, value, reason in rows:
        if reason:
            lines += _wrapped(reason, "  # ")
        lines.append(f"  {key}: {value}")
    return lines


def _why_size(draft: Draft) -> str:
    if draft.size > draft.side:
        return f"the images' shorter side is {draft.side} px (median); a network needs at least 16"
    if draft.size == draft.side:
        return "the size of the images (median of their shorter sides)"
    capped = draft.size == LARGEST[draft.images.facts.task]
    why = "larger images cost time and gain little" if capped else "the next lower of the usual sizes"
    return f"the images' shorter side is {draft.side:,} px (median); {why}"


def _time(hours: float) -> str:
    if hours < 1.5:
        minutes = max(1, round(60 * hours))
        return f"About {minutes} minute{'s' * (minutes > 1)} per run on two CPU cores."
    return (
        f"About {hours:.0f} hours per run on two CPU cores, so use a GPU; to try it on a CPU: "
        "-p image_size 64 -p epochs 5 at the end of the command below."
    )


def _runs(draft: Draft) -> list[str]:
    """Two or three runs: from scratch, from ImageNet weights, and with class weights if classes are imbalanced."""
    weighted = draft.imbalance >= IMBALANCED
    reason = f"  # the largest class has {draft.imbalance:.1f} times the images of the smallest"
    if draft.tiny:
        lines = ["  resnet18: {arch: resnet18}"]
        lines += [reason, "  resnet18-weighted: {arch: resnet18, class_weights: balanced}"] if weighted else []
        return [*lines, "  resnet50: {arch: resnet50}"]
    start = "arch: resnet18, weights: IMAGENET1K_V1"
    lines = [
        "  resnet18-scratch: {arch: resnet18}",
        *_wrapped("downloaded at the first run (45 MB); without the internet these runs fail with a message", "  # "),
        f"  resnet18-finetuned: {{{start}}}",
    ]
    if weighted:
        lines += [reason, f"  resnet18-finetuned-weighted: {{{start}, class_weights: balanced}}"]
    if draft.images.facts.task == "grades":
        lines += [
            "  # a single output, the grade, often gives a better kappa:",
            f"  # resnet18-finetuned-ordinal: {{{start}, loss: ordinal}}",
        ]
    return lines


def _how_to_run(name: str, draft: Draft) -> str:
    return (
        f"How to run it (make report STUDY={name} does the last step):\n"
        f"  labkit check {shlex.quote(draft.data)}\n"
        f"  labkit run {name} --dry-run\n"
        f"  labkit report {name}"
    )
