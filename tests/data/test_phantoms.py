"""The built-in data sets: their layout, the faults they carry on purpose, and that the pictures show what they say."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labkit.data.phantoms.make import VERSION, Patient, Subject, cell, fundus, leukemia_plan, phantom, retinopathy_plan


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> Path:
    return phantom("retinopathy", "tiny", tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    return phantom("leukemia", "tiny", tmp_path_factory.mktemp("cells"))


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _course_table(eyes: Path) -> pd.DataFrame:
    """Both splits as the course's readers see them: names and grades, line by line, without a header."""
    parts = []
    for split in ("train", "test"):
        names = (eyes / f"{split}_img.csv").read_text().split()
        grades = [int(line) for line in (eyes / f"{split}_label.csv").read_text().split()]
        parts.append(pd.DataFrame({"name": names, "grade": grades, "split": split}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(patient=table["name"].str.split("_").str[0])


def _copies(hashes: dict[str, str]) -> list[list[str]]:
    by_hash: dict[str, list[str]] = {}
    for name, digest in sorted(hashes.items()):
        by_hash.setdefault(digest, []).append(name)
    return [names for names in by_hash.values() if len(names) > 1]


def _unreadable(paths) -> list[Path]:
    broken = []
    for path in sorted(paths):
        try:
            Image.open(path).convert("RGB")
        except OSError:
            broken.append(path)
    return broken


def test_retinopathy_lies_in_the_courses_layout_without_header(eyes):
    table = _course_table(eyes)
    images = {path.stem for path in (eyes / "images").glob("*.jpeg")}
    assert len(table) == 120
    assert set(table["name"]) == images
    assert table["name"].str.fullmatch(r"\d+_(left|right)").all()
    assert {path.name for path in eyes.iterdir()} == {
        *("images", "train_img.csv", "train_label.csv", "test_img.csv", "test_label.csv")
    }


def test_tiny_has_every_grade_on_four_patients_and_in_both_splits(eyes):
    table = _course_table(eyes)
    assert (table.groupby("grade")["patient"].nunique() >= 4).all()
    assert table.groupby("split")["grade"].nunique().eq(5).all()


def test_the_courses_split_leaks_most_patients_on_purpose(eyes):
    table = _course_table(eyes)
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    assert 0.6 < test["patient"].isin(train["patient"]).mean() < 1
    demo = retinopathy_plan("demo")
    train, test = (demo[demo["split"] == split] for split in ("train", "test"))
    assert 0.7 < test["patient"].isin(train["patient"]).mean() < 0.9
    assert len(test) / len(demo) == pytest.approx(0.2, abs=0.01)


def test_one_jpeg_opens_but_does_not_decode(eyes):
    (broken,) = _unreadable((eyes / "images").glob("*.jpeg"))
    with Image.open(broken) as image:
        assert image.size == (64, 64)
        with pytest.raises(OSError, match="truncated"):
            image.load()


def test_retinopathy_has_one_duplicate_across_splits_and_one_image_with_two_labels(eyes):
    table = _course_table(eyes).set_index("name")
    pairs = [table.loc[[Path(name).stem for name in names]] for names in _copies(_hashes(eyes / "images"))]
    same = [pair for pair in pairs if pair["grade"].nunique() == 1]
    two = [pair for pair in pairs if pair["grade"].nunique() == 2]
    assert len(same) == len(two) == 1
    assert set(same[0]["split"]) == {"train", "test"}
    assert set(two[0]["split"]) == {"train"}


def test_demo_eyes_agree_as_often_as_real_ones_and_grades_are_as_rare():
    demo = retinopathy_plan("demo")
    eyes = demo.pivot(index="patient", columns="side", values="grade")
    apart = (eyes["left"] - eyes["right"]).abs()
    assert len(eyes) == 400
    assert 0.82 < (apart == 0).mean() < 0.92
    assert 0.94 < (apart <= 1).mean() < 0.98
    shares = demo["grade"].value_counts(normalize=True).sort_index()
    assert np.allclose(shares, [0.735, 0.07, 0.15, 0.025, 0.02], atol=0.005)
    assert demo[demo["split"] == "test"]["grade"].value_counts().min() >= 4


def test_source_set_is_balanced_clean_and_shows_other_people():
    source, demo = retinopathy_plan("demo-source"), retinopathy_plan("demo")
    assert source["grade"].value_counts().eq(100).all()
    assert source["copy_of"].isna().all() and not source["truncated"].any()
    assert not set(source["patient"]) & set(demo["patient"])
    cells, demo_cells = leukemia_plan("demo-source"), leukemia_plan("demo")
    assert cells.groupby("label")["subject"].nunique().tolist() == [20, 20]
    assert cells["copy_of"].isna().all() and not cells["truncated"].any()
    assert not set(cells["subject"]) & set(demo_cells["subject"])


@pytest.mark.parametrize("dataset", ["retinopathy", "leukemia"])
def test_the_same_call_gives_the_same_bytes(dataset, eyes, cells, tmp_path):
    first = {"retinopathy": eyes, "leukemia": cells}[dataset]
    assert _hashes(phantom(dataset, "tiny", tmp_path)) == _hashes(first)


def test_a_built_phantom_is_reused_and_nothing_unfinished_is_left(eyes, capsys):
    marker = eyes / "images" / "marker.txt"
    marker.write_text("still here")
    assert phantom("retinopathy", "tiny", eyes.parents[1]) == eyes
    assert capsys.readouterr().out == ""
    assert marker.exists()
    marker.unlink()
    assert [path.name for path in eyes.parent.iterdir() if path.is_dir()] == [f"retinopathy-tiny-v{VERSION}"]


def test_a_failed_build_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("labkit.data.phantoms.make.cell", fail)
    with pytest.raises(OSError, match="disk full"):
        phantom("leukemia", "tiny", tmp_path)
    assert [path.name for path in (tmp_path / "phantoms").iterdir()] == [f".leukemia-tiny-v{VERSION}.lock"]


def test_what_a_killed_call_left_is_removed_by_the_next_one(tmp_path):
    left = tmp_path / "phantoms" / f".leukemia-tiny-v{VERSION}-killed" / "half"
    left.mkdir(parents=True)
    whole = phantom("leukemia", "tiny", tmp_path)
    assert [path for path in whole.parent.iterdir() if path.is_dir()] == [whole]


def test_unknown_names_are_refused_with_the_choices(tmp_path):
    with pytest.raises(ValueError, match="retinopathy, leukemia"):
        phantom("xray", "demo", tmp_path)
    with pytest.raises(ValueError, match="demo, demo-source, demo-camera, tiny"):
        phantom("leukemia", "huge", tmp_path)


def test_leukemia_lies_in_the_courses_layout(cells):
    counts = {}
    for split in ("train", "valid"):
        table = pd.read_csv(cells / f"{split}.csv")
        counts[split] = len(table)
        assert list(table) == ["Path", "label"]
        assert table["Path"].tolist() == [f"./new_dataset/{split}/{k}.bmp" for k in range(len(table))]
        assert all((cells / path).is_file() for path in table["Path"])
    orders = [pd.read_csv(cells / f"resnet_{depth}_test.csv")["Path"].tolist() for depth in (18, 50, 152)]
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(order) for order in orders}) == 1
    assert all((cells / path).is_file() for path in orders[0])
    files = len(list(cells.rglob("*.bmp")))
    assert files == counts["train"] + counts["valid"] + len(orders[0])


def test_leukemia_index_names_subject_label_and_hash_of_every_cell(cells):
    index = pd.read_csv(cells / "cnmc2019_train_index.csv", dtype=str)
    assert list(index) == ["file", "fold", "label", "subject", "image", "cell", "sha256", "bytes"]
    parts = index["file"].str.extract(r"^UID_([Hh]?\d+)_(\d+)_(\d+)_(all|hem)\.bmp$")
    assert parts[0].str.upper().tolist() == index["subject"].tolist()
    assert parts[[1, 2, 3]].to_numpy().tolist() == index[["image", "cell", "label"]].to_numpy().tolist()
    assert (index["subject"].str.startswith("H") == index["label"].eq("hem")).all()
    assert index["file"].is_unique and index["sha256"].is_unique
    assert index.groupby("subject")["fold"].nunique().max() == 1
    assert set(_hashes(cells / "new_dataset").values()) == set(index["sha256"])


def test_leukemia_split_puts_subjects_on_both_sides():
    plan = leukemia_plan("demo")
    train, rest = plan[plan["split"] == "train"], plan[plan["split"] != "train"]
    assert rest["subject"].isin(train["subject"]).mean() > 0.95
    assert plan["subject"].nunique() == 40


def test_leukemia_has_a_duplicate_a_cell_with_two_labels_and_a_truncated_file(cells):
    labels = pd.concat([pd.read_csv(cells / f"{split}.csv") for split in ("train", "valid")])
    labels = labels.set_index("Path")["label"]
    copies = _copies({f"./new_dataset/{name}": digest for name, digest in _hashes(cells / "new_dataset").items()})
    assert sorted(labels[names].nunique() for names in copies) == [1, 2]
    assert len(_unreadable(cells.rglob("*.bmp"))) == 1


@pytest.mark.parametrize(("side", "sign"), [("right", 1), ("left", -1)])
def test_the_disc_of_a_right_eye_lies_right_of_the_centre(side, sign):
    for person in range(8):
        patient = Patient(np.random.default_rng([7, person]))
        pixels = fundus(0, side, np.random.default_rng([8, person]), patient, 96).astype(float)
        # the disc is the palest thing: blue and green against red, which the fall-off of light hardly changes
        pale = pixels[:, :, 1] + pixels[:, :, 2]
        x = np.arange(96) - 47.5
        inner = np.hypot(x[None, :], x[:, None]) < 42
        brightest = (pale >= np.quantile(pale[inner], 0.99)) & inner
        assert sign * (x[None, :] * brightest).sum() / brightest.sum() > 10


def test_lesions_change_more_pixels_from_mild_to_severe():
    changed = np.zeros(5)
    for person in range(6):
        patient = Patient(np.random.default_rng([9, person]))
        photographs = [fundus(grade, "left", np.random.default_rng([10, person]), patient, 64) for grade in range(5)]
        healthy = photographs[0].astype(int)
        changed += [(np.abs(each.astype(int) - healthy).max(axis=2) > 20).sum() for each in photographs]
    assert changed[0] == 0
    assert changed[1] < changed[2] < changed[3]
    assert min(changed[2:]) > 4 * changed[1]


def test_blasts_are_larger_than_normal_cells_and_stand_on_black():
    areas = {}
    for label in (0, 1):
        subjects = [Subject(np.random.default_rng([11, k])) for k in range(20)]
        drawn = [cell(label, np.random.default_rng([12, k]), subject, 48) for k, subject in enumerate(subjects)]
        areas[label] = np.mean([(each.max(axis=2) > 0).mean() for each in drawn])
        assert all(each[0].max() == 0 and each[:, 0].max() == 0 for each in drawn)
    assert areas[1] > 1.1 * areas[0]
    assert 0.2 < areas[0] < 0.6
