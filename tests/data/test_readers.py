"""Every layout to the one image table, with the quirks that real label files have."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labkit.data.catalog import CATALOG, facts
from labkit.data.readers import DataError, read
from labkit.data.readers.read import COLUMNS
from labkit.params import DataParams
from labkit.runs.fingerprint import data_fingerprint

DATA = Path(os.environ.get("LABKIT_TEST_DATA", Path(__file__).resolve().parents[3] / "data")).resolve()


def real(folder: str) -> Path:
    """A folder of the published data; these files are not part of the project."""
    if not (DATA / folder).is_dir():
        pytest.skip(f"no {folder} under LABKIT_TEST_DATA ({DATA})")
    return DATA / folder


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """Files by relative path; readers look at names only, so an image may be empty."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def course(root: Path, **changed: str | bytes) -> Path:
    """The retinopathy course's layout with five images; keywords replace its lists (train_img="…")."""
    lists = {
        "train_img": "1_left\n1_right\n22_left\n",
        "train_label": "0\n0\n4\n",
        "test_img": "22_right\n3_left\n",
        "test_label": "3\n1\n",
    }
    names = ("1_left", "1_right", "22_left", "22_right", "3_left")
    write(root, {f"images/{name}.jpeg": b"" for name in names})
    return write(root, {f"{name}.csv": text for name, text in (lists | changed).items()})


def rows(data) -> list[tuple]:
    return list(data.table[["image_id", "label", "split"]].itertuples(index=False, name=None))


COURSE_ROWS = [
    ("1_left", 0, "train"),
    ("1_right", 0, "train"),
    ("22_left", 4, "train"),
    ("22_right", 3, "test"),
    ("3_left", 1, "test"),
]


def test_course_layout_gives_the_image_table_without_losing_the_first_row(tmp_path):
    data = read(DataParams(), course(tmp_path))
    assert rows(data) == COURSE_ROWS
    assert list(data.table) == COLUMNS
    assert data.table["group"].tolist() == ["1", "1", "22", "22", "3"]
    assert data.table["side"].tolist() == ["left", "right", "left", "right", "left"]
    assert data.table["path"][0] == (tmp_path / "images/1_left.jpeg").as_posix()
    assert {name: str(kind) for name, kind in data.table.dtypes.items()} == (
        dict.fromkeys(COLUMNS, "string") | {"label": "Int64"}
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"train_img": "image\n1_left\n1_right\n22_left\n", "train_label": "level\n0\n0\n4\n"},
        {"train_img": "1_left\r\n1_right\r\n22_left\r\n", "train_label": "0\r\r\n0\r\r\n4"},
        {"train_img": b"\xef\xbb\xbf1_left\n1_right\n22_left", "train_label": b"\xef\xbb\xbf0\n0\n4\n\n\n"},
        {"train_img": "1_left\n1_right\n22_left\n".encode("utf-16"), "train_label": "0\n0\n4\n".encode("utf-16")},
        {"train_img": "1_left\n1_right\n22_left", "train_label": "0\n0\n4"},
        {"train_img": " 1_left\n1_right \n\t22_left\n", "train_label": " 0\n0 \n4\t\n"},
        {"train_img": "1_left.jpeg\n1_right.jpeg\n22_left.jpeg\n", "train_label": "0.0\n0.0\n4.0\n"},
        {"train_img": "images\\1_left.jpeg\n.\\images\\1_right.jpeg\ntrain\\22_left.jpeg\n"},
        {"train_img": '"1_left"\n"1_right"\n"22_left"\n', "train_label": '"0"\n"0"\n"4"\n'},
        {"train_img": "1_left\n\n1_right\n22_left\n", "train_label": "0\n\n0\n4\n"},
        {"train_label": "No DR\nno_dr\nproliferative DR\n"},
    ],
)
def test_course_lists_mean_the_same_however_they_were_saved(tmp_path, changed):
    assert rows(read(DataParams(), course(tmp_path, **changed))) == COURSE_ROWS


@pytest.mark.parametrize("folder", [".", "resized", "images"])
def test_course_images_are_found_in_images_the_root_or_a_sub_folder(tmp_path, folder):
    course(tmp_path)
    moved = tmp_path / folder
    if folder != "images":
        moved.mkdir(exist_ok=True)
        for path in list((tmp_path / "images").iterdir()):
            path.rename(moved / path.name)
    assert set(read(DataParams(), tmp_path).table["path"].map(lambda path: Path(path).parent)) == {moved.resolve()}


def test_train_and_test_images_may_lie_in_folders_of_their_own(tmp_path):
    course(tmp_path)
    (tmp_path / "images").rename(tmp_path / "train")
    (tmp_path / "test").mkdir()
    for name in ("22_right", "3_left"):
        (tmp_path / f"train/{name}.jpeg").rename(tmp_path / f"test/{name}.png")
    data = read(DataParams(), tmp_path)
    assert rows(data) == COURSE_ROWS
    assert data.table["path"][3].endswith("/test/22_right.png")


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        (dict.fromkeys(("train_img", "train_label", "test_img", "test_label"), "\n"), ["no images are listed"]),
        ({"train_label": "0\n0\n"}, ["train_img.csv has 3 rows", "train_label.csv has 2"]),
        ({"train_label": "0\n5\n4\n"}, ["train_label.csv, row 2", "'5'", "0 (No DR)", "4 (Proliferative DR)"]),
        ({"test_label": "3\n-1\n"}, ["test_label.csv, row 2", "'-1'"]),
        ({"test_label": "3\nmany\n"}, ["test_label.csv, row 2", "'many'", "3 (Severe)"]),
        ({"test_label": "3\n1.5\n"}, ["test_label.csv, row 2", "'1.5'"]),
        ({"test_label": "level\n3\nx\n"}, ["test_label.csv, row 3", "'x'"]),
        ({"train_label": "0\n\n4\n"}, ["train_label.csv, row 2", "empty"]),
        ({"train_img": "0,1_left\n1,1_right\n2,22_left\n"}, ["train_img.csv, row 1", "one column"]),
        ({"train_img": "1_left\n1_left\n22_left\n", "train_label": "0\n2\n4\n"}, ["'1_left'", "row 1: 0", "row 2: 2"]),
        ({"train_img": "../1_left\n1_right\n22_left\n"}, ["train_label.csv, row 1", "'../1_left'", "outside"]),
        ({"train_label": "0\n\xe9\n4\n".encode("latin-1")}, ["train_label.csv", "UTF-8"]),
    ],
)
def test_course_lists_that_cannot_be_right_are_refused_with_file_row_and_value(tmp_path, changed, parts):
    with pytest.raises(DataError) as error:
        read(DataParams(), course(tmp_path, **changed))
    assert [part for part in parts if part not in str(error.value)] == []


def test_a_missing_list_is_named(tmp_path):
    (course(tmp_path) / "test_label.csv").unlink()
    with pytest.raises(DataError, match=r"test_label\.csv missing"):
        read(DataParams(), tmp_path)


def test_an_image_in_train_and_test_stays_in_test_and_is_told(tmp_path):
    data = read(DataParams(), course(tmp_path, test_img="22_left\n3_left\n", test_label="4\n1\n"))
    assert rows(data)[2:] == [("22_left", 4, "test"), ("3_left", 1, "test")]
    assert any("in more than one split" in note and "22_left" in note for note in data.notes)


def test_lists_without_any_image_say_where_was_looked(tmp_path):
    shutil.rmtree(course(tmp_path) / "images")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(
        DataError, match=r"none of the 5 listed images is there \(looked in the folder itself, elsewhere/"
    ):
        read(DataParams(), tmp_path)


def test_kaggle_labels_have_no_split_and_yield_to_the_course_lists(tmp_path):
    text = "image,level\n" + "".join(f"{name},{label}\n" for name, label, _ in COURSE_ROWS)
    write(course(tmp_path), {"trainLabels.csv": text})
    assert read(DataParams(), tmp_path).layout == "course image and label lists"
    for path in tmp_path.glob("t*_*.csv"):
        path.unlink()
    data = read(DataParams(), tmp_path)
    assert data.layout == "Kaggle trainLabels.csv"
    assert [row[:2] for row in rows(data)] == [row[:2] for row in COURSE_ROWS]
    assert data.table["split"].isna().all()


@pytest.fixture
def leukemia(tmp_path) -> Path:
    """The leukemia course's layout: test lists without labels, in two orders, one without its last newline."""
    images = [f"new_dataset/{folder}/{number}.bmp" for folder in ("train", "valid", "test") for number in (0, 1)]
    lists = {
        "train.csv": "Path,label\n./new_dataset/train/0.bmp,0\n./new_dataset/train/1.bmp,1\n",
        "valid.csv": "Path,label\n./new_dataset/valid/0.bmp,1\n./new_dataset/valid/1.bmp,0\n",
        "resnet_18_test.csv": "Path\n./new_dataset/test/1.bmp\n./new_dataset/test/0.bmp\n",
        "resnet_50_test.csv": "Path\n./new_dataset/test/0.bmp\n./new_dataset/test/1.bmp",
    }
    return write(tmp_path, dict.fromkeys(images, "") | lists)


def test_leukemia_course_lists_each_test_image_once_and_unlabelled(leukemia):
    data = read(DataParams(dataset="leukemia"), leukemia)
    assert rows(data)[2:] == [
        ("new_dataset/train/0.bmp", 0, "train"),
        ("new_dataset/train/1.bmp", 1, "train"),
        ("new_dataset/valid/0.bmp", 1, "val"),
        ("new_dataset/valid/1.bmp", 0, "val"),
    ]
    last = data.table.iloc[:2]
    assert sorted(last["image_id"]) == ["new_dataset/test/0.bmp", "new_dataset/test/1.bmp"]
    assert last["label"].isna().all() and (last["split"] == "unlabeled").all()
    assert any(note.startswith("subjects unknown") and "cannot be checked" in note for note in data.notes)


@pytest.mark.parametrize(
    "changed",
    [
        {"train": b"\xef\xbb\xbfPath,label\r\n./new_dataset/train/0.bmp,0\r\n./new_dataset/train/1.bmp,1\r\n"},
        {"train": "Path,label\n./new_dataset/train/0.bmp,0\n./new_dataset/train/1.bmp,1"},
        {"train": " path , LABEL \n ./new_dataset/train/0.bmp , 0 \n ./new_dataset/train/1.bmp , 1 \n"},
        {"train": "Path,label\n.\\new_dataset\\train\\0.bmp,0\nnew_dataset\\train\\1.bmp,1\n"},
        {"train": "Path;label\nnew_dataset/train/0.bmp;hem\nnew_dataset/train/1.bmp;ALL\n"},
        {"train": "Path,label\n./new_dataset/train/1.bmp,1\n./new_dataset/train/0.bmp,0\n"},
        {"resnet_18_test": b"\xef\xbb\xbfPath\r\n .\\new_dataset\\test\\1.bmp \r\nnew_dataset/test/0.bmp"},
    ],
    ids=["bom-crlf", "no-last-newline", "spaces", "windows", "semicolons-names", "other-order", "test-list"],
)
def test_leukemia_lists_mean_the_same_however_they_were_saved(leukemia, changed):
    before = read(DataParams(dataset="leukemia"), leukemia)
    after = read(
        DataParams(dataset="leukemia"), write(leukemia, {f"{name}.csv": text for name, text in changed.items()})
    )
    assert data_fingerprint(after, pd.Series()) == data_fingerprint(before, pd.Series())
    assert rows(after) == rows(before) and after.notes == before.notes
    ids = {name: listed["image_id"].tolist() for name, listed in before.lists.items()}
    assert {name: listed["image_id"].tolist() for name, listed in after.lists.items()} == ids


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.csv", "./new_dataset/train/0.bmp,0\n./new_dataset/train/1.bmp,1\n"),
        ("resnet_18_test.csv", ".\\new_dataset\\test\\0.bmp\n"),
    ],
)
def test_a_leukemia_list_without_its_header_row_is_not_passed_over(leukemia, name, text):
    with pytest.raises(DataError, match=rf"{name}, row 1: .*0\.bmp.*; the first row must name the columns"):
        read(DataParams(dataset="leukemia"), write(leukemia, {name: text}))


def test_a_label_outside_the_classes_and_a_label_without_its_image_are_told(leukemia):
    (leukemia / "new_dataset/valid/1.bmp").unlink()
    assert (
        "1 of 6 listed images have no file and were left out: 1.bmp"
        in read(DataParams(dataset="leukemia"), leukemia).notes
    )
    write(leukemia, {"valid.csv": "Path,label\n./new_dataset/valid/0.bmp,2\n"})
    with pytest.raises(DataError, match=r"valid\.csv, row 2: label '2' is not one of 0 \(HEM\), 1 \(ALL\)"):
        read(DataParams(dataset="leukemia"), leukemia)


@pytest.mark.parametrize("folder", ["", "fold_0/all/"])
def test_the_releases_index_is_not_taken_for_a_table_of_labels(tmp_path, folder):
    index = "file,fold,label,subject,image,cell,sha256,bytes\r\nUID_11_2_1_all.bmp,fold_0,all,11,2,1,00,0\r\n"
    files = {f"{folder}UID_1_1_1_all.bmp": b"", "cnmc2019_train_index.csv": index}
    assert read(DataParams(dataset="leukemia"), write(tmp_path, files)).layout == "C-NMC files"


def test_test_lists_with_different_images_are_told(leukemia):
    write(leukemia, {"resnet_50_test.csv": "Path\n./new_dataset/test/0.bmp\n"})
    data = read(DataParams(dataset="leukemia"), leukemia)
    assert len(data.table) == 6
    assert any("resnet_18_test.csv 2, resnet_50_test.csv 1" in note for note in data.notes)


def test_listed_folders_that_are_not_there_are_tried_without(leukemia):
    data = read(DataParams(dataset="leukemia"), leukemia)
    for path in list((leukemia / "new_dataset").iterdir()):
        path.rename(leukemia / path.name)
    moved = read(DataParams(dataset="leukemia"), leukemia)
    assert moved.table["image_id"].tolist() == data.table["image_id"].tolist()
    assert moved.table["path"][2] == (leukemia / "train/0.bmp").as_posix()
    assert any("without the first folder" in note for note in moved.notes)


@pytest.mark.parametrize("nesting", ["fold_{fold}/{kind}/", "fold_{fold}/fold_{fold}/{kind}/", ""])
def test_cnmc_tree_has_subjects_in_upper_case_and_no_split(tmp_path, nesting):
    cells = {"UID_11_2_1_all": 0, "UID_H7_2_1_hem": 1, "UID_h3_4_1_hem": 2, "UID_H3_5_1_hem": 2}
    for name, fold in cells.items():
        write(tmp_path, {nesting.format(fold=fold, kind=name[-3:]) + f"{name}.bmp": b""})
    data = read(DataParams(dataset="leukemia"), write(tmp_path, {"._UID_1_1_1_all.bmp": b"", "Thumbs.db": b""}))
    table = data.table.set_index("image_id")
    assert data.layout == "C-NMC files"
    assert table["group"].to_dict() == {
        "UID_11_2_1_all": "11",
        "UID_H7_2_1_hem": "H7",
        "UID_h3_4_1_hem": "H3",
        "UID_H3_5_1_hem": "H3",
    }
    assert (table["label"] == table.index.str.endswith("_all").astype(int)).all()
    assert table["split"].isna().all()


def test_cnmc_folder_against_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="folder says all, the name hem"):
        read(DataParams(dataset="leukemia"), write(tmp_path, {"fold_0/all/UID_H1_1_1_hem.bmp": b""}))


def test_any_csv_with_path_and_label_is_read_with_its_optional_columns(tmp_path):
    text = (
        "FILE;Class;Patient;Eye;Set\n"
        "a/1.png;sick;p1;OS;training\na/2.png;well;p1;right;Validation\nb/3.png;sick;;;testing\nb/4.png;;p2;;\n"
    )
    images = ["a/1.png", "a/2.png", "b/3.png", "b/4.png"]
    data = read(DataParams(dataset="custom"), write(tmp_path, {"cells.csv": text} | dict.fromkeys(images, "")))
    assert data.facts.classes == ("sick", "well")
    assert data.table["image_id"].tolist() == images
    assert data.table["label"].tolist() == [0, 1, 0, pd.NA]
    assert data.table["split"].tolist() == ["train", "val", "test", "unlabeled"]
    assert data.table["group"].tolist() == ["p1", "p1", pd.NA, "p2"]
    assert data.table["side"].tolist() == ["left", "right", pd.NA, pd.NA]


def test_of_equal_names_in_folders_of_train_and_test_the_split_column_decides(tmp_path):
    images = [f"{part}/{number}.png" for part in ("test", "train") for number in (1, 2)]
    text = "image,label,split\n1.png,x,train\n2.png,y,train\n1.png,y,test\n2.png,x,test\n"
    data = read(DataParams(dataset="custom"), write(tmp_path, {"labels.csv": text} | dict.fromkeys(images, "")))
    assert data.table["image_id"].tolist() == images and data.table["label"].tolist() == [1, 0, 0, 1]
    assert data.table["split"].tolist() == ["test", "test", "train", "train"]


@pytest.mark.parametrize(
    "path", ["../out.png", "a/../../out.png", "{out}", "C:\\out.png", "link.png", "folder/out.png"]
)
def test_a_path_that_leaves_the_data_folder_is_refused_with_file_and_row(tmp_path, path):
    root = tmp_path / "data"
    write(tmp_path, {"out.png": b"", "more/out.png": b"", "data/1.png": b""})
    (root / "link.png").symlink_to(tmp_path / "out.png")
    (root / "folder").symlink_to(tmp_path / "more")
    write(root, {"labels.csv": f"path,label\n1.png,0\n{path.format(out=tmp_path / 'out.png')},1\n"})
    with pytest.raises(DataError, match=r"labels\.csv, row 3: .* outside the data folder"):
        read(DataParams(dataset="custom"), root)


def test_paths_and_links_that_stay_inside_are_read(tmp_path):
    write(tmp_path, {"a/1.png": b""})
    (tmp_path / "link.png").symlink_to(tmp_path / "a/1.png")
    write(tmp_path, {"labels.csv": f"path,label\n{tmp_path}/a/1.png,0\na/../link.png,1\n"})
    assert read(DataParams(dataset="custom"), tmp_path).table["image_id"].tolist() == ["a/1.png", "link.png"]


def test_two_tables_are_ambiguous_unless_one_is_labels_csv(tmp_path):
    write(tmp_path, {"a.csv": "path,label\n1.png,0\n", "b.csv": "path,label\n1.png,1\n", "1.png": b""})
    with pytest.raises(DataError, match=r"a\.csv, b\.csv"):
        read(DataParams(dataset="leukemia"), tmp_path)
    (tmp_path / "b.csv").rename(tmp_path / "labels.csv")
    assert read(DataParams(dataset="leukemia"), tmp_path).table["label"].tolist() == [1]


def test_split_folders_with_class_folders_become_splits(tmp_path):
    names = ("train/HEM/1.png", "train/ALL/2.png", "Validation/all/3.png", "test/hem/4.png", "test/5.png")
    data = read(DataParams(dataset="leukemia"), write(tmp_path, dict.fromkeys(names, "")))
    assert data.table.set_index("image_id")["split"].to_dict() == {
        "train/HEM/1": "train",
        "train/ALL/2": "train",
        "Validation/all/3": "val",
        "test/hem/4": "test",
        "test/5": "unlabeled",
    }
    assert data.table.set_index("image_id")["label"]["Validation/all/3"] == 1


def save_arrays(path: Path, **changed) -> Path:
    arrays = {
        "train_images": np.zeros((3, 4, 4, 3), np.uint8),
        "train_labels": np.array([[0], [4], [2]], np.uint8),
        "test_images": np.zeros((1, 4, 4), np.uint8),
        "test_labels": np.array([[1]], np.uint8),
    }
    np.savez(path, **(arrays | changed))
    return path


@pytest.mark.parametrize("as_file", [True, False])
def test_medmnist_arrays_are_read_from_the_file_or_its_folder(tmp_path, as_file):
    file = save_arrays(tmp_path / "retinamnist.npz")
    data = read(DataParams(dataset="retinamnist"), file if as_file else tmp_path)
    assert rows(data) == [
        ("test/0", 1, "test"),
        ("train/0", 0, "train"),
        ("train/1", 4, "train"),
        ("train/2", 2, "train"),
    ]
    assert data.table["path"][2] == f"{file.as_posix()}#train/1"
    assert "0 val images here, labkit's catalog has 120" in data.notes


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_labels": np.zeros((3, 14), np.uint8)}, "one label an image"),
        ({"train_images": np.zeros((2, 4, 4), np.uint8)}, "2 train_images and 3 train_labels"),
        ({"train_images": np.zeros((3, 4, 4, 4, 1), np.uint8)}, "shape"),
        ({"train_labels": np.array([[0], [9], [2]])}, "row 2: label '9'"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        read(DataParams(dataset="retinamnist"), save_arrays(tmp_path / "x.npz", **changed))


def test_a_file_that_is_no_array_file_is_refused(tmp_path):
    write(tmp_path, {"broken.npz": b"no zip", "empty/readme.txt": b""})
    with pytest.raises(DataError, match="not a MedMNIST array file"):
        read(DataParams(dataset="retinamnist"), tmp_path / "broken.npz")
    with pytest.raises(DataError, match=r"holds readme\.txt\. Understood are:\n  a table"):
        read(DataParams(dataset="retinamnist"), tmp_path / "empty")
    with pytest.raises(DataError, match=r"there is no such folder; set the data folder"):
        read(DataParams(dataset="retinamnist"), tmp_path / "nowhere")


@pytest.mark.parametrize("name", CATALOG)
def test_catalog_counts_fit_its_classes(name):
    known = facts(name)
    assert all(len(counts) == len(known.classes) for counts in known.counts.values())
    assert not set(known.uncounted) & set(known.counts)
    assert set(known.aliases.values()) <= set(known.classes)


def counted(data) -> dict[str, tuple[int, ...]]:
    labelled = data.table.dropna(subset=["label"])
    return {split: tuple(part["label"].value_counts().sort_index()) for split, part in labelled.groupby("split")}


def test_full_retinopathy_lists_have_the_catalogs_counts():
    data = read(DataParams(), real("labels/retinopathy"), require_images=False)
    assert len(data.table) == 35_126 == 28_100 + 7_026
    assert counted(data) == CATALOG["retinopathy"].counts
    assert counted(data) == {"train": (20656, 1955, 4210, 698, 581), "test": (5154, 488, 1082, 175, 127)}
    assert data.notes == []


def test_full_leukemia_lists_have_the_catalogs_counts():
    root = real("labels/leukemia")
    data = read(DataParams(dataset="leukemia"), root, require_images=False)
    assert counted(data) == CATALOG["leukemia"].counts == {"train": (2542, 5453), "val": (508, 1091)}
    assert len(data.table) == 10_661 == 7_995 + 1_599 + 1_067
    assert (data.table["split"] == "unlabeled").sum() == 1067
    assert [len(listed) for listed in data.lists.values()] == [1067, 1067, 1067]
    orders = [listed["image_id"] for listed in data.lists.values()]
    unlabelled = set(data.table.loc[data.table["split"] == "unlabeled", "image_id"])
    assert len(orders) == 3 and all(set(order) == unlabelled for order in orders)
    assert not orders[0].equals(orders[1])
