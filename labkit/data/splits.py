"""Assigns each image to train, val or test: by group, by image, or as given by the data."""

from typing import Literal

import numpy as np
import pandas as pd

from labkit.data.deal import deal
from labkit.data.duplicates import group_names, with_copies
from labkit.data.store import Store

PARTS = ("train", "val", "test")
Split = Literal["group", "image", "given"]


def assign_splits(
    table: pd.DataFrame,
    *,
    hashes: pd.Series | None = None,
    store: Store | None = None,
    split: Split,
    split_seed: int,
    val_fraction: float,
    test_fraction: float,
    select_on: Literal["val", "test", "last"] = "val",
    train_on: Literal["train", "train+val"] = "train",
) -> pd.DataFrame:
    """A copy of the image table with `split` filled; what was decided on the way is in its `.attrs["notes"]`.

    `group`: labelled images are dealt anew, all of a group (patient) to one part, every class alike; an image without a
    group is one of its own. Images with the same bytes (`hashes`: SHA-256 by image_id), or that look alike in the
    `store`, are dealt as one group. Neither `select_on` nor the image size matters: a study's runs share one test part.
    `image`: every image by itself, whoever it is of and whatever it is a copy of.
    `given`: the data's own parts. Without a val part, `val_fraction` of train is cut off as one, by group; where it
    would choose nothing (`select_on` is test or last) train stays whole and there is no val. Without a labelled test,
    val serves as test; but where test images lack only their labels, train and val stay and val is what can be scored.

    `train_on="train+val"`: val becomes train once the parts are there, so that the test part stays the same. Of given
    parts nothing is cut off, and without a labelled test val joins train, too: then there is no test. The result does
    not depend on the order of the rows. ValueError: nothing to select on, no split, too few groups.
    """
    if select_on == "val" and train_on == "train+val":
        raise ValueError("train_on: train+val leaves no val part to select on; set select_on: last, or train_on: train")
    done = table.copy()
    done.attrs = {**table.attrs, "notes": []}
    rule = {"split": split, "split_seed": split_seed, "val_fraction": val_fraction, "test_fraction": test_fraction}
    rule |= {"train_on": train_on} | ({"select_on": select_on} if split == "given" else {})
    done.attrs["made_from"] = table.attrs.get("made_from", {}) | rule
    done.loc[table["label"].isna(), "split"] = "unlabeled"
    labelled = table["label"].notna().to_numpy(bool)
    if split == "given":
        done["group"] = table["group"] if hashes is None else with_copies(table, hashes, store)
        _keep_given(done, labelled, split_seed, val_fraction, select_on, train_on)
        done["group"] = table["group"]
    else:
        if split == "image":
            table = table.assign(group=pd.array([pd.NA] * len(table), dtype="string"))
            done.attrs["notes"].append("images are split one by one, so one person's may be in two parts")
        elif hashes is not None:
            table = table.assign(group=with_copies(table, hashes, store), own=group_names(table))
            held = table.loc[table["group"].notna()].drop_duplicates(["own", "group"])
            if joined := np.count_nonzero(held.duplicated("group", keep=False)):
                said = f"{joined:,} groups (or images without one) share copies of images"
                done.attrs["notes"].append(f"{said}; those that do stay in one part")
        fractions = {"train": 1 - val_fraction - test_fraction, "val": val_fraction, "test": test_fraction}
        done.loc[labelled, "split"] = deal(table.loc[labelled], fractions, split_seed)
        if train_on == "train+val":
            _learn_from_val(done)
    done["split"] = done["split"].astype("string")
    if select_on == "test" and "test" not in set(done["split"]):
        raise ValueError("no labelled test part is left to select on; set select_on: last, or train_on: train")
    return done


def _learn_from_val(done: pd.DataFrame) -> None:
    done["split"] = done["split"].replace({"val": "train"})
    done.attrs["notes"].append("the validation part is learnt from, too")


def _keep_given(
    done: pd.DataFrame, labelled: np.ndarray, split_seed: int, val_fraction: float, select_on: str, train_on: str
) -> None:
    given = done.loc[labelled, "split"]
    if not given.isin(PARTS).all() or not {"train"} < set(given):
        has = ", ".join(map(str, given.dropna().unique())) or "none"
        raise ValueError(f"split: given needs the data's own train and test parts (it has: {has}); use split: group")
    notes = done.attrs["notes"]
    if train_on == "train+val":
        if "val" in set(given):
            _learn_from_val(done)
        if "test" not in set(given):
            notes.append("the data has no labelled test part, so there is none")
        return
    if "test" not in set(given):
        if select_on == "val" and not labelled.all():
            notes.append("its test images have no labels: its validation part is all that can be scored")
            return
        done["split"] = done["split"].replace({"val": "test"})
        notes.append("the data's own validation part serves as test")
    elif "val" in set(given):
        return
    if select_on != "val":
        return
    train = (done["split"] == "train").fillna(False).to_numpy(bool)
    done.loc[train, "split"] = deal(done.loc[train], {"train": 1 - val_fraction, "val": val_fraction}, split_seed)
    notes[:] = ["; ".join([*notes, f"validation is cut from train, by group ({val_fraction:.0%} of it)"])]


def split_counts(table: pd.DataFrame, classes: tuple[str, ...] | list[str]) -> pd.DataFrame:
    """Labelled images by class (rows) and part (columns train, val, test)."""
    counts = pd.crosstab(table["label"], table["split"]).reindex(range(len(classes)), columns=PARTS, fill_value=0)
    return counts.set_axis(pd.Index(classes, name="class"))
