"""Label files that are damaged, hostile or ambiguous: one line with file, row and cure, or a note; never fewer images
without a word. What any layout refuses stands in test_readers.py."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_readers import course, save_arrays, write

from labkit.data.readers import DataError, read
from labkit.data.readers.label_files import read_text
from labkit.params import DataParams

IMAGES = {f"images/{number}.png": b"" for number in (1, 2, 3)}
GOOD = "path,label\nimages/1.png,0\nimages/2.png,1\nimages/3.png,1\n"


def table(root: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    return write(root, IMAGES | {name: content})


def refusal(root: Path, dataset: str = "custom") -> str:
    with pytest.raises(DataError) as error:
        read(DataParams(dataset=dataset), root)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{root}/", "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,diag\nimages/1.png,0\n", ["labels.csv, row 1", "no column label", "path, diag", "path,label"]),
        ("images/1.png,0\nimages/2.png,1\n", ["labels.csv, row 1", "no column label", "images/1.png"]),
        ("", ["labels.csv, row 1", "it holds nothing"]),
        (GOOD.replace("2.png,1", "2.png"), ["labels.csv, row 3", "1 columns", "first row has 2", "fill it up"]),
        (GOOD.replace("2.png,1", "2.png,1,1"), ["labels.csv, row 3", "3 columns", "quote a value"]),
        (GOOD.replace("2.png,1", '"a,b".png,1'), ["labels.csv, row 3"]),
        (GOOD.replace("2.png,1", '2.png,"1'), ["labels.csv, row 3", "not closed; close or remove it"]),
        (GOOD.replace("1.png,0", '1.png,"0').replace("3.png,1", '3.png,1"'), ["labels.csv, row 2", "line break"]),
        (GOOD.encode("utf-16-le"), ["labels.csv, row 1", "zero bytes", "save it as UTF-8"]),
        (GOOD.encode() + b"\0" * 512, ["labels.csv, row 5", "zero bytes", "damaged"]),
        (GOOD.replace("2.png,1", "2.png,h\xe9").encode("latin-1"), ["labels.csv, row 3", "byte 40", "UTF-8"]),
        (GOOD.replace("2.png,1", "2.png,\x93no\x94").encode("latin-1"), ["labels.csv, row 3", "UTF-8"]),
        (b"PK\3\4\x14\0\6\0\xff", ["labels.csv", "Excel workbook", "save it as CSV (UTF-8)"]),
        (GOOD.replace("2.png,1", "2.png,NaN"), ["labels.csv, row 3", "'NaN'", "leave it empty"]),
        (GOOD.replace("images/2.png", "../../etc/passwd"), ["labels.csv, row 3", "outside the data folder"]),
        (GOOD.replace("images/2.png", "/etc/passwd"), ["labels.csv, row 3", "outside", "and write the path below it"]),
        (
            GOOD.replace("images/2.png", "C:\\\\x\\\\2.png"),
            ["labels.csv, row 3", "outside", "and write the path below it"],
        ),
        (GOOD.replace("images/2.png", "\\\\server\\x.png"), ["labels.csv, row 3", "outside the data folder"]),
        (GOOD.replace("images/2.png", "https://a.b/2.png"), ["labels.csv, row 3", "is a URL", "put the image into"]),
        (GOOD.replace("images/2.png", "file:///etc/passwd"), ["labels.csv, row 3", "is a URL"]),
        (GOOD.replace("images/2.png", "images/1.png"), ["labels.csv, row 2: 0", "row 3: 1", "keep the right row"]),
        ("path,label,class\nimages/1.png,0,0\nimages/2.png,1,0\n", ["row 3", "(label)", "(class)", "rename"]),
        ("path,label,label\nimages/1.png,0,0\nimages/2.png,1,0\n", ["row 3", "column 2", "column 3", "rename"]),
        (GOOD.replace("images/2.png", ""), ["labels.csv, row 3: the path is empty"]),
        ("path,label,split\nimages/1.png,0,train\nimages/2.png,1,\n", ["labels.csv, row 3: no split"]),
        ("path,label\n", ["no images are listed"]),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_with_file_row_and_cure(tmp_path, content, words):
    said = refusal(table(tmp_path, content))
    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize("name", ["train.csv", "labels.csv", "cells.csv"])
def test_folder_names_are_not_taken_for_labels_where_a_list_lacks_its_label_column(tmp_path, name):
    said = refusal(table(tmp_path, "path,diag\nimages/1.png,0\n", name))
    assert said.startswith(f"{name}, row 1: no column label") and "name the columns" in said


def test_a_csv_of_other_things_beside_class_folders_is_no_mistake(tmp_path):
    write(tmp_path, {"a/1.png": b"", "b/2.png": b"", "cameras.csv": "lens,year\nx,2020\n"})
    assert read(DataParams(dataset="custom"), tmp_path).facts.classes == ("a", "b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_table_means_the_same_however_it_was_saved(tmp_path, encoding, newline):
    """utf-16 and utf-32 write a byte-order mark; old Macs end a line with a carriage return alone."""
    read_back = read(DataParams(dataset="custom"), table(tmp_path, GOOD.replace("\n", newline).encode(encoding)))
    assert read_back.table["label"].tolist() == [0, 1, 1]
    assert read_back.table["image_id"].tolist() == list(IMAGES)


@pytest.mark.parametrize(
    ("content", "count", "note"),
    [
        (GOOD.replace("2.png,1", "2.png,"), 3, "1 images have no label (the first: images/2.png)"),
        (GOOD.replace("2.png,1", "2.png,two"), 3, "numbers (0, 1) and words ('two' in labels.csv, row 3)"),
        (GOOD.replace("2.png,1", "9.png,1"), 2, "1 of 3 listed images have no file and were left out: 9.png"),
        (GOOD.replace("2.png", "2" * 300 + ".png"), 2, "1 of 3 listed images have no file"),
        (GOOD.replace("images/2.png", "x" * 300 + "/2.png"), 2, "1 of 3 listed images have no file"),
        (GOOD.replace("images/2.png", "y/" * 3000 + "2.png"), 2, "1 of 3 listed images have no file"),
        (GOOD.replace("images/2.png", "images"), 2, "1 of 3 listed images have no file"),
        (GOOD.replace("2.png,1", "3.png,1"), 2, "1 rows repeat an image with the same label"),
        ("path,label,eye\nimages/1.png,0,up\nimages/2.png,1,OD\n", 2, "1 sides are neither left nor right"),
    ],
    ids=["no-label", "word", "no-file", "long-name", "long-folder", "long-path", "folder", "repeat", "side"],
)
def test_what_is_left_out_or_odd_is_listed_with_its_count(tmp_path, content, count, note):
    data = read(DataParams(dataset="custom"), table(tmp_path, content))
    assert len(data.table) == count
    assert [text for text in data.notes if note in text], data.notes


def test_links_that_lead_in_a_circle_or_nowhere_are_told(tmp_path):
    root = table(tmp_path, GOOD.replace("images/2.png", "images/l.png").replace("images/3.png", "loop/3.png"))
    (root / "images/l.png").symlink_to(root / "images/l.png")
    (root / "loop").symlink_to(root / "loop")
    assert (
        "2 of 3 listed images have no file and were left out: l.png, 3.png"
        in read(DataParams(dataset="custom"), root).notes
    )


@pytest.mark.parametrize("kind", ["circle", "nowhere", "pipe"])
def test_what_is_no_file_in_a_class_folder_is_refused_and_not_waited_for(tmp_path, kind):
    root = write(tmp_path, {"a/1.png": b"", "b/2.png": b""})
    if kind == "pipe":
        os.mkfifo(root / "b/x.png")
    else:
        (root / "b/x.png").symlink_to(root / ("b/x.png" if kind == "circle" else "gone.png"))
    assert refusal(root).startswith("b/x.png: ") and "remove it" in refusal(root)


@pytest.mark.parametrize(
    ("kind", "words"), [("pipe", "no file, but a pipe"), ("device", "no file, but"), ("huge", "10.0 GB, too large")]
)
def test_a_label_file_that_has_no_end_is_refused_and_not_waited_for(tmp_path, kind, words):
    place = write(tmp_path, {"x.png": b""}) / "labels.csv"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as file:
            file.truncate(10 * 2**30)  # of nothing: it takes no room
    with pytest.raises(DataError, match=rf"{re.escape(str(place))}: .*{words}"):
        read_text(place)


def test_names_that_look_like_formulas_are_names(tmp_path):
    names = ["=cmd|'/c calc'!A1.png", "+1+1.png", "-2.png", "@SUM(1).png"]
    quoted = "".join(f'"{name}",{number % 2}\n' for number, name in enumerate(names))
    write(tmp_path, dict.fromkeys(names, b"") | {"labels.csv": f"path,label\n{quoted}"})
    assert read(DataParams(dataset="custom"), tmp_path).table["image_id"].tolist() == sorted(names)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train_images": np.zeros((3, 4, 4), np.float32)}, "train_images are float32, not uint8"),
        ({"train_images": np.array([{}, {}, {}], dtype=object)}, "train_images are object"),
        ({"train_labels": np.array([[0], [None], [1]], dtype=object)}, "allow_pickle=False"),
        ({"train_labels": np.array([[0], [np.nan], [1]])}, "row 2: label 'nan'"),
        ({"train_labels": np.array(3)}, "train_labels has the shape ()"),
    ],
    ids=["float", "pickled-images", "pickled-labels", "nan", "number"],
)
def test_array_files_that_hold_something_else_are_refused(tmp_path, changed, words):
    save_arrays(tmp_path / "x.npz", **changed)
    assert words in refusal(tmp_path, "retinamnist")


# --- generated --------------------------------------------------------------------------------------------------------


@given(content=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"path,label\n{text}".encode()))
def test_whatever_a_table_holds_it_is_read_or_refused_in_words(content, tmp_path):
    table(tmp_path, content)
    try:
        data = read(DataParams(dataset="custom"), tmp_path)
    except DataError as error:
        assert "labels.csv" in str(error) or str(tmp_path) in str(error)
    else:
        assert set(data.table["image_id"]) and data.layout


@given(content=st.binary(max_size=60), name=st.sampled_from(["train_img", "train_label", "test_img", "test_label"]))
def test_whatever_a_course_list_holds_it_is_read_or_refused_in_words(content, name, tmp_path):
    course(tmp_path, **{name: content})
    try:
        read(DataParams(), tmp_path)
    except DataError as error:
        assert any(word in str(error) for word in ("train_", "test_", str(tmp_path))), error


@given(data=st.data())
def test_rows_are_all_read_or_the_first_odd_one_is_named(data, tmp_path):
    """Rows of two columns among which some are longer or shorter: n never changes without a word."""
    widths = data.draw(st.lists(st.sampled_from([2, 2, 2, 2, 1, 3]), min_size=1, max_size=8))
    names = [f"images/{number}.png" for number in range(len(widths))]
    lines = [",".join([name, "0", "1"][:width]) for name, width in zip(names, widths, strict=True)]
    root = write(tmp_path, dict.fromkeys(names, b"") | {"labels.csv": "\n".join(["path,label", *lines]) + "\n"})
    odd = [row for row, width in enumerate(widths, 2) if width != 2]
    if odd:
        assert f"labels.csv, row {odd[0]}: " in refusal(root)
    else:
        assert read(DataParams(dataset="custom"), root).table["image_id"].tolist() == names


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_array_file_is_read_or_named(position, value, cut, tmp_path):
    from labkit.data.hashes import file_hashes

    raw = bytearray(save_arrays(tmp_path / "good.npz").read_bytes())
    position %= len(raw)
    raw[position] = value
    (tmp_path / "bad").mkdir(exist_ok=True)
    (tmp_path / "bad/x.npz").write_bytes(raw[:position] if cut else raw)
    try:
        images = read(DataParams(dataset="retinamnist"), tmp_path / "bad/x.npz")
        file_hashes(images.table, tmp_path / "cache")
    except (DataError, OSError) as error:
        assert "x.npz" in str(error)


@pytest.mark.slow
def test_a_million_rows_are_read_to_the_last(tmp_path):
    count = 1_000_000
    rows = "\n".join(f"images/{number}_left.png,{number % 5},p{number // 2}" for number in range(count))
    (tmp_path / "labels.csv").write_text(f"path,label,patient\n{rows}\n")
    data = read(DataParams(), tmp_path, require_images=False)
    assert len(data.table) == count and data.table["label"].value_counts().tolist() == [count // 5] * 5
    assert data.table["image_id"].iloc[-1] == "images/9_left.png"
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("images/x.png\n")
    with pytest.raises(DataError, match=f"row {count + 2}: 1 columns"):
        read(DataParams(), tmp_path, require_images=False)
