"""``labkit check``: what a folder is taken for and why, and whether it is sound.

Exit code 1 if training and test images overlap or copies have different labels, 2 if no image could be checked. The
report is a dict of plain values (ready for JSON): `check` writes it, `in_words` formats it.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.audit import Findings, audit
from labkit.audit.leaks import UNSPLIT
from labkit.commands import add_options, options
from labkit.data.hashes import SIDE
from labkit.data.readers import DataError, ImageData, read
from labkit.data.source import as_parameters, open_data, told
from labkit.data.splits import PARTS, Split, assign_splits
from labkit.data.store import build_store, check_stores
from labkit.params import DataParams, ExploreParams, ParameterError
from labkit.runs.folder import cache_root

EXAMPLE = "labkit check demo --dataset retinopathy --split group"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which folder, how to read it, and how to split it."""
    parser.add_argument("data", nargs="?", help="folder of your images, or a built-in set (demo, tiny)")
    parser.add_argument("--store", action="store_true", help="verify the decoded images of all data sets first")
    add_options(parser, DataParams, "data")
    how = "how to split into train and test (default: given, if so)"
    parser.add_argument("--split", choices=["given", "group", "image"], help=how)
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")


def main(arguments: argparse.Namespace) -> int:
    """1 if train and test overlap, labels contradict or decoded images are damaged; 2 if no image could be checked."""
    if not arguments.data and not arguments.store:
        raise ParameterError("check: name a folder of images, or give --store")
    stores = dict(check_stores(cache_root())) if arguments.store else {}
    for folder, damage in stores.items():
        print(damage or f"{folder}: intact", file=sys.stderr if arguments.data else sys.stdout)
    if any(stores.values()) or not arguments.data:
        return int(any(stores.values()))
    progress = lambda step: print(f"labkit: {step} …", file=sys.stderr, flush=True)  # noqa: E731
    report = check(arguments.data, arguments.split, progress, **options(arguments, DataParams, "data"))
    # NaN is refused, because JSON does not have it
    print(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) if arguments.json else in_words(report))
    return 1 if report["leak"] or report["contradicting"] else 2 * (not report["images_read"])


def check(
    data: str, split: Split | None = None, tell: Callable[[str], None] = lambda step: None, **options: Any
) -> dict[str, Any]:
    """Audit a folder, or a built-in set of synthetic images; the findings in plain values.

    `split`: by default the data's own, and without one no leak is looked for. `options`: parameters of DataParams. If
    none of the listed images exists, only the lists are checked. ValueError for data that cannot be read or split so.
    """
    tell("reading the tables and hashing the files")
    params, folder = as_parameters(data, **options)
    images, hashes = _open(params, folder)
    classes, facts, store = list(images.facts.classes), images.facts, None
    if hashes is not None:
        tell(f"decoding {len(images.table):,} images to {SIDE} px, unless that was done before")
        with contextlib.redirect_stdout(sys.stderr):  # the store prints what it decodes
            store = build_store(images.table, hashes, SIDE, cache_root())
    table, own = images.table, set(images.table.loc[images.table["label"].notna(), "split"].fillna(""))
    how = split or ("given" if {"train"} < own <= set(PARTS) else None)
    if how is None:
        table = table.assign(split=table["split"].where(table["split"] == "unlabeled", UNSPLIT))
    else:  # select_on last: a given split stays as it is
        rule = ExploreParams.of({"split": how, "select_on": "last"}).split_rule
        table = assign_splits(table, hashes=hashes, store=store, **rule)
    if store is not None:
        tell("comparing files, headers and colours")
    found = audit(table, hashes, classes, facts.group_name, store, facts.score)
    said = found.by_heading()
    if how is None:
        cure = f"--split group draws one by {facts.group_name}, where that is known."
        said["Split"] = [f"The data has no train and test split, so no leak is possible; {cure}"]
    notes = table.attrs.get("notes", [])
    report = {"data": params.data, "dataset": facts.name, "guessed": not options.get("dataset"), "title": facts.title}
    report |= {"layout": images.layout, "reading": images.reading, "read_as": [*told(images, how), *notes]}
    report |= {"images": len(table), "images_read": 0 if store is None else len(table) - len(store.unreadable)}
    report |= {"classes": classes, "group_name": facts.group_name, "notes": [*images.notes, *notes], "split": how}
    report |= {"counts": _counts(table, classes), "leak": found.leak, "contradicting": found.duplicates.n_conflicting}
    checked = {"groups": found.groups.checked, "exact_duplicates": found.duplicates.checked}
    report["checked"] = checked | {"near_duplicates": found.near is not None, "files": found.files is not None}
    return report | {"copies": found.named_copies(classes), "findings": _plain(found), "said": said}


def in_words(report: dict[str, Any]) -> str:
    """The report as text, with a heading for each part."""
    how = {None: "no split", "given": "the data's own split", "image": "split by image"}
    how = how.get(report["split"], f"split by {report['group_name']}, where that is known")
    lines = [f"{report['data']}: {report['images']:,} images, {how}", "", "What this is taken for, and why"]
    lines += [f"- {line}" for line in (report["title"], *report["read_as"])]
    lines += ["", "Images by class", pd.DataFrame(report["counts"]).to_string()]
    for heading, sentences in report["said"].items():
        lines += ["", heading, *(f"- {sentence}" for sentence in sentences)]
        lines += [f"    {files}" for files in report["copies"]] if heading == "Duplicates" else []
    verdict = "No leak was found; which copies are missed is said under Duplicates."
    if report["contradicting"] or report["leak"]:
        leak, copies = "LEAK: training and test images overlap.", "CONTRADICTION: copies have two labels."
        verdict = " ".join([leak] * report["leak"] + [copies] * bool(report["contradicting"]))
    elif not report["images_read"]:
        verdict = "No image could be read, so nothing but the lists was checked."
    elif report["split"] is None:
        verdict = "No split, so no leak was looked for."
    elif not report["checked"]["groups"]:
        verdict = f"No leak was found, but whether {report['group_name']}s are shared cannot be checked."
    return "\n".join([*lines, "", verdict])


def _open(params: DataParams, folder: Path) -> tuple[ImageData, pd.Series | None]:
    """As `open_data`; without hashes if the label files are there but none of the images."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # drawing phantoms prints a line
            return open_data(params, cache_root())
    except DataError:
        images = read(params, folder, require_images=False)
        if any(Path(path.partition("#")[0]).exists() for path in images.table["path"]):
            raise
        images.notes.append("none of the listed images exists: only the lists were checked")
        return images, None


def _counts(table: pd.DataFrame, classes: list[str]) -> dict[str, dict[str, int]]:
    """Images by split and class."""
    counts = pd.crosstab(table["label"].fillna(len(classes)), table["split"])
    counts = counts.reindex(range(len(classes) + bool(table["label"].isna().any())), fill_value=0)
    parts = sorted(counts, key=lambda part: ([*PARTS, part].index(part), part))
    return counts.set_axis([*classes, "no label"][: len(counts)])[parts].to_dict()


def _plain(found: Findings) -> dict[str, Any]:
    """The findings as dicts, lists and numbers."""
    rows = lambda table: json.loads(table.to_json(orient="records"))  # noqa: E731
    values = json.loads(json.dumps(asdict(found), default=rows))
    parts = ("groups", "duplicates", "near", "files", "fellow_eye", "shortcut")
    said = {part: values[part] for part in parts if values[part] is not None}
    said["groups"]["share_touched"] = found.groups.share_touched
    if found.files is not None:
        said["files"]["counts"] = found.files.counts()
    return said
