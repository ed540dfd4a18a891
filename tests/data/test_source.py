"""The parameters ``dataset`` and ``data``: a folder of one's own, or a built-in set that says that it is synthetic."""

import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest
from test_readers import real

from labkit.audit import audit
from labkit.data.readers import DataError, read, with_release_index
from labkit.data.source import PHANTOMS, open_data
from labkit.data.splits import assign_splits
from labkit.params import DataParams


def test_built_in_images_say_that_they_are_synthetic_and_are_not_held_against_the_release(tmp_path):
    images, hashes = open_data(DataParams(data="tiny"), tmp_path)
    assert images.facts.title.startswith(f"Synthetic images ({PHANTOMS['tiny']})")
    assert "drawn by labkit" in images.facts.source and "Kaggle" not in images.facts.source
    assert not [note for note in images.notes if "labkit's catalog" in note]
    assert hashes.index.equals(images.table.set_index("image_id").index) and hashes.notna().all()


def test_a_folder_of_ones_own_keeps_its_origin_and_what_is_missing_of_it(image_folder, tmp_path):
    images, _ = open_data(DataParams(data=str(image_folder)), tmp_path)
    assert "Kaggle" in images.facts.source
    assert [note for note in images.notes if "labkit's catalog has 28,100" in note]


def test_a_relative_folder_is_relative_to_the_project(image_folder, tmp_path, monkeypatch):
    from labkit.params import PROJECT

    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(image_folder, PROJECT)
    assert len(open_data(DataParams(data=relative), tmp_path)[0].table) == 80


# --- what the release's index tells of renamed cells ------------------------------------------------------------------

INDEX = "cnmc2019_train_index.csv"


def cells(root: Path, contents: dict[str, str], index: list[tuple[str, str, str]]) -> Path:
    """The leukemia course's layout: contents by file (`train/0`), labelled ALL; an index of content, subject, label."""
    for name, content in contents.items():
        path = root / "new_dataset" / f"{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    tables: dict[str, list[str]] = {"train": ["Path,label"], "valid": ["Path,label"], "resnet_18_test": ["Path"]}
    for name in contents:
        part = name.partition("/")[0]
        if part == "test":
            tables["resnet_18_test"].append(f"./new_dataset/{name}.bmp")
        else:
            tables[part].append(f"./new_dataset/{name}.bmp,1")
    for name, lines in tables.items():
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    write_index(root / INDEX, index)
    return root


def write_index(path: Path, rows: list[tuple[str, str, str]]) -> None:
    """As the release's: CRLF, labels all and hem."""
    lines = ["file,fold,label,subject,image,cell,sha256,bytes"]
    for number, (content, subject, label) in enumerate(rows):
        sha = hashlib.sha256(content.encode()).hexdigest()
        lines.append(f"UID_{subject}_{number}_1_{label}.bmp,fold_0,{label},{subject},{number},1,{sha},{len(content)}")
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())


def opened(root: Path, cache: Path):
    images, _ = open_data(DataParams(dataset="leukemia", data=str(root)), cache)
    notes = [note for note in images.notes if "labkit's catalog" not in note]
    return images.table.set_index("image_id").rename(lambda name: name[12:-4]), notes


FILES = {"train/0": "a", "train/1": "b", "valid/0": "c", "test/0": "d", "test/1": "e"}
LISTED = [("a", "1", "all"), ("b", "h3", "hem"), ("c", "2", "all"), ("d", "H3", "hem"), ("e", "1", "all")]


@pytest.mark.parametrize("beside", [False, True])
def test_subjects_and_hidden_labels_are_won_back_by_the_files_sha256(tmp_path, beside):
    root = cells(tmp_path / "cells", FILES, LISTED)
    if beside:
        (root / INDEX).rename(tmp_path / INDEX)
    table, notes = opened(root, tmp_path)
    reading = open_data(DataParams(dataset="leukemia", data=str(root)), tmp_path)[0].reading
    assert reading["groups"] == f"{INDEX}, by the SHA-256 of the files"
    assert "test.csv with a path column alone" in reading["layout"]
    assert table["group"].to_dict() == {"train/0": "1", "train/1": "H3", "valid/0": "2", "test/0": "H3", "test/1": "1"}
    assert table["split"].tolist() == ["test", "test", "train", "train", "val"]
    assert table["label"].to_dict() == {"train/0": 1, "train/1": 1, "valid/0": 1, "test/0": 0, "test/1": 1}
    assert [note.partition(";")[0] for note in notes] == [
        f"{INDEX} lists 5 of 5 images, by the SHA-256 of the files",
        f"2 images have no label in their list but one in {INDEX}: the course's hidden test set is not hidden, and "
        "serves as the test part with these labels",
        f"1 labels differ from {INDEX} and are kept as given (the first: new_dataset/train/1.bmp)",
    ]


def test_without_an_index_nothing_changes(tmp_path):
    root = cells(tmp_path, FILES, LISTED)
    (root / INDEX).unlink()
    table, notes = opened(root, tmp_path)
    assert table["group"].isna().all() and table["split"].tolist() == [*["unlabeled"] * 2, "train", "train", "val"]
    assert len(notes) == 1 and notes[0].startswith("subjects unknown:")


def test_what_the_index_does_not_list_stays_unknown_and_is_told(tmp_path):
    table, notes = opened(cells(tmp_path, FILES, [LISTED[0], LISTED[3]]), tmp_path)
    assert table["group"].dropna().to_dict() == {"train/0": "1", "test/0": "H3"}
    assert table["split"].tolist() == ["test", "unlabeled", "train", "train", "val"]
    assert notes[0].startswith(f"{INDEX} lists 2 of 5 images") and "the subject of 2 images" in notes[0]
    assert any(note.startswith("subjects unknown of 3 of 5 images") for note in notes)


def test_an_index_of_other_images_says_so_and_tells_nothing(tmp_path):
    table, notes = opened(cells(tmp_path, FILES, [("z", "1", "all")]), tmp_path)
    assert table["group"].isna().all() and (table["split"] == "unlabeled").sum() == 2
    assert f"{INDEX} lists 0 of 5 images, by the SHA-256 of the files" in notes
    assert any(note.startswith("subjects unknown:") for note in notes)


def test_a_cell_under_two_subjects_has_either_where_both_files_are_here(tmp_path):
    files = {"train/0": "twice", "train/1": "twice", "valid/0": "once", "valid/1": "same", "test/0": "same"}
    index = [("twice", "20", "all"), ("twice", "21", "all"), ("once", "20", "all"), ("once", "21", "all")]
    table, notes = opened(cells(tmp_path, files, [*index, ("same", "5", "all")]), tmp_path)
    assert sorted(table["group"][["train/0", "train/1"]]) == ["20", "21"]
    assert table.index[table["group"].isna()].tolist() == ["valid/0"]
    assert (table["group"][["valid/1", "test/0"]] == "5").all()  # a copy that the index does not know of
    assert any(note.startswith("subjects unknown of 1 of 5 images") for note in notes)


def test_other_data_sets_do_not_ask_the_index(tmp_path, image_folder):
    write_index(image_folder / INDEX, LISTED)
    assert not [note for note in open_data(DataParams(data=str(image_folder)), tmp_path)[0].notes if INDEX in note]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nx.bmp,all\n", "not an index with the columns sha256, subject, label"),
        ("sha256,subject,label\n00,1,all\n01,2,ill\n", r"index\.csv, row 3: label 'ill' is not one of hem, all"),
        (b"sha256,subject,label\n00,1,\xff\n", "not an index"),
    ],
)
def test_an_index_that_cannot_be_read_is_named(tmp_path, text, message):
    root = cells(tmp_path, FILES, LISTED)
    (root / INDEX).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        opened(root, tmp_path)


def test_built_in_cells_have_subjects_and_a_labelled_test_part(tmp_path):
    images, hashes = open_data(DataParams(dataset="leukemia", data="tiny"), tmp_path)
    table = images.table
    assert table["group"].notna().all() and set(table["split"]) == {"train", "val", "test"}
    assert table.groupby("group")["label"].agg(lambda labels: labels.nunique()).gt(1).sum() == 1  # the mislabelled copy
    own = [note for note in images.notes if "differ" in note]
    assert len(own) == 1 and own[0].startswith("1 labels differ")
    assert not [note for note in images.notes if "unknown" in note]
    given = assign_splits(table, hashes=hashes, split="given", split_seed=0, val_fraction=0.1, test_fraction=0.1)
    assert given["split"].tolist() == table["split"].tolist()
    assert audit(given, hashes, images.facts.classes, "subject").groups.n_test_touched > 0  # the course's leak
    dealt = assign_splits(table, hashes=hashes, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2)
    assert not audit(dealt, hashes, images.facts.classes, "subject").leak
    listed = images.lists["resnet_18_test.csv"]["image_id"]
    assert set(listed) == set(table.loc[table["split"] == "test", "image_id"])


def test_the_real_index_gives_every_renamed_file_its_subject_again(tmp_path):
    """The course's 10,661 files under new names, known by the hashes of the release."""
    path = real("labels/leukemia") / INDEX
    index = pd.read_csv(path, dtype=str)
    assert (len(index), index["sha256"].nunique(), index["subject"].nunique()) == (10_661, 10_557, 73)
    data = read(DataParams(dataset="leukemia"), path.parent, require_images=False)
    mixed = index.sample(frac=1, random_state=0).reset_index(drop=True)
    hashes = pd.Series(mixed["sha256"].to_numpy(), index=data.table["image_id"])
    done = with_release_index(data, hashes)
    assert done.table["group"].notna().all() and done.table["label"].notna().all()
    assert done.table["group"].value_counts().to_dict() == index["subject"].value_counts().to_dict()
    assert (done.table["split"] == "test").sum() == 1067
    same = (done.table["group"] == mixed["subject"]).fillna(False)
    assert (~same).sum() <= 198  # of cells under two subjects, which is which cannot be told
