"""Small data made in fixtures; everything runs on a CPU without a network."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from labkit.params import DataParams
from labkit.runs import folder as runs

if TYPE_CHECKING:
    from made_study import Lab

os.environ.setdefault("MPLBACKEND", "agg")
checks = [HealthCheck.function_scoped_fixture]
settings.register_profile(
    "labkit", max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=checks
)
settings.load_profile("labkit")


QUICK = (  # tests of every room that take milliseconds; make check runs them
    "test_project.py::test_environment_yml_*",
    "test_project.py::test_notebooks_are_committed_*",
    "test_project.py::test_the_lock_holds_*",
    "test_project.py::test_the_package_stays_small",
    "test_project.py::test_every_path_in_the_readme_exists",
    "test_params.py",
    "test_bad_parameters.py",
    "runs/test_runs.py",
    "data/test_images.py",
    "data/test_splits.py",
    "data/test_readers.py",
    "data/test_bad_tables.py",
    "data/test_loading.py",
    "models/test_models.py::test_parameter_counts_are_torchvisions[[]resnet18*",
    "models/test_models.py::test_a_deviation_that_this_network_cannot_have_is_refused*",
    "models/test_models.py::test_what_cannot_be_built_is_refused*",
    "training/test_training.py::test_schedules_are_those_of_torch",
    "training/test_training.py::test_class_weights_*",
    "training/test_step.py::test_pieces_are_few_*",
    "evaluation/test_calibration.py",
    "evaluation/test_ranking.py",
    "audit/test_audit.py",
    "studies/test_studies.py",
    "reporting/test_compare_page.py",
    "reporting/test_failed.py",
    "commands/test_check.py",
    "benchmarks/test_benchmarks.py::*turns",
)


LONGEST = [f"slow/test_{name}" for name in ("slow", "smoke", "faults", "cluster", "faults_disk", "faults_stale")]
LONGEST += ["slow/test_pages", "studies/test_stopping", "training/test_processes", "slow/test_jupyterlab"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by its folder and what is quick by the list above; the longest files come first.

    At the end of two workers' tests one would else have a long file left, and the other none.
    """
    place = {f"tests/{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        if name.startswith("slow/"):
            item.add_marker(pytest.mark.slow)
        elif any(fnmatchcase(name, pattern) or name.startswith(f"{pattern}::") for pattern in QUICK):
            item.add_marker(pytest.mark.quick)


@pytest.fixture(autouse=True)
def own_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test writes into the project's own reports folder or uses its cache."""
    monkeypatch.setenv("LABKIT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "reports"


@pytest.fixture(autouse=True)
def locks_are_given_back() -> Iterator[None]:
    """A run folder stays locked as long as its process lives; here one process plays many."""
    yield
    for lock in list(runs._open.values()):
        lock.release()
    runs._open.clear()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """40 patients, two eyes each, 24 px JPEGs in the course's layout; brightness tells the grade."""
    folder = tmp_path / "eyes"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(40):
        grade = patient % 5
        for side in ("left", "right"):
            name = f"{patient + 100}_{side}"
            pixels = rng.integers(0, 40, (24, 30, 3)) + 45 * grade
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{name}.jpeg", quality=95)
            rows.append((name, grade))
    for part, chosen in (("train", rows[:64]), ("test", rows[64:])):
        (folder / f"{part}_img.csv").write_text("\n".join(name for name, _ in chosen) + "\n")
        (folder / f"{part}_label.csv").write_text("\n".join(str(grade) for _, grade in chosen) + "\n")
    return folder


@pytest.fixture
def data(image_folder: Path, tmp_path: Path) -> tuple[pd.DataFrame, Any]:
    """The table of `image_folder`, split by patient, and its store."""
    from labkit.data.hashes import file_hashes
    from labkit.data.readers import read
    from labkit.data.splits import assign_splits
    from labkit.data.store import build_store

    table = read(DataParams(), image_folder).table
    store = build_store(table, file_hashes(table, tmp_path), 24, tmp_path)
    return assign_splits(table, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2), store


@pytest.fixture
def predictions() -> pd.DataFrame:
    """A predictions table of 30 images of 15 groups in three classes."""
    rng = np.random.default_rng(1)
    label = np.arange(30) % 3
    logits = rng.normal(size=(30, 3)) + 2 * np.eye(3)[label]
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(30)], "group": [f"g{k // 2}" for k in range(30)]})
    table["side"], table["split"], table["label"] = "left", "test", label
    return table.assign(**{f"logit_{k}": logits[:, k] for k in range(3)})


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Lab":
    """A copy of the project with a study of one run, of as many epochs as the file's EPOCHS says."""
    from made_study import Lab

    made = Lab.made(tmp_path_factory.mktemp("lab"))
    made.study("small", {"a": {"epochs": request.module.EPOCHS}})
    return made


@pytest.fixture(scope="module")
def whole(lab: "Lab") -> Path:
    """The run's folder where nothing happened."""
    done = lab.call("run", "small")
    assert done.returncode == 0, done.stderr
    return lab.reports / "small" / "runs" / "a-seed0"


@pytest.fixture
def other(lab: "Lab", tmp_path: Path) -> "Lab":
    """The same study, in reports of its own."""
    from made_study import Lab

    return Lab(lab.project, tmp_path / "other", lab.cache)
