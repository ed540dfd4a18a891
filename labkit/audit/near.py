"""Near duplicates: the same picture again, re-compressed, resized or with other colours, so that its bytes differ."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from labkit.audit.phash import SMALLEST, pairs_within, perceptual_hashes
from labkit.audit.words import LEARNT_FROM, are, count
from labkit.data.store import Store

# Of 256 bits. Measured on real images at 64 px: the nearest two of 6,742 fundus photographs of different eyes differ
# in 22 bits; all 37 pairs of leukemia smears and all 15 of RetinaMNIST up to 16 show the same field or eye again;
# copies saved as JPEG at quality 20, halved or turned gray differ in at most 14.
MAX_DISTANCE = 16
BLANK = 1.0  # standard deviation of the luminance (0 to 127.5): no picture in it, so nothing to compare
MOST_PAIRS = 1_000_000  # more tell nothing new, and would fill the memory: the frames of a film
COLUMNS = ["image_id_a", "image_id_b", "split_a", "split_b", "label_a", "label_b", "distance"]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that look alike but differ in their bytes, the nearest first.

    `pairs`: image_id_a, image_id_b, split_a, split_b, label_a, label_b, distance (bits of 256). Of many images with
    one and the same hash every image is paired with one of each split and label, not with all.
    """

    checked: bool
    max_distance: int = MAX_DISTANCE
    complete: bool = True  # False: the search was stopped at MOST_PAIRS
    n_within: int = 0  # pairs inside a split
    n_across: int = 0  # pairs between two splits
    n_test_touched: int = 0  # test images with a near duplicate in train or val
    n_conflicting: int = 0  # pairs under two labels
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=pd.Index(COLUMNS)))


def near_duplicates(table: pd.DataFrame, store: Store, max_distance: int = MAX_DISTANCE) -> NearDuplicates:
    """Near duplicates among the images of a table whose `split` is filled, by the pixels of the store.

    Images that are blank or not in the store are left out, and pairs with the same bytes, which `exact_duplicates`
    finds. Not found are copies that were cropped, turned by more than a degree, mirrored or burnt out. Of a store below
    24 px a side nothing can be said (`checked` is False).
    """
    if store.size < SMALLEST:
        return NearDuplicates(checked=False, max_distance=max_distance)
    images = _with_rows(table, store)
    rows = np.unique(images["row"].to_numpy(np.int64))
    codes, contrast = perceptual_hashes(store.images, rows)
    rows, codes = rows[contrast >= BLANK], codes[contrast >= BLANK]
    distinct, look = np.unique(codes, axis=0, return_inverse=True)  # equal hashes would all be pairs of each other
    look_of_row = dict(zip(rows.tolist(), look.ravel().tolist(), strict=True))
    images = images.assign(look=images["row"].map(look_of_row.get)).dropna(subset=["look"])
    looks, apart, complete = pairs_within(distinct, max_distance, MOST_PAIRS)
    itself = np.flatnonzero(np.bincount(look.ravel()) > 1)
    ends = pd.DataFrame(
        {
            "look_a": np.concatenate([itself, looks[:, 0]]),
            "look_b": np.concatenate([itself, looks[:, 1]]),
            "distance": np.concatenate([np.zeros(len(itself), dtype=np.int64), apart]),
        }
    )
    return _counted(_image_pairs(images, ends), max_distance, complete)


def _with_rows(table: pd.DataFrame, store: Store) -> pd.DataFrame:
    """image_id, split, label and the row in the store of the images that could be decoded."""
    images = table[["image_id", "split", "label"]].assign(row=table["image_id"].map(store.rows.get))
    readable = images["row"].notna() & ~images["image_id"].isin(store.unreadable["image_id"])
    return images.loc[readable].astype({"row": np.int64})


def _image_pairs(images: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """From pairs of looks to pairs of images: every image with one of each split and label, in either direction."""
    some = images.drop_duplicates(["look", "split", "label"])
    swapped = ends.rename(columns={"look_a": "look_b", "look_b": "look_a"})
    both = pd.concat([ends, swapped], ignore_index=True)
    pairs = both.merge(images.add_suffix("_a"), on="look_a").merge(some.add_suffix("_b"), on="look_b")
    pairs = pairs.loc[pairs["row_a"] != pairs["row_b"]]
    first = pairs["image_id_a"].to_numpy(object) < pairs["image_id_b"].to_numpy(object)
    turned = {f"{name}_{a}": f"{name}_{b}" for name in ("image_id", "split", "label") for a, b in ("ab", "ba")}
    pairs = pd.concat([pairs.loc[first, COLUMNS], pairs.loc[~first, COLUMNS].rename(columns=turned)[COLUMNS]])
    pairs = pairs.drop_duplicates(["image_id_a", "image_id_b"])
    return pairs.sort_values(["distance", "image_id_a", "image_id_b"], ignore_index=True)


def _counted(pairs: pd.DataFrame, max_distance: int, complete: bool) -> NearDuplicates:
    a, b = pairs["split_a"], pairs["split_b"]
    touched = {
        *pairs.loc[(a == "test") & b.isin(LEARNT_FROM), "image_id_a"],
        *pairs.loc[(b == "test") & a.isin(LEARNT_FROM), "image_id_b"],
    }
    across = count((a != b).fillna(False))
    differ = (pairs["label_a"] != pairs["label_b"]).fillna(False).astype(bool)
    return NearDuplicates(
        checked=True,
        max_distance=max_distance,
        complete=complete,
        n_within=len(pairs) - across,
        n_across=across,
        n_test_touched=len(touched),
        n_conflicting=count(differ & pairs["label_a"].notna() & pairs["label_b"].notna()),
        pairs=pairs,
    )


def near_sentences(near: NearDuplicates) -> list[str]:
    """What near duplicates mean, a sentence each, with how alike two images must be to count."""
    if not near.checked:
        return [f"Near duplicates were not looked for: images below {SMALLEST} px show too little."]
    bits = f"{near.max_distance} of 256 bits"
    if near.pairs.empty:
        return [f"No two different files look alike (perceptual hashes within {bits})."]
    found = []
    if near.n_test_touched:
        found.append(f"Leak: {are(near.n_test_touched, 'test image')} nearly the same as one in train or validation.")
    least = "" if near.complete else "at least "
    across = f", {near.n_across:,} of them across splits" if near.n_across else ""
    pairs = "pair of files looks" if len(near.pairs) == 1 else "pairs of files look"
    found.append(f"{least}{len(near.pairs):,} {pairs} alike (perceptual hashes within {bits}){across}.".capitalize())
    if near.n_conflicting:
        found.append(f"{near.n_conflicting:,} of these pairs bear two different labels.")
    return found
