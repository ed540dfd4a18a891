"""One step of training: a batch's gradient, in as few pieces as memory allows, and one update of the weights.

Nothing in it waits for the device: no value is copied to the host, and none but the batch comes from it.

Of several processes each computes the gradient of its share of the batch, as of a piece. They are added up at the end
of the step, in one go with the losses and BatchNorm's statistics, and not by DistributedDataParallel while they arise:
that averages where shares weigh differently, keeps to the weights that learn when it is made, which a frozen phase
changes, and leaves the statistics apart. So every process holds the same network after every step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from labkit.data.augment import rotate, to_float
from labkit.data.loaders import Batch
from labkit.params import ParameterError, RunParams
from labkit.training.loss import answers, weight_of
from labkit.training.memory import free_memory, is_out_of_memory, piece_sizes

APART = 0x9E37_79B9_7F4A_7C15  # between the seeds of two processes: 2**64 over the golden ratio, as in SplitMix


@dataclass
class TrainStep:
    """Called with a batch, updates the model's weights once.

    Where memory ends, ``micro_batch`` (images at a time) is halved from there on and the step begun again. Gradients
    are added up to those of the whole batch, so that only BatchNorm, which sees a piece at a time, can tell. Several
    processes do not halve: they would have to agree on it in the middle of a step.
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
        """(2,) on the device: mean loss times images, and correct answers, of the whole batch; ``seed``: of dropout.

        Raises ParameterError where memory does not hold the least that can be trained on at a time.
        """
        while True:
            try:
                return self._attempt(batch, seed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Not in the clause above: until its end the exception holds every tensor of the attempt.
            if self._processes > 1:
                raise ParameterError(
                    f"batch_size: out of memory with {len(batch['labels'])} images of {self.params.input_size} px in "
                    f"each of {self._processes} processes; lower batch_size (it is {self.params.batch_size})"
                )
            self._take_less(len(batch["labels"]))

    def _attempt(self, batch: Batch, seed: int) -> Tensor:
        # Begun again, it must draw the same; other processes draw otherwise, and not what the next steps draw.
        torch.manual_seed((seed + self.accelerator.process_index * APART) % 2**64)
        _copy(self._kept, self._statistics)
        count, device = len(batch["labels"]), self.accelerator.device
        sizes = piece_sizes(count, self.micro_batch, self._smallest) if self._processes == 1 else [count]
        whole = None
        if len(sizes) > 1 or self._processes > 1:
            whole = weight_of(self.criterion, labels_of(batch).to(device, non_blocking=True))
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
        sums = torch.stack([loss_sum * len(labels_of(batch)), correct])
        if self._processes > 1:
            self._add_up(sums)
        self._update()
        return sums

    @torch.no_grad()
    def _add_up(self, sums: Tensor) -> None:
        """In place, over all processes: the sum of the gradients and of ``sums``, the mean of BatchNorm's statistics.

        The mean, and not those of one process: so every image counts in what is used in evaluation and saved.
        """
        learning = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        parts, statistics = [weight.grad for weight in learning if weight.grad is not None], []
        for module in self.model.modules():
            # What a frozen backbone keeps stays as it is, to the bit; what SyncBatchNorm keeps is everywhere the same.
            if isinstance(module, _BatchNorm) and module.training and not isinstance(module, SyncBatchNorm):
                statistics += [value for value in (module.running_mean, module.running_var) if value is not None]
        for values in statistics:
            values /= self._processes
        parts += [*statistics, sums]
        added: Any = self.accelerator.reduce(torch.cat([part.reshape(-1) for part in parts]), "sum")
        pieces = added.split([part.numel() for part in parts])
        _copy(parts, [values.view(part.shape) for values, part in zip(pieces, parts, strict=True)])

    @property
    def _processes(self) -> int:
        return self.accelerator.num_processes

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


def labels_of(batch: Batch) -> Tensor:
    """(n,) of the whole batch, also where this process has a share of it only."""
    return batch.get("all_labels", batch["labels"])


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
