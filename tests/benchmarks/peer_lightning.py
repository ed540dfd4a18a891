"""Lightning's Trainer, without logger, bar and checkpoints, which a fair comparison would not have either."""

import logging
import warnings
from typing import Any

import lightning
import torch
from measuring import Pass
from peer_torchvision import evaluation_loader
from tasks import Files, Steps, network, sgd
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader


class Classifier(lightning.LightningModule):
    """The network that all contestants train, as Lightning wants it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("train_loss", loss, batch_size=len(batch[1]))
        return loss

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.model(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self)


def train(task: Steps) -> Pass:
    """`fit` goes on for one epoch more each time."""
    fitter = trainer(task.device, "bf16-mixed" if task.precision == "bf16" else "32-true")
    module = Classifier(network(task))
    batches: Any = DataLoader(task.floats(), batch_size=None)  # type: ignore[arg-type]  # a bare list would be many loaders

    def once() -> None:
        fitter.fit_loop.max_epochs = fitter.current_epoch + 1
        with warnings.catch_warnings(action="ignore"):  # few workers, few batches: as we want it here
            fitter.fit(module, batches)

    return once


def evaluate(task: Files) -> Pass:
    """`predict` over torchvision's dataset and transforms."""
    loader, module = evaluation_loader(task), Classifier(network(task))
    predictor = trainer(task.device, "32-true")

    def once() -> Tensor:
        with warnings.catch_warnings(action="ignore"):
            return torch.cat([batch.cpu() for batch in predictor.predict(module, loader)])  # type: ignore[union-attr]

    return once


def trainer(device: torch.device, precision: Any) -> lightning.Trainer:
    """A Trainer that prints nothing."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    return lightning.Trainer(accelerator=accelerator, devices=1, precision=precision, max_epochs=0, **quiet)
