"""Images that are there twice: files with the same bytes, and pictures that look alike but differ in their bytes."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from labkit.data.hashes import SMALLEST, pairs_within, perceptual_hashes
from labkit.data.store import Store

LEARNT_FROM = ("train", "val")  # val chooses the epoch, so what it shares with test leaks just as well

# Of 256 bits. Measured on real images at 64 px: the nearest two of 6,742 fundus photographs of different eyes differ
# in 22 bits; all 37 pairs of leukemia smears and all 15 of RetinaMNIST up to 16 show the same field or eye again;
# copies saved as JPEG at quality 20, halved or turned gray differ in at most 14.
MAX_DISTANCE = 16
BLANK = 1.0  # standard deviation of the luminance (0 to 127.5): no picture in it, so nothing to compare
MOST_PAIRS = 1_000_000  # more tell nothing new, and would fill the memory: the frames of a film
PAIR = ["image_id_a", "image_id_b", "split_a", "split_b", "label_a", "label_b", "distance"]


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
    """Files of the same bytes in a table whose `split` is filled; `hashes`: SHA-256 by image_id.

    ValueError names an image without a hash.
    """
    sha = table["image_id"].map(hashes.to_dict().get)
    files = table.assign(sha256=sha).loc[:, ["sha256", "image_id", "split", "label"]]
    lost = files.loc[files["sha256"].isna(), "image_id"].tolist()
    if lost:
        raise ValueError(f"hashes: {len(lost)} images have none, the first is {lost[0]!r}; hash the whole table")
    files = files.loc[files["sha256"].duplicated(keep=False)].sort_values(["sha256", "image_id"], ignore_index=True)
    surplus = files.loc[files.duplicated(["sha256", "split"]), "split"]
    contents = files.groupby("sha256")
    learnt_from = files.loc[files["split"].isin(LEARNT_FROM), "sha256"]
    return Duplicates(
        checked=True,
        within={str(split): len(copies) for split, copies in surplus.groupby(surplus)},
        n_across=int((contents["split"].nunique() > 1).sum()),
        n_test_touched=int(files.loc[files["split"] == "test", "sha256"].isin(learnt_from).sum()),
        n_conflicting=int((contents["label"].nunique() > 1).sum()),
        files=files,
    )


def with_copies(table: pd.DataFrame, hashes: pd.Series) -> pd.Series:
    """Each row's group, joined (under the first one's name) with every group that holds a file of the same bytes.

    An image without a group stays without one, unless its bytes are there twice. `hashes`: SHA-256 by image_id.
    """
    groups = pd.Series(table["group"], dtype="string")
    names = groups.fillna("image " + table["image_id"].astype("string"))
    sha = table["image_id"].map(hashes.to_dict().get)
    copied = (sha.notna() & sha.duplicated(keep=False)).to_numpy(bool)
    if not copied.any():
        return groups
    name_of, held = pd.factorize(names[copied].astype(object), sort=True)
    content = len(held) + pd.factorize(sha[copied])[0]
    links = coo_array((np.ones(len(content)), (name_of, content)), shape=(content.max() + 1,) * 2)
    component = connected_components(links, directed=False)[1][: len(held)]
    first = pd.Series(held).groupby(component).transform("first")
    joined = names.map(dict(zip(held, first, strict=True)).get)
    return pd.Series(joined, dtype="string").fillna(groups)


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
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=pd.Index(PAIR)))


def near_duplicates(table: pd.DataFrame, store: Store, max_distance: int = MAX_DISTANCE) -> NearDuplicates:
    """Near duplicates among the images of a table whose `split` is filled, by the pixels of the store.

    Images that are blank or not in the store are left out, and pairs with the same bytes, which `exact_duplicates`
    finds. Not found are copies that were cropped, turned by more than a degree, mirrored or burnt out. Of a store below
    24 px a side nothing can be said (`checked` is False).
    """
    if store.size < SMALLEST:
        return NearDuplicates(checked=False, max_distance=max_distance)
    images = table[["image_id", "split", "label"]].assign(row=table["image_id"].map(store.rows.get))
    readable = images["row"].notna() & ~images["image_id"].isin(store.unreadable["image_id"])
    images = images.loc[readable].astype({"row": np.int64})
    rows = np.unique(images["row"].to_numpy(np.int64))
    codes, contrast = perceptual_hashes(store.images, rows)
    rows, codes = rows[contrast >= BLANK], codes[contrast >= BLANK]
    distinct, look = np.unique(codes, axis=0, return_inverse=True)  # equal hashes would all be pairs of each other
    look_of_row = dict(zip(rows.tolist(), look.ravel().tolist(), strict=True))
    images = images.assign(look=images["row"].map(look_of_row.get)).dropna(subset=["look"])
    looks, apart, complete = pairs_within(distinct, max_distance, MOST_PAIRS)
    itself = np.flatnonzero(np.bincount(look.ravel()) > 1)
    ends = pd.DataFrame(np.concatenate([np.stack([itself, itself], axis=1), looks]), columns=["look_a", "look_b"])
    ends["distance"] = np.concatenate([np.zeros(len(itself), dtype=np.int64), apart])
    pairs = _image_pairs(images, ends)

    a, b = pairs["split_a"], pairs["split_b"]
    touched = {
        *pairs.loc[(a == "test") & b.isin(LEARNT_FROM), "image_id_a"],
        *pairs.loc[(b == "test") & a.isin(LEARNT_FROM), "image_id_b"],
    }
    across = len(pairs.query("split_a != split_b"))
    return NearDuplicates(
        checked=True,
        max_distance=max_distance,
        complete=complete,
        n_within=len(pairs) - across,
        n_across=across,
        n_test_touched=len(touched),
        n_conflicting=len(pairs.dropna(subset=["label_a", "label_b"]).query("label_a != label_b")),
        pairs=pairs,
    )


def _image_pairs(images: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """From pairs of looks to pairs of images: every image with one of each split and label, in either direction."""
    some = images.drop_duplicates(["look", "split", "label"])
    swapped = ends.rename(columns={"look_a": "look_b", "look_b": "look_a"})
    both = pd.concat([ends, swapped], ignore_index=True)
    pairs = both.merge(images.add_suffix("_a"), on="look_a").merge(some.add_suffix("_b"), on="look_b")
    pairs = pairs.loc[pairs["row_a"] != pairs["row_b"]]
    first = pairs["image_id_a"].to_numpy(object) < pairs["image_id_b"].to_numpy(object)
    turned = {f"{name}_{a}": f"{name}_{b}" for name in ("image_id", "split", "label") for a, b in ("ab", "ba")}
    pairs = pd.concat([pairs.loc[first, PAIR], pairs.loc[~first].rename(columns=turned)[PAIR]])
    pairs = pairs.drop_duplicates(["image_id_a", "image_id_b"])
    return pairs.sort_values(["distance", "image_id_a", "image_id_b"], ignore_index=True)
