"""All that was looked at in one object: in words, as stamps on tables and figures, and whether it is a leak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from labkit.audit.duplicates import Duplicates, duplicate_sentences, exact_duplicates
from labkit.audit.fellow_eye import FellowEyeBaseline, fellow_eye_baseline, fellow_eye_sentence
from labkit.audit.groups import SharedGroups, group_sentences, shared_groups
from labkit.audit.words import are, count


@dataclass(frozen=True)
class Findings:
    """What was looked at and what was found; `sentences` says it in words, and calls a group `group_name`."""

    groups: SharedGroups
    duplicates: Duplicates
    fellow_eye: FellowEyeBaseline | None  # None where the data has no sides, no labelled test or no labelled train
    group_name: str = "group"

    @property
    def leak(self) -> bool:
        """Whether test shares a group or a file with what the model learns from or is chosen by."""
        return self.groups.n_shared > 0 or self.duplicates.n_test_touched > 0

    def sentences(self) -> list[str]:
        """Plain words with the numbers, one finding each, also where nothing was found or could not be looked for."""
        found = group_sentences(self.groups, self.group_name)
        if self.fellow_eye is not None:
            found.append(fellow_eye_sentence(self.fellow_eye, self.group_name))
        return found + duplicate_sentences(self.duplicates)


def audit(table: pd.DataFrame, hashes: pd.Series | None, classes: Sequence[str], group_name: str = "group") -> Findings:
    """Looks through an image table whose `split` is filled; `hashes` is sha256 by image_id (None: not looked at).

    `group_name` is what the sentences call a group ('patient', 'subject'; 's' makes it plural).
    Raises ValueError on rows without a split, repeated image ids and images without a hash.
    """
    repeated = table.loc[table["image_id"].duplicated(), "image_id"].tolist()
    if repeated:
        raise ValueError(f"image table: image_id {repeated[0]!r} occurs twice; ids must be unique")
    missing = count(table["split"].isna())
    if missing:
        raise ValueError(f"image table: {missing} of {len(table)} rows have no split; assign the splits first")
    return Findings(
        groups=shared_groups(table),
        duplicates=Duplicates(checked=False) if hashes is None else exact_duplicates(table, hashes),
        fellow_eye=fellow_eye_baseline(table, classes),
        group_name=group_name,
    )


def stamps(findings: Findings, select_on: str, inherited: int = 0, augment_test: bool = False) -> list[str]:
    """What every table and figure of a run must carry: what is wrong, or cannot be checked, about its test images.

    ``inherited``: test images that the weights it starts from have met (``inherited_leak``). ``augment_test``: they
    were cropped and flipped at random. Nothing where there is no labelled test image.
    """
    found: list[str] = []
    groups, duplicates, name = findings.groups, findings.duplicates, findings.group_name
    if not groups.n_test_images:
        return found
    if not groups.checked:
        found.append(f"{name}s are unknown: whether test shares them with training cannot be checked")
    if groups.n_shared:
        share = groups.n_test_touched / groups.n_test_images
        found.append(f"{share:.1%} of the test images share a {name} with the training images")
    if duplicates.n_test_touched:
        found.append(f"{are(duplicates.n_test_touched, 'test image')} in the training images, too, byte for byte")
    if inherited:
        share = inherited / groups.n_test_images
        found.append(f"the weights it starts from have met {share:.1%} of the test images or their {name}s")
    if select_on == "test":
        found.append("the epoch was chosen on the test images")
    if augment_test:
        found.append("the test images were cropped, flipped and rotated at random, as in training")
    return found


def in_caption(found: Sequence[str]) -> str:
    """Stamps as the end of a caption; empty where there are none."""
    return "".join(f" ⚠ {stamp[0].upper()}{stamp[1:]}." for stamp in found)
