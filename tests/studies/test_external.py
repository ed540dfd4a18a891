"""External test sets: classes are matched by name, nothing is fitted there, and nothing is predicted twice."""

import shutil

import numpy as np
import pytest
from made_runs import trained_run
from PIL import Image

from labkit.cli import main
from labkit.commands.predict import open_predictor
from labkit.params import ParameterError
from labkit.runs.files import read_json
from labkit.runs.folder import read_predictions, written_by_labkit
from labkit.studies import external as room
from labkit.studies import runner
from labkit.studies.external import External, predict_external, read_external, read_sidecar
from labkit.studies.file import Study

NAMES = ("healthy", "mild", "MODERATE", "Severe", "proliferative dr")


@pytest.fixture
def other(tmp_path):
    """Another clinic's images, six of each grade, in a folder per class."""
    generator, folder = np.random.default_rng(5), tmp_path / "clinic"
    for grade, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 60, (30, 30, 3)) + 40 * grade
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{grade}{number}.png")
    return folder


def of(folder, **changes) -> External:
    return External.of({"dataset": "custom", "data": str(folder), "classes": {"Healthy": "No DR"}} | changes)


def test_classes_are_matched_by_name_whatever_their_order_and_case(image_folder, other):
    run = trained_run(image_folder)
    assert predict_external(run, "clinic", of(other))
    table = read_predictions(run, "predictions-clinic.csv")
    assert set(table["split"]) == {"external"} and len(table) == 30
    grades = table["image_id"].str.extract(r"(\d)\d$")[0].astype(int)
    assert table["label"].tolist() == grades.tolist()
    assert list(table.columns) == list(read_predictions(run).columns)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (None, "its class 'healthy' is none of the run's classes (No DR, Mild, Moderate, Severe, Proliferative DR)"),
        ({"healthy": "normal"}, "classes names 'normal', which is no class of the run"),
        ({"healthy": "No DR", "ill": "Mild"}, "classes names 'ill', which is no class there"),
    ],
)
def test_a_class_that_the_run_does_not_know_is_refused_with_the_cure(image_folder, other, classes, said):
    run = trained_run(image_folder)
    with pytest.raises(ParameterError, match="external set clinic") as refused:
        predict_external(run, "clinic", of(other, classes=classes))
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert not list(run.glob("*clinic*"))


@pytest.mark.parametrize("loss", ["cross_entropy", "ordinal"])
def test_what_was_fitted_on_the_runs_validation_images_decides_there_too(image_folder, other, loss):
    run = trained_run(image_folder, loss=loss, augment_test=True, rotation=90)
    predict_external(run, "clinic", of(other))
    found = read_external(run, "clinic", 5).set_index("image_id")
    predictor = open_predictor(run)  # decides by the cuts of validation, and never augments
    paths = {path.stem: str(path) for path in other.rglob("*.png")}
    wanted = next(iter(predictor.predict(paths))).table.set_index("image")
    own = found.set_axis([str(name).rpartition("/")[2] for name in found.index])
    output = "grade" if loss == "ordinal" else "p_2"
    np.testing.assert_allclose(own[output], wanted.loc[own.index, output], atol=1e-5)
    assert own["prediction"].tolist() == wanted.loc[own.index, "prediction"].tolist()


def test_what_is_up_to_date_is_not_predicted_again(image_folder, other, monkeypatch):
    run = trained_run(image_folder)
    assert predict_external(run, "clinic", of(other))
    predict = room._predict
    monkeypatch.setattr(room, "_predict", None)
    assert not predict_external(run, "clinic", of(other))
    with pytest.raises(TypeError):  # other parameters
        predict_external(run, "clinic", of(other, follow_links=True))
    monkeypatch.setattr(room, "_predict", predict)
    (run / "predictions-clinic.csv").write_text("image_id\n")
    assert predict_external(run, "clinic", of(other)), "a table that was changed is made again"
    next(other.rglob("*.png")).unlink()
    assert predict_external(run, "clinic", of(other)), "and so is one of other images"
    assert read_sidecar(run, "clinic", read_json(run / "run.json")["fingerprint"])["n"] == 29
    assert read_sidecar(run, "clinic", "another run's") == {}
    assert {"predictions-clinic.csv", "external-clinic.json"} <= {path.name for path in written_by_labkit(run)}


def test_copies_of_training_images_are_listed_and_left_out_of_the_score(image_folder, other, capsys):
    run = trained_run(image_folder)
    learnt = set(read_predictions(run)["image_id"])
    train = [path for path in sorted((image_folder / "images").iterdir()) if path.stem not in learnt][:2]
    for path in train:
        shutil.copy(path, other / "Severe")
    arguments = ["external", "a", "--study", "tiny", "--data", str(other), "--dataset", "custom"]
    assert main([*arguments, "--classes", "healthy=No DR"]) == 0
    line, file = capsys.readouterr().out.strip().splitlines()[-2:]
    assert "a-seed0 on clinic: quadratic weighted kappa" in line.replace("\xa0", " ")
    assert "30 images; without 2 images whose file" in line.replace("\xa0", " ")
    assert file.endswith("predictions-clinic.csv")
    found = read_json(run / "external-clinic.json")
    assert len(found["copies"]) == 2 and found["met"] == []
    assert main([*arguments, "--classes", "healthy"]) == 2
    assert "write THEIRS=OURS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("external", "said"),
    [
        ({"a/b": {"data": "x"}}, "a set's name has only letters"),
        ({"clinic": {}}, "external clinic: data is missing"),
        ({"clinic": {"data": "x", "clases": {}}}, "did you mean classes?"),
        ({"clinic": {"data": "x", "classes": "No DR"}}, "external clinic: classes: got"),
    ],
)
def test_a_study_refuses_a_set_that_it_cannot_read(external, said):
    with pytest.raises(ValueError, match="external") as refused:
        Study(name="s", title="t", question="q", runs={"a": {}}, external=external)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "asked"), [({}, ["b", "drawn"]), ({"data": "demo"}, ["drawn"]), ({"data": "x"}, ["b"])]
)
def test_synthetic_images_do_not_test_runs_on_real_ones_nor_the_other_way_round(overrides, asked, monkeypatch):
    sets = {"b": {"data": "b"}, "drawn": {"data": "demo-camera"}}
    opened = []
    monkeypatch.setattr(runner, "open_data", lambda external, cache: opened.append(external.data))
    study = Study(name="s", title="t", question="q", runs={"a": {}}, external=sets)
    runner.StudyRunner(study, overrides).predict_others()
    assert opened == [sets[name]["data"] for name in asked]


def test_a_set_that_is_not_there_is_a_line_and_not_the_end(capsys):
    study = Study(name="s", title="t", question="q", runs={"a": {}}, external={"gone": {"data": "no/such/folder"}})
    called = runner.StudyRunner(study)
    called.predict_others()
    assert list(called.failed) == ["external set gone"] and "no/such/folder" in called.failed["external set gone"]
