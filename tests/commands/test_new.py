"""``labkit new``: whatever layout the images lie in, the study that is written runs, and says why it is as it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labkit.cli import main
from labkit.params import PROJECT
from labkit.studies.file import Study, load_study


@pytest.fixture(autouse=True)
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Study files are written into a folder of the test's own."""
    monkeypatch.setattr("labkit.studies.file.PROJECT", tmp_path)
    return tmp_path / "params"


def save(root: Path, names: list[str], size: tuple[int, int] = (140, 130)) -> None:
    rng = np.random.default_rng(len(names))
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (4, 4, 3)).astype(np.uint8))
        small.resize(size).save(root / name)


EYES = [f"{patient}_{side}" for patient in range(10, 40) for side in ("left", "right")]


def course(root: Path) -> None:
    save(root, [f"images/{name}.jpeg" for name in EYES])
    for part, names in (("train", EYES[:45]), ("test", EYES[45:])):  # one patient is on both sides
        (root / f"{part}_img.csv").write_text("\n".join(names) + "\n")
        (root / f"{part}_label.csv").write_text("\n".join(str(int(name[:2]) % 5) for name in names) + "\n")


def kaggle(root: Path) -> None:
    save(root, [f"train/{name}.jpeg" for name in EYES])
    rows = [f"{name},{max(0, int(name[:2]) % 10 - 5)}" for name in EYES]  # grade 0 in six of ten
    (root / "trainLabels.csv").write_text("\n".join(["image,level", *rows]) + "\n")


def tables(root: Path) -> None:
    paths = {part: [f"{part}/{n}.bmp" for n in range(12)] for part in ("train", "valid", "test")}
    save(root, [path for part in paths.values() for path in part])
    for part in ("train", "valid"):
        rows = [f"./{path},{number % 2}" for number, path in enumerate(paths[part])]
        (root / f"{part}.csv").write_text("\n".join(["Path,label", *rows]) + "\n")
    (root / "resnet_18_test.csv").write_text("\n".join(["Path", *paths["test"]]) + "\n")


def one_table(root: Path) -> None:
    save(root, [f"{n}.png" for n in range(30)])
    rows = [f'{n}.png,"thick ""B"": #{n % 2}",p{n // 3}' for n in range(30)]  # what YAML would trip over
    (root / "labels.csv").write_text("\n".join(["path,label,patient", *rows]) + "\n")


def cnmc(root: Path) -> None:
    save(root, [f"fold_0/all/UID_{n}_{k}_1_all.bmp" for n in range(1, 9) for k in (1, 2, 3)])
    save(root, [f"fold_0/hem/UID_H{n}_1_1_hem.bmp" for n in range(1, 9)])


def class_folders(root: Path) -> None:
    save(root, [f"{'ab'[n % 2]}/{n}.png" for n in range(30)])


def split_folders(root: Path) -> None:
    save(root, [f"{('train', 'test')[n > 20]}/{'ab'[n % 2]}/{n}.png" for n in range(30)])


def arrays(root: Path) -> None:
    root.mkdir()
    kept = {"train": 40, "val": 10, "test": 10}
    rng = np.random.default_rng(0)
    images = {f"{part}_images": rng.integers(0, 255, (n, 28, 28, 3), np.uint8) for part, n in kept.items()}
    labels = {f"{part}_labels": np.arange(n)[:, None] % 5 for part, n in kept.items()}
    np.savez(root / "retinamnist.npz", **images, **labels)


def written(make: Callable[[Path], None], tmp_path: Path, name: str = "mine") -> tuple[Study, str]:
    """The study for a layout, and the file's text."""
    make(tmp_path / "my data")
    assert main(["new", name, "--data", str(tmp_path / "my data")]) == 0
    return load_study(name), (tmp_path / "params" / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("make", "dataset", "split", "size", "runs"),
    [
        (course, "retinopathy", "group", 128, ["resnet18-scratch", "resnet18-finetuned"]),
        (
            kaggle,
            "retinopathy",
            "group",
            128,
            ["resnet18-scratch", "resnet18-finetuned", "resnet18-finetuned-weighted"],
        ),
        (tables, "custom", "given", 128, ["resnet18-scratch", "resnet18-finetuned"]),
        (one_table, "custom", "group", 128, ["resnet18-scratch", "resnet18-finetuned"]),
        (cnmc, "leukemia", "group", 128, ["resnet18-scratch", "resnet18-finetuned", "resnet18-finetuned-weighted"]),
        (class_folders, "custom", "group", 128, ["resnet18-scratch", "resnet18-finetuned"]),
        (split_folders, "custom", "given", 128, ["resnet18-scratch", "resnet18-finetuned"]),
        (arrays, "retinamnist", "given", 28, ["resnet18", "resnet50"]),
    ],
)
def test_every_layout_gives_a_study_that_runs_as_it_is(tmp_path, capsys, make, dataset, split, size, runs):
    study, text = written(make, tmp_path)
    assert {name: study.defaults[name] for name in ("dataset", "split", "image_size")} == {
        "dataset": dataset,
        "split": split,
        "image_size": size,
    }
    assert list(study.runs) == runs and study.defaults["data"] == str(tmp_path / "my data")
    assert max(map(len, text.splitlines())) <= 130
    capsys.readouterr()
    assert main(["run", "mine", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{run}-seed0: would run, not run yet" for run in runs]


def test_the_file_says_what_was_seen_and_why_it_chose(tmp_path):
    _, text = written(kaggle, tmp_path)
    assert "# Written by `labkit new` for 60 images;" in text and "\n# Layout: Kaggle trainLabels.csv" in text
    assert "photographs, Kaggle 2015); a guess by the names of the files" in " ".join(text.replace("#", "").split())
    row = next(line for line in text.splitlines() if "No DR" in line)
    assert row.split()[1:5] == ["No", "DR", "36", "60.0%"] and sum(map(int, row.split()[5:])) == 36
    assert "always predicting No DR is right for 60.0% of images" in text
    assert "# by patient, of whom there are 30\n" in text
    assert "the images' shorter side is 130 px (median)" in text
    assert "the largest class has 6.0 times the images of the smallest" in text
    assert text.splitlines()[-1] == "#   labkit report mine" and f"labkit check '{tmp_path}/my data'" in text


def test_a_split_that_leaks_or_cannot_be_checked_is_said_to(tmp_path):
    _, text = written(course, tmp_path)
    assert "The data's own split is not kept. In the data's own split 1 patient is both" in " ".join(
        text.replace("#", "").split()
    )
    for make, words in ((tables, "leaks cannot be ruled out"), (class_folders, "images of one group may leak")):
        make(tmp_path / make.__name__)
        assert main(["new", make.__name__, "--data", str(tmp_path / make.__name__)]) == 0
        assert words in " ".join((tmp_path / "params" / f"{make.__name__}.yaml").read_text().replace("#", "").split())


@pytest.mark.parametrize(("side", "size"), [(600, 224), (100, 96), (20, 20), (8, 16)])
def test_the_image_size_follows_the_pixels(tmp_path, side, size):
    save(tmp_path / "cells", [f"{'ab'[n % 2]}/{n}.png" for n in range(12)], (side, side + 8))
    assert main(["new", "cells", "--data", str(tmp_path / "cells")]) == 0
    study = load_study("cells")
    assert study.defaults["image_size"] == size
    assert (study.defaults.get("deviation") == "small_stem") == (size < 40)
    assert any(row.get("weights") for row in study.runs.values()) == (size >= 40)


def test_more_images_mean_fewer_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.commands.new.IMAGES_SEEN", 30_000)
    class_folders(tmp_path / "few")
    many = tmp_path / "many"
    many.mkdir()
    kept = {"train": 2_000, "test": 100}
    rng = np.random.default_rng(0)
    images = {f"{part}_images": rng.integers(0, 255, (n, 28, 28), np.uint8) for part, n in kept.items()}
    labels = {f"{part}_labels": np.arange(n)[:, None] % 8 for part, n in kept.items()}
    np.savez(many / "bloodmnist.npz", **images, **labels)
    for name in ("few", "many"):
        assert main(["new", name, "--data", str(tmp_path / name)]) == 0
    few, many_images = load_study("few").defaults, load_study("many").defaults
    assert (few["epochs"], few["batch_size"]) == (30, 16)
    assert (many_images["epochs"], many_images["batch_size"]) == (18, 32)  # 30,000 images of 1,700, validation apart


def test_built_in_images_make_a_study_in_a_folder_of_its_own(tmp_path):
    assert main(["new", "params/try/tiny-two.yaml", "--data", "tiny"]) == 0
    study = load_study("try/tiny-two")
    assert study.defaults["data"] == "tiny" and "Synthetic" in study.title


def test_a_study_that_is_there_is_not_overwritten(tmp_path, capsys):
    _, text = written(class_folders, tmp_path)
    assert main(["new", "mine", "--data", "tiny"]) == 2
    assert "params/mine.yaml exists already; give another name" in capsys.readouterr().err
    assert (tmp_path / "params" / "mine.yaml").read_text() == text


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("../mine", "tiny", "study: got '../mine'"),
        ("mine", "nowhere", "nowhere: there is no such folder"),
        ("mine", "{}/empty", "no known layout"),
        ("mine", "{}/one", "its images are of 1 class(es)"),
        ("mine", "{}/pair", "2 groups cannot fill train, val, test"),
    ],
)
def test_wrong_use_is_told_in_one_line_and_nothing_is_written(tmp_path, capsys, name, data, words):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "one", [f"a/{n}.png" for n in range(9)])
    (tmp_path / "one/labels.csv").write_text("path,label\n" + "".join(f"a/{n}.png,a\n" for n in range(9)))
    save(tmp_path / "pair", ["a/1.png", "b/2.png"])
    assert main(["new", name, "--data", data.format(tmp_path)]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "params").exists()


def test_a_folder_relative_to_where_one_stands_is_written_so_that_a_run_finds_it(tmp_path, monkeypatch):
    class_folders(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine", "--data", "here"]) == 0
    assert (PROJECT / load_study("mine").defaults["data"]).samefile(tmp_path / "here")


def both(name: str, *parts: str) -> list[str]:
    return [f"{part}/{kind}/{n}.png" for part in parts for kind in name.split() for n in range(12)]


def copied(root: Path) -> None:
    """Each test image is a copy of one of train."""
    save(root, both("a b", "train"))
    for name in both("a b", "train")[::3]:
        (root / name.replace("train", "test")).parent.mkdir(parents=True, exist_ok=True)
        (root / name.replace("train", "test")).write_bytes((root / name).read_bytes())


def hospitals(root: Path) -> None:
    """A split of its own: the patients of one hospital are known, those of the other, in test, are not."""
    save(root, [f"{n}.png" for n in range(36)])
    rows = [f"{n}.png,{('neg', 'pos')[n % 2]},{f'p{n // 2},train' if n < 24 else ',test'}" for n in range(36)]
    (root / "labels.csv").write_text("\n".join(["path,label,patient,split", *rows]) + "\n")


def broken(root: Path) -> None:
    save(root, both("a b", "x"))
    (root / "x/a/0.png").write_bytes(b"no image")
    Image.new("RGB", (140, 130)).save(root / "x/b/0.png")


def stages(root: Path) -> None:
    save(
        root,
        [f"{kind}/Patient{n}_{side}.png" for kind in ("Mild", "Severe", "No DR") for n in range(9) for side in "LR"],
    )


def numbered(root: Path) -> None:
    save(root, [f"{grade}/{n}.png" for grade in range(1, 6) for n in range(9)])


SCREENED_FOR = (
    'remove the # to confirm it\n  # positive_class: "disease"\n'  # until then each run says that it is a guess
)


def screened(root: Path) -> None:
    save(root, [f"{kind}/{n}.png" for kind in ("disease", "healthy") for n in range(12)])


@pytest.mark.parametrize(
    ("make", "options", "kept", "words"),
    [
        (copied, [], {"split": "group"}, ["8 of 8 test images are in train or validation, too, byte for byte"]),
        (copied, [], {}, ["Copies, such as test/a/0 (test, a) = train/a/0 (train, a)"]),
        (hospitals, [], {"split": "given"}, ["no copy of an image is on both sides; the group of 12 of 36 images is"]),
        (
            broken,
            [],
            {},
            ["Every run will stop: 1 of 24 images cannot be decoded", "Blank, all pixels nearly the same"],
        ),
        (stages, [], {"task": "grades", "split": "group"}, ["# group_pattern: ", '# class_names: ["']),
        (
            numbered,
            [],
            {"task": "grades"},
            ["Task: grades, which are ordered (scored by kappa); a guess", "-ordinal: {"],
        ),
        (numbered, ["--task", "classes"], {"task": "classes"}, ["Task: classes, not ordered", "as task says"]),
        (stages, ["--group-pattern", r"nt(?P<group>\d+)"], {"group_pattern": r"nt(?P<group>\d+)"}, ["there are 9"]),
        (stages, ["--class-names", "Mild", "Severe", "No DR"], {"class_names": ["Mild", "Severe", "No DR"]}, []),
        (
            screened,
            [],
            {"positive_class": None},
            ["says healthy; a guess: the positive class is disease", SCREENED_FOR],
        ),
        (screened, ["--positive-class", "healthy"], {"positive_class": "healthy"}, ["Classes: disease, healthy"]),
    ],
)
def test_guesses_options_and_what_is_wrong_stand_in_the_study(tmp_path, capsys, make, options, kept, words):
    make(tmp_path / "data")
    assert main(["new", "mine", "--data", str(tmp_path / "data"), *options]) == 0
    study, text = load_study("mine"), (tmp_path / "params" / "mine.yaml").read_text()
    assert {name: study.defaults.get(name) for name in kept} == kept and study.run_params()
    flat = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
    assert not [word for word in words if word not in flat and word not in text]
    if "Every run" in "".join(words):
        assert words[0] in capsys.readouterr().out
