"""Predictions tables made by hand or drawn, for whatever reads one."""

import numpy as np
import pandas as pd

from labkit.evaluation.decide import decide

GRADES = ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR"]
CELLS = ["HEM", "ALL"]


def table_of(labels, logits, groups=None, sides=None, split="test", name="image") -> pd.DataFrame:
    """A predictions table, one row a label; `logits` (n, C)."""
    logits = np.asarray(logits, dtype=float)
    columns = {"image_id": [f"{name}{number:05d}" for number in range(len(logits))]}
    columns["group"] = pd.array([None] * len(logits) if groups is None else list(groups), dtype="string")
    columns["side"] = pd.array([None] * len(logits) if sides is None else list(sides), dtype="string")
    columns |= {"split": [split] * len(logits), "label": pd.array(labels, dtype="Int64")}
    columns |= {f"logit_{number}": logits[:, number] for number in range(logits.shape[1])}
    return pd.DataFrame(columns)


def eyes(generator, patients=600, split="test", skill=1.5, alike=0.9, shares=(0.73, 0.07, 0.15, 0.03, 0.02)):
    """Two eyes a patient, of the same grade in nine of ten, and a model's calibrated logits for each.

    The model sees a noisy measurement of its own eye only, of which the logits are the exact posterior: its
    probabilities are right, and the other eye holds what it does not know.
    """
    n_classes = len(shares)
    of_patient = generator.choice(n_classes, patients, p=shares)
    other = np.where(generator.random(patients) < alike, of_patient, generator.choice(n_classes, patients, p=shares))
    labels = np.stack([of_patient, other], axis=1).ravel()
    seen = labels + generator.normal(0, 1 / skill, len(labels))
    logits = np.log(shares) - 0.5 * (skill * (seen[:, None] - np.arange(n_classes))) ** 2
    groups = np.repeat([f"{split}{number}" for number in range(patients)], 2)
    return table_of(labels, logits, groups, ["left", "right"] * patients, split, name=split)


def both(patients, **options) -> pd.DataFrame:
    """Decided predictions of `eyes` in validation and test."""
    generator = np.random.default_rng(0)
    parts = [eyes(generator, patients, split, **options) for split in ("val", "test")]
    return decide(pd.concat(parts, ignore_index=True))


def clustered(generator, n_groups=300, per_group=4, right=0.7):
    """Labels and predictions of three classes, of which a whole group is right or wrong together, nine times in ten."""
    groups = np.repeat(np.arange(n_groups), per_group)
    labels = generator.choice(3, n_groups, p=[0.6, 0.3, 0.1])[groups]
    together = (generator.random(n_groups) < right)[groups]
    alone = generator.random(len(groups)) < right
    is_right = np.where(generator.random(len(groups)) < 0.9, together, alone)
    return labels, np.where(is_right, labels, (labels + 1) % 3), groups
