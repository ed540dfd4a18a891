"""The course studies hold what the five reports state: settings and scores copied from them, here by eye."""

import numpy as np
import pytest

from labkit.params import RunParams
from labkit.studies.file import load_study
from labkit.training.loop import class_weights
from labkit.training.optim import learning_rate_at

SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "learning_rate": 1e-3, "schedule": "constant"}
ON_TEST = {"split": "given", "select_on": "test", "precision": "fp32", "loss": "cross_entropy"}
LOADED = {"weights": "IMAGENET1K_V1"}
TURNED = {"horizontal_flip": True, "vertical_flip": True}
STILL = {"horizontal_flip": False, "vertical_flip": False, "rotation": 0}
BIG = {"deviation": "linear_bottleneck", "learning_rate": 1e-3, "epochs": 100}
SMALL = {"deviation": "none", "learning_rate": 5e-3, "epochs": 100}
MORE = {"train_on": "train+val", "select_on": "last", "head": "keep"}

STATED = {  # study -> (what all of its report's runs share, what each has of its own)
    "fine-tuning": (  # 000_cfb97e211ae66ed9
        ON_TEST | SGD | TURNED | {"image_size": 512, "crop_size": 480, "normalize": "unit"},
        {
            "resnet18-scratch": {"epochs": 15, "weights": None, "batch_size": 8},
            "resnet18-finetuned": LOADED | {"epochs": 15, "batch_size": 8},
            "resnet50-scratch": {"epochs": 8, "weights": None, "batch_size": 8},
            "resnet50-finetuned": LOADED | {"epochs": 8, "batch_size": 8},
            "resnet18-scratch-oversampled": {"sampling": "oversample", "batch_size": 48},
        },
    ),
    "augmentation": (  # 001_486959a83253d3bd
        ON_TEST | SGD | {"batch_size": 8, "epochs": 15, "normalize": "unit", "image_size": 512},
        {
            "resnet18-scratch": TURNED,
            "resnet18-finetuned": LOADED | TURNED,
            "resnet50-scratch": TURNED,
            "resnet50-finetuned": LOADED | TURNED,
            "resnet50-finetuned-unaugmented": LOADED | STILL,
        },
    ),
    "resolution": (  # 002_f38e479a1c5d3035
        ON_TEST | {"batch_size": 4, "normalize": "half", "deviation": "flat_head", "augment_test": True},
        {
            f"{arch}-{start}{size}": {"epochs": epochs, "learning_rate": rate, "image_size": pixels, "weights": weights}
            for arch, epochs in (("resnet18", 10), ("resnet50", 8))
            for start, rate, weights in (("scratch", 1e-4, None), ("finetuned", 1e-5, "IMAGENET1K_V1"))
            for size, pixels in (("", 512), ("-quarter", 128))
        },
    ),
    "class-weights": (  # 003_999a2ca57711dda0
        ON_TEST | SGD | TURNED | {"image_size": 256, "crop_size": 224, "augment_test": True, "batch_size": 16},
        {
            "resnet18-scratch": {"weights": None, "freeze_epochs": 0, "epochs": 20},
            "resnet18-finetuned": LOADED | {"freeze_epochs": 5, "epochs": 20, "normalize": "imagenet"},
            "resnet50-scratch": {"weights": None, "freeze_epochs": 0, "epochs": 20},
            "resnet50-finetuned": LOADED | {"freeze_epochs": 5, "epochs": 20, "normalize": "imagenet"},
            "resnet18-finetuned-weighted": LOADED | {"class_weights": "complement", "freeze_epochs": 5},
        },
    ),
    "depth": (  # 004_bdc1971ae47190f6
        {"split": "given", "precision": "fp32", "optimizer": "adam", "normalize": "twice", "image_size": 450},
        {
            "resnet18": SMALL | {"batch_size": 16, "class_weights": [1.2, 1.0], "rotation": [0, 90]},
            "resnet50": BIG | {"batch_size": 16, "class_weights": [1.2, 1.0]},
            "resnet152": BIG | {"batch_size": 8, "class_weights": [1.2, 1.0]},
            "resnet18-all": MORE | {"epochs": 15},
            "resnet50-all": MORE | {"epochs": 20},
            "resnet152-all": MORE | {"batch_size": 8},
            "resnet18-unweighted": SMALL | {"class_weights": "none"},
            "resnet50-unweighted": BIG | {"class_weights": "none"},
            "resnet152-unweighted": BIG | {"class_weights": "none"},
            "resnet18-strongly-weighted": SMALL | {"class_weights": [1.5, 0.7]},
            "resnet18-50-epochs": {"epochs": 50, "rotation": [0, 90]} | TURNED,
            "resnet18-50-epochs-unaugmented": {"epochs": 50} | STILL,
        },
    ),
}
PRINTED = {  # in percent
    "fine-tuning": (73.38078291814946, 81.03914590747331, 73.36654804270462, 82.07829181494662),
    "augmentation": (73.49466192170819, 81.90747330960853, 73.35231316725978, 82.33451957295374),
    "resolution": (73.3381, 80.7829),
    "class-weights": (80.82562255859375, 81.01067352294922),
    "depth": (95.876, 94.657, 92.596, 97.469, 95.688),
}


def runs_of(study: str) -> dict[str, RunParams]:
    return {str(params.run): params for params in load_study(f"course/{study}").run_params()}


@pytest.mark.parametrize("study", STATED)
def test_a_course_study_has_the_settings_of_its_report(study):
    shared, own = STATED[study]
    runs = runs_of(study)
    for name, settings in own.items():
        wanted = shared | settings | {"arch": name.partition("-")[0]}
        assert {key: getattr(runs[name], key) for key in wanted} == wanted, name


@pytest.mark.parametrize("study", PRINTED)
def test_published_scores_are_those_that_the_report_prints(study):
    (published,) = load_study(f"course/{study}").published
    scores = [value for value in published.scores.values() if value is not None]
    assert [round(100 * value, 3) for value in scores] == [round(value, 3) for value in PRINTED[study]]
    assert set(published.scores) == set(STATED[study][1]) - {"resnet152-all"}  # which the report had no time for
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


def test_rates_of_the_first_and_the_last_fifty_epochs_are_the_reports():  # 004_bdc1971ae47190f6
    runs = runs_of("depth")
    for name, rates in {"resnet18": (5e-3, 1e-3), "resnet50": (1e-3, 1e-4), "resnet152": (1e-3, 1e-4)}.items():
        assert [learning_rate_at(runs[name], epoch) for epoch in (0, 49, 50, 99)] == pytest.approx(
            [rates[0]] * 2 + [rates[1]] * 2
        )
    assert runs["resnet18-all"].learning_rate == 1e-3 and runs["resnet50-all"].learning_rate == 1e-4


def test_no_course_study_trains_in_mixed_precision():
    for study in (*STATED, "light", "networks"):
        assert {params.precision for params in runs_of(study).values()} == {"fp32"}, study
