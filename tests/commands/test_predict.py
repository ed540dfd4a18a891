"""New photographs: the answers of predictions.csv again, decided by validation alone, and nothing silently left out."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import trained_run
from made_tables import CELLS, GRADES, table_of
from PIL import Image

from labkit.cli import main
from labkit.commands.predict import for_people, open_predictor, own_photographs, prediction_text, probability_bars
from labkit.data.images import find_images
from labkit.data.phantoms.make import phantom
from labkit.evaluation.decide import decide
from labkit.evaluation.thresholds import choose_threshold, screening_point
from labkit.params import PROJECT
from labkit.runs import folder as runs
from labkit.runs.files import read_json, write_json
from labkit.studies.file import Study
from labkit.studies.find import find_run, latest_study

MANY = 1000


@pytest.fixture
def finished(image_folder):
    return trained_run(image_folder)


@pytest.fixture
def photos(tmp_path):
    """Three photographs of another camera, one in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(7)
    for name, size in (("a.png", (50, 40)), ("b.jpg", (33, 60)), ("more/a.png", (32, 32))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder


def outputs_of(predictor, photographs):
    table = pd.concat([answers.table for answers in predictor.predict(photographs) if len(answers.table)])
    return table.set_index("image").filter(regex=r"^(logit_|grade)")


@pytest.mark.parametrize("loss", ["cross_entropy", "ordinal"])
def test_a_runs_own_test_images_get_the_very_answers_of_its_predictions(loss, image_folder):
    folder = trained_run(image_folder, loss=loss)
    kept = decide(runs.read_predictions(folder), 5).query("split == 'test'").set_index("image_id")
    predictor = open_predictor(folder)
    photographs, true = own_photographs(predictor, MANY)
    (answers,) = predictor.predict(photographs)
    rows = for_people(predictor, answers, true)
    assert [row["label"] for row in rows] == [GRADES[label] for label in kept["label"]]
    assert prediction_text(rows[0]).endswith(f"; true class: {rows[0]['label']}")
    now = answers.table.set_index("image")
    assert now.index.tolist() == kept.index.tolist() and len(now) > 10
    columns = ["grade"] if loss == "ordinal" else [f"logit_{k}" for k in range(5)]
    assert np.array_equal(now[columns].to_numpy(np.float32), kept[columns].to_numpy(np.float32))
    assert now["prediction"].tolist() == kept["prediction"].tolist()


def test_a_file_that_cannot_be_read_does_not_change_the_others_answers(finished, image_folder):
    good = find_images([str(image_folder)])
    assert len(good) == 80  # more than a batch
    (image_folder / "images" / "0.jpeg").write_text("no image")
    assert next(iter(find_images([str(image_folder)]))) == "images/0.jpeg"
    predictor = open_predictor(finished)
    pd.testing.assert_frame_equal(
        outputs_of(predictor, find_images([str(image_folder)])), outputs_of(predictor, good), check_exact=True
    )


def test_one_line_an_image_and_last_that_it_is_no_medical_device(finished, photos, capsys):
    assert main(["predict", "--study", "tiny", "--run", "a", str(photos)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("a-seed0 (study tiny): resnet18, untrained; trained on ")
    assert lines[1].startswith("Positive for referable disease (grade 2 or worse) at a probability of ")
    assert "the probability of Moderate + Severe + Proliferative DR, so an image can be positive although" in lines[1]
    assert [line.split(": ")[0] for line in lines[3:6]] == ["a.png", "b.jpg", "more/a.png"]
    assert all(
        " %); referable disease: " in line and line.split(" (")[0].split(": ")[1] in GRADES for line in lines[3:6]
    )
    assert lines[-1].startswith("This is not a medical device")


def test_the_csv_holds_what_the_network_answered_and_the_decision(finished, photos, tmp_path):
    assert main(["predict", "--run", str(finished), str(photos), "--csv", str(tmp_path / "o" / "answers.csv")]) == 0
    table = pd.read_csv(tmp_path / "o" / "answers.csv")
    predictor = open_predictor(finished)
    (answers,) = predictor.predict(find_images([str(photos)]))
    chances = table[[f"p_{name}" for name in GRADES]].to_numpy()
    assert chances == pytest.approx(answers.table[[f"p_{k}" for k in range(5)]].to_numpy())
    assert table["prediction"].tolist() == [GRADES[k] for k in chances.argmax(1)]
    assert table["probability"].to_numpy() == pytest.approx(chances.max(1))
    assert table["score"].to_numpy() == pytest.approx(chances[:, 2:].sum(1))
    wanted = np.where(table["score"] >= table["threshold"], "positive", "negative")
    assert table["decision"].tolist() == wanted.tolist()
    panels = probability_bars(predictor, for_people(predictor, answers)).axes[:3]
    assert [[bar.get_width() for bar in panel.patches] for panel in panels] == pytest.approx(chances)
    colours = [bar.get_facecolor() for bar in panels[0].patches]
    assert colours[0] == colours[1] != colours[2] == colours[3] == colours[4]  # those that are added up


def test_the_threshold_is_the_one_that_validation_chose(finished):
    table = decide(runs.read_predictions(finished))
    val = table.query("split == 'val'")
    chance = val[["p_2", "p_3", "p_4"]].to_numpy().sum(axis=1)
    truth = val["label"].to_numpy(np.int64) >= 2
    predictor = open_predictor(finished)
    assert predictor.point.threshold == choose_threshold(truth, chance)
    assert (chance[truth] >= predictor.point.threshold).mean() >= 0.9 and predictor.point.n == len(val)
    path = finished / "predictions.csv"
    kept = pd.read_csv(path)
    kept.loc[kept["split"] == "test", "label"] = 4 - kept.loc[kept["split"] == "test", "label"]
    kept.to_csv(path, index=False)
    again = open_predictor(finished).point
    assert again.threshold == predictor.point.threshold and again.on_test != predictor.point.on_test


def test_without_a_question_or_validation_images_the_reason_is_said(image_folder, photos, capsys):
    folder = trained_run(image_folder, split="given", select_on="test")
    assert main(["predict", "--run", str(folder), str(photos / "a.png")]) == 0
    out = capsys.readouterr().out
    assert "No decision on referable disease (grade 2 or worse): there is no validation split to fit on" in out
    (line,) = [line for line in out.splitlines() if line.startswith("a.png: ")]
    assert "positive" not in line and "negative" not in line
    kinds = decide(table_of([0, 1, 2], np.eye(3), split="val"))
    assert "none of the 3 classes is known to be worse" in str(
        screening_point(kinds, ["a", "b", "c"], "classes").reason
    )
    one_kind = screening_point(decide(table_of([1, 1], np.eye(2), split="val")), CELLS, "classes")
    assert one_kind.threshold is None and "no negative image" in str(one_kind.reason)


def test_an_ordinal_run_answers_with_a_grade_and_no_probability(image_folder, photos, tmp_path, capsys):
    folder = trained_run(image_folder, loss="ordinal")
    assert main(["predict", "--run", str(folder), str(photos), "--csv", str(tmp_path / "a.csv")]) == 0
    out = capsys.readouterr().out
    assert "at a grade of " in out and "(grade " in out
    table = pd.read_csv(tmp_path / "a.csv")
    assert "grade" in table and not [name for name in table if name.startswith("p") and name != "prediction"]
    assert table["decision"].isin(["positive", "negative"]).all()


def test_what_cannot_be_read_is_named_with_its_reason_and_the_rest_is_answered(finished, photos, tmp_path, capsys):
    (photos / "aa.jpeg").write_text("not a photograph")
    assert main(["predict", "--run", str(finished), str(photos), "--csv", str(tmp_path / "a.csv")]) == 1
    said = capsys.readouterr()
    assert said.err.strip().splitlines() == ["aa.jpeg: not read, cannot identify image file"]
    assert "3 images predicted, 1 of 4 could not be read." in said.out
    with (tmp_path / "a.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a.png", "aa.jpeg", "b.jpg", "more/a.png"]
    assert rows["aa.jpeg"]["prediction"] == "" and rows["aa.jpeg"]["unreadable"] == "cannot identify image file"
    assert rows["b.jpg"]["prediction"] in GRADES and rows["b.jpg"]["unreadable"] == ""
    assert main(["predict", "--run", str(finished), str(photos / "aa.jpeg"), "--cam", str(tmp_path / "cam")]) == 1


def test_a_photograph_that_the_run_has_learnt_from_is_pointed_out(finished, image_folder, capsys):
    split = runs.read_predictions(finished).set_index("image_id")["split"]
    assert main(["predict", "--run", str(finished), str(image_folder)]) == 0
    out = capsys.readouterr().out
    known = {line.split(":")[0] for line in out.splitlines() if line.endswith("this image was used for training")}
    tested = {f"{name}.jpeg" for name in split.index[split == "test"]}
    everything = {path.name for path in (image_folder / "images").iterdir()}
    assert {name.rpartition("/")[2] for name in known} == everything - tested
    assert f"{len(everything - tested)} of them were used for training" in out


def test_grad_cam_pictures_keep_the_photographs_names(finished, photos, tmp_path):
    assert main(["predict", "--run", str(finished), str(photos), "--cam", str(tmp_path / "cam")]) == 0
    made = sorted(path.relative_to(tmp_path / "cam").as_posix() for path in (tmp_path / "cam").rglob("*.*"))
    assert made == ["a.png.png", "b.jpg.png", "more/a.png.png"]
    with Image.open(tmp_path / "cam" / "b.jpg.png") as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    height, width, _ = pixels.shape
    assert width > 1.5 * height
    middle = slice(height // 3, height // 2)
    left, right = pixels[middle, : width // 2 - 10], pixels[middle, width // 2 + 10 :]
    assert np.abs(left.mean(axis=(0, 1)) - right.mean(axis=(0, 1))).max() > 1  # the map lies over the second


def test_a_run_that_was_copied_elsewhere_answers_by_its_path(finished, photos, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished, tmp_path / "elsewhere")
    shutil.rmtree(runs.reports_root())
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "--run", "elsewhere", "photos/a.png", "photos/more"]) == 0
    assert "\na.png: " in (out := capsys.readouterr().out) and "\nmore/a.png: " in out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_of_a_gpu_answers_on_a_machine_without_one(finished, photos):
    text = (finished / "params.yaml").read_text()
    (finished / "params.yaml").write_text(text.replace("device: auto", "device: cuda").replace(": auto", ": fp16"))
    assert runs.read_params(finished).device == "cuda" and runs.read_params(finished).precision == "fp16"
    assert len(outputs_of(open_predictor(finished), find_images([str(photos)]))) == 3


def test_wrong_use_is_one_line_with_the_cure(finished, photos, capsys):
    (photos / "empty").mkdir()
    (photos / "labels.csv").write_text("image,level\na,1\n")
    (photos / "ours.csv").write_text("image,prediction,probability,unreadable,my notes\na,No DR,0.9,,look again\n")
    for arguments, words in (
        (["--run", "b", "PHOTOS"], "run: got 'b', which is not in {reports}; there are: a-seed0 (study tiny)"),
        (["--study", "tiny", "--run", "b", "PHOTOS"], "got 'b', which is not in {reports}/tiny; there are: a-seed0"),
        (["--study", "adhoc", "--run", "b", "PHOTOS"], "there are: none"),
        (["--run", "a"], "got no IMAGE"),
        (["--run", "a", "PHOTOS/empty"], "PHOTOS/empty: no image below this folder"),
        (["--run", "a", "PHOTOS/c.png"], "PHOTOS/c.png: no such file or folder"),
        (["--run", "a", "PHOTOS", "--submission", "PHOTOS/out"], "leave out IMAGE"),
        (["--run", "a", "PHOTOS", "--csv", "{run}/predictions.csv"], "csv: {run} is the folder of a run"),
        (["--run", "a", "PHOTOS/b.jpg", "--csv", "PHOTOS/a.png"], "ends in .csv"),
        (["--run", "a", "PHOTOS", "--cam", "PHOTOS/cam"], "name a folder outside it"),
        (["--run", "a", "PHOTOS", "--cam", "{run}"], "cam: {run} is the folder of a run"),
        (["--run", "a", "--submission", "{run}"], "submission: {run} is the folder of a run"),
        (["--run", "a", "PHOTOS", "--csv", "PHOTOS/labels.csv"], "which exists and holds something else"),
        (["--run", "a", "PHOTOS", "--csv", "PHOTOS/ours.csv"], "which exists and holds something else"),
        (["--run", "a", "--submission", "PHOTOS/out"], "no list of unlabelled test images, so nothing to hand in"),
    ):
        arguments = [argument.replace("PHOTOS", str(photos)).format(run=finished) for argument in arguments]
        assert main(["predict", *arguments]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert words.replace("PHOTOS", str(photos)).format(reports=runs.reports_root(), run=finished) in line


@pytest.mark.parametrize("status", ["failed", "running"])
def test_a_run_that_is_not_finished_does_not_answer(status, finished, photos, capsys):
    runs._open.popitem()[1].release()  # its process is gone
    write_json(finished / "run.json", read_json(finished / "run.json") | {"status": status})
    assert main(["predict", "--run", "a", str(photos)]) == 2
    state = "interrupted" if status == "running" else status
    assert f"{finished}: this run is {state}, not finished" in capsys.readouterr().err


@pytest.mark.parametrize("named", [["--run", "a"], []], ids=["named", "best"])
@pytest.mark.parametrize("changed", ["params.yaml", "run.json", "model.safetensors"])
def test_a_run_whose_files_were_changed_does_not_answer(changed, named, finished, photos, capsys, monkeypatch):
    if not named:
        monkeypatch.setattr(
            "labkit.studies.find.load_study", lambda name: Study(name=name, title="", question="", runs={"a": {}})
        )
    if changed == "run.json":
        manifest = read_json(finished / changed)
        write_json(finished / changed, manifest | {"classes": manifest["classes"][::-1]})
    else:
        content = (finished / changed).read_bytes()
        (finished / changed).write_bytes(content.replace(b"image_size: 32", b"image_size: 36")[:-1] + b"\n")
    assert main(["predict", "--study", "tiny", *named, str(photos)]) == 2
    assert f"{finished}: damaged: {changed} is not what the run wrote" in capsys.readouterr().err


def test_a_runs_name_is_enough_where_it_has_one_seed(finished, image_folder):
    assert find_run("tiny", "a") == find_run(None, "a-seed0") == finished
    other = trained_run(image_folder, seed=1)
    assert find_run("tiny", "a-seed1") == other
    with pytest.raises(ValueError, match="several seeds: a-seed0, a-seed1; name one"):
        find_run("tiny", "a")


def test_without_a_name_the_best_on_validation_of_the_study_answers_if_there_is_one(image_folder):
    folder = trained_run(image_folder, run="resnet18-scratch")
    assert find_run() == find_run("tiny") == folder
    trained_run(image_folder, run="resnet18-scratch", split="given", select_on="test")
    with pytest.raises(ValueError, match="evaluated on validation images; name one of resnet18-scratch-seed0"):
        find_run("tiny")


def test_the_last_run_answers_where_no_study_is_named_also_one_started_by_hand(image_folder):
    trained_run(image_folder, run="resnet18-scratch")
    folder = trained_run(image_folder, study="adhoc")
    assert find_run() == find_run(None, "a") == folder and latest_study() == "adhoc"
    with pytest.raises(ValueError, match=r"no file in params/ .* name one of a-seed0"):
        find_run("adhoc")
    trained_run(image_folder, study="other")
    with pytest.raises(ValueError, match="run: got 'a', which is in several studies: other, adhoc; name one"):
        find_run(None, "a")


def test_a_reader_that_leaves_is_no_error(finished, photos):
    command = [sys.executable, "-m", "labkit.cli", "predict", "--run", str(finished), str(photos)]
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *command], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (141, "") and done.stdout.startswith("a-seed0 (study tiny): resnet18")


# --- files to hand in -------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(tmp_path):
    return phantom("leukemia", "tiny", tmp_path)


def test_the_files_to_hand_in_are_those_that_the_run_left(cells, tmp_path, capsys):
    folder = trained_run(cells, dataset="leukemia", split="given")
    assert main(["predict", "--run", "a", "--submission", str(tmp_path / "out")]) == 0
    made = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in made] == [f"submission-resnet_{depth}_test.csv" for depth in (152, 18, 50)]
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in made)
    out = capsys.readouterr().out.strip().splitlines()
    assert sum("in the order of resnet_" in line for line in out) == 3
    assert out[-1].startswith("This is not a medical device")


def test_other_data_is_handed_in_for_by_its_own_lists(cells, tmp_path):
    folder = trained_run(cells, dataset="leukemia", split="given")
    other = shutil.copytree(cells, tmp_path / "other")
    asked = pd.read_csv(other / "resnet_18_test.csv")
    (other / asked["Path"][0]).write_bytes((other / asked["Path"][1]).read_bytes())
    asked.iloc[::-1].to_csv(other / "resnet_18_test.csv", index=False)
    assert main(["predict", "--run", "a", "--submission", str(tmp_path / "out"), "--data", str(other)]) == 0
    now = pd.read_csv(tmp_path / "out" / "submission-resnet_18_test.csv")
    before = pd.read_csv(folder / "submission-resnet_18_test.csv").set_index("ID")["label"]
    assert now["ID"].tolist() == asked["Path"].tolist()[::-1]
    answers = now.set_index("ID")["label"]
    assert answers[asked["Path"][0]] == answers[asked["Path"][1]] == before[asked["Path"][1]]
    assert answers[asked["Path"][2:]].equals(before[asked["Path"][2:]])


def test_images_that_the_run_has_learnt_from_are_not_handed_in(cells, tmp_path, capsys):
    trained_run(cells, dataset="leukemia", split="given")
    other = shutil.copytree(cells, tmp_path / "other")
    learnt = other / pd.read_csv(cells / "train.csv")["Path"][0]
    for path in pd.read_csv(other / "resnet_18_test.csv")["Path"]:
        (other / path).write_bytes(learnt.read_bytes())
    assert main(["predict", "--run", "a", "--submission", str(tmp_path / "out"), "--data", str(other)]) == 2
    assert "was trained on these test images" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_papermill_runs_the_notebook_on_a_folder_and_writes_its_csv(finished, photos, tmp_path):
    (photos / "aa.jpeg").write_text("not a photograph")
    values = {"study": "tiny", "run": "a", "images": photos, "csv": tmp_path / "answers.csv"}
    words = [str(word) for name, value in values.items() for word in ("-p", name, value)]
    command = [sys.executable, "-m", "papermill", "notebooks/predict.ipynb", str(tmp_path / "out.ipynb"), *words]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    assert main(["predict", "--run", "a", str(photos), "--csv", str(tmp_path / "shell.csv")]) == 1
    assert (tmp_path / "answers.csv").read_bytes() == (tmp_path / "shell.csv").read_bytes()
    said = (tmp_path / "out.ipynb").read_text()
    assert "not a medical device" in said and "image/png" in said and "cannot identify image file" in said
