"""Small data made in fixtures; everything runs on a CPU without a network."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labkit import runs

os.environ.setdefault("MPLBACKEND", "agg")


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
def predictions() -> pd.DataFrame:
    """A predictions table of 30 images of 15 groups in three classes."""
    rng = np.random.default_rng(1)
    label = np.arange(30) % 3
    logits = rng.normal(size=(30, 3)) + 2 * np.eye(3)[label]
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(30)], "group": [f"g{k // 2}" for k in range(30)]})
    table["side"], table["split"], table["label"] = "left", "test", label
    return table.assign(**{f"logit_{k}": logits[:, k] for k in range(3)})
