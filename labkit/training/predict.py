"""Predictions of a network: whole splits, a few images, or a split shared by several processes."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import nn

from labkit.data.augment import to_float
from labkit.data.loaders import Batch, EpochLoader
from labkit.models.build import synchronized
from labkit.training.step import free_memory, is_out_of_memory


def predict(model: nn.Module, batches: Iterable[Batch], normalize: str) -> np.ndarray:
    """Outputs (n, C), or grades (n, 1), float32, in the order of the loader's table; the model is left in eval mode."""
    if not (outputs := _run(model, (batch["images"] for batch in batches), normalize)):
        raise ValueError("there are no images to predict")
    return torch.cat(outputs).cpu().numpy()


def predict_chosen(model: nn.Module, loaders: dict[str, EpochLoader], normalize: str, epoch: int) -> dict[str, Any]:
    """Outputs of every split but train; under `augment_test` with the draws of ``epoch``, which was chosen for them."""
    outputs = {}
    for split in sorted(loaders.keys() - {"train"}):
        loaders[split].set_epoch(epoch)
        outputs[split] = predict(model, loaders[split], normalize)
    return outputs


def predict_together(
    model: nn.Module, batches: Iterable[Batch], normalize: str, accelerator: Accelerator
) -> np.ndarray:
    """`predict` by all processes, which share each batch and the first one's BatchNorm; all return all outputs."""
    if accelerator.num_processes == 1:
        return predict(model, batches, normalize)
    broadcast(list(model.buffers()))
    places: list[torch.Tensor] = []

    def images() -> Iterator[torch.Tensor]:
        for batch in batches:
            places.append(batch["index"])
            yield batch["images"]

    outputs = [part.cpu() for part in _run(model, images(), normalize)]
    place, output = (torch.cat(gather_object(values)) for values in (places, outputs))
    order = place.argsort()
    if not torch.equal(place[order], torch.arange(len(output))):
        raise RuntimeError("the processes have not predicted every image exactly once")
    return output[order].numpy()


def prepare(accelerator: Accelerator, model: nn.Module) -> nn.Module:
    """The network itself, on its device and in its precision; for training in one process, too."""
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        model = synchronized(model)
    ready = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return cast(nn.Module, accelerator.prepare_model(ready, evaluation_mode=True))


def predict_images(model: nn.Module, images: np.ndarray, normalize: str, batch_size: int = 64) -> np.ndarray:
    """Outputs (n, classes) of uint8 images (n, H, W, 3), cropped as for the network."""
    batches = ({"images": part} for part in torch.from_numpy(images).split(batch_size)) if len(images) else ()
    return predict(model, batches, normalize)


@torch.inference_mode()
def _run(model: nn.Module, batches: Iterable[torch.Tensor], normalize: str) -> list[torch.Tensor]:
    """Outputs, part by part. Where memory ends, a batch is halved, and so are those after it."""
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
    return outputs


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
