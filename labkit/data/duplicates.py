"""Images that are there twice: files with the same bytes, and pictures that look alike but differ in their bytes."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from labkit.data.store import Store

LEARNT_FROM = ("train", "val")  # val chooses the epoch, so what it shares with test leaks just as well

PAIR = ["image_id_a", "image_id_b", "split_a", "split_b", "label_a", "label_b", "distance", "turned"]


@dataclass(frozen=True)
class Duplicates:
    """Files with the same bytes. `files`: sha256, image_id, split, label, a row for every copy (the first one, too)."""

    checked: bool
    within: dict[str, int] = field(default_factory=dict)  # split -> surplus copies inside it; splits without left out
    n_across: int = 0  # distinct contents that lie in more than one split
    n_test_touched: int = 0  # test images whose bytes are in train or val, too
    test_touched: list[str] = field(default_factory=list)  # their ids
    n_conflicting: int = 0  # distinct contents that bear more than one label
    files: pd.DataFrame = field(default_factory=pd.DataFrame)


def exact_duplicates(table: pd.DataFrame, hashes: pd.Series) -> Duplicates:
    """Files of the same bytes in a table with splits. ValueError names an image that `hashes` (SHA-256 by id) lacks."""
    sha = table["image_id"].map(hashes.to_dict().get)
    files = table.assign(sha256=sha).loc[:, ["sha256", "image_id", "split", "label"]]
    lost = files.loc[files["sha256"].isna(), "image_id"].tolist()
    if lost:
        raise ValueError(f"hashes: {len(lost)} images have none, the first is {lost[0]!r}; hash the whole table")
    files = files.loc[files["sha256"].duplicated(keep=False)].sort_values(["sha256", "image_id"], ignore_index=True)
    surplus = files.loc[files.duplicated(["sha256", "split"]), "split"]
    contents = files.groupby("sha256")
    learnt_from = files.loc[files["split"].isin(LEARNT_FROM), "sha256"]
    touched = files.loc[(files["split"] == "test") & files["sha256"].isin(learnt_from), "image_id"].tolist()
    return Duplicates(
        checked=True,
        within={str(split): len(copies) for split, copies in surplus.groupby(surplus)},
        n_across=int((contents["split"].nunique() > 1).sum()),
        n_test_touched=len(touched),
        test_touched=touched,
        n_conflicting=int((contents["label"].nunique() > 1).sum()),
        files=files,
    )


def group_names(table: pd.DataFrame) -> pd.Series:
    """Each row's group; an image without one is a group of its own."""
    return pd.Series(table["group"], dtype="string").fillna("image " + table["image_id"].astype("string"))


def with_copies(table: pd.DataFrame, hashes: pd.Series, store: Store | None = None) -> pd.Series:
    """Each row's group, joined (under the first one's name) with every group that holds a copy of one of its images.

    Copies have the same bytes (`hashes`: SHA-256 by image_id) or, with a `store`, look alike (`near_duplicates`).
    """
    groups, names = pd.Series(table["group"], dtype="string"), group_names(table)
    sha = table["image_id"].map(hashes.to_dict().get)
    if store is not None:
        looks, component = _looks(table, store), _linked(store.alike["pairs"], 1 + store.alike["look"].max(initial=0))
        alike = pd.Series(component[looks], table.index).where(looks >= 0)  # the same for all that pairs link
        sha = alike.astype("Int64").astype("string").fillna(sha)
    copied = (sha.notna() & sha.duplicated(keep=False)).to_numpy(bool)
    if not copied.any():
        return groups
    name_of, held = pd.factorize(names[copied].astype(object), sort=True)
    content = len(held) + pd.factorize(sha[copied])[0]
    component = _linked(np.stack([name_of, content], axis=1), content.max() + 1)[: len(held)]
    first = pd.Series(held).groupby(component).transform("first")
    joined = names.map(dict(zip(held, first, strict=True)).get)
    return pd.Series(joined, dtype="string").fillna(groups)


def _looks(table: pd.DataFrame, store: Store) -> np.ndarray:
    """The number of each row's look (see `hashes.compare`), -1 where there was none to compare."""
    rows = table["image_id"].map(store.rows.get).fillna(-1).to_numpy(np.int64)
    return np.append(store.alike["look"], -1)[rows]


def _linked(pairs: np.ndarray, n: int) -> np.ndarray:
    """The component (n,) of each of n nodes that pairs (k, 2) link."""
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(n, n))
    return connected_components(links, directed=False)[1]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that look alike but differ in their bytes, the nearest first.

    `pairs`: image_id_a, image_id_b, split_a, split_b, label_a, label_b, distance (bits of 256), turned (whether
    one is mirrored or turned). Of many images with one hash each is paired with one of each split and label, not all.
    """

    n_unseen: int = 0  # images that were decoded but not compared: blank, or below 24 px
    complete: bool = True  # False: the search was stopped at MOST_PAIRS
    n_within: int = 0  # pairs inside a split
    n_across: int = 0  # pairs between two splits
    n_test_touched: int = 0  # test images with a near duplicate in train or val
    test_touched: list[str] = field(default_factory=list)  # their ids
    n_conflicting: int = 0  # pairs under two labels
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=pd.Index(PAIR)))


def near_duplicates(table: pd.DataFrame, store: Store) -> NearDuplicates:
    """Near duplicates among the images of a table whose `split` is filled, by what the store has seen of them.

    Pairs with the same bytes are left out; `exact_duplicates` finds them. Found of 20 copies each of EyePACS
    photographs: all that were resized, saved as JPEG at quality 20, turned gray, darkened (× 0.7), mirrored or turned
    by quarters; 19 rotated by 1° and 11 by 2°, 6 brightened (× 1.3), 5 with more contrast (× 1.5); none that was
    cropped by 1 % a side or more, or shifted by 4 of 256 px.
    """
    alike = store.alike
    rows = table["image_id"].map(store.rows.get)
    images = table[["image_id", "split", "label"]].assign(row=rows, look=_looks(table, store))
    images = images.loc[images["look"] >= 0]
    itself = np.flatnonzero(np.bincount(images["look"]) > 1)  # equal hashes would all be pairs of each other
    looks = np.concatenate([np.stack([itself, itself], axis=1), alike["pairs"]])
    ends = pd.DataFrame(looks, columns=["look_a", "look_b"])
    ends["distance"] = np.append(0 * itself, alike["distance"])
    ends["turned"] = np.append(itself < 0, alike["turned"])
    # from pairs of looks to pairs of images: each with one of every split and label, in either direction
    both = pd.concat([ends, ends.rename(columns={"look_a": "look_b", "look_b": "look_a"})], ignore_index=True)
    some = images.drop_duplicates(["look", "split", "label"]).add_suffix("_b")
    pairs = both.merge(images.add_suffix("_a"), on="look_a").merge(some, on="look_b")
    pairs = pairs.loc[pairs["row_a"] != pairs["row_b"]]
    first = pairs["image_id_a"].to_numpy(object) < pairs["image_id_b"].to_numpy(object)
    swap = {f"{name}_{a}": f"{name}_{b}" for name in ("image_id", "split", "label") for a, b in ("ab", "ba")}
    pairs = pd.concat([pairs.loc[first, PAIR], pairs.loc[~first].rename(columns=swap)[PAIR]])
    pairs = pairs.drop_duplicates(["image_id_a", "image_id_b"])
    pairs = pairs.sort_values(["distance", "image_id_a", "image_id_b"], ignore_index=True)

    a, b = pairs["split_a"], pairs["split_b"]
    touched = {
        *pairs.loc[(a == "test") & b.isin(LEARNT_FROM), "image_id_a"],
        *pairs.loc[(b == "test") & a.isin(LEARNT_FROM), "image_id_b"],
    }
    across = len(pairs.query("split_a != split_b"))
    return NearDuplicates(
        n_unseen=len(set(table["image_id"]) - set(images["image_id"]) - set(store.unreadable["image_id"])),
        complete=bool(alike["complete"]),
        n_within=len(pairs) - across,
        n_across=across,
        n_test_touched=len(touched),
        test_touched=sorted(touched),
        n_conflicting=len(pairs.dropna(subset=["label_a", "label_b"]).query("label_a != label_b")),
        pairs=pairs,
    )
