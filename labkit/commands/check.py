"""``labkit check``: is a folder of images sound? From the data to a report, and from the report to text.

The report is a dict of plain values (ready for JSON); `check` makes it, `in_words` reads it.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from labkit.audit import (
    UNSPLIT,
    Findings,
    audit,
    duplicate_sentences,
    fellow_eye_sentence,
    file_sentences,
    full_audit,
    group_sentences,
    near_sentences,
    shortcut_sentence,
)
from labkit.data.readers import DataError, ImageData, guess_dataset, read
from labkit.data.source import PHANTOMS, open_data
from labkit.data.splits import PARTS, assign_splits
from labkit.data.store import build_store
from labkit.params import PROJECT, refuse_url
from labkit.runs.folder import cache_root

SIZE = 64  # pixels a side that near duplicates, blank images and colours are looked for at
VAL_FRACTION, TEST_FRACTION = 0.15, 0.2  # of a split that is dealt here, as in the notebooks
Split = Literal["given", "group", "image"]


def check(
    data: str, dataset: str | None = None, split: Split | None = None, tell: Callable[[str], None] = lambda step: None
) -> dict[str, Any]:
    """Looks through a folder (or a built-in set of synthetic images) and says what was found, in plain values.

    `dataset`: a name of the catalog or custom; by default it is guessed. `split`: how train and test are had; by
    default as the data came, and where it has no parts there is nothing to leak. Where no listed image is there, the
    lists alone are checked. `leak` is what the exit code tells. Raises ValueError (DataError, ParameterError) on data
    that cannot be read, and on `split: given` without parts.
    """
    data = _beside(refuse_url(data, "data"))
    tell("reading the tables and hashing the files")
    chosen = dataset or ("retinopathy" if data in PHANTOMS else guess_dataset(_folder(data)))
    images, hashes = _open(chosen, data)
    table, how = _with_split(images, hashes, split)
    classes, facts = list(images.facts.classes), images.facts
    if hashes is None:
        found = audit(table, None, classes, facts.group_name)
    else:
        tell(f"decoding {len(table):,} images to {SIZE} px, unless that was done before")
        with contextlib.redirect_stdout(sys.stderr):  # the store says what it decodes
            store = build_store(table, hashes, SIZE, cache_root())
        found = full_audit(table, hashes, store, classes, facts.group_name, facts.score, SIZE, tell)
    return {
        "data": data,
        "dataset": chosen,
        "guessed": dataset is None,
        "title": facts.title,
        "layout": images.layout,
        "images": len(table),
        "classes": classes,
        "group_name": facts.group_name,
        "notes": [*images.notes, *table.attrs.get("notes", [])],
        "split": how,
        "counts": _counts(table, classes),
        "leak": found.leak,
        "checked": {
            "groups": found.groups.checked and how is not None,
            "exact_duplicates": found.duplicates.checked,
            "near_duplicates": bool(found.near and found.near.checked),
            "files": found.files is not None,
        },
        "findings": _plain(found),
        "said": _said(found, how),
    }


def in_words(report: dict[str, Any]) -> str:
    """The report as text, a heading for every part."""
    how = {None: "without parts", "given": "split as the data came"}.get(report["split"], f"dealt by {report['split']}")
    guessed = " (guessed by the names of the files; --dataset names another)" if report["guessed"] else ""
    lines = [
        report["title"],
        f"{report['data']}: {report['images']:,} images, {report['layout']}, {how}",
        f"Data set: {report['dataset']}{guessed}",
    ]
    lines += [f"- {note}" for note in report["notes"]]
    lines += ["", "Images by class", pd.DataFrame(report["counts"]).to_string()]
    for heading, sentences in report["said"].items():
        lines += ["", heading, *(f"- {sentence}" for sentence in sentences)]
    return "\n".join([*lines, "", _verdict(report)])


def in_json(report: dict[str, Any]) -> str:
    """The report of `check` as JSON; raises ValueError on NaN, which JSON does not have."""
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)


def _verdict(report: dict[str, Any]) -> str:
    if report["leak"]:
        return "LEAK: what is learnt from and what is tested on are not apart."
    if report["split"] is None:
        return "No split, so no leak was looked for."
    if not report["checked"]["groups"]:
        return f"No leak was found, but whether {report['group_name']}s are shared cannot be checked."
    return "SOUND: no leak was found."


def _beside(data: str) -> str:
    """As a shell means it: relative to where one stands, if something is there; else as a parameter means it."""
    here = Path(data).expanduser().resolve()
    return data if data in PHANTOMS or (_folder(data).exists() and not here.exists()) else str(here)


def _folder(data: str) -> Path:
    return (PROJECT / Path(data).expanduser()).resolve()


def _open(dataset: str, data: str) -> tuple[ImageData, pd.Series | None]:
    """As `open_data`; label files whose images are elsewhere are read alone, without hashes."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # phantoms say that they are drawn
            return open_data(dataset, data, cache_root())
    except DataError:
        images = read(dataset, _folder(data), require_images=False)
        if any(Path(path.partition("#")[0]).exists() for path in images.table["path"]):
            raise
        images.notes.append("none of the listed images is there: the lists alone were checked")
        return images, None


def _with_split(images: ImageData, hashes: pd.Series | None, split: Split | None) -> tuple[pd.DataFrame, str | None]:
    """The table with its split filled, and how: None where the data has no parts and none were asked for."""
    table = images.table
    own = set(table.loc[table["label"].notna(), "split"].fillna(""))
    how = split or ("given" if {"train"} < own <= set(PARTS) else None)
    if how is None:
        return table.assign(split=table["split"].where(table["split"] == "unlabeled", UNSPLIT)), None
    dealt = assign_splits(
        table,
        hashes=hashes,
        split=how,
        split_seed=0,
        val_fraction=VAL_FRACTION,
        test_fraction=TEST_FRACTION,
        select_on="last",  # so that nothing is cut off given parts
    )
    return dealt, how


def _counts(table: pd.DataFrame, classes: list[str]) -> dict[str, dict[str, int]]:
    """Images by split and class."""
    names = [*classes, "no label"]
    label = [names[number] for number in table["label"].fillna(len(classes)).astype(int)]
    tally = Counter(zip(table["split"].tolist(), label, strict=True))
    splits = sorted({part for part, _ in tally}, key=lambda part: ([*PARTS, part].index(part), part))
    shown = names if "no label" in label else classes
    return {part: {name: tally[part, name] for name in shown} for part in splits}


def _said(found: Findings, how: str | None) -> dict[str, list[str]]:
    """The sentences by heading."""
    name = found.group_name
    if how is None:
        split = [f"The data has no train and test parts, so there is nothing to leak; --split group deals by {name}."]
    else:
        split = group_sentences(found.groups, name)
    said = {"Split": split, "Duplicates": duplicate_sentences(found.duplicates)}
    if found.near is not None:
        said["Duplicates"] += near_sentences(found.near)
    if found.files is not None:
        said["Files"] = file_sentences(found.files)
    baselines = [fellow_eye_sentence(found.fellow_eye, name)] if found.fellow_eye else []
    baselines += [shortcut_sentence(found.shortcut)] if found.shortcut else []
    return said | ({"Baselines": baselines} if baselines else {})


def _plain(found: Findings) -> dict[str, Any]:
    """The findings as dicts, lists and numbers."""

    def plain(value: Any) -> Any:
        if isinstance(value, pd.DataFrame):
            return json.loads(str(value.to_json(orient="records")))
        return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    parts = ("groups", "duplicates", "near", "files", "fellow_eye", "shortcut")
    values = {part: getattr(found, part) for part in parts}
    said = {part: plain(asdict(value)) for part, value in values.items() if value is not None}
    said["groups"]["share_touched"] = found.groups.share_touched
    if found.files is not None:
        said["files"]["counts"] = found.files.counts()
    return said
