"""What lies in a data folder and what its folders mean: read right, or refused with the cure."""

import os
from pathlib import Path

import pytest

from labkit.data.readers import DataError
from labkit.data.readers.inventory import take_inventory

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
        (["a/1.2.840.10008", "a/scan v1"], ["a/1.2.840.10008", "a/scan v1"], []),
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
    assert len(found.masks) == 0 or f"{len(found.masks)} masks were left out" in found.notes()[0]


def test_tables_are_found_one_level_down_and_other_files_counted_by_ending(tmp_path):
    names = ["LABELS.CSV", "a/metadata.jsonl", "list.TXT", "book.xlsx", "a/1.png", "a/1.txt", "b/c/deep.csv", "b/2.png"]
    write(tmp_path, *names, "s.dcm", "v.nii.gz", "p.heic", "readme", "Thumbs.db")
    write(tmp_path, "1.2.840", content=bytes(128) + b"DICM")
    found = take_inventory(write(tmp_path, "readme", content=b"text"))
    assert found.tables == ["LABELS.CSV", "a/metadata.jsonl", "book.xlsx", "list.TXT"]
    assert found.others == {".dcm": 2, ".txt": 1, ".csv": 1, ".nii.gz": 1, ".heic": 1, "": 1}
    assert "7 files of other kinds were left out: 2 .dcm (pydicom reads them; save them as PNG)" in found.notes()[0]
    assert "pillow-heif" in found.notes()[0] and "nibabel" in found.notes()[0]


def test_git_lfs_pointers_are_named_and_refused_where_they_are_all(tmp_path):
    write(tmp_path, "a/1.png", "b/2.png", content=POINTER)
    with pytest.raises(DataError, match="2 files are Git LFS pointers, not what they stand for; run git lfs pull"):
        take_inventory(tmp_path)
    found = take_inventory(write(tmp_path, "b/3.png"))
    assert found.pointers == ["a/1.png", "b/2.png"] and "2 files are Git LFS pointers" in found.notes()[0]
    with pytest.raises(DataError, match="git lfs pull"):
        take_inventory(write(tmp_path, "labels.csv", content=POINTER))


def test_a_name_that_is_not_utf8_costs_that_file_only(tmp_path):
    write(tmp_path, "a/1.png", os.fsdecode(b"a/M\xfcller.png"), os.fsdecode(b"\xfc/2.png"))
    found = take_inventory(tmp_path)
    assert found.images == ["a/1.png"] and found.unnamed == ["a/M\\xfcller.png", "\\xfc"]
    assert "2 files or folders have a name that is not UTF-8 and were left out; rename them" in found.notes()[0]
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
    with pytest.raises(DataError, match=r"b/3\.png.* outside the data folder .*follow_links: true"):
        take_inventory(root)
    assert take_inventory(root, follow_links=True).images == ["a/1.png", "b/2.png", "b/3.png", "c/4.png"]
    (root / "d").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"data/d: leads to a folder that is read already; remove this link"):
        take_inventory(root, follow_links=True)
