"""The one place where a trained model is run."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import nn

from labkit.data.augment import to_float
from labkit.data.loaders import Batch


def predict(model: nn.Module, batches: Iterable[Batch], normalize: str) -> np.ndarray:
    """Logits (n, classes) float32 of a loader's images in its table's order; the model is left in eval mode."""
    return _run(model, (batch["images"] for batch in batches), normalize)


def predict_images(model: nn.Module, images: np.ndarray, normalize: str, batch_size: int = 64) -> np.ndarray:
    """Logits (n, classes) of uint8 images (n, H, W, 3), cropped as for the network."""
    batches = (torch.from_numpy(images[start : start + batch_size]) for start in range(0, len(images), batch_size))
    return _run(model, batches, normalize)


@torch.inference_mode()
def _run(model: nn.Module, batches: Iterable[torch.Tensor], normalize: str) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    logits = [model(to_float(images.to(device, non_blocking=True), normalize)).float() for images in batches]
    if not logits:
        raise ValueError("there are no images to predict")
    return torch.cat(logits).cpu().numpy()


def predictions_table(tables: dict[str, pd.DataFrame], logits: dict[str, np.ndarray]) -> pd.DataFrame:
    """The predictions table of several splits in turn: ``image_id, group, side, split, label, logit_0 …``."""
    parts = []
    for split, values in logits.items():
        part = tables[split][["image_id", "group", "side", "split", "label"]].reset_index(drop=True)
        columns = {f"logit_{k}": values[:, k] for k in range(values.shape[1])}
        parts.append(pd.concat([part, pd.DataFrame(columns)], axis=1))
    return pd.concat(parts, ignore_index=True)
