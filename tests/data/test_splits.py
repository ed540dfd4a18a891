"""Splits: no group on two sides, every class alike, and the same split however the rows lie."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold
from test_readers import real

from labkit.data.splits import assign_splits, split_counts

GROUP = {"split": "group", "split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2, "select_on": "val"}
GIVEN = GROUP | {"split": "given"}


def make_table(groups: list | np.ndarray, labels: list | np.ndarray, splits: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": pd.array([f"i{number:06d}" for number in range(len(groups))], dtype="string"),
            "path": "x.png",
            "label": pd.array(labels, dtype="Int64"),
            "group": pd.array(groups, dtype="string"),
            "side": pd.array([pd.NA] * len(groups), dtype="string"),
            "split": pd.array(splits or [pd.NA] * len(groups), dtype="string"),
        }
    )


def patients(count: int, seed: int = 0, sizes: tuple[int, int] = (1, 5)) -> pd.DataFrame:
    """Patients with one to four images, whose labels go together as those of two eyes do."""
    rng = np.random.default_rng(seed)
    size = rng.integers(*sizes, count)
    mean = rng.choice(5, count, p=[0.73, 0.07, 0.15, 0.03, 0.02])
    labels = np.repeat(mean, size)
    labels = np.where(rng.random(len(labels)) < 0.13, (labels + 1) % 5, labels)
    return make_table([f"p{number}" for number in np.repeat(np.arange(count), size)], labels)


def shares(table: pd.DataFrame, part: str) -> np.ndarray:
    """Each class's share of its images that lie in a part."""
    counts = pd.crosstab(table["label"], table["split"])
    return (counts[part] / counts.sum(axis=1)).to_numpy()


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_splits_and_every_row_has_one(seed):
    table = patients(300, seed)
    table.loc[::7, "group"] = pd.NA
    done = assign_splits(table, **GROUP | {"split_seed": seed})
    assert done["split"].isin(["train", "val", "test"]).all()
    assert done.groupby("group")["split"].nunique().max() == 1


def test_every_class_is_divided_in_the_wanted_proportions():
    done = assign_splits(patients(2000), **GROUP)
    part = done["split"].value_counts(normalize=True)
    assert part["val"] == pytest.approx(0.1, abs=0.005) and part["test"] == pytest.approx(0.2, abs=0.005)
    assert np.abs(shares(done, "test") - 0.2).max() < 0.02
    assert np.abs(shares(done, "val") - 0.1).max() < 0.02


def test_few_large_groups_are_divided_within_a_point():
    index = real("labels/leukemia") / "cnmc2019_train_index.csv"
    cells = pd.read_csv(index)
    table = make_table(cells["subject"].to_numpy(), (cells["label"] == "all").astype(int).to_numpy())
    for seed in range(5):
        done = assign_splits(table, **GROUP | {"split_seed": seed})
        assert np.abs(shares(done, "test") - 0.2).max() < 0.01
        assert np.abs(shares(done, "val") - 0.1).max() < 0.01
        assert done.groupby(["split", "label"])["group"].nunique().min() >= 3


def test_balance_is_no_worse_than_scikit_learns():
    table = patients(800)
    assert 1900 < len(table) < 2100
    ours = assign_splits(table, **GROUP | {"val_fraction": 0.0, "select_on": "test"})
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    _, test = next(folds.split(table, table["label"].astype(int), table["group"]))
    theirs = table.assign(split=np.where(np.isin(np.arange(len(table)), test), "test", "train"))
    assert np.abs(shares(ours, "test") - 0.2).max() <= np.abs(shares(theirs, "test") - 0.2).max() + 0.005


def test_split_does_not_depend_on_the_order_of_rows_or_a_former_split():
    table = patients(300)
    table.loc[::5, "group"] = pd.NA
    first = assign_splits(table, **GROUP).set_index("image_id")["split"]
    mixed = table.sample(frac=1, random_state=3).assign(split="train")
    np.random.seed(99)  # noqa: NPY002 - the run's seed, which must not matter
    again = assign_splits(mixed, **GROUP | {"select_on": "test"}).set_index("image_id")["split"]
    assert again.sort_index().tolist() == first.sort_index().tolist()


def test_split_seed_makes_another_split():
    table = patients(300)
    tests = [
        set(table["image_id"][assign_splits(table, **GROUP | {"split_seed": s})["split"] == "test"]) for s in (0, 1)
    ]
    assert len(tests[0] & tests[1]) < 0.5 * len(tests[0])


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_three_groups_is_in_every_part(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros(200, int)
    labels[rng.choice(100, 3, replace=False) * 2] = 1  # in three groups of two images, beside label 0
    labels[rng.choice(100, 3, replace=False) * 2 + 1] = 2
    table = make_table([f"g{number // 2}" for number in range(200)], labels)
    done = assign_splits(table, **GROUP | {"split_seed": seed})
    assert (pd.crosstab(done["label"], done["split"]) > 0).to_numpy().all()


def test_as_many_groups_as_parts_fill_them_and_fewer_are_refused():
    table = make_table(["a", "b", "c", "c"], [0, 0, 0, 0])
    assert set(assign_splits(table, **GROUP)["split"]) == {"train", "val", "test"}
    with pytest.raises(ValueError, match="2 groups cannot fill train, val, test"):
        assign_splits(table.iloc[1:], **GROUP)


def test_unlabelled_images_stay_unlabeled_and_the_table_is_not_changed():
    table = patients(50)
    table.loc[:9, "label"] = pd.NA
    before = table.copy(deep=True)
    done = assign_splits(table, **GROUP)
    assert done["split"].tolist()[:10] == ["unlabeled"] * 10
    assert set(done["split"][10:]) == {"train", "val", "test"}
    pd.testing.assert_frame_equal(table, before)


def test_copies_of_one_file_are_dealt_as_one_group_whoever_they_are_of():
    table = patients(200)
    table.loc[::3, "group"] = pd.NA
    hashes = pd.Series([f"sha{number % 150}" for number in range(len(table))], index=table["image_id"])
    for seed in range(3):
        done = assign_splits(table, hashes=hashes, **GROUP | {"split_seed": seed})
        assert done.groupby("group")["split"].nunique().max() == 1
        assert done.groupby(done["image_id"].map(hashes))["split"].nunique().max() == 1
        assert done["group"].equals(table["group"])


def test_hashes_without_copies_change_nothing():
    table = patients(200)
    table.loc[::3, "group"] = pd.NA
    done = assign_splits(table, hashes=pd.Series(table["image_id"].to_numpy(), index=table["image_id"]), **GROUP)
    assert done["split"].tolist() == assign_splits(table, **GROUP)["split"].tolist()


def given_table(parts: tuple[str, ...]) -> pd.DataFrame:
    table = patients(400)
    table["split"] = pd.array(np.random.default_rng(1).choice(parts, len(table)), dtype="string")
    return table


def test_given_parts_are_kept():
    table = given_table(("train", "val", "test"))
    assert assign_splits(table, **GIVEN)["split"].tolist() == table["split"].tolist()


def test_given_without_val_cuts_it_from_train_by_group():
    table = given_table(("train", "train", "test"))
    done = assign_splits(table, **GIVEN)
    train, test = table["split"] == "train", table["split"] == "test"
    assert (done["split"][test] == "test").all()
    assert (done["split"][train] == "val").mean() == pytest.approx(0.1, abs=0.01)
    assert done[train].groupby("group")["split"].nunique().max() == 1
    assert done.attrs["notes"] == ["validation is cut from train, by group (10% of it)"]


def test_given_selected_on_test_or_the_last_epoch_leaves_train_whole():
    table = given_table(("train", "train", "test"))
    for select_on in ("test", "last"):
        done = assign_splits(table, **GIVEN | {"select_on": select_on})
        assert done["split"].tolist() == table["split"].tolist() and done.attrs["notes"] == []


def test_given_val_serves_as_test_where_there_is_none():
    table = given_table(("train", "train", "val"))
    val = table["split"] == "val"
    done = assign_splits(table, **GIVEN)
    assert (done["split"][val] == "test").all() and (done["split"][~val] != "test").all()
    assert (done["split"] == "val").sum() > 0
    assert done.attrs["notes"] == [
        "the data's own validation part serves as test; validation is cut from train, by group (10% of it)"
    ]
    whole = assign_splits(table, **GIVEN | {"select_on": "test"})
    assert whole["split"].tolist() == table["split"].replace({"val": "test"}).tolist()


def test_the_courses_train_and_valid_stay_whole_where_test_lacks_only_its_labels():
    folder = real("labels/leukemia")
    lists = {"train": "train.csv", "val": "valid.csv", "unlabeled": "resnet_18_test.csv"}
    rows = pd.concat([pd.read_csv(folder / name).assign(split=split) for split, name in lists.items()])
    table = make_table([pd.NA] * len(rows), rows["label"].astype("Int64"), rows["split"].tolist())
    done = assign_splits(table, **GIVEN)
    assert done["split"].value_counts().to_dict() == {"train": 7995, "val": 1599, "unlabeled": 1067}
    assert done.attrs["notes"] == ["its test images have no labels: its validation part is all that can be scored"]


def test_split_by_image_ignores_groups_and_copies():
    table = patients(400)
    hashes = pd.Series([f"sha{number % 150}" for number in range(len(table))], index=table["image_id"])
    done = assign_splits(table, hashes=hashes, **GROUP | {"split": "image"})
    assert done["split"].value_counts(normalize=True)["test"] == pytest.approx(0.2, abs=0.005)
    assert (done.groupby("group")["split"].nunique() > 1).mean() > 0.3
    assert done["group"].equals(table["group"])
    assert done.attrs["notes"] == ["images are split one by one, so one person's may be in two parts"]
    mixed = table.assign(group="another").sample(frac=1, random_state=3)
    again = assign_splits(mixed, **GROUP | {"split": "image"})
    assert again.set_index("image_id")["split"].sort_index().tolist() == done["split"].tolist()


@pytest.mark.parametrize("how", ["group", "image"])
def test_train_and_val_are_learnt_from_and_judged_by_the_same_test(how):
    table = patients(300)
    table.loc[:9, "label"] = pd.NA
    settings = GROUP | {"split": how, "select_on": "last"}
    apart = assign_splits(table, **settings)
    together = assign_splits(table, **settings | {"train_on": "train+val"})
    assert together["split"].tolist() == apart["split"].replace({"val": "train"}).tolist()
    assert together.attrs["notes"] == [*apart.attrs["notes"], "the validation part is learnt from, too"]


def test_given_train_and_val_are_learnt_from():
    settings = GIVEN | {"select_on": "last", "train_on": "train+val"}
    three = given_table(("train", "val", "test"))
    done = assign_splits(three, **settings)
    assert done["split"].tolist() == three["split"].replace({"val": "train"}).tolist()
    two = given_table(("train", "train", "test"))
    assert assign_splits(two, **settings)["split"].tolist() == two["split"].tolist()  # nothing is cut off
    assert assign_splits(two, **settings).attrs["notes"] == []


def test_given_train_and_val_without_a_labelled_test_leave_none():
    table = given_table(("train", "train", "val"))
    table.loc[:20, ["label", "split"]] = [pd.NA, "unlabeled"]
    settings = GIVEN | {"select_on": "last", "train_on": "train+val"}
    done = assign_splits(table, **settings)
    assert done["split"].tolist() == ["unlabeled"] * 21 + ["train"] * (len(table) - 21)
    assert done.attrs["notes"] == [
        "the validation part is learnt from, too",
        "the data has no labelled test part, so there is none",
    ]
    with pytest.raises(ValueError, match="no labelled test part is left to select on"):
        assign_splits(table, **settings | {"select_on": "test"})


@pytest.mark.parametrize("parts", [None, ("train",), ("val", "test")])
def test_given_needs_parts_of_the_data(parts):
    with pytest.raises(ValueError, match="use split: group"):
        assign_splits(given_table(parts) if parts else patients(20), **GIVEN)


@pytest.mark.parametrize("split", ["group", "given"])
def test_a_validation_part_that_is_learnt_from_cannot_be_selected_on(split):
    with pytest.raises(ValueError, match="leaves no val part to select on"):
        assign_splits(patients(20), **GROUP | {"train_on": "train+val", "split": split})


def test_split_counts_have_all_classes_and_parts():
    table = make_table(list("aabbc"), [0, 1, 1, 1, pd.NA], ["train", "train", "test", "test", "unlabeled"])
    counts = split_counts(table, ("well", "sick", "rare"))
    assert counts.index.tolist() == ["well", "sick", "rare"] and counts.columns.tolist() == ["train", "val", "test"]
    assert counts.to_numpy().tolist() == [[1, 0, 0], [1, 0, 2], [0, 0, 0]]
