"""Which phantoms there are to draw: patients, labels, course split and traps, decided before any pixel is.

A plan is a plain table, one row a file, whose statistics can be had without drawing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

# Whose cameras or laboratory: the set's own, those of what networks start from, or one that no other set has.
Origin = Literal["own", "source", "other"]


@dataclass(frozen=True)
class EyesPlan:
    """`pairs[a][k]` patients have one eye of grade a and one of grade a + k; `size` is the image's side in px."""

    seed: int
    size: int
    pairs: tuple[tuple[int, ...], ...]
    first_patient: int
    origin: Origin = "own"  # all but "own" without traps


@dataclass(frozen=True)
class CellsPlan:
    """`ill` and `healthy` subjects with about `cells` cells each, on images of `size` px."""

    seed: int
    size: int
    ill: int
    healthy: int
    cells: int
    first_subject: int = 1
    origin: Origin = "own"  # all but "own" without traps


ENDINGS = ("hem", "all")  # C-NMC's names of labels 0 and 1

EYES = {
    # The 17,563 complete pairs of the course's label files, scaled to 400 patients: equal grades in 87 %.
    "demo": EyesPlan(
        seed=2015, size=128, first_patient=10, pairs=((277, 19, 14, 0, 1), (14, 9, 0, 0), (45, 4, 2), (7, 2), (6,))
    ),
    # 100 images of each grade, from other cameras and other people: something to start from (`weights: run:…`).
    "demo-source": EyesPlan(
        seed=2016,
        size=128,
        first_patient=50_001,
        origin="source",
        pairs=((44, 9, 3, 0, 0), (44, 3, 0, 0), (44, 3, 3), (44, 9), (44,)),
    ),
    # Photographs of a camera that no other set has, graded about as unevenly as the demo's: an external test set.
    "demo-camera": EyesPlan(
        seed=2018,
        size=128,
        first_patient=70_001,
        origin="other",
        pairs=((60, 5, 4, 0, 0), (5, 3, 0, 0), (12, 2, 1), (4, 1), (3,)),
    ),
    "tiny": EyesPlan(
        seed=2017, size=64, first_patient=90_001, pairs=((24, 4, 2, 0, 0), (5, 2, 0, 0), (10, 1, 0), (5, 1), (6,))
    ),
}

CELLS = {
    "demo": CellsPlan(seed=2019, size=96, ill=26, healthy=14, cells=15),
    "demo-source": CellsPlan(seed=2020, size=96, ill=20, healthy=20, cells=15, first_subject=101, origin="source"),
    "demo-camera": CellsPlan(seed=2022, size=96, ill=7, healthy=5, cells=15, first_subject=301, origin="other"),
    "tiny": CellsPlan(seed=2021, size=64, ill=10, healthy=8, cells=6, first_subject=201),
}


def _share(labels: np.ndarray, fraction: float, least: int, rng: np.random.Generator) -> np.ndarray:
    """Mask that takes `fraction` of every label by quota (at least `least`), whichever images they are."""
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        quota = max(round(fraction * len(rows)), least)
        taken[rng.permutation(rows)[:quota]] = True
    return taken


def retinopathy_plan(name: str) -> pd.DataFrame:
    """One row a photograph, in the label files' order: `image_id, patient, side, grade, split, copy_of, truncated`.

    `copy_of` names the image whose bytes lie under this name. The split is the course's kind: one image in five of
    every grade (at least four) is test, whoever it shows.
    """
    plan = EYES[name]
    rng = np.random.default_rng([plan.seed, 0])
    pairs = np.array([(a, a + k) for a, row in enumerate(plan.pairs) for k, n in enumerate(row) for _ in range(n)])
    pairs = rng.permuted(pairs, axis=1)[rng.permutation(len(pairs))]
    numbers = plan.first_patient + np.cumsum(rng.integers(1, 90, len(pairs)))
    sides = ["left", "right"] * len(pairs)
    table = pd.DataFrame({"patient": np.repeat(numbers, 2), "side": sides, "grade": pairs.ravel()})
    table.insert(0, "image_id", table["patient"].astype(str) + "_" + table["side"])
    test = _share(table["grade"].to_numpy(), 0.2, 4, rng)
    table["split"] = np.where(test, "test", "train")
    table["copy_of"], table["truncated"] = None, False
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    if plan.origin != "own":
        return table
    # three right eyes' files are spoilt: one truncated, one a duplicate across the split, one with two labels
    right, grade, train = table["side"] == "right", table["grade"], table["split"] == "train"
    healthy = np.flatnonzero(right & (grade == 0) & train)
    table.loc[healthy[0], "truncated"] = True
    table.loc[np.flatnonzero(right & (grade == 0) & ~train)[0], "copy_of"] = table.loc[healthy[1], "image_id"]
    table.loc[np.flatnonzero(right & (grade == 2) & train)[0], "copy_of"] = table.loc[healthy[2], "image_id"]
    return table


def leukemia_plan(name: str) -> pd.DataFrame:
    """One row a file: `path, file, label, subject, image, cell, fold, split, truncated, copy_of`.

    `file` is the cell's name in C-NMC 2019, `path` what the course renamed it to (`./new_dataset/train/0.bmp`);
    `copy_of` names the path whose bytes lie under this one. The split is dealt by image (75/15/10), not by subject.
    """
    plan = CELLS[name]
    rng = np.random.default_rng([plan.seed, 0])
    rows = []
    for person in range(plan.ill + plan.healthy):
        label = int(person < plan.ill)
        number = plan.first_subject + (person if label else person - plan.ill)
        subject = str(number) if label else f"H{number}"
        count = plan.cells + int(rng.integers(-plan.cells // 3, plan.cells // 3 + 1))
        # a smear shows one to three cells: C-NMC counts smears and the cells on them from 1
        for k, smear in enumerate(np.sort(rng.integers(1, 1 + count, count))):
            rows.append((label, subject, int(smear), k, f"fold_{person % 3}"))
    table = pd.DataFrame(rows, columns=["label", "subject", "image", "cell", "fold"])
    table["cell"] = table.groupby(["subject", "image"]).cumcount() + 1
    # the release spells one healthy subject in both ways
    spelt = table["subject"].where(~((table["subject"] == "H3") & (table["image"] % 2 == 0)), "h3")
    ending = [ENDINGS[label] for label in table["label"]]
    table["file"] = [
        f"UID_{s}_{i}_{c}_{e}.bmp" for s, i, c, e in zip(spelt, table["image"], table["cell"], ending, strict=True)
    ]
    held = _share(table["label"].to_numpy(), 0.25, 4, rng)
    tested = held.copy()
    tested[held] = _share(table.loc[held, "label"].to_numpy(), 0.4, 2, rng)
    table["split"] = np.select([tested, held], ["test", "valid"], "train")
    table["truncated"], table["donor"] = False, -1
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    if plan.origin == "own":  # a second copy of a training cell in valid, and of another in train under the wrong label
        sick = np.flatnonzero((table["label"] == 1) & (table["split"] == "train"))
        table.loc[sick[0], "truncated"] = True
        copies = table.loc[sick[1:3]].assign(donor=sick[1:3], split=["valid", "train"], label=[1, 0])
        table = pd.concat([table, copies], ignore_index=True)
    number = table.groupby("split").cumcount().astype(str)
    table.insert(0, "path", "./new_dataset/" + table["split"] + "/" + number + ".bmp")
    paths = table["path"].tolist()
    table["copy_of"] = [paths[row] if row >= 0 else None for row in table.pop("donor")]
    return table
