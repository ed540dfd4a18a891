"""Raw photographs to crops: round eyeballs, odd files listed, a stopped call gone on with, the lists of the course."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_pictures import similarity
from PIL import Image
from scipy.ndimage import uniform_filter

from labkit.cli import main
from labkit.data.images import load_image
from labkit.data.phantoms.make import Patient, fundus
from labkit.data.prepare.eyeball import NoEyeball, crop_square, find_eyeball
from labkit.data.prepare.photographs import crop_photograph, is_whole, prepare
from labkit.data.readers import read
from labkit.params import PROJECT, DataParams

SIZE = 96


def framed(width: int, height: int, eye: int, x: int, y: int, cut: float = 1.0, seed: int = 0) -> Image.Image:
    """A fundus phantom of `eye` px with its corner at (x, y) of a frame whose border is as a camera's: dark, not black.

    `cut`: where the field stop ends above and below, in radii. The disc's diameter is 0.96 of `eye`.
    """
    rng = np.random.default_rng(seed)
    patient = Patient(rng)
    camera = replace(patient.camera, cut=cut, notch="tab", noise=0.004)
    vars(patient).update(camera=camera, zoom=0.96, pigment=0.2, exposure=1.0)
    sheet = Image.new("RGB", (width, height))
    drawn = Image.fromarray(fundus(2, "left", rng, patient, min(eye, 1330)))  # larger ones take long
    sheet.paste(drawn.resize((eye, eye), Image.Resampling.BICUBIC), (x, y))
    border = rng.normal(4, 2.5, (height, width, 1)) + np.array([1.5, 0, 0])  # readout noise on a pedestal, a little red
    noisy = np.maximum(np.asarray(sheet, dtype=np.float32), border)
    noisy += rng.standard_normal(noisy.shape, dtype=np.float32) * 1.5
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def small(**changed) -> Image.Image:
    return framed(**({"width": 300, "height": 200, "eye": 208, "x": 46, "y": -4} | changed))


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """As a Canon camera's: 3,888 × 2,592."""
    path = tmp_path_factory.mktemp("large") / "10_left.jpeg"
    framed(3888, 2592, 2660, 640, -34, cut=0.84).save(path, quality=92)
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six patients' photographs in two sub-folders, and Kaggle's labels."""
    folder = tmp_path / "raw"
    lines = ["image,level"]
    for patient in range(10, 16):
        for side in ("left", "right"):
            place = folder / ("part1" if patient < 13 else "part2")
            place.mkdir(parents=True, exist_ok=True)
            small(x=40 + patient, seed=patient).save(place / f"{patient}_{side}.jpeg", quality=95)
            lines.append(f"{patient}_{side},{patient % 2}")
    (folder / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    return folder


def extent(crop: Image.Image) -> tuple[int, int]:
    """Width and height of what is bright."""
    bright = uniform_filter(np.asarray(crop.convert("L"), dtype=np.float32), 3) > 20
    return int(bright.any(axis=0).sum()), int(bright.any(axis=1).sum())


@pytest.mark.parametrize("cut", [1.0, 0.8])
@pytest.mark.parametrize(("x", "y"), [(46, -4), (10, 10), (80, -30)])
def test_the_disc_is_found_where_it_was_drawn_whatever_cuts_it(x, y, cut):
    disc = find_eyeball(small(x=x, y=y, cut=cut))
    assert (disc.x, disc.y) == pytest.approx((x + 104, y + 104), abs=2)
    assert disc.radius == pytest.approx(0.96 * 104, abs=2)


@pytest.mark.parametrize("cut", [1.0, 0.8])
def test_the_eyeball_stays_round_and_fills_the_square(cut):
    photograph = small(cut=cut)
    width, height = extent(crop_square(photograph, find_eyeball(photograph), SIZE))
    assert width == pytest.approx(SIZE, abs=3)
    assert height == pytest.approx(cut * SIZE, abs=4)


def test_a_photograph_of_thousands_of_pixels_is_decoded_small_and_looks_the_same(large):
    assert load_image(str(large), at_least=600).size == (972, 648)
    quick, full = crop_photograph(str(large), 512), Image.open(large).convert("RGB")
    assert quick.size == (512, 512)
    assert similarity(quick, crop_square(full, find_eyeball(full), 512)) > 0.98


def test_a_wide_border_is_decoded_finer_so_that_nothing_is_blown_up(large, tmp_path):
    wide = Image.new("RGB", (7776, 5184))
    wide.paste(Image.open(large), (1900, 1300))
    wide.save(tmp_path / "1_left.jpeg", quality=92)
    full = Image.open(tmp_path / "1_left.jpeg").convert("RGB")
    crop = crop_square(full, find_eyeball(full), 512)
    assert similarity(crop_photograph(str(tmp_path / "1_left.jpeg"), 512), crop) > 0.98


def test_a_border_full_of_noise_is_cut_all_the_same():
    photograph = np.asarray(small(x=60, y=10, eye=180), dtype=np.float32)
    noise = np.random.default_rng(0).exponential(40, photograph.shape)
    noisy = Image.fromarray(np.maximum(photograph, noise).clip(0, 255).astype(np.uint8))
    disc = find_eyeball(noisy)
    assert (disc.x, disc.y, disc.radius) == pytest.approx((150, 100, 0.96 * 90), abs=4)


def test_a_photograph_on_its_side_is_set_upright(tmp_path):
    upright = small(cut=0.8)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpeg", exif=exif, quality=95)
    upright.save(tmp_path / "b.jpeg", quality=95)
    turned, straight = (crop_photograph(str(tmp_path / f"{name}.jpeg"), SIZE) for name in "ab")
    assert similarity(turned, straight) > 0.95
    width, height = extent(turned)
    assert height < 0.9 * width


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Image.new("RGB", (300, 200)), "one brightness all over"),
        (Image.new("RGB", (300, 200), "white"), "one brightness all over"),
        (Image.new("RGB", (1, 1), "red"), "one brightness all over"),
        (Image.fromarray(np.random.default_rng(0).normal(4, 2, (200, 300, 3)).clip(0).astype(np.uint8)), "brightness"),
        (framed(600, 400, 60, 270, 170), "largest bright spot spans 15%"),
        (small().resize((60, 40)), "the eyeball is 4. px wide, too small for a crop of 96 px"),
        (small().convert("L"), "no colour in it"),
        (small().crop((0, 90, 300, 110)), "a strip"),
    ],
    ids=["black", "white", "one-pixel", "lens-cap", "tiny", "few-pixels", "gray", "strip"],
)
def test_a_picture_that_no_crop_can_be_had_from_says_why(tmp_path, picture, reason):
    picture.save(tmp_path / "x.png")
    with pytest.raises(NoEyeball, match=reason):
        crop_photograph(str(tmp_path / "x.png"), SIZE)


def test_kaggles_photographs_become_the_course_layout_with_patients_kept_apart(raw, tmp_path, capsys):
    assert main(["prepare", str(raw), str(tmp_path / "eyes"), "--size", str(SIZE), "--workers", "2"]) == 0
    said = capsys.readouterr().out
    assert "12 crops of 96 px" in said and "made one by patient" in said and "seed 0" in said
    images = read(DataParams(), tmp_path / "eyes")
    assert images.layout == "course image and label lists" and len(images.table) == 12
    assert (images.table["label"] == images.table["group"].astype(int) % 2).all()
    groups = images.table.groupby("group")["split"].agg(set)
    assert set(map(len, groups)) == {1} and set().union(*groups) == {"train", "test"}
    assert {load_image(path).size for path in images.table["path"]} == {(SIZE, SIZE)}
    assert not (tmp_path / "eyes" / "failures.csv").exists()
    assert "made one by patient" in (tmp_path / "eyes" / "prepared.txt").read_text()


def test_odd_files_are_listed_with_their_reason_and_the_rest_is_made(raw, tmp_path, capsys):
    broken = raw / "part1" / "10_left.jpeg"
    broken.write_bytes(broken.read_bytes()[:3000])
    Image.new("RGB", (300, 200)).save(raw / "part1" / "10_right.jpeg")
    (raw / "part2" / "15_left.jpeg").write_text("no image")
    small(seed=11).save(raw / "part2" / "11_left.jpeg")
    assert main(["prepare", str(raw), str(tmp_path / "eyes"), "--size", str(SIZE), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "9 crops" in said and "4 photographs failed" in said and "3 of 12 labelled images have no crop" in said
    with (tmp_path / "eyes" / "failures.csv").open(newline="") as file:
        failed = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert list(failed) == ["part1/10_left.jpeg", "part1/10_right.jpeg", "part2/11_left.jpeg", "part2/15_left.jpeg"]
    assert "truncated" in failed["part1/10_left.jpeg"] and "cannot identify" in failed["part2/15_left.jpeg"]
    assert failed["part2/11_left.jpeg"] == "the same name as part1/11_left.jpeg, which was taken"
    assert len(read(DataParams(), tmp_path / "eyes").table) == 9


def test_what_is_whole_is_kept_and_what_is_not_is_made_again(raw, tmp_path):
    first = prepare(raw, tmp_path / "eyes", SIZE, workers=1)
    crops = sorted((tmp_path / "eyes" / "images").iterdir())
    lists = (tmp_path / "eyes" / "train_img.csv").read_bytes()
    before = {path: path.read_bytes() for path in crops}
    crops[0].write_bytes(before[crops[0]][:-20])
    crops[1].unlink()
    os.utime(crops[2], (0, 0))
    again = prepare(raw, tmp_path / "eyes", SIZE, workers=1)
    assert (first.made, first.kept, again.made, again.kept) == (12, 0, 2, 10)
    assert {path: path.read_bytes() for path in crops} == before and crops[2].stat().st_mtime == 0
    assert (tmp_path / "eyes" / "train_img.csv").read_bytes() == lists
    assert prepare(raw, tmp_path / "eyes", 64, workers=1).made == 12  # another size was asked for


def test_the_split_stays_when_more_photographs_come(raw, tmp_path):
    rest = raw / "part2"
    rest.rename(tmp_path / "later")
    prepare(raw, tmp_path / "eyes", SIZE, workers=1)
    part = read(DataParams(), tmp_path / "eyes").table.set_index("image_id")["split"]
    (tmp_path / "later").rename(rest)
    prepare(raw, tmp_path / "eyes", SIZE, workers=1)
    whole = read(DataParams(), tmp_path / "eyes").table.set_index("image_id")["split"]
    assert len(part) == 6 and len(whole) == 12 and whole[part.index].equals(part)


def test_the_courses_own_lists_keep_their_split(raw, tmp_path, capsys):
    lists = {"train_img": "10_left\n12_left\n", "train_label": "0\n2\n", "test_img": "10_right\n", "test_label": "4\n"}
    (tmp_path / "labels").mkdir()
    for name, text in lists.items():
        (tmp_path / "labels" / f"{name}.csv").write_text(text)
    arguments = ["prepare", str(raw), str(tmp_path / "eyes"), "--size", "32", "--labels", str(tmp_path / "labels")]
    assert main([*arguments, "--workers", "1"]) == 0
    assert {name: (tmp_path / "eyes" / f"{name}.csv").read_text() for name in lists} == lists
    assert "9 crops have no label and are in no list" in capsys.readouterr().out


def test_photographs_without_labels_are_cropped_alone(raw, tmp_path):
    done = prepare(raw / "part2", tmp_path / "eyes", SIZE, workers=1)  # the labels lie above
    assert (done.made, (tmp_path / "eyes" / "train_img.csv").exists()) == (6, True)
    (raw / "trainLabels.csv").unlink()
    done = prepare(raw, tmp_path / "new", SIZE, workers=1)
    assert done.made == 12 and "no labels were found" in done.said[-1]
    assert sorted(path.name for path in (tmp_path / "new").glob("[!.]*")) == ["images", "prepared.txt"]


def test_a_folder_for_the_crops_inside_the_source_is_not_taken_for_photographs(raw):
    for made in (12, 0):
        assert prepare(raw, raw / "crops", SIZE, workers=1).made == made


@pytest.mark.parametrize(
    ("source", "target", "options", "words"),
    [
        ("raw", "raw", [], "raw: the photographs lie there themselves"),
        ("raw/part1", "raw", [], "raw: the photographs lie there themselves"),
        ("nowhere", "eyes", [], "nowhere: there is no such folder"),
        ("empty", "eyes", [], "empty: no image below this folder"),
        ("raw", "eyes", ["--size", "4"], "--size is 4; it can be 16 to 2048 pixels"),
        ("raw", "eyes", ["--workers", "0"], "--workers is 0"),
        ("raw", "eyes", ["--labels", "{}/empty"], "empty: neither trainLabels.csv nor the course's lists"),
        ("raw", "course", [], "course: test_img.csv lies there and would be overwritten"),
        ("raw", "mine", [], "mine: images/1_left.jpeg lies there and would be overwritten"),
    ],
)
def test_wrong_use_is_told_in_one_line_and_nothing_is_written(raw, tmp_path, capsys, source, target, options, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "test_img.csv").write_text("1_left\n")
    (tmp_path / "mine" / "images").mkdir(parents=True)
    (tmp_path / "mine" / "images" / "1_left.jpeg").write_text("a person's own photograph")
    before = sorted(tmp_path.rglob("*"))
    options = [option.format(tmp_path) for option in options]
    assert main(["prepare", str(tmp_path / source), str(tmp_path / target), *options]) == 2
    assert words in capsys.readouterr().err and sorted(tmp_path.rglob("*")) == before


def test_labels_of_other_photographs_are_refused(raw, tmp_path):
    (raw / "trainLabels.csv").write_text("image,level\n" + "".join(f"{n}_left,0\n" for n in range(90, 99)))
    with pytest.raises(ValueError, match="none of the images has a label; the labels name images such as 90_left"):
        prepare(raw, tmp_path / "eyes", SIZE, workers=1)


@pytest.mark.slow
def test_a_killed_call_leaves_whole_files_only_and_is_gone_on_with(raw, tmp_path):
    for number in range(20, 60):
        small(seed=number).resize((1500, 1000)).save(raw / f"{number}_left.jpeg")
    options = ["--size", "192", "--workers", "1"]
    command = [sys.executable, "-m", "labkit.cli", "prepare", str(raw), str(tmp_path / "eyes"), *options]
    call = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    images = tmp_path / "eyes" / "images"
    deadline = time.monotonic() + 60
    while call.poll() is None and time.monotonic() < deadline and len(list(images.glob("*.jpeg"))) < 5:
        time.sleep(0.02)
    call.send_signal(signal.SIGKILL)
    call.wait()
    made = sorted(images.glob("*.jpeg"))
    assert 5 <= len(made) < 52 and all(is_whole(path, 192) for path in made)
    done = prepare(raw, tmp_path / "eyes", 192, workers=1)
    assert done.kept == len(made) and done.kept + done.made == 52
    assert not list(images.glob(".*"))


@pytest.mark.slow
def test_an_interrupted_call_says_that_it_can_be_gone_on_with_and_its_workers_are_silent(raw, tmp_path):
    for number in range(20, 60):
        small(seed=number).resize((1500, 1000)).save(raw / f"{number}_left.jpeg")
    command = [sys.executable, "-m", "labkit.cli", "prepare", str(raw), str(tmp_path / "eyes"), "--workers", "2"]
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background is started deaf to it
    call = subprocess.Popen(
        command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hears
    )
    deadline = time.monotonic() + 60
    while call.poll() is None and time.monotonic() < deadline and not any(tmp_path.glob("eyes/images/*.jpeg")):
        time.sleep(0.02)
    os.killpg(call.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    said = call.communicate(timeout=60)[1]
    failures = [path.read_text() for path in tmp_path.glob("eyes/failures.csv")]
    assert call.returncode == 130, (said, failures, len(list(tmp_path.glob("eyes/images/*"))))
    assert said == "\nlabkit: stopped; run the same command again to continue\n"
