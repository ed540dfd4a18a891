"""The one place where a trained model is run."""

import sys
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import nn

from labkit.data.augment import to_float
from labkit.data.loaders import Batch
from labkit.training.memory import free_memory, is_out_of_memory


def predict(model: nn.Module, batches: Iterable[Batch], normalize: str) -> np.ndarray:
    """Outputs (n, classes) float32 of a loader's images in its table's order; the model is left in eval mode.

    Logits, or one column of grades under `loss: ordinal`.
    """
    return _run(model, (batch["images"] for batch in batches), normalize)


def predict_images(model: nn.Module, images: np.ndarray, normalize: str, batch_size: int = 64) -> np.ndarray:
    """Outputs (n, classes) of uint8 images (n, H, W, 3), cropped as for the network."""
    batches = (torch.from_numpy(images[start : start + batch_size]) for start in range(0, len(images), batch_size))
    return _run(model, batches, normalize)


@torch.inference_mode()
def _run(model: nn.Module, batches: Iterable[torch.Tensor], normalize: str) -> np.ndarray:
    """Where memory ends, a batch is halved, and so are those after it."""
    model.eval()
    device = next(model.parameters()).device
    outputs, at_once = [], sys.maxsize
    for images in batches:
        start = 0
        while start < len(images):
            part = images[start : start + at_once]
            try:
                outputs.append(model(to_float(part.to(device, non_blocking=True), normalize)).float())
                start += len(part)
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
            at_once = len(part) // 2
            free_memory()  # here, where the exception and the tensors in its frames are gone
    if not outputs:
        raise ValueError("there are no images to predict")
    return torch.cat(outputs).cpu().numpy()


def output_columns(outputs: np.ndarray) -> pd.DataFrame:
    """Outputs as the predictions table names them: ``logit_0 …`` of (n, C), ``grade`` of (n, 1)."""
    n_outputs = outputs.shape[1]
    return pd.DataFrame(outputs, columns=["grade"] if n_outputs == 1 else [f"logit_{k}" for k in range(n_outputs)])


def predictions_table(tables: dict[str, pd.DataFrame], outputs: dict[str, np.ndarray]) -> pd.DataFrame:
    """The predictions table of several splits in turn: ``image_id, group, side, split, label``, `output_columns`."""
    parts = []
    for split, values in outputs.items():
        part = tables[split][["image_id", "group", "side", "split", "label"]].reset_index(drop=True)
        parts.append(pd.concat([part, output_columns(values)], axis=1))
    return pd.concat(parts, ignore_index=True)
