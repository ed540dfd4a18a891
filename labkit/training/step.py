"""One step of training: a batch's gradient, in as few pieces as memory allows, and one update of the weights.

Nothing in it waits for the device: no value is copied to the host, and none but the batch comes from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labkit.data.augment import rotate, to_float
from labkit.data.loaders import Batch
from labkit.params import ParameterError, RunParams
from labkit.training.memory import free_memory, is_out_of_memory, piece_sizes
from labkit.training.objective import answers, weight_of


@dataclass
class TrainStep:
    """Called with a batch, updates the model's weights once.

    Where memory ends, ``micro_batch`` (images at a time) is halved from there on and the step begun again. Gradients
    are added up to those of the whole batch, so that only BatchNorm, which sees a piece at a time, can tell.
    """

    model: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    params: RunParams
    accelerator: Accelerator
    n_classes: int
    micro_batch: int = 0  # 0: the whole batch

    def __post_init__(self) -> None:
        self.micro_batch = self.micro_batch or self.params.batch_size
        # Compiled beside the network, not in its place: its state dict keeps its names.
        self._forward = torch.compile(self.model) if self.params.compile else self.model
        self._statistics = list(self.model.buffers())
        self._kept = [buffer.clone() for buffer in self._statistics]

    def __call__(self, batch: Batch, seed: int) -> Tensor:
        """(2,) on the device: mean loss times images, and correct answers. ``seed`` is that of dropout and the like.

        Raises ParameterError where memory does not hold the least that can be trained on at a time.
        """
        while True:
            try:
                return self._attempt(batch, seed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Not in the clause above: until its end the exception holds every tensor of the attempt.
            self._take_less(len(batch["labels"]))

    def _attempt(self, batch: Batch, seed: int) -> Tensor:
        torch.manual_seed(seed)  # begun again, it must draw the same
        _copy(self._kept, self._statistics)
        sizes = piece_sizes(len(batch["labels"]), self.micro_batch, self._smallest)
        device = self.accelerator.device
        whole = weight_of(self.criterion, batch["labels"].to(device, non_blocking=True)) if len(sizes) > 1 else None
        loss_sum, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        for piece in _pieces(batch, sizes):
            images, labels = to_device(piece, self.params, device)
            outputs = self._forward(images)
            loss = self.criterion(outputs, labels)
            if whole is not None:  # the mean over the batch, of which a piece has this share
                loss = loss * (weight_of(self.criterion, labels) / whole)
            self.accelerator.backward(loss)
            loss_sum += loss.detach()
            correct += (answers(outputs.detach(), self.n_classes) == labels).sum()
        self._update()
        return torch.stack([loss_sum * len(batch["labels"]), correct])

    @property
    def _smallest(self) -> int:
        """BatchNorm has no variance of one image."""
        return 2 if any(isinstance(module, _BatchNorm) and module.training for module in self.model.modules()) else 1

    def _update(self) -> None:
        """The optimizers are fused ones, which allocate all that they keep before they change a weight."""
        first = not self.optimizer.state
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if is_out_of_memory(error) and first:
                self.optimizer.state.clear()  # what it had begun to allocate
            raise
        self.optimizer.zero_grad(set_to_none=True)

    def _take_less(self, count: int) -> None:
        """Put back what the failed attempt on ``count`` images has changed, and halve its pieces."""
        self.optimizer.zero_grad(set_to_none=True)
        _copy(self._statistics, self._kept)
        free_memory()
        before = max(piece_sizes(count, self.micro_batch, self._smallest))
        while self.micro_batch > self._smallest:
            self.micro_batch = max(self.micro_batch // 2, self._smallest)
            if max(piece_sizes(count, self.micro_batch, self._smallest)) < before:
                print(
                    f"out of memory with {before} images at a time: from here on {self.micro_batch}, their gradients "
                    f"added up to batches of {self.params.batch_size}",
                    flush=True,
                )
                return
        raise ParameterError(
            f"image_size: out of memory with {before} images of {self.params.input_size} px at a time, the fewest of "
            f"batch_size {self.params.batch_size} that can be trained on; lower image_size or crop_size, or choose a "
            f"smaller arch than {self.params.arch}"
        )


def to_device(batch: Batch, params: RunParams, device: torch.device) -> tuple[Tensor, Tensor]:
    """Normalised images and labels on the device; rotated there in one warp unless it is a CPU."""
    images = batch["images"].to(device, non_blocking=True)
    if params.rotation and device.type != "cpu":
        images = rotate(images, batch["angles"].to(device, non_blocking=True))
    return to_float(images, params.normalize), batch["labels"].to(device, non_blocking=True)


def _pieces(batch: Batch, sizes: list[int]) -> Iterator[Batch]:
    if len(sizes) == 1:
        yield batch
        return
    parts = {name: values.split(sizes) for name, values in batch.items()}
    for place in range(len(sizes)):
        yield {name: values[place] for name, values in parts.items()}


@torch.no_grad()
def _copy(to: list[Tensor], of: list[Tensor]) -> None:
    """In one launch for all on a GPU: a ResNet-50 has 159 of these buffers."""
    if to:
        torch._foreach_copy_(to, of)  # pyright: ignore[reportPrivateImportUsage] -- as torch's own optimizers do
