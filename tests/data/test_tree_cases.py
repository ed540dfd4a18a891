"""What lies in a data folder and what its folders mean: read right, or refused with the cure."""

import os
from itertools import product
from pathlib import Path

import pytest

from labkit.data.images import find_images
from labkit.data.readers import DataError
from labkit.data.readers.inventory import take_inventory
from labkit.data.readers.trees import class_tree
from labkit.format import plural

PNG = b"\x89PNG\r\n\x1a\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def write(root: Path, *names: str, content: bytes = PNG) -> Path:
    """Files by relative path; readers look at names and first bytes only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("names", "images", "masks"),
    [
        (["a/1.JFIF", "a/2.jpe", "a/3.png", "a/.4.png", "__MACOSX/5.png"], ["a/1.JFIF", "a/2.jpe", "a/3.png"], []),
        (["a/1.2.840.10008", "a/s v1", "a/v.nii.png"], ["a/1.2.840.10008", "a/s v1", "a/v.nii.png"], []),
        (["a/x (1).png", "a/x (1)_mask.png", "a/x (1)_mask_1.png"], ["a/x (1).png"], 2),
        (["a/1.png", "c/images/x.png", "c/masks/y.png"], ["a/1.png", "c/images/x.png"], ["c/masks/y.png"]),
        (["b/x.png", "masks/b/x_segmentation.png"], ["b/x.png"], ["masks/b/x_segmentation.png"]),
        (["mask/1.png", "no_mask/1.png"], ["mask/1.png", "no_mask/1.png"], []),
        (["a/skin_mask.png", "a/face_mask.png"], ["a/face_mask.png", "a/skin_mask.png"], []),
    ],
)
def test_images_and_masks_are_told_apart(tmp_path, names, images, masks):
    found = take_inventory(write(tmp_path, *names))
    assert found.images == images
    assert (len(found.masks) if isinstance(masks, int) else found.masks) == masks
    assert (
        len(found.masks) == 0 or f"left out: {plural(len(found.masks), 'mask')} ({found.masks[0]}" in found.notes()[0]
    )


def test_tables_are_found_one_level_down_and_other_files_counted_by_ending(tmp_path):
    names = ["LABELS.CSV", "a/metadata.jsonl", "list.TXT", "book.xlsx", "a/1.png", "a/1.txt", "b/c/deep.csv", "b/2.png"]
    write(tmp_path, *names, "s.dcm", "v.nii.gz", "p.heic", "readme", "Thumbs.db")
    write(tmp_path, "1.2.840", content=bytes(128) + b"DICM")
    found = take_inventory(write(tmp_path, "readme", content=b"text"))
    assert found.tables == ["LABELS.CSV", "a/metadata.jsonl", "book.xlsx", "list.TXT"]
    assert found.others == {".dcm": 2, ".txt": 1, ".csv": 1, ".nii.gz": 1, ".heic": 1, "": 1}
    assert (
        f"left out: {plural(7, 'file')} of other kinds: 2 .dcm (pydicom reads them; save them as PNG)"
        in found.notes()[0]
    )
    assert "pillow-heif" in found.notes()[0] and "nibabel" in found.notes()[0]


def test_git_lfs_pointers_are_named_and_refused_where_they_are_all(tmp_path):
    write(tmp_path, "a/1.png", "b/2.png", content=POINTER)
    with pytest.raises(DataError, match=r"2 files are Git LFS pointers, .*the first: a/1\.png\); run git lfs pull"):
        take_inventory(tmp_path)
    found = take_inventory(write(tmp_path, "b/3.png"))
    assert (
        found.pointers == ["a/1.png", "b/2.png"]
        and f"{plural(2, 'Git LFS pointer')} (a/1.png, b/2.png)" in found.notes()[0]
    )
    with pytest.raises(DataError, match="git lfs pull"):
        take_inventory(write(tmp_path, "labels.csv", content=POINTER))


def test_a_name_that_is_not_utf8_costs_that_file_only(tmp_path):
    write(tmp_path, "a/1.png", os.fsdecode(b"a/M\xfcller.png"), os.fsdecode(b"\xfc/2.png"))
    found = take_inventory(tmp_path)
    assert found.images == ["a/1.png"] and found.unnamed == ["a/M\\xfcller.png", "\\xfc"]
    assert f"left out: {plural(2, 'name')} not in UTF-8 (a/M\\xfcller.png, \\xfc)" in found.notes()[0]
    assert list(find_images([str(tmp_path)])) == ["a/1.png", "a/M\\xfcller.png", "\\xfc/2.png"]
    with pytest.raises(DataError, match=r"\\xfc: the name of this folder is not UTF-8"):
        take_inventory(tmp_path / os.fsdecode(b"\xfc"))


def test_a_folder_around_everything_is_gone_into_unless_it_is_a_class(tmp_path):
    found = take_inventory(write(tmp_path / "one", "README.txt", "My images/all/a/1.png", "My images/all/b/2.png"))
    assert (found.wrapper, found.images, found.folders) == ("My images/all", ["a/1.png", "b/2.png"], ["a", "b"])
    found = take_inventory(write(tmp_path / "two", "cells/labels.csv", "cells/1.png"))
    assert (found.wrapper, found.tables) == ("cells", ["labels.csv"])
    assert take_inventory(write(tmp_path / "three", "only/1.png")).wrapper == ""


def test_links_out_of_the_folder_are_followed_when_asked(tmp_path):
    root = write(tmp_path / "data", "a/1.png", "b/2.png")
    write(tmp_path / "scratch", "3.png", "more/4.png")
    (root / "b/3.png").symlink_to(tmp_path / "scratch/3.png")
    (root / "c").symlink_to(tmp_path / "scratch/more")
    (root / "a/all").symlink_to(root)  # what it leads to is listed anyway
    found = take_inventory(root)
    assert found.images == ["a/1.png", "b/2.png"]
    assert (
        f"not followed: {plural(2, 'link')} (the first: b/3.png: '3.png' lies outside the data folder"
        in found.notes()[0]
    )
    assert take_inventory(root, follow_links=True).images == ["a/1.png", "b/2.png", "b/3.png", "c/4.png"]
    (root / "d").symlink_to(tmp_path)
    assert "leads to a folder that is read already" in take_inventory(root, follow_links=True).notes()[0]


def folders(*levels: str) -> list[str]:
    """An image in each of the folders that the levels (names with blanks between them) make: `a b` in `train test`."""
    return [f"{'/'.join(names)}/1.png".replace("~", " ") for names in product(*(level.split() for level in levels))]


BUSI = [f"with_GT/{kind}/{kind} (1){mask}.png" for kind in ("benign", "normal") for mask in ("", "_mask", "_mask_1")]
COVID = [f"COVID-19/{kind}/{what}/{kind}-1.png" for kind in ("COVID", "Normal") for what in ("images", "masks")]
BREAKHIS = [f"breast/{kind}/SOB/{of}/SOB_{of}_14-1/40X/1.png" for kind, of in ("ba", "bf", "md", "ml")]
IDC = folders("8863 8864 10253", "0 1")


@pytest.mark.parametrize(
    ("names", "classes", "labels", "splits"),
    [
        (folders("Training Testing", "glioma notumor"), None, "glioma notumor", "test train"),  # Kaggle brain tumour
        (folders("training_set test_set", "cats dogs"), None, "cats dogs", "test train"),
        (folders("a.~Training~Set b.~Testing~Set", "x y"), None, "x y", "test train"),
        (folders("TrainingData valSet", "x y"), None, "x y", "train val"),
        (folders("train valid test", "0 1"), None, "0 1", "test train val"),  # PatchCamelyon as folders
        (folders("ODIR-5K_Training_Dataset ODIR-5K_Testing_Dataset", "x y"), None, "x y", "test train"),
        (folders("seg_train", "seg_train", "x y") + folders("seg_test", "seg_test", "x"), None, "x y", "test train"),
        (folders("NORMAL PNEUMONIA", "train test"), None, "NORMAL PNEUMONIA", "test train"),
        (folders("train test", "images", "x y"), None, "x y", "test train"),
        (folders("images", "train val", "x y"), None, "x y", "train val"),
        (BUSI, None, "benign normal", "None"),
        (COVID, None, "COVID Normal", "None"),
        (BREAKHIS, ["b", "m"], "b m", "None"),
        (IDC, None, "0 1", "None"),
        (folders("fold_0 fold_1", "all hem"), None, "all hem", "None"),
        (folders("My~images", "a b"), None, "a b", "None"),
        (folders("test_positive test_negative"), None, "test_negative test_positive", "None"),
        (folders("with_mask without_mask"), None, "with_mask without_mask", "None"),
        (folders("mask no_mask"), ["mask", "no_mask"], "mask no_mask", "None"),
        (folders("0 1 2 3 4"), None, "0 1 2 3 4", "None"),
        (folders("Type_1 Type_2 Type_3"), None, "Type_1 Type_2 Type_3", "None"),
        (folders("bus car train"), ["bus", "car", "train"], "bus car train", "None"),
        (folders("A B", "normal sick"), ["normal", "sick"], "normal sick", "None"),
        ([*folders("NORMAL", "train test"), "SICK/1.png"], ["normal", "sick"], "NORMAL SICK", "None"),
        (folders("train test auto_test", "0 1"), ["0", "1"], "0 1", "test train"),
        (["a/scan", "b/2.png"], None, "a b", "None"),  # a name without an ending
        (folders("normal sick", "left right"), None, "normal sick", "None"),
        (folders("OD OS", "normal sick"), None, "normal sick", "None"),
        (folders("OD OS"), ["OD", "OS"], "OD OS", "None"),
    ],
)
def test_folders_are_read_as_classes_and_parts(tmp_path, names, classes, labels, splits):
    listing = class_tree(take_inventory(write(tmp_path, *names)), classes)
    assert sorted(set(listing.rows["label"])) == labels.split()
    assert sorted(map(str, set(listing.rows["split"]))) == splits.split()
    assert listing.reading["labels"].startswith("the names of the folders ")
    assert listing.reading["split"].startswith("none: " if splits == "None" else "the folders ")


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (folders("yes no") + folders("dataset", "yes no"), ["dataset/ holds folders named like those", "data folder"]),
        (folders("train val", "x y") + folders("xray", "train val", "x y"), ["xray/ holds", "(train, val)"]),
        (folders("a.~Training~Set b.~Testing~Set"), ["look like parts of the data", "labels.csv (path,label)"]),
        (folders("HAM_images_part_1 HAM_images_part_2"), ["numbered parts of a download", "class_names"]),
        (folders("images_001 images_002", "images"), ["numbered parts of a download", "labels.csv"]),
        (folders("patient_1 patient_2 patient_7"), ["look like patients"]),
        (folders("8863 8864 10253"), ["look like patients"]),
        (folders("OD OS"), ["OD, OS look like the left and the right eye", "labels.csv (path,label)", "class_names"]),
        (
            folders("train test", "R L"),
            ["test, train look like parts of the data; the folders L, R look like the left"],
        ),
        (folders("Left~eye Right_Eye"), ["look like the left and the right eye"]),
        (folders("links rechts"), ["look like the left and the right eye"]),
        (folders("bilder"), ["the folders bilder look like one folder for all images, and no two classes are found"]),
        (folders("train test", "scans"), ["the folders scans look like one folder for all images"]),
        ([*folders("all", "x y"), "stray.png"], ["the folders all look like one folder for all images"]),
        (
            folders("bus car train"),
            ["train may be parts", "as bus, car beside them, classes", "class_names: [bus, car, train]"],
        ),
        (
            folders("mask no_mask"),
            ["mask may be parts of the data or masks or, as no_mask beside", "class_names: [mask, no_mask]"],
        ),
        (folders("ben_part1 ben_part2 mal_part1"), ["ben_part1, ben_part2, mal_part1 may be", "class_names: ["]),
        (
            folders("train_ben train_mal test_ben test_mal"),
            ["test_ben, test_mal, train_ben, train_mal may be", "class_names"],
        ),
        (folders("A B", "normal sick"), ["A, B or, in them, normal, sick", "or class_names: [normal, sick]"]),
        (folders("A B", "0 1"), ["or class_names: ['0', '1']"]),
        (folders("tumour", "glioma menin") + folders("normal"), ["normal, tumour or, in them, glioma, menin"]),
        (BREAKHIS, ["b, m or, in them, a, d, f, l", "class_names: [b, m]"]),
        ([*folders("NORMAL", "train test"), "SICK/1.png"], ["images of SICK/ lie in none", "[NORMAL, SICK]"]),
        (folders("N S", "train test") + folders("S", "extra"), ["as extra beside them", "class_names: [N, S]"]),
        (folders("fold_0 fold_1", "train test", "x y"), ["splits inside splits", "data folder"]),
    ],
)
def test_folders_of_two_readings_are_refused_with_both_and_the_parameter_that_decides(tmp_path, names, parts):
    with pytest.raises(DataError) as error:
        class_tree(take_inventory(write(tmp_path, *names)))
    assert [part for part in parts if part not in str(error.value)] == []


def test_what_is_left_out_of_a_tree_is_counted(tmp_path):
    names = folders("train test", "x y") + folders("auto_test", "x") + ["train/c/1.dcm", "stray.png"]
    (tmp_path / "test/z").mkdir(parents=True)
    notes = class_tree(take_inventory(write(tmp_path, *names))).notes
    assert "2 images lie outside a train, val or test folder and were left out (in auto_test/x)" in notes
    assert f"without an image: {plural(2, 'class folder')} (test/z, train/c)" in notes
    assert any("1 .dcm (pydicom reads them" in note for note in notes)
    with pytest.raises(DataError, match="no folder is called a, b; class_names must name class folders"):
        class_tree(take_inventory(tmp_path), ["a", "b"])


def test_folders_of_patients_are_offered_as_groups(tmp_path):
    groups = class_tree(take_inventory(write(tmp_path, *IDC))).reading["groups"]
    assert "8863, 8864 may be patients: group_pattern: '^(?P<group>[^/]+)/'" in groups
