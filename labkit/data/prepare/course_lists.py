"""The retinopathy course's four lists for a folder of crops, from Kaggle's `trainLabels.csv` or the course's own."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

import pandas as pd

from labkit.data.readers import COURSE_FILES, COURSE_LISTS, DataError, read
from labkit.data.splits import assign_splits
from labkit.params import DataParams
from labkit.runs.files import write_whole

TEST_FRACTION = 0.2  # as in the course: 7,026 of 35,126
SPLIT_SEED = 0


def find_labels(places: list[Path]) -> tuple[pd.DataFrame, str] | None:
    """The labels in the first of the folders that has any; None where none has.

    A table of every labelled image (`image_id, label, split`: train or test), and how it was split, in words. Kaggle's
    images are dealt by patient, before any is left out, so that the split stays when more are prepared. DataError.
    """
    held = [place for place in places if any((place / name).is_file() for name in (*COURSE_FILES, "trainLabels.csv"))]
    if not held:
        return None
    images = read(DataParams.of({"dataset": "retinopathy"}), held[0], require_images=False)
    table = images.table
    if "train" in set(table["split"].dropna()):
        return table.loc[table["split"].isin(list(COURSE_LISTS))], f"split as the lists in {held[0]} have it"
    rule = {"split": "group", "split_seed": SPLIT_SEED, "val_fraction": 0.0, "test_fraction": TEST_FRACTION}
    dealt = assign_splits(table, select_on="last", **rule)
    how = f"so labkit made one by patient, every grade alike ({TEST_FRACTION:.0%} test, seed {SPLIT_SEED})"
    how = f"trainLabels.csv has no split, {how}; it is not the course's, which goes by image"
    return dealt.loc[dealt["split"].isin(list(COURSE_LISTS))], how


def write_lists(folder: Path, known: tuple[pd.DataFrame, str] | None, names: Collection[str]) -> list[str]:
    """The course's CSV files of the images called `names`; what is to be said of them. DataError without a label."""
    if known is None:
        return ["no labels were found, so there are no lists; --labels names the folder of trainLabels.csv"]
    labels, how = known
    here = labels.loc[labels["image_id"].isin(list(names))]
    if names and here.empty:
        first = labels["image_id"].iloc[0]
        raise DataError(f"{folder}: none of the images has a label; the labels name images such as {first}")
    rows = {}
    for split, (image_list, label_list) in COURSE_LISTS.items():
        part = here.loc[here["split"] == split]
        rows[split] = f"{len(part):,}"
        for name, column in ((image_list, "image_id"), (label_list, "label")):
            listed = part[[column]]
            write_whole(folder / name, partial(listed.to_csv, header=False, index=False, lineterminator="\n"))
    said = [f"train_img.csv has {rows['train']} rows, test_img.csv {rows['test']}: {how}"]
    if extra := len(names) - len(here):
        said.append(f"{extra:,} crops have no label and are in no list")
    if absent := len(labels) - len(here):
        said.append(f"{absent:,} of {len(labels):,} labelled images have no crop and are in no list")
    return said
