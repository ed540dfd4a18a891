"""Lightning's Trainer, without the logger, bar and checkpoints that a fair comparison would not have either."""

# pyright: reportMissingImports=false
import logging
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from labkit.bench.tasks import DECAY, MOMENTUM, RATE, StepTask, TestTask, torchvision_network
from labkit.bench.timing import Pass


def train(task: StepTask) -> Pass:
    """`fit` goes on for one epoch more each time."""
    trainer = _trainer(task.device, "bf16-mixed" if task.precision == "bf16" else "32-true")
    module = _module(torchvision_network(task.arch))
    batches = DataLoader(task.floats(), batch_size=None)  # type: ignore[arg-type]  # a bare list would be many loaders

    def once() -> None:
        trainer.fit_loop.max_epochs = trainer.current_epoch + 1
        with warnings.catch_warnings(action="ignore"):  # few workers, few batches: as we want it here
            trainer.fit(module, batches)

    return once


def test(task: TestTask) -> Pass:
    """`predict` over torchvision's dataset and transforms: Lightning brings none of its own."""
    from torchvision.transforms import v2

    from labkit.bench.torchvision_recipe import Photographs, _to_float

    steps: list[v2.Transform] = [v2.Resize(task.resize)] if task.resize else []
    dataset = Photographs(task.paths, task.labels, v2.Compose([*steps, v2.CenterCrop(task.crop), *_to_float()]))
    loader = DataLoader(dataset, batch_size=task.batch_size)
    trainer = _trainer(task.device, "32-true")
    module = _module(torchvision_network(task.arch, task.weights))

    def once() -> Tensor:
        with warnings.catch_warnings(action="ignore"):
            return torch.cat([batch.cpu() for batch in trainer.predict(module, loader)])  # type: ignore[union-attr]

    return once


def _trainer(device: torch.device, precision: Any):
    import lightning

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,
        max_epochs=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _module(network: torch.nn.Module):
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = functional.cross_entropy(self.network(batch[0]), batch[1])
            self.log("train_loss", loss, batch_size=len(batch[1]))
            return loss

        def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return self.network(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)

    return Classifier()
