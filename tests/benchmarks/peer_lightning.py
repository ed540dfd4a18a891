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
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore", module="lightning")  # few workers, few batches: as we want it here
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Classifier(lightning.LightningModule):
    """The network that all contestants train, as Lightning wants it; and its Trainer, which prints nothing."""

    def __init__(self, task: Files | Steps, precision: Any = "32-true") -> None:
        super().__init__()
        self.model = network(task)
        for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        where: Any = {"accelerator": "gpu" if task.device.type == "cuda" else "cpu", "devices": 1}
        self.by = lightning.Trainer(**where, precision=precision, max_epochs=0, **QUIET)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = cross_entropy(self.model(batch[0]), batch[1])
        self.log("train_loss", loss, batch_size=len(batch[1]))
        return loss

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.model(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self)


def train(task: Steps) -> Pass:
    """`fit` goes on for one epoch more each time."""
    module = Classifier(task, "bf16-mixed" if task.precision == "bf16" else "32-true")
    batches: Any = DataLoader(task.floats(), batch_size=None)  # type: ignore[arg-type]  # a bare list would be many loaders

    def once() -> None:
        module.by.fit_loop.max_epochs = module.by.current_epoch + 1
        module.by.fit(module, batches)

    return once


def evaluate(task: Files) -> Pass:
    """`predict` over torchvision's dataset and transforms."""
    loader, module = evaluation_loader(task), Classifier(task)
    return lambda: torch.cat([batch.cpu() for batch in module.by.predict(module, loader)])  # type: ignore[union-attr]
