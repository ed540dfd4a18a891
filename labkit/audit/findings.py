"""All findings in one object, with their sentences, the stamps for tables and figures, and whether there is a leak."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.audit.baselines import fellow_eye_baseline, fellow_eye_sentence, shortcut_baseline, shortcut_sentence
from labkit.audit.damaged import Files, file_sentences, odd_files
from labkit.audit.leaks import SharedGroups, are, duplicate_sentences, group_sentences, near_sentences, shared_groups
from labkit.data.duplicates import Duplicates, NearDuplicates, exact_duplicates, near_duplicates
from labkit.data.store import Store
from labkit.format import percent


@dataclass(frozen=True)
class Findings:
    """What was looked at and what was found; `sentences` says it in words, and calls a group `group_name`.

    `near`, `files` and `shortcut` need the pixels and are None where they were not looked for, or there is no label.
    """

    groups: SharedGroups
    duplicates: Duplicates
    fellow_eye: dict[str, Any] | None  # None where the data has no sides, no labelled test or no labelled train
    group_name: str = "group"
    near: NearDuplicates | None = None
    files: Files | None = None
    shortcut: dict[str, Any] | None = None

    @property
    def leak(self) -> bool:
        """Whether test shares a group or a picture with what the model learns from or is chosen by."""
        return self.groups.n_shared > 0 or bool(self.copies)

    @property
    def copies(self) -> list[str]:
        """The test images of which train or val holds a copy: the same bytes, or a near duplicate."""
        return sorted({*self.duplicates.test_touched, *(self.near.test_touched if self.near else [])})

    def by_heading(self) -> dict[str, list[str]]:
        """Plain words with the numbers, one finding each, also where nothing was found or could not be looked for."""
        n_test = self.groups.n_test_images
        baselines = [fellow_eye_sentence(self.fellow_eye, self.group_name)] if self.fellow_eye else []
        baselines += [shortcut_sentence(self.shortcut)] if self.shortcut else []
        copies = duplicate_sentences(self.duplicates, n_test)
        copies += near_sentences(self.near, n_test) if self.near else []
        files = file_sentences(self.files) if self.files else []
        groups = group_sentences(self.groups, self.group_name)
        said = {"Split": groups, "Duplicates": copies, "Files": files, "Baselines": baselines}
        return {heading: sentences for heading, sentences in said.items() if sentences}

    def sentences(self) -> list[str]:
        """The sentences of all headings, in their order."""
        return [sentence for said in self.by_heading().values() for sentence in said]

    def facts(self) -> dict[str, Any]:
        """What a run's manifest keeps: `groups` and `duplicates`, in sentences, `copies`, `n_conflicting` labels."""
        groups, duplicates = group_sentences(self.groups, self.group_name), self.by_heading()["Duplicates"]
        facts = {"groups": " ".join(groups), "duplicates": " ".join(duplicates), "copies": self.copies}
        return facts | {"n_conflicting": self.duplicates.n_conflicting}

    def named_copies(self, classes: Sequence[str], most: int = 5) -> list[str]:
        """The first copies: `a.png (train, x) = b.png (test, y)`, then (`~`) what looks alike; the worst come first."""
        named: list[str] = []
        files = _named(self.duplicates.files, classes)
        if len(files):
            files["name"] = files["image_id"] + " (" + files["split"] + ", " + files["label"].fillna("no label") + ")"
            by_file = files.sort_values("image_id").groupby("sha256", sort=False)
            worst = by_file[["split", "label"]].nunique().max(axis=1).sort_values(ascending=False, kind="stable")
            named += [" = ".join(by_file.get_group(sha)["name"].tolist()[:4]) for sha in worst.index[:most]]
        if self.near is not None and len(self.near.pairs):
            pairs = self.near.pairs
            apart = (pairs["split_a"] != pairs["split_b"]) | (pairs["label_a"] != pairs["label_b"]).fillna(False)
            pairs = _named(pairs.assign(apart=apart).sort_values("apart", ascending=False, kind="stable"), classes)
            for row in pairs.head(most).fillna("no label").to_dict("records"):
                ends = (f"{row[f'image_id_{end}']} ({row[f'split_{end}']}, {row[f'label_{end}']})" for end in "ab")
                named.append(" ~ ".join(ends))
        return named

    def tables(self, classes: Sequence[str], rows: int = 20) -> dict[str, pd.DataFrame]:
        """What to show below the sentences, by caption: pairs across splits first, and no table that is empty."""
        listed = {}
        if not self.duplicates.files.empty:
            short = self.duplicates.files["sha256"].str[:12]
            listed["Files with the same bytes"] = self.duplicates.files.assign(sha256=short)
        if self.near is not None:
            pairs = self.near.pairs
            across = (pairs["split_a"] != pairs["split_b"]).to_numpy(bool)
            listed["Pairs of files that look alike"] = pd.concat([pairs.loc[across], pairs.loc[~across]])
        if self.files is not None:
            listed["What is odd about the files"] = self.files.problems
        tables = {}
        for text, table in listed.items():
            more = f" (the first {rows} of {len(table):,} rows)" if len(table) > rows else ""
            tables |= {text + more: _named(table.head(rows), classes)} if len(table) else {}
        return tables


def _named(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """With the names of the classes in place of their numbers."""
    names = {number: str(name) for number, name in enumerate(classes)}
    labels = [column for column in table if column.startswith("label")]
    named = {column: table[column].map(names.get, na_action="ignore") for column in labels}
    return table.assign(**named).reset_index(drop=True)


def audit(
    table: pd.DataFrame,
    hashes: pd.Series | None,
    classes: Sequence[str],
    group_name: str = "group",
    store: Store | None = None,
    score: str | None = None,
) -> Findings:
    """Looks through an image table whose `split` is filled; `hashes` is sha256 by image_id (None: not looked at).

    Near duplicates and blank images are those that the `store` found when it was made. With the data set's `score`,
    also what headers and pixels show: odd files, the shortcut baseline. ValueError: no split or hash, or a repeated id.
    """
    if repeated := table.loc[table["image_id"].duplicated(), "image_id"].tolist():
        raise ValueError(f"image table: image_id {repeated[0]!r} occurs twice; ids must be unique")
    if missing := len(table) - len(table["split"].dropna()):
        raise ValueError(f"image table: {missing} of {len(table)} rows have no split; assign the splits first")
    return Findings(
        groups=shared_groups(table),
        duplicates=Duplicates(checked=False) if hashes is None else exact_duplicates(table, hashes),
        fellow_eye=fellow_eye_baseline(table, classes),
        group_name=group_name,
        near=None if store is None else near_duplicates(table, store),
        files=odd_files(table, store, headers=bool(score)) if store else None,
        shortcut=shortcut_baseline(table, store, classes, score) if store and score else None,
    )


def stamps(findings: Findings, select_on: str, inherited: int = 0, augment_test: bool = False) -> list[str]:
    """What all tables and figures of a run must say of its test images; ``inherited``: what `inherited_leak` counts."""
    found: list[str] = []
    groups, duplicates, name = findings.groups, findings.duplicates, findings.group_name
    if not groups.n_test_images:
        return found
    if not groups.checked:
        found.append(f"{name}s are unknown: whether test shares them with training cannot be checked")
    if groups.n_shared:
        found.append(f"{percent(groups.share_touched)} of the test images share a {name} with train or validation")
    if duplicates.n_test_touched:
        touched = are(duplicates.n_test_touched, "test image", groups.n_test_images)
        found.append(f"{touched} in train or validation, too, byte for byte")
    if findings.near is not None and findings.near.n_test_touched:
        touched = are(findings.near.n_test_touched, "test image", groups.n_test_images)
        found.append(f"{touched} nearly the same as one in train or validation")
    if inherited:
        share = inherited / groups.n_test_images
        found.append(
            f"the weights it starts from were trained on {percent(share)} of the test images or on their {name}s"
        )
    if select_on == "test":
        found.append("the epoch was chosen on the test images")
    if augment_test:
        found.append("the test images were augmented at random, as in training")
    return found


def in_caption(found: Sequence[str]) -> str:
    """Stamps as the end of a caption; empty where there are none."""
    return "".join(f" ⚠ {stamp[0].upper()}{stamp[1:]}." for stamp in found)
