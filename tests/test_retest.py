"""Testing saved checkpoints again: the same answers, or a plain word that they are others."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from labkit import runs
from labkit.cli import main
from labkit.data.loaders import make_loaders
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.evaluation.decide import decide
from labkit.models import build
from labkit.params import RunParams
from labkit.training.checkpoint import save_weights
from labkit.training.predict import predict, predictions_table


@pytest.fixture
def finished(image_folder):
    """A run folder of one untrained network on forty patients, as train.ipynb leaves it."""
    return make(image_folder)


def make(image_folder, loss="cross_entropy"):
    params = RunParams(study="tiny", run="a", data=str(image_folder), image_size=32, threads=1, loss=loss)
    images, hashes = open_data(params.dataset, params.data, runs.cache_root())
    store = build_store(images.table, hashes, params.image_size, runs.cache_root())
    table = assign_splits(store.keep_readable(images.table), hashes=hashes, **params.split_rule)
    run = runs.open_run(params, runs.run_inputs(params, runs.data_fingerprint(images.table, hashes)))
    torch.set_num_threads(1)
    model = build.build_model("resnet18", params.outputs(5), seed=0)
    save_weights(run.path("model.safetensors"), model.state_dict(), "resnet18")
    parts = {split: part for split, part in table.groupby("split") if split != "train"}
    loaders = make_loaders(table, store, params)
    logits = {split: predict(model, loaders[split], params.normalize) for split in parts}
    runs.write_csv(run.path("predictions.csv"), predictions_table(parts, logits))
    run.finish(classes=list(images.facts.classes), precision="fp32", test_predictions=1)
    return run.folder


def accuracy(folder, split):
    kept = runs.read_predictions(folder).query("split == @split")
    return (kept.filter(like="logit_").to_numpy().argmax(1) == kept["label"].to_numpy(np.int64)).mean()


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_saved_checkpoint_gives_one_line_with_the_accuracy_that_was_kept(finished, split, capsys):
    assert main(["test", "tiny", "--split", split]) == 0
    (line,) = capsys.readouterr().out.strip().splitlines()[-1:]
    assert line.startswith(f"a-seed0: accuracy {accuracy(finished, split):.4f} on ")
    assert "as kept" in line or "the very logits" in line


def test_an_ordinal_run_is_tested_by_the_cuts_that_its_validation_gave(image_folder, capsys):
    folder = make(image_folder, "ordinal")
    kept = decide(runs.read_predictions(folder), 5).query("split == 'test'")
    assert main(["test", "tiny"]) == 0
    (line,) = capsys.readouterr().out.strip().splitlines()[-1:]
    assert f"accuracy {(kept['prediction'] == kept['label']).mean():.4f} on " in line and "grade" in line


def test_testing_again_is_not_counted_as_a_look_at_test(finished):
    before = (finished / "run.json").read_bytes()
    main(["test", "tiny"])
    assert (finished / "run.json").read_bytes() == before


def test_weights_that_were_changed_are_noticed(finished, capsys):
    path = finished / "model.safetensors"
    weights = load_file(path)
    weights["fc.bias"] += torch.arange(5.0)
    save_file(weights, path, metadata={"arch": "resnet18"})
    assert main(["test", "tiny"]) == 1
    assert "NOT as kept: logits differ by up to 4" in capsys.readouterr().out


def test_a_study_without_a_finished_run_says_so_in_one_line(finished, capsys):
    assert main(["test", "tiny", "--runs", "resnet*"]) == 2
    assert "no run called resnet* is finished" in capsys.readouterr().err


def test_other_images_than_the_runs_are_refused(finished, image_folder, capsys):
    names = (image_folder / "test_img.csv").read_text().splitlines()
    for name in names[:4]:
        (image_folder / "images" / f"{name}.jpeg").unlink()
    assert main(["test", "tiny"]) == 2
    assert "others" in capsys.readouterr().err
