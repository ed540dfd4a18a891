"""Finished runs without training: the folders that train.ipynb leaves, with answers that a test chooses."""

import numpy as np
import pandas as pd

from labkit import runs
from labkit.params import RunParams

CLASSES = ["a", "b", "c"]


def labels() -> np.ndarray:
    return np.array([0] * 40 + [1] * 12 + [2] * 8)


def make_run(
    name: str, answers: np.ndarray, stamps=(), ids="i", split_name="test", start="from scratch", **changes
) -> None:
    """A finished run of the study 's' that answers so on sixty test images of thirty patients."""
    params = RunParams(study="s", run=name, **changes)
    run = runs.open_run(params, {"name": name, "stamps": list(stamps)} | changes)
    table = pd.DataFrame({"image_id": [f"{ids}{k:02d}" for k in range(60)], "group": [f"g{k // 2}" for k in range(60)]})
    table["side"], table["split"], table["label"] = "left", split_name, labels()
    logits = 3.0 * np.eye(3)[answers]
    table = table.assign(**{f"logit_{k}": logits[:, k] for k in range(3)})
    runs.write_csv(run.path("predictions.csv"), table)
    history = {"epoch": [1, 2], "train_accuracy": [0.5, 0.6], "val_accuracy": [0.5, 0.7], "val_qwk": [0.1, 0.3]}
    runs.write_csv(run.path("history.csv"), pd.DataFrame(history))
    runs.write_text(run.path("model.safetensors"), "weights")
    runs.write_csv(run.path("learnt_from.csv"), pd.DataFrame({"sha256": [], "group": []}))
    run.finish(
        classes=CLASSES, score="qwk", n_images={"train": 100, "val": 20, "test": 60}, train_counts=[70, 20, 10],
        drawn_counts=[70, 20, 10], class_weights=None, milliseconds=1.0,
        best_epoch=2, epoch_seconds=[1.0, 2.0], start=start, source="synthetic", parameters=10, flops=20, device="cpu",
        stamps=list(stamps),
    )  # fmt: skip
