"""The parameters ``dataset`` and ``data``: a folder of one's own, or a built-in set that says that it is synthetic."""

import os
from pathlib import Path

import pytest

from labkit.data.readers import DataError
from labkit.data.source import PHANTOMS, open_data


def test_built_in_images_say_that_they_are_synthetic_and_are_not_held_against_the_release(tmp_path):
    images, hashes = open_data("retinopathy", "tiny", tmp_path)
    assert images.facts.title.startswith(f"Synthetic images ({PHANTOMS['tiny']})")
    assert "drawn by labkit" in images.facts.source and "Kaggle" not in images.facts.source
    assert not [note for note in images.notes if "full release" in note]
    assert hashes.index.equals(images.table.set_index("image_id").index) and hashes.notna().all()


def test_a_folder_of_ones_own_keeps_its_origin_and_what_is_missing_of_it(image_folder, tmp_path):
    images, _ = open_data("retinopathy", str(image_folder), tmp_path)
    assert "Kaggle" in images.facts.source
    assert [note for note in images.notes if "the full release has 28,100" in note]


def test_a_relative_folder_is_relative_to_the_project(image_folder, tmp_path, monkeypatch):
    from labkit.params import PROJECT

    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(image_folder, PROJECT)
    assert len(open_data("retinopathy", relative, tmp_path)[0].table) == 80


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        open_data("retinopathy", str(Path(tmp_path) / "nowhere"), tmp_path)
