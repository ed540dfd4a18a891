"""What the audit sees in files and pixels: near duplicates, odd files, colours that tell the class."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn import metrics as sk

from labkit.audit import audit, leak_effect, leak_effect_sentence, leaked, stamps
from labkit.audit.baselines import colour_statistics, shortcut_baseline, shortcut_sentence
from labkit.audit.damaged import file_sentences, odd_files
from labkit.audit.leaks import MISSED, near_sentences
from labkit.data.duplicates import near_duplicates
from labkit.data.hashes import MAX_DISTANCE, distances, file_hashes, pairs_within, perceptual_hashes
from labkit.data.images import load_image
from labkit.data.store import Store, build_store
from labkit.params import PROJECT, RunParams
from labkit.runs.files import read_json


def scene(seed: int, size: int = 160) -> Image.Image:
    """A smooth picture with some detail, like no other."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 200, (14, 14, 3)).astype(np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def table_of(folder: Path, rows: list[tuple[str, str, object]]) -> pd.DataFrame:
    """An image table of files in a folder from (name, split, label); no groups."""
    table = pd.DataFrame(rows, columns=pd.Index(["image_id", "split", "label"]))
    table["path"] = [(folder / name).as_posix() for name in table["image_id"]]
    return table.assign(label=table["label"].astype("Int64"), group=pd.NA, side=pd.NA)


def stored(table: pd.DataFrame, cache: Path, size: int = 64) -> tuple[pd.Series, Store]:
    hashes = file_hashes(table, cache)
    return hashes, build_store(table, hashes, size, cache)


@pytest.fixture
def album(tmp_path: Path) -> tuple[pd.DataFrame, pd.Series, Store]:
    """Copies of one picture in test and val, one under another label, a byte copy, others, and blank ones."""
    scene(0).save(tmp_path / "first.png")
    scene(0).save(tmp_path / "worse.jpg", quality=40)
    scene(0).resize((90, 90), Image.Resampling.LANCZOS).save(tmp_path / "smaller.png")
    ImageEnhance.Brightness(scene(0).transpose(Image.Transpose.TRANSVERSE)).enhance(0.9).save(tmp_path / "darker.png")
    scene(0).convert("L").save(tmp_path / "gray.png")
    (tmp_path / "same.png").write_bytes((tmp_path / "first.png").read_bytes())
    rows: list[tuple[str, str, object]] = [
        ("first.png", "train", 0),
        ("worse.jpg", "test", 0),
        ("smaller.png", "test", 1),
        ("darker.png", "val", 0),
        ("gray.png", "unlabeled", None),
        ("same.png", "train", 0),
    ]
    for number in range(1, 30):
        scene(number).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", ("train", "test")[number % 2], number // 2 % 2))
    for number in range(3):
        Image.new("RGB", (70, 70), (number, 0, 0)).save(tmp_path / f"blank{number}.png")
        rows.append((f"blank{number}.png", "train", 0))
    table = table_of(tmp_path, rows)
    return table, *stored(table, tmp_path / "cache")


def test_copies_with_other_bytes_are_found_and_different_images_are_not(album):
    table, _, store = album
    near = near_duplicates(table, store)
    pairs = {frozenset(pair) for pair in near.pairs[["image_id_a", "image_id_b"]].itertuples(index=False, name=None)}
    copies = {"first.png", "worse.jpg", "smaller.png", "darker.png", "gray.png", "same.png"}
    assert set().union(*pairs) == copies
    assert frozenset(("first.png", "same.png")) not in pairs  # the same bytes: exact_duplicates' finding
    assert near.n_test_touched == 2 and near.n_conflicting > 0 and near.complete
    assert near.n_within + near.n_across == len(near.pairs)
    assert near.pairs["distance"].is_monotonic_increasing and near.pairs["distance"].max() <= MAX_DISTANCE
    turned = near.pairs.loc[near.pairs["turned"], ["image_id_a", "image_id_b"]]
    assert (turned == "darker.png").any(axis=1).all() and len(turned) == 5
    assert near.test_touched == ["smaller.png", "worse.jpg"] and near.n_unseen == 3
    row = near.pairs.set_index(["image_id_a", "image_id_b"]).loc[("smaller.png", "worse.jpg")]
    assert (row["split_a"], row["split_b"], row["label_a"], row["label_b"]) == ("test", "test", 1, 0)
    said = " ".join(near_sentences(near, 17))
    assert "Leak: 2 of 17 test images are nearly the same as one in train or validation." in said
    assert "pairs bear two different labels" in said and said.endswith(f"not compared. {MISSED}")
    assert "3 images are blank or below 24 px" in said
    assert "In 5 of these pairs one image is mirrored or turned." in said


def test_near_duplicates_inside_a_part_are_no_leak_and_without_any_it_is_said(album):
    table, _, store = album
    inside = table.assign(split=table["split"].replace({"val": "test", "train": "unlabeled"}))
    near = near_duplicates(inside, store)
    assert near.n_test_touched == 0 and len(near.pairs)
    others = table.iloc[6:-3]
    assert near_sentences(near_duplicates(others, store), 0) == [
        "No two different files were found to look alike (perceptual hashes within 16 of 256 bits, also mirrored or "
        "turned by quarters).",
        "This comparison misses most copies that were cropped, shifted, or made much brighter or richer in contrast, "
        "and about half of those rotated by 2°.",
    ]


def test_what_looks_alike_is_found_once_and_is_the_same_at_every_size(album, tmp_path, monkeypatch):
    table, hashes, store = album
    small = build_store(table, hashes, 16, tmp_path / "cache")
    pd.testing.assert_frame_equal(near_duplicates(table, small).pairs, near_duplicates(table, store).pairs)
    monkeypatch.delattr("labkit.data.store.perceptual_hashes")
    again = build_store(table, hashes, 64, tmp_path / "cache")  # as every notebook and command does
    assert len(near_duplicates(table, again).pairs)


def test_the_hashes_of_all_orientations_are_those_of_the_turned_images():
    picture = scene(3, 64)
    eight = perceptual_hashes(picture)
    ways = [None, *Image.Transpose]
    found = [perceptual_hashes(picture if way is None else picture.transpose(way))[0] for way in ways]
    assert {code.tobytes() for code in found} == {code.tobytes() for code in eight} and len(set(map(bytes, eight))) == 8


@pytest.mark.parametrize("split", ["given", "group"])
def test_train_stamps_near_copies_of_a_given_split_and_keeps_them_together_in_its_own(tmp_path, split, capsys):
    """By train.ipynb's own cells: of 20 test images 6 are changed copies of training images."""
    changes = [
        lambda image: image.resize((90, 90)),
        lambda image: image.convert("L"),
        ImageOps.mirror,
        ImageOps.flip,
        lambda image: image.rotate(90),
        lambda image: image.rotate(180).point(lambda value: 0.7 * value),
    ]
    pictures = [scene(number) for number in range(54)] + [change(scene(k)) for k, change in enumerate(changes)]
    for number, picture in enumerate(pictures):
        path = tmp_path / "photos" / ("train", "test")[number >= 40] / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "train" / "a" / "black.png")
    params = RunParams.of({"dataset": "custom", "data": str(tmp_path / "photos"), "split": split})
    said: dict[str, Any] = {"params": params, "accelerator": None, "In": []}
    cells = ["".join(cell["source"]) for cell in read_json(PROJECT / "notebooks" / "train.ipynb")["cells"]]
    for cell in cells:
        if any(words in cell for words in ("from labkit import", "open_data(params", "audit.audit(")):
            exec(cell, said)
    findings, n, lines = said["findings"], 6 * (split == "given"), capsys.readouterr().out.splitlines()
    assert "- Own split: the folders test, train" + " (not used)" * (n == 0) in lines
    assert "- Data set: custom; as dataset says" in lines
    assert any(
        line.startswith("- Classes: a, b; by name") and "; a guess: the positive class is b" in line for line in lines
    )
    assert findings.leak == (split == "given") and len(findings.copies) == len(findings.facts()["copies"]) == n
    stamp = "6 of 20 test images are nearly the same as one in train or validation"
    assert (stamp in said["warnings"], stamp in said["audit"].in_caption(said["warnings"])) == (n > 0, n > 0)
    assert "Blank, all pixels nearly the same: 1 of 61 images (train/a/black)." in findings.sentences()
    assert "look alike" in findings.facts()["duplicates"] and MISSED in findings.facts()["duplicates"]
    assert leaked(said["table"], findings.copies).sum() == n
    together = "12 groups (or images without one) share copies of images; those that do stay in one part"
    assert (together in " ".join(said["table"].attrs["notes"])) == (split == "group")
    mixed = said["table"].sample(frac=1, random_state=0)
    again = said["assign_splits"](mixed, hashes=said["hashes"], store=said["store"], **params.split_rule)
    assert again["split"].sort_index().equals(said["table"]["split"])  # whatever the order of the rows


def test_many_files_of_one_look_are_paired_with_one_of_each_part_and_label_only(tmp_path):
    """300 copies of a picture, its last pixel apart: 44,850 pairs, of which a few hundred tell all."""
    rows: list[tuple[str, str, object]] = []
    for number in range(300):
        picture = scene(0, 64)
        picture.putpixel((63, 63), (number % 256, number // 256, 0))
        picture.save(tmp_path / f"{number:03}.png")
        rows.append((f"{number:03}.png", "test" if number < 20 else "train", number % 2))
    table = table_of(tmp_path, rows)
    near = near_duplicates(table, stored(table, tmp_path / "cache")[1])
    assert 300 <= len(near.pairs) <= 300 * 4 * 12  # one of each part and label for each of the few distinct hashes
    assert near.n_test_touched == 20 and near.n_conflicting > 0


def codes(n: int, seed: int = 0) -> np.ndarray:
    bits = np.random.default_rng(seed).integers(0, 2, (n, 256)).astype(np.uint8)
    return np.packbits(bits, axis=1).view(np.uint64)[:, None]


def test_the_search_by_bands_finds_what_comparing_all_pairs_finds():
    base = codes(300)
    flips = np.zeros((300, 256), dtype=np.uint8)
    rng = np.random.default_rng(1)
    for row in flips:
        row[rng.choice(256, rng.integers(0, 30), replace=False)] = 1
    both = np.concatenate([base, base ^ np.packbits(flips, axis=1).view(np.uint64)[:, None]])
    both = np.concatenate([codes(600, 2), both], axis=1)[:, ::-1]  # of another orientation noise
    first, second = np.triu_indices(len(both), 1)
    apart = distances(both[first, 0], both[second, 0])
    for limit in (0, 2, 16):
        pairs, found, turn, complete = pairs_within(both, limit, 10**6)
        near = apart <= limit
        assert complete and pairs.tolist() == np.stack([first[near], second[near]], axis=1).tolist()
        assert found.tolist() == apart[near].tolist() and not turn.any()
    turned = np.stack([base[:, 0], np.roll(base[:, 0], 1, axis=0)], axis=1)  # each row's second is the row before
    pairs, _, turn, _ = pairs_within(turned, 0, 10**6)
    assert (turn == 1).all() and pairs.tolist() == [[k, k + 1] for k in range(299)]


def test_the_search_stops_at_the_most_pairs_and_needs_no_quadratic_memory_or_time():
    alike = codes(1).repeat(3000, axis=0)
    alike[:, 0, 0] ^= np.arange(3000, dtype=np.uint64)  # all distinct, all within 12 bits
    pairs, *_, complete = pairs_within(alike, 16, 10_000)
    assert not complete and 10_000 < len(pairs) < 20_000
    start = time.perf_counter()
    assert len(pairs_within(codes(50_000), 16, 1000)[0]) == 0
    assert time.perf_counter() - start < 20  # 0.3 s; comparing all 1.25 billion pairs takes minutes
    assert pairs_within(codes(0), 16, 10)[0].shape == (0, 2)


def test_a_hash_depends_neither_on_brightness_nor_on_size():
    pictures = [scene(number, 128) for number in range(20)]
    hashes = np.stack([perceptual_hashes(picture)[0] for picture in pictures])
    for change in (lambda picture: picture.point(lambda value: 0.6 * value + 20), lambda picture: picture.reduce(2)):
        changed = np.stack([perceptual_hashes(change(picture))[0] for picture in pictures])
        assert distances(hashes, changed).max() <= 16
    assert distances(hashes, np.roll(hashes, 1, axis=0)).min() > 60
    assert not perceptual_hashes(pictures[0].resize((30, 20))).any()  # too small to tell anything


def test_odd_files_are_named_with_what_is_odd(tmp_path):
    picture = scene(1, 80)
    picture.save(tmp_path / "sound.jpg")
    picture.convert("L").save(tmp_path / "gray.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    picture.convert("P").save(tmp_path / "palette.png")
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(np.asarray(picture)[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    picture.save(tmp_path / "pages.tif", save_all=True, append_images=[picture.rotate(9)] * 2)
    exif = Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    picture.save(tmp_path / "turned.png", exif=exif)
    exif[274] = 1
    picture.save(tmp_path / "upright.jpg", exif=exif)
    picture.resize((20, 40)).save(tmp_path / "tiny.png")
    Image.new("RGB", (100, 90), (9, 9, 9)).save(tmp_path / "blank.jpg")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "sound.jpg").read_bytes()[:900])
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    table = table_of(tmp_path, [(name, "train", 0) for name in names])
    files = odd_files(table, stored(table, tmp_path / "cache")[1])
    found = files.problems.groupby("problem")["image_id"].agg(list).to_dict()
    assert found == {
        "unreadable": ["cut.jpg", "text.png"],
        "blank": ["blank.jpg"],
        "tiny": ["tiny.png"],
        "grayscale": ["deep.png", "gray.png"],
        "CMYK": ["cmyk.jpg"],
        "palette": ["palette.png"],
        "alpha": ["alpha.png"],
        "16-bit gray": ["deep.png"],
        "pages": ["pages.tif"],
        "rotated": ["turned.jpg", "turned.png"],
    }
    assert (files.smallest, files.largest) == ((20, 40), (100, 90))
    assert (
        file_sentences(files)[0] == "Cannot be decoded: 2 of 14 images (cut.jpg, text.png; a run refuses more than 1%)."
    )
    assert "Several pages or frames, the first is read: 1 of 14 images (pages.tif)." in file_sentences(files)
    assert "Shorter side below 64 px: 1 of 14 images (tiny.png)." in file_sentences(files)
    sound = table.loc[table["image_id"].isin(["sound.jpg", "upright.jpg"])]
    left = file_sentences(odd_files(sound, stored(table, tmp_path / "cache")[1]))
    assert left == [
        "Cannot be decoded: 2 of 4 images (cut.jpg, text.png; a run refuses more than 1%)."
    ]  # a table that lacks them
    (said,) = file_sentences(odd_files(sound, stored(sound, tmp_path / "cache")[1]))
    assert said.startswith("All 2 images can be decoded")


def coloured(folder: Path, tells: bool, n: int = 240) -> pd.DataFrame:
    """Noise in three classes of 1, 2 and 3 sixths; where the colour `tells` a class, its channel is brighter."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n):
        label = (0, 1, 1, 2, 2, 2)[number % 6]
        pixels = rng.normal(100 + rng.normal(0, 10), 30, (24, 24, 3))
        pixels[:, :, label] += 25 * tells
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append((f"{number}.png", "test" if number % 4 == 0 or number % 7 == 0 else "train", label))
    return table_of(folder, rows)


def test_colours_that_tell_the_class_are_a_shortcut_and_noise_is_none(tmp_path):
    classes = ["red", "green", "blue"]
    for tells in (True, False):
        folder = tmp_path / str(tells)
        folder.mkdir()
        table = coloured(folder, tells)
        _, store = stored(table, tmp_path / "cache", 24)
        found = shortcut_baseline(table, store, classes, "qwk")
        assert found is not None and found["n_train"] + found["n_test"] == 240 and found["majority"] == "blue"
        if tells:
            assert min(found["accuracy"], found["balanced_accuracy"], found["score"]) > 0.97
        else:
            assert (
                abs(found["balanced_accuracy"] - 1 / 3) < 0.15 and found["accuracy"] < found["majority_accuracy"] + 0.1
            )
        assert f"{100 * found['accuracy']:.1f}\u00a0% accuracy" in shortcut_sentence(found)
        assert shortcut_baseline(table, store, classes, "qwk") == found  # the same again
        assert shortcut_baseline(table.assign(split="train"), store, classes) is None
        assert shortcut_baseline(table.assign(label=pd.array([1] * 240, dtype="Int64")), store, classes) is None
        pixels = np.asarray(load_image(table["path"][0]), dtype=float).reshape(-1, 3)
        statistics = colour_statistics(store, ["0.png"])[0]
        assert np.allclose(statistics[:6], [*pixels.mean(axis=0), *pixels.std(axis=0)], atol=1e-3)
        assert np.allclose(statistics[12:15], np.median(pixels, axis=0), atol=1)


def test_a_full_audit_says_and_stamps_what_pixels_show(album):
    table, hashes, store = album
    found = audit(table, hashes, ["healthy", "ill"], "patient", store, "macro_f1")
    assert found.leak and found.duplicates.n_test_touched == 0  # by looks alone
    assert "2 of 17 test images are nearly the same as one in train or validation" in stamps(found, "val")
    said = " ".join(found.sentences())
    for words in ("cannot be checked", "look alike", "Blank", "Colour and brightness alone"):
        assert words in said
    shown = found.tables(["healthy", "ill"], rows=2)
    assert [caption.split(" (")[0] for caption in shown] == [
        "Files with the same bytes",
        "Pairs of files that look alike",
        "What is odd about the files",
    ]
    assert all(len(rows) <= 2 for rows in shown.values())
    alike = next(rows for caption, rows in shown.items() if caption.startswith("Pairs"))
    assert (alike["split_a"] != alike["split_b"]).all()
    assert set(alike["label_a"].dropna()) <= {"healthy", "ill"}
    without = replace(found, near=None, files=None, shortcut=None)
    assert not without.leak and "look alike" not in " ".join(without.sentences())


# --- what a leak is worth ---------------------------------------------------------------------------------------------


def test_leaked_images_are_those_touched_by_group_or_copies():
    rows = [("a", "train", "1"), ("b", "val", "2"), ("c", "test", "1"), ("d", "test", "2"), ("e", "test", None)]
    rows += [("f", "test", "3"), ("g", "train", None), ("h", "test", None)]
    table = pd.DataFrame(rows, columns=pd.Index(["image_id", "split", "group"]))
    assert leaked(table, ["f"]).to_dict() == {"c": True, "d": True, "e": False, "f": True, "h": False}
    assert leaked(table, []).to_dict() == {"c": True, "d": True, "e": False, "f": False, "h": False}


def judged(n: int = 400) -> tuple[pd.DataFrame, pd.Series]:
    """Decided predictions of 2 images a group: the first half leaked, mostly right, the other half the time."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, n)
    right = rng.random(n) < np.where(np.arange(n) < n // 2, 0.95, 0.5)
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "group": [f"g{k // 2}" for k in range(n)]})
    table = table.assign(split="test", label=label, prediction=np.where(right, label, (label + 1) % 3))
    return table, pd.Series(np.arange(n) < n // 2, index=table["image_id"])


def test_the_effect_of_a_leak_is_the_mean_over_seeds():
    table, touched = judged()
    perfect = table.assign(prediction=table["label"])
    one, both = leak_effect(table, touched, 3), leak_effect(table, touched, 3, perfect)
    assert one is not None and both is not None
    assert both.scores.loc["accuracy", "clean"] == pytest.approx((one.scores.loc["accuracy", "clean"] + 1) / 2)
    assert both.scores.loc["accuracy", "difference"] == pytest.approx(one.scores.loc["accuracy", "difference"] / 2)


def test_the_effect_of_a_leak_is_the_difference_of_the_two_parts_with_an_interval():
    table, touched = judged()
    effect = leak_effect(table, touched, 3)
    assert effect is not None and (effect.n_leaked, effect.n_clean) == (200, 200)
    quadratic = partial(sk.cohen_kappa_score, weights="quadratic")
    for name, score in (("accuracy", sk.accuracy_score), ("qwk", quadratic)):
        row = effect.scores.loc[name]
        for part, where in (("clean", ~touched.to_numpy()), ("leaked", touched.to_numpy())):
            one, shares = table[where], table["label"].value_counts() / table.loc[where, "label"].value_counts()
            weighted = score(one["label"], one["prediction"], sample_weight=one["label"].map(shares))
            assert row[part] == pytest.approx(weighted)
        assert row["low"] < row["difference"] < row["high"]
        assert row["difference"] == pytest.approx(row["leaked"] - row["clean"])
    accuracy = effect.scores.loc["accuracy"]
    error = np.sqrt(sum(p * (1 - p) / 200 for p in (accuracy["clean"], accuracy["leaked"])))
    assert (accuracy["high"] - accuracy["low"]) / (2 * 1.96 * error) == pytest.approx(1, abs=0.2)
    said = leak_effect_sentence(effect)
    assert "points [+" in said and "quadratic weighted kappa" in said and "the class mix of the whole test set" in said
    again = leak_effect(table, touched, 3)
    assert again is not None and again.scores.equals(effect.scores)


def test_a_constant_model_gains_nothing_by_a_leak_whatever_the_share_of_ill_images():
    table, touched = judged(2000)
    ill = np.arange(2000) % 100 < np.where(touched, 45, 25)
    for answer in (0, 1):
        effect = leak_effect(table.assign(label=ill.astype(int), prediction=answer), touched, 2)
        assert effect is not None and (effect.scores["difference"] == 0).all()
        assert "0.0\u00a0points)" in leak_effect_sentence(effect)  # 20 points at the parts' own class mix
    apart = table.assign(label=np.where(touched, 0, 1))
    assert leak_effect(apart, touched, 2) is None  # no class in common, so nothing to compare


def test_without_a_leaked_or_a_clean_part_there_is_no_effect_and_unknown_images_are_refused():
    table, touched = judged(40)
    assert leak_effect(table, touched & False, 3) is None and leak_effect(table, touched | True, 3) is None
    with pytest.raises(ValueError, match="1 test images are not in the audited table, the first is 'i39'"):
        leak_effect(table, touched.drop("i39"), 3)
    logits = table.drop(columns="prediction").assign(**{f"logit_{k}": table["prediction"] == k for k in range(3)})
    by_logits = leak_effect(logits.astype({f"logit_{k}": float for k in range(3)}), touched, 3)
    decided = leak_effect(table, touched, 3)
    assert by_logits is not None and decided is not None and by_logits.scores.equals(decided.scores)
    one_group = leak_effect(table.assign(group=np.where(touched, "g", table["group"])), touched, 3)
    assert one_group is not None and one_group.scores["low"].isna().all()
    assert "[" not in leak_effect_sentence(one_group)
