"""Store, augmentation and loaders: decoded once, drawn by (seed, epoch, image), the same for any number of workers."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from labkit.data import store as store_room
from labkit.data.augment import IMAGENET_MEAN, IMAGENET_STD, Augment, centre_crop, fixed_point, to_float, warp
from labkit.data.hashes import file_hashes
from labkit.data.images import NO_RANGE
from labkit.data.loaders import make_loaders, oversampled
from labkit.data.readers import read
from labkit.data.splits import assign_splits
from labkit.data.store import build_store, load_square, to_square
from labkit.params import DataParams, ExploreParams, RunParams
from labkit.reporting.images import augmentation_sentence, on_augmented_images
from labkit.training.step import to_device


@pytest.fixture
def eyes(image_folder, tmp_path):
    table = read(DataParams(), image_folder).table
    hashes = file_hashes(table, tmp_path)
    return table, hashes


def split(table):
    return assign_splits(table, split="group", split_seed=0, val_fraction=0.15, test_fraction=0.2)


def passes(table, store, params, epochs=2):
    """Every training batch of some epochs, as one list of arrays."""
    loader = make_loaders(split(table), store, params)["train"]
    batches = []
    for epoch in range(1, epochs + 1):
        loader.set_epoch(epoch)
        batches += [(batch["images"].numpy(), batch["labels"].numpy(), batch["index"].numpy()) for batch in loader]
    return batches


def test_a_store_is_built_once_and_found_again(eyes, tmp_path, capsys):
    table, hashes = eyes
    first = build_store(table, hashes, 16, tmp_path)
    assert first.images.shape == (80, 16, 16, 3) and "Decoding 80 images" in capsys.readouterr().out
    again = build_store(table.sample(frac=1, random_state=1), hashes, 16, tmp_path)
    assert again.path == first.path and again.rows == first.rows and not capsys.readouterr().out


def test_the_store_holds_what_pillow_decodes_resized_and_cut_square(eyes, tmp_path):
    table, hashes = eyes
    store = build_store(table, hashes, 24, tmp_path)
    row = table.iloc[3]
    picture = np.asarray(Image.open(row.path).convert("RGB"))[:, 3:27]  # 30 × 24, the middle
    assert np.array_equal(store.images[store.rows[row.image_id]], picture)


def test_gray_of_12_bits_keeps_its_levels_by_one_range_for_the_whole_set(tmp_path):
    """Two classes that differ in brightness alone, and an image of 8 bits, which is not changed."""
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    pixels = {"dark": 1500 + levels // 2 * 8, "bright": 2524 + levels // 2 * 8, "plain": levels.astype(np.uint8)}
    for name, values in pixels.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "dark.png").read_bytes()[:60])
    names = [*pixels, "half"]
    table = pd.DataFrame({"image_id": names, "path": [f"{tmp_path}/{name}.png" for name in names]})
    for _ in ("decoded", "found again"):
        store = build_store(table, file_hashes(table, tmp_path), 16, tmp_path)
        assert store.gray_range == [1500, 3540] and store.unreadable["image_id"].tolist() == ["half"]
        kept = {name: store.images[store.rows[name]] for name in names}
        assert np.array_equal(kept["dark"], np.stack([levels // 2] * 3, -1))
        assert np.array_equal(kept["bright"], np.stack([128 + levels // 2] * 3, -1))
        assert np.array_equal(kept["plain"], np.stack([levels] * 3, -1))
    new, failed = load_square([table["path"][0]], 16, store.gray_range)  # as predict reads it for a run of this set
    assert np.array_equal(new[0], kept["dark"]) and not failed
    assert load_square([table["path"][0]], 16)[1] == {table["path"][0]: NO_RANGE}  # of a run without such images


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (50, 50), (33, 77)])
def test_the_shorter_side_is_kept_whole(size):
    picture = Image.new("RGB", size)
    middle = [side // 2 for side in size]
    picture.putpixel((middle[0], middle[1]), (255, 255, 255))
    square = to_square(picture, 50)
    assert square.shape == (50, 50, 3)
    brightest = np.unravel_index(square[..., 0].argmax(), (50, 50))
    assert abs(brightest[0] - 25) <= 1 and abs(brightest[1] - 25) <= 1


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000)])
def test_a_long_picture_is_cut_before_it_is_enlarged(size, monkeypatch):
    """Else one of 10 × 1000 pixels would be 51,200 px long at 512."""
    resized = []
    enlarge = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *given, **kw: resized.append(given[1]) or enlarge(*given, **kw))
    picture = Image.new("RGB", size)
    picture.paste((255, 255, 255), [side // 2 - 2 for side in size] + [side // 2 + 2 for side in size])
    square = to_square(picture, 50)
    assert square.shape == (50, 50, 3) and max(resized[0]) == 200
    assert square[25, 25].tolist() == [255, 255, 255] and square[0, 0].tolist() == [0, 0, 0]


INDEX = '{"sha256": ["other"], "unreadable": {}, "files": {}}'


@pytest.mark.parametrize("text", ['{"sha256": [', "[]", '{"sha256": 7}', INDEX])
def test_a_damaged_index_of_a_store_is_named_with_the_folder_to_remove(eyes, tmp_path, text):
    table, hashes = eyes
    folder = build_store(table, hashes, 16, tmp_path).path.parent
    (folder / "index.json").write_text(text)
    with pytest.raises(ValueError, match=f"index.json: damaged; remove {folder}"):
        build_store(table, hashes, 16, tmp_path)
    (folder / "index.json").unlink()  # which does, too
    assert build_store(table, hashes, 16, tmp_path).images.shape == (80, 16, 16, 3)


def test_a_store_that_was_changed_is_named_with_the_folder_to_remove(eyes, tmp_path, monkeypatch):
    """At once where the files tell of a change; else at the first use of the next day, or when asked."""
    table, hashes = eyes
    monkeypatch.setattr(store_room, "BLOCK", 1000)
    images = build_store(table, hashes, 16, tmp_path).path
    folder, whole, before = images.parent, images.read_bytes(), images.stat()
    damaged = {
        "images.npy has 5,000 of 61,568 bytes": whole[:5000],
        "1 of 62 blocks of images.npy have changed": whole[:30_000] + bytes([whole[30_000] ^ 1]) + whole[30_001:],
        "31 of 62 blocks of images.npy have changed": whole[:31_000] + bytes(len(whole) - 31_000),
    }
    for said, content in damaged.items():
        images.write_bytes(content)
        with pytest.raises(ValueError, match=f"{folder}: damaged, {said}; remove it"):
            build_store(table, hashes, 16, tmp_path)
        assert [damage for _, damage in store_room.check_stores(tmp_path)] == [
            f"{folder}: damaged, {said}; remove it, and it is made again"
        ]
    images.write_bytes(whole)
    assert [damage for _, damage in store_room.check_stores(tmp_path)] == [""]
    build_store(table, hashes, 16, tmp_path)
    monkeypatch.setattr(store_room, "stat_of", lambda path: before)  # a disk that loses bits changes no time
    with monkeypatch.context() as tomorrow:
        build_store(table, hashes, 16, tmp_path)
        images.write_bytes(damaged["1 of 62 blocks of images.npy have changed"])
        build_store(table, hashes, 16, tmp_path)
        tomorrow.setattr(store_room, "date", type("Tomorrow", (), {"today": staticmethod(lambda: "tomorrow")}))
        with pytest.raises(ValueError, match="1 of 62 blocks of images"):
            build_store(table, hashes, 16, tmp_path)
    shutil.rmtree(folder)
    build_store(table, hashes, 16, tmp_path)


def test_what_a_killed_process_had_decoded_is_removed(eyes, tmp_path):
    table, hashes = eyes
    folder = build_store(table, hashes, 16, tmp_path).path.parent
    shutil.rmtree(folder)
    half = folder.parent / f".{folder.name}-abc"
    half.mkdir()
    build_store(table, hashes, 16, tmp_path)
    assert folder.is_dir() and not half.exists()


def test_unreadable_images_are_listed_and_left_out(eyes, image_folder, tmp_path, monkeypatch):
    table, _ = eyes
    broken = image_folder / "images" / "100_left.jpeg"
    broken.write_bytes(broken.read_bytes()[:200])
    store = build_store(table, file_hashes(table, tmp_path), 16, tmp_path)
    assert list(store.unreadable["image_id"]) == ["100_left"]
    assert str(tmp_path) not in store.unreadable["reason"][0]
    with pytest.raises(ValueError, match=r"1 of 80 images.*100_left"):
        store.keep_readable(table)  # 1.25 %
    monkeypatch.setattr(store_room, "MAX_UNREADABLE", 0.02)
    assert len(store.keep_readable(table)) == 79


def test_a_full_disk_is_named_before_decoding(eyes, tmp_path, monkeypatch):
    table, hashes = eyes
    usage = store_room.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(store_room.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="free; set LABKIT_CACHE"):
        build_store(table, hashes, 16, tmp_path)


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_do_not_depend_on_workers(eyes, tmp_path, workers):
    table, hashes = eyes
    store = build_store(table, hashes, 24, tmp_path)
    params = RunParams(image_size=24, crop_size=20, rotation=30, batch_size=8)
    alone = passes(table, store, params)
    shared = passes(table, store, params.model_copy(update={"num_workers": workers}))
    assert len(alone) == len(shared)
    for one, other in zip(alone, shared, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_epochs_and_seeds_draw_differently_and_every_image_comes_once(eyes, tmp_path):
    table, hashes = eyes
    store = build_store(table, hashes, 24, tmp_path)
    params = RunParams(image_size=24, batch_size=8)
    batches = passes(table, store, params)
    half = len(batches) // 2
    first, second = (np.concatenate([batch[2] for batch in part]) for part in (batches[:half], batches[half:]))
    assert sorted(first) == sorted(second) == list(range(len(first)))
    assert not np.array_equal(first, second)
    other = passes(table, store, params.model_copy(update={"seed": 1}))
    assert not np.array_equal(first, np.concatenate([batch[2] for batch in other[:half]]))


def test_an_images_draw_does_not_depend_on_its_batch():
    augment = Augment(20, horizontal_flip=True, vertical_flip=True, rotation=20, seed=3)
    images = list(np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), np.uint8))
    rows = np.arange(6)
    together = augment(images, augment.draws(5, 6, rows))
    alone = augment([images[4]], augment.draws(5, 6, np.array([4])))
    assert np.array_equal(together[4], alone[0])


def test_only_training_images_are_augmented(eyes, tmp_path):
    table, hashes = eyes
    store = build_store(table, hashes, 24, tmp_path)
    loaders = make_loaders(split(table), store, RunParams(image_size=24, crop_size=20, rotation=40))
    for name in ("val", "test"):
        batch = next(iter(loaders[name]))
        names = split(table).query("split == @name")["image_id"].iloc[batch["index"].numpy()]
        original = store.images[[store.rows[image] for image in names]]
        assert np.array_equal(batch["images"].numpy(), centre_crop(original, 20))


def test_flips_are_flips_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    turned = {"neither": image, "mirror": image[:, ::-1], "turn": image[::-1], "both": image[::-1, ::-1]}
    augment = Augment(8, horizontal_flip=True, vertical_flip=True)
    seen = set()
    for epoch in range(40):
        out = augment([image], augment.draws(epoch, 1, np.array([0])))[0]
        seen |= {name for name, wanted in turned.items() if np.array_equal(out, wanted)}
    assert seen == set(turned)
    plain = Augment(8)
    assert np.array_equal(plain([image], plain.draws(0, 1, np.array([0])))[0], image)


@pytest.mark.parametrize("rotation", [30.0, [0, 90], [-180, 180], [180, 180], [90, 90]])
@pytest.mark.parametrize("size", [96, 63])
def test_a_device_makes_the_pixels_of_the_cpu(rotation, size):
    """From the same draws, to the last bit: rotated, cropped, turned and mirrored, black corners included."""
    images = np.random.default_rng(0).integers(1, 256, (64, size, size, 3), np.uint8)
    augment = Augment(48, horizontal_flip=True, vertical_flip=True, rotation=rotation)
    draws = augment.draws(1, 64, np.arange(64))
    on_cpu = augment(list(images), draws)
    maps = torch.from_numpy(fixed_point(augment.maps(draws, size, size)))
    assert np.array_equal(warp(torch.from_numpy(images), maps, 48).numpy(), on_cpu)
    if rotation == 30.0 and size == 96:  # of whole images only corners are black, and few of them reach a crop
        assert (on_cpu == 0).all(axis=3).mean() < 0.01


def test_a_crop_of_a_rotated_and_flipped_image_is_what_pillow_makes_of_the_whole():
    """Pillow's own rotate, then crop and flips; a pixel in two hundred may be rounded to its neighbour."""
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (50, 70)):
        image = rng.integers(0, 256, (*shape, 3), np.uint8)
        for angle in (0.0, 17.25, -60.5, 90.0, 180.0, 359.0):
            whole = np.asarray(Image.fromarray(image).rotate(angle))
            for mirror, turn in ((1, 1), (0, 1), (1, 0), (0, 0)):
                augment = Augment(40, horizontal_flip=True, vertical_flip=True, rotation=[angle, angle])
                place = [3.5 / (shape[0] - 39), 11.5 / (shape[1] - 39)]
                made = augment([image], np.array([[*place, mirror, turn, 0.3]]))[0]
                wanted = whole[3:43, 11:51][:: 1 if turn else -1, :: 1 if mirror else -1]
                assert (made != wanted).any(axis=2).mean() < 0.005, (shape, angle, mirror, turn)


def test_batches_for_a_device_are_warped_to_those_of_a_cpu(eyes, tmp_path):
    """In rotation's place on a GPU, and not where images are to be predicted."""
    table, hashes = eyes
    store = build_store(table, hashes, 24, tmp_path)
    params = RunParams(image_size=24, crop_size=20, rotation=[0, 90], augment_test=True)
    here, there = (make_loaders(split(table), store, params, device) for device in ("cpu", "cuda"))
    for loader in (here["train"], there["train"]):
        loader.set_epoch(2)
    for one, other in zip(here["train"], there["train"], strict=True):
        assert "maps" in other and other["images"].shape[1] == 24
        images = [to_device(batch, params, torch.device("cpu"))[0] for batch in (one, other)]
        assert torch.equal(*images) and images[0].shape[2] == 20
    for loaders in (here, make_loaders(split(table), store, params.model_copy(update={"rotation": 0.0}), "cuda")):
        assert all("maps" not in next(iter(loader)) for loader in loaders.values())


def test_rotation_is_plus_minus_a_number_or_from_one_to_another():
    draws = np.column_stack([np.zeros((5, 4)), [0, 0.25, 0.5, 0.75, 1]])
    assert Augment(8, rotation=20).angles(draws).tolist() == [-20, -10, 0, 10, 20]
    assert Augment(8, rotation=[10, 30]).angles(draws).tolist() == [10, 15, 20, 25, 30]
    assert Augment(8, rotation=[-20, 20]).angles(draws).tolist() == Augment(8, rotation=20).angles(draws).tolist()


def test_draws_do_not_change_between_versions():
    """Finished runs are repeated bit by bit."""
    augment = Augment(8, rotation=30, seed=3)
    draws = augment.draws(5, 6, np.arange(6))
    assert draws[2].round(6).tolist() == [0.68101, 0.736312, 0.806407, 0.146292, 0.684031]
    assert augment.angles(draws)[2] == pytest.approx((2 * draws[2, 4] - 1) * 30, abs=1e-5)


def test_normalised_twice_is_divided_by_255_again():
    """ToTensor divides by 255, and so does Normalize(0, 255) after it: white is 1/255."""
    white = to_float(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8), "twice")
    assert white.numpy() == pytest.approx(1 / 255)


def test_normalisation_equals_torchvisions():
    from torchvision.transforms import v2

    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), np.uint8)
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    expected = reference(torch.from_numpy(images).permute(0, 3, 1, 2))
    ours = to_float(torch.from_numpy(images), "imagenet")
    assert torch.allclose(ours, expected, atol=1e-6)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    half = to_float(torch.tensor([[[[0, 255, 0]]]], dtype=torch.uint8), "half").flatten()
    assert torch.allclose(half, torch.tensor([-1.0, 1.0, -1.0]))


def test_a_last_batch_of_one_is_left_out_in_training_only(eyes, tmp_path):
    table, hashes = eyes
    store = build_store(table, hashes, 16, tmp_path)
    parts = split(table)
    count = int((parts["split"] == "train").sum())
    loaders = make_loaders(parts, store, RunParams(image_size=16, batch_size=count - 1))
    assert [len(batch["labels"]) for batch in loaders["train"]] == [count - 1]


def test_oversampling_repeats_rows_until_every_class_is_as_frequent():
    table = pd.DataFrame({"image_id": list("abcdefghijk"), "label": [0] * 7 + [1] * 3 + [2]})
    grown = oversampled(table, seed=0)
    assert grown["label"].value_counts().to_dict() == {0: 7, 1: 7, 2: 7}
    assert grown["image_id"].tolist()[:11] == table["image_id"].tolist()
    times = grown["image_id"].value_counts()
    assert times[list("abcdefg")].eq(1).all() and times["k"] == 7
    assert sorted(times[list("hij")]) == [2, 2, 3]  # 7 = 2 · 3 + 1
    assert oversampled(table, seed=0).equals(grown)
    assert {tuple(oversampled(table, seed)["image_id"]) for seed in range(20)} != {tuple(grown["image_id"])}


def test_an_oversampled_epoch_has_as_many_of_every_class_each_drawn_by_itself(eyes, tmp_path):
    table, hashes = eyes
    parts = split(table)
    in_train = parts["split"] == "train"
    parts = parts[~in_train | (parts["label"] < 2) | ~parts["image_id"].str.endswith("left")].reset_index(drop=True)
    store = build_store(table, hashes, 24, tmp_path)
    plain = RunParams(image_size=24, crop_size=16, batch_size=8)
    loaders = make_loaders(parts, store, plain.model_copy(update={"sampling": "oversample"}))
    before = make_loaders(parts, store, plain)["train"].labels
    counts = np.bincount(loaders["train"].labels)
    assert len(set(counts)) == 1 and counts[0] == np.bincount(before).max() > np.bincount(before).min()
    loaders["train"].set_epoch(1)
    batches = list(loaders["train"])
    drawn = np.concatenate([batch["index"].numpy() for batch in batches])
    labels = np.concatenate([batch["labels"].numpy() for batch in batches])
    assert sorted(drawn) == list(range(counts.sum())) and np.bincount(labels).tolist() == counts.tolist()
    assert np.array_equal(labels, loaders["train"].labels[drawn])
    pixels = np.concatenate([batch["images"].numpy() for batch in batches])[np.argsort(drawn)]
    rows = loaders["train"].dataset.rows
    copy = next(row for row in range(len(rows)) if rows[row] in rows[:row])
    first = rows.tolist().index(rows[copy])
    assert not np.array_equal(pixels[copy], pixels[first])
    assert all(
        len(loaders[name].labels) == int((parts["split"] == name).sum()) for name in ("val", "test")
    )  # what is judged is never repeated


def test_augmented_at_test_time_only_where_it_is_asked_for(eyes, tmp_path):
    """One report's mistake, to be measured: the same test images give other scores in every epoch."""
    table, hashes = eyes
    store = build_store(table, hashes, 24, tmp_path)
    params = RunParams(image_size=24, crop_size=20, rotation=40).model_copy(update={"augment_test": True})
    for device in ("cpu", "cuda"):  # on a GPU, too, the rotation has happened before predict() sees the images
        test = make_loaders(split(table), store, params, device)["test"]

        def images(epoch, test=test):
            test.set_epoch(epoch)
            return next(iter(test))["images"].numpy()

        first = images(1)
        assert np.array_equal(images(1), first) and not np.array_equal(images(2), first)
        augment = test.dataset.augment
        assert augment is not None and not test.dataset.whole
        original = [store.images[row] for row in test.dataset.rows]
        draws = augment.draws(1, len(test.dataset), np.arange(len(test.dataset)))
        assert np.array_equal(augment(original, draws), first)
    batch = next(iter(make_loaders(split(table), store, params)["test"]))
    assert np.array_equal(batch["index"].numpy(), np.arange(len(batch["index"])))


def test_what_training_does_to_an_image_is_said_in_words():
    assert Augment(8).in_words() == "neither flipped nor rotated"
    assert Augment(8, vertical_flip=True).in_words() == "mirrored top to bottom at random"
    turned = Augment(8, horizontal_flip=True, vertical_flip=True, rotation=20.0)
    assert (
        turned.in_words()
        == "mirrored left to right, mirrored top to bottom or rotated by up to 20° either way at random"
    )
    assert Augment(8, rotation=[0, 90]).in_words() == "rotated by 0 to 90° at random"


def test_what_is_said_of_training_and_test_images_is_true_of_their_parameters():
    plain = {"horizontal_flip": False, "vertical_flip": False}
    flipped, cropped = ExploreParams(), ExploreParams(crop_size=48, **plain)
    assert augmentation_sentence(ExploreParams(**plain)) == "Training does not augment images."
    assert augmentation_sentence(flipped).endswith("; validation and test images stay as they are.")
    assert augmentation_sentence(cropped) == (
        "In training an image is cut to 48 px at a random place, anew in every epoch; "
        "of validation and test images the middle 48 px are used."
    )
    tested = augmentation_sentence(ExploreParams(crop_size=48, augment_test=True))
    assert "mirrored top to bottom at random and cut to 48 px" in tested and tested.endswith(
        "; so are validation and test images."
    )
    assert on_augmented_images([ExploreParams(**plain)]) == ""
    assert on_augmented_images([flipped, cropped]) == ", in training on augmented images"
    assert on_augmented_images([flipped, ExploreParams(**plain)]).endswith(" (not of all variants)")


def test_an_augmentation_takes_what_the_parameters_name():
    params = RunParams(image_size=32, crop_size=24, rotation=[5, 10], vertical_flip=False, seed=3)
    wanted = Augment(24, horizontal_flip=True, vertical_flip=False, rotation=[5, 10], seed=3)
    assert Augment.of(params) == wanted
    assert Augment.of(ExploreParams(image_size=32)).crop_size == 32
