"""Decoding to RGB, naming what cannot be decoded, and hashing each file once."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labkit.data import hashes, images
from labkit.data.hashes import file_hashes
from labkit.data.images import load_image, try_load

RED = (200, 30, 10)


def pixel(path: Path) -> tuple[int, ...]:
    image = load_image(str(path))
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (4, 4), RED), RED),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGB", (4, 4), RED).quantize(4), RED),
        (Image.new("RGBA", (4, 4), (*RED, 0)), (0, 0, 0)),
        (Image.new("RGBA", (4, 4), (*RED, 255)), RED),
        (Image.new("LA", (4, 4), (100, 0)), (0, 0, 0)),
    ],
    ids=["rgb", "gray", "bilevel", "palette", "transparent", "opaque", "gray-alpha"],
)
def test_every_kind_of_png_becomes_rgb(tmp_path, image, expected):
    image.save(tmp_path / "x.png")
    assert pixel(tmp_path / "x.png") == expected


def test_array_rows_are_images_and_the_file_is_read_once(tmp_path, monkeypatch):
    colours = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    path = tmp_path / "x.npz"
    np.savez(path, train_images=colours, test_images=colours[..., 0], val_images=colours[..., :1])
    opened = []
    real_load = np.load
    monkeypatch.setattr(images.np, "load", lambda *args, **keys: opened.append(args) or real_load(*args, **keys))
    for index in range(3):
        assert np.array_equal(np.asarray(load_image(f"{path}#train/{index}")), colours[index])
    assert len(opened) == 1
    for split in ("test", "val"):
        assert np.array_equal(np.asarray(load_image(f"{path}#{split}/2"))[..., 1], colours[2, ..., 0])
    with pytest.raises(OSError, match=r"x\.npz#train/9"):
        load_image(f"{path}#train/9")


def broken_files(folder: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    Image.fromarray(noise).save(folder / "whole.png")
    jpeg, png = (folder / "whole.jpg").read_bytes(), (folder / "whole.png").read_bytes()
    contents = {"cut.jpg": jpeg[: len(jpeg) // 2], "cut.png": png[:-100], "text.jpg": b"no image", "empty.jpg": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    Image.fromarray(noise[..., 0].astype(np.float32)).save(folder / "float.tif")
    return {name: folder / name for name in [*contents, "float.tif", "missing.jpg"]}


def test_what_cannot_be_decoded_is_an_oserror_that_names_the_file(tmp_path):
    for name, path in broken_files(tmp_path).items():
        with pytest.raises(OSError, match=name):
            load_image(str(path))
        reason = try_load(str(path))
        assert isinstance(reason, str) and reason and not reason.startswith(str(path))
    assert isinstance(try_load(str(tmp_path / "whole.jpg")), Image.Image)


@pytest.fixture
def files(tmp_path) -> pd.DataFrame:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]) * 10)
    return pd.DataFrame({"image_id": ["a", "b", "c"], "path": [str(tmp_path / f"{number}.jpg") for number in range(3)]})


def count_hashing(monkeypatch) -> list[str]:
    hashed, real = [], hashes.sha256_of
    monkeypatch.setattr(hashes, "sha256_of", lambda path: hashed.append(path) or real(path))
    return hashed


def test_file_hashes_are_sha256_by_image_and_remembered(tmp_path, files, monkeypatch):
    hashed = count_hashing(monkeypatch)
    first = file_hashes(files, tmp_path / "cache")
    expected = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files["path"]]
    assert first.to_dict() == dict(zip(files["image_id"], expected, strict=True))
    pd.testing.assert_series_equal(first, file_hashes(files, tmp_path / "cache"))
    assert len(hashed) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [hashes.CACHE_NAME]


def test_a_changed_size_or_time_hashes_that_file_again(tmp_path, files, monkeypatch):
    before = file_hashes(files, tmp_path / "cache")
    hashed = count_hashing(monkeypatch)
    Path(files["path"][0]).write_bytes(b"longer than before")
    stat = Path(files["path"][1]).stat()
    Path(files["path"][1]).write_bytes(b"\7" * 10)
    os.utime(files["path"][1], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after = file_hashes(files, tmp_path / "cache")
    assert sorted(hashed) == files["path"].tolist()[:2]
    assert (before != after).tolist() == [True, True, False]
    last = Path(files["path"][2])
    stat = last.stat()
    last.write_bytes(b"\10" * 10)
    os.utime(last, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as rsync -t and tar leave it
    assert file_hashes(files, tmp_path / "cache")["c"] == hashlib.sha256(b"\10" * 10).hexdigest()


def test_a_damaged_cache_is_made_again_and_other_folders_stay_remembered(tmp_path, files, monkeypatch):
    before = file_hashes(files.iloc[:1], tmp_path)
    file_hashes(files.iloc[1:], tmp_path)
    hashed = count_hashing(monkeypatch)
    file_hashes(files, tmp_path)
    assert hashed == []
    (tmp_path / hashes.CACHE_NAME).write_text("path,size\nx")
    assert file_hashes(files, tmp_path)["a"] == before["a"]


def test_array_rows_are_hashed_by_their_bytes(tmp_path):
    arrays = np.zeros((2, 4, 4), np.uint8)
    arrays[1] = 9
    np.savez(tmp_path / "x.npz", train_images=arrays)
    table = pd.DataFrame({"image_id": ["0", "1"], "path": [f"{tmp_path}/x.npz#train/{i}" for i in range(2)]})
    expected = [hashlib.sha256(image.tobytes()).hexdigest() for image in arrays]
    assert file_hashes(table, tmp_path / "cache").tolist() == expected


def test_a_file_that_is_gone_is_named(tmp_path, files):
    Path(files["path"][1]).unlink()
    with pytest.raises(OSError, match=r"1\.jpg"):
        file_hashes(files, tmp_path / "cache")
