"""Files with the same bytes: inside a split, across splits, under two labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from labkit.audit.words import LEARNT_FROM, UNSPLIT, are, count


@dataclass(frozen=True)
class Duplicates:
    """Files with the same bytes. `files`: sha256, image_id, split, label, a row for every copy (the first one, too)."""

    checked: bool
    within: dict[str, int] = field(default_factory=dict)  # split -> surplus copies inside it; splits without left out
    n_across: int = 0  # distinct contents that lie in more than one split
    n_test_touched: int = 0  # test images whose bytes are in train or val, too
    n_conflicting: int = 0  # distinct contents that bear more than one label
    files: pd.DataFrame = field(default_factory=pd.DataFrame)


def exact_duplicates(table: pd.DataFrame, hashes: pd.Series) -> Duplicates:
    """Same bytes twice: inside a split, across splits, under two labels."""
    files = table[["image_id", "split", "label"]].merge(
        hashes.rename("sha256"), how="left", left_on="image_id", right_index=True
    )
    lost = files.loc[files["sha256"].isna(), "image_id"].tolist()
    if lost:
        raise ValueError(f"hashes: {len(lost)} images have none, the first is {lost[0]!r}; hash the whole table")
    files = files.loc[files["sha256"].duplicated(keep=False), ["sha256", "image_id", "split", "label"]]
    files = files.sort_values(by=["sha256", "image_id"], ignore_index=True)
    surplus = files[files.duplicated(["sha256", "split"])]
    contents = files.groupby("sha256")
    learnt_from = set(files.loc[files["split"].isin(LEARNT_FROM), "sha256"])
    return Duplicates(
        checked=True,
        within={str(split): len(copies) for split, copies in surplus.groupby("split")},
        n_across=count(contents["split"].nunique() > 1),
        n_test_touched=count(files.loc[files["split"] == "test", "sha256"].isin(list(learnt_from))),
        n_conflicting=count(contents["label"].nunique() > 1),
        files=files,
    )


def duplicate_sentences(duplicates: Duplicates) -> list[str]:
    """What exact duplicates mean, a sentence each: leaks first, then two labels, then copies inside a split."""
    if not duplicates.checked:
        return ["Exact duplicates were not looked for: no file hashes were given."]
    if duplicates.files.empty:
        return ["No two files have the same bytes."]
    found = []
    if duplicates.n_test_touched:
        found.append(
            f"Leak: {are(duplicates.n_test_touched, 'test image')} in train or validation, too, byte for byte."
        )
    if duplicates.n_across:
        found.append(f"{are(duplicates.n_across, 'image')} in more than one split, byte for byte.")
    if list(duplicates.within) == [UNSPLIT]:
        found.append(f"Surplus copies of an image: {duplicates.within[UNSPLIT]:,}.")
    elif duplicates.within:
        surplus = ", ".join(f"{count:,} in {split}" for split, count in duplicates.within.items())
        found.append(f"Surplus copies of an image inside its own split: {surplus}.")
    if duplicates.n_conflicting:
        found.append(f"{are(duplicates.n_conflicting, 'image')} labelled in two ways: same bytes, different labels.")
    return found
