"""The course studies hold what the five reports state: settings and scores copied from them, here by eye."""

import numpy as np
import pytest

from labkit.params import RunParams
from labkit.runs.files import parse_yaml
from labkit.studies.file import load_study
from labkit.training.loop import class_weights
from labkit.training.optim import make_scheduler

STATED = b"""
fine-tuning:  # 000_cfb97e211ae66ed9
  shared: {split: given, select_on: test, select_by: accuracy, optimizer: sgd, momentum: 0.9, weight_decay: 5e-4,
    learning_rate: 1e-3,
    image_size: 512, crop_size: 480, horizontal_flip: true, vertical_flip: true, rotation: 0, normalize: unit}
  resnet18-scratch: {epochs: 15, batch_size: 8}
  resnet18-finetuned: {epochs: 15, batch_size: 8}
  resnet50-scratch: {epochs: 8, batch_size: 8}
  resnet50-finetuned: {epochs: 8, batch_size: 8}
  resnet18-scratch-oversampled: {sampling: oversample, batch_size: 48}
augmentation:  # 001_486959a83253d3bd
  shared: {split: given, select_on: test, select_by: accuracy, optimizer: sgd, momentum: 0.9, weight_decay: 5e-4,
    learning_rate: 1e-3,
    epochs: 15, batch_size: 8, normalize: unit}
  resnet18-scratch: {horizontal_flip: true, vertical_flip: true}
  resnet18-finetuned: {horizontal_flip: true, vertical_flip: true}
  resnet50-scratch: {horizontal_flip: true, vertical_flip: true}
  resnet50-finetuned: {horizontal_flip: true, vertical_flip: true}
  resnet50-finetuned-unaugmented: {horizontal_flip: false, vertical_flip: false, rotation: 0}
resolution:  # 002_f38e479a1c5d3035
  shared: {split: given, select_on: test, select_by: accuracy, batch_size: 4, normalize: half, deviation: flat_head,
    augment_test: true}
  resnet18-scratch: {epochs: 10, learning_rate: 1e-4, image_size: 512}
  resnet18-finetuned: {epochs: 10, learning_rate: 1e-5, image_size: 512}
  resnet50-scratch: {epochs: 8, learning_rate: 1e-4, image_size: 512}
  resnet50-finetuned: {epochs: 8, learning_rate: 1e-5, image_size: 512}
  resnet18-scratch-quarter: {epochs: 10, learning_rate: 1e-4, image_size: 128}
  resnet18-finetuned-quarter: {epochs: 10, learning_rate: 1e-5, image_size: 128}
  resnet50-scratch-quarter: {epochs: 8, learning_rate: 1e-4, image_size: 128}
  resnet50-finetuned-quarter: {epochs: 8, learning_rate: 1e-5, image_size: 128}
class-weights:  # 003_999a2ca57711dda0
  shared: {split: given, select_on: test, select_by: accuracy, optimizer: sgd, momentum: 0.9, weight_decay: 5e-4,
    learning_rate: 1e-3,
    epochs: 20, batch_size: 16, image_size: 256, crop_size: 224, normalize: imagenet, augment_test: true}
  resnet18-scratch: {freeze_epochs: 0}
  resnet18-finetuned: {freeze_epochs: 5}
  resnet50-scratch: {freeze_epochs: 0}
  resnet50-finetuned: {freeze_epochs: 5}
  resnet18-finetuned-weighted: {freeze_epochs: 5, class_weights: complement}
depth:  # 004_bdc1971ae47190f6
  shared: {split: given, select_by: accuracy, optimizer: adam, normalize: twice, image_size: 450}
  resnet18: {epochs: 100, batch_size: 16, class_weights: [1.2, 1.0], rotation: [0, 90], deviation: none}
  resnet50: {epochs: 100, batch_size: 16, class_weights: [1.2, 1.0], deviation: linear_bottleneck}
  resnet152: {epochs: 100, batch_size: 8, class_weights: [1.2, 1.0], deviation: linear_bottleneck}
  resnet18-all: {epochs: 15, learning_rate: 1e-3, train_on: train+val, head: keep}
  resnet50-all: {epochs: 20, learning_rate: 1e-4, train_on: train+val, head: keep}
  resnet152-all: {batch_size: 8, learning_rate: 1e-4, train_on: train+val, head: keep}
  resnet18-unweighted: {epochs: 100, class_weights: none}
  resnet50-unweighted: {epochs: 100, class_weights: none}
  resnet152-unweighted: {epochs: 100, batch_size: 8, class_weights: none}
  resnet18-strongly-weighted: {class_weights: [1.5, 0.7]}
  resnet18-50-epochs: {epochs: 50, rotation: [0, 90], horizontal_flip: true, vertical_flip: true}
  resnet18-50-epochs-unaugmented: {epochs: 50, rotation: 0, horizontal_flip: false, vertical_flip: false}
"""
PRINTED = {  # in percent
    "fine-tuning": (73.38078291814946, 81.03914590747331, 73.36654804270462, 82.07829181494662),
    "augmentation": (73.49466192170819, 81.90747330960853, 73.35231316725978, 82.33451957295374),
    "resolution": (73.3381, 80.7829),
    "class-weights": (80.82562255859375, 81.01067352294922),
    "depth": (95.876, 94.657, 92.596, 97.469, 95.688),
}


def runs_of(study: str) -> dict[str, RunParams]:
    return {str(params.run): params for params in load_study(f"course/{study}").run_params()}


@pytest.mark.parametrize("study", PRINTED)
def test_a_course_study_has_the_settings_and_the_scores_of_its_report(study):
    stated, runs = parse_yaml(STATED, "STATED")[study], runs_of(study)
    shared = stated.pop("shared")
    for name, own in stated.items():
        wanted = shared | own | {"arch": name.partition("-")[0]}
        if "scratch" in name or "finetuned" in name:
            wanted["weights"] = None if "scratch" in name else "IMAGENET1K_V1"
        assert {key: getattr(runs[name], key) for key in wanted} == wanted, name
    (published,) = load_study(f"course/{study}").published
    scores = [value for value in published.scores.values() if value is not None]
    assert [round(100 * value, 3) for value in scores] == [round(value, 3) for value in PRINTED[study]]
    assert set(published.scores) == set(stated) - {"resnet152-all"}  # which the report had no time for
    right = [value / 100 * published.n for value in PRINTED[study]]
    assert all(abs(images - round(images)) < 0.011 for images in right)  # accuracy is a whole number of images


def test_the_log_of_oversampling_gives_its_batches_away():
    batch, images = runs_of("fine-tuning")["resnet18-scratch-oversampled"].batch_size, 5 * 20_656
    assert 12 / batch == 0.25 and 492 / (51 * batch) == pytest.approx(0.20098039215686275, abs=1e-15)
    assert images // (50 * batch) == 43


def test_complement_weights_are_those_that_the_report_prints():  # 003_999a2ca57711dda0
    labels = np.repeat(np.arange(5), [20656, 1955, 4210, 698, 581])
    printed = [1.0, 3.5122246104245027, 3.2092960773777537, 3.681085437936593, 3.6968027941966684]
    assert class_weights(labels, "complement", 5) == pytest.approx(printed, abs=1e-9)


RATES = [("resnet18", 5e-3, 1e-3), ("resnet50", 1e-3, 1e-4), ("resnet152", 1e-3, 1e-4)]


@pytest.mark.parametrize(("run", "first", "last"), RATES)
def test_rates_of_the_first_and_the_last_fifty_epochs_are_the_reports(run, first, last):  # 004_bdc1971ae47190f6
    params = runs_of("depth")[run]
    rates = [params.learning_rate * make_scheduler(params)(epoch) for epoch in (0, 49, 50, 99)]
    assert rates == pytest.approx([first, first, last, last])


def test_no_course_study_trains_in_mixed_precision():
    for study in (*PRINTED, "light", "networks"):
        assert {params.precision for params in runs_of(study).values()} == {"fp32"}, study
