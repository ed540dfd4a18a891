"""Testing saved checkpoints again: the same answers, or a plain word that they are others."""

import numpy as np
import pytest
import torch
from made_runs import trained_run
from safetensors.torch import load_file, save_file

from labkit.cli import main
from labkit.evaluation.decide import decide
from labkit.runs.files import read_json, write_json
from labkit.runs.folder import read_predictions


@pytest.fixture
def finished(image_folder):
    return trained_run(image_folder)


def accuracy(folder, split):
    kept = read_predictions(folder).query("split == @split")
    return (kept.filter(like="logit_").to_numpy().argmax(1) == kept["label"].to_numpy(np.int64)).mean()


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_saved_checkpoint_gives_one_line_with_the_accuracy_that_was_kept(finished, split, capsys):
    assert main(["test", "tiny", "--split", split]) == 0
    (line,) = capsys.readouterr().out.strip().splitlines()[-1:]
    assert line.startswith(f"a-seed0: accuracy {accuracy(finished, split):.4f} on ")
    assert "predictions.csv" in line and "MISMATCH" not in line


def test_an_ordinal_run_is_tested_by_the_cuts_that_its_validation_gave(image_folder, capsys):
    folder = trained_run(image_folder, loss="ordinal")
    kept = decide(read_predictions(folder), 5).query("split == 'test'")
    assert main(["test", "tiny"]) == 0
    (line,) = capsys.readouterr().out.strip().splitlines()[-1:]
    assert f"accuracy {(kept['prediction'] == kept['label']).mean():.4f} on " in line and "grade" in line


def test_weights_that_were_changed_are_noticed(finished, capsys):
    path = finished / "model.safetensors"
    weights = load_file(path)
    weights["fc.bias"] += torch.arange(5.0)
    save_file(weights, path, metadata={"arch": "resnet18"})
    assert main(["test", "tiny"]) == 1
    assert "a-seed0: damaged: model.safetensors is not what the run wrote" in capsys.readouterr().out
    manifest = read_json(finished / "run.json")
    del manifest["sha256"]  # of a run that was finished before they were kept
    write_json(finished / "run.json", manifest)
    assert main(["test", "tiny"]) == 1
    assert "MISMATCH: logits differ by up to 4" in capsys.readouterr().out


def test_a_study_without_a_finished_run_says_so_in_one_line(finished, capsys):
    assert main(["test", "tiny", "--runs", "resnet*"]) == 2
    assert "no run called resnet* is finished" in capsys.readouterr().err


def test_other_images_than_the_runs_are_refused(finished, image_folder, capsys):
    names = (image_folder / "test_img.csv").read_text().splitlines()
    for name in names[:4]:
        (image_folder / "images" / f"{name}.jpeg").unlink()
    assert main(["test", "tiny"]) == 2
    assert "not the same ones" in capsys.readouterr().err
