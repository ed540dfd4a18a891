"""One training step: the gradient of a batch, in as few parts as memory allows, and one update of the weights.

Nothing in it waits for the device. Each of several processes has a share of the batch; DDP averages their gradients.
"""

import gc
from dataclasses import dataclass
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labkit.data.augment import to_float, warp
from labkit.data.loaders import Batch
from labkit.params import ParameterError, RunParams
from labkit.training.loss import weight_of
from labkit.training.optim import Scheduler, make_scheduler

APART = 0x9E37_79B9_7F4A_7C15  # between the seeds of two processes: 2**64 over the golden ratio, as in SplitMix
# What libraries say that ask the driver for memory themselves; Accelerate knows what torch says.
WORKSPACES = ["CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"]
WORKSPACES += ["CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION"]


@dataclass
class TrainStep:
    """Called with a batch, updates the model's weights once; where memory ends, with fewer images at a time.

    ``micro_batch`` is halved and the step repeated: the same step, but that BatchNorm sees a smaller part.
    """

    model: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    params: RunParams
    accelerator: Accelerator
    micro_batch: int = 0  # 0: the whole batch
    scheduler: Scheduler | None = None  # None: that of the parameters

    def __post_init__(self) -> None:
        self.scheduler = self.scheduler or make_scheduler(self.params)
        self.criterion.to(self.accelerator.device)
        self.micro_batch = self.micro_batch or self.params.batch_size
        # Compiled beside the network, not in its place: its state dict keeps its names.
        self._forward = torch.compile(self.model) if self.params.compile else self.model
        self._statistics = list(self.model.buffers())
        self._kept = [buffer.clone() for buffer in self._statistics]

    def set_rate(self, epoch: float) -> float:
        """Set the learning rate of each group after ``epoch`` epochs; the first group's is returned."""
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * cast(Scheduler, self.scheduler)(epoch)
        return self.optimizer.param_groups[0]["lr"]

    def __call__(self, batch: Batch, seed: int) -> Tensor:
        """(3,) on the device: mean loss times images, correct classes (not of grades), images; ``seed``: of dropout."""
        while True:
            try:
                return self._attempt(batch, seed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Not in the clause above: until its end the exception holds every tensor of the attempt.
            if self._processes > 1:
                told = f"out of memory with {len(batch['labels'])} images of {self.params.input_size} px in each of"
                cure = f"lower batch_size (it is {self.params.batch_size})"
                raise ParameterError(f"batch_size: {told} {self._processes} processes; {cure}")
            self._take_less(len(batch["labels"]))

    def _attempt(self, batch: Batch, seed: int) -> Tensor:
        # A second attempt must draw the same numbers; other processes draw others, and not those of the next steps.
        torch.manual_seed((seed + self.accelerator.process_index * APART) % 2**64)
        _copy(self._kept, self._statistics)
        device, count = self.accelerator.device, len(batch["labels"])
        sizes = piece_sizes(count, self.micro_batch, self._smallest) if self._processes == 1 else [count]
        whole = self._total(weight_of(self.criterion, batch["labels"].to(device, non_blocking=True)))
        loss_sum, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        for piece in _pieces(batch, sizes):
            images, labels = to_device(piece, self.params, device)
            outputs = self._forward(images)
            # The mean over the whole batch, of which this part has a share; DDP divides by the number of processes.
            share = weight_of(self.criterion, labels) / whole
            loss = self.criterion(outputs, labels)
            self.accelerator.backward(loss * (share * self._processes))
            loss_sum += loss.detach() * share
            correct += (outputs.detach().argmax(1) == labels).sum()
        self._update()
        sums = self._total(torch.stack([loss_sum, correct, torch.full_like(correct, count)]))
        sums[0] *= sums[2]
        return sums

    def _total(self, values: Tensor) -> Tensor:
        """Their sum over all processes."""
        return cast(Tensor, self.accelerator.reduce(values, "sum")) if self._processes > 1 else values

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
                now = (
                    f"from here on {self.micro_batch}, their gradients added up to batches of {self.params.batch_size}"
                )
                print(f"out of memory with {before} images at a time: {now}", flush=True)
                return
        told = f"image_size: out of memory with {before} images of {self.params.input_size} px at a time, the fewest of"
        cure = f"lower image_size or crop_size, or choose a smaller arch than {self.params.arch}"
        raise ParameterError(f"{told} batch_size {self.params.batch_size} that can be trained on; {cure}")


def to_device(batch: Batch, params: RunParams, device: torch.device) -> tuple[Tensor, Tensor]:
    """Normalised images and labels on the device; augmented there where the batch has their maps."""
    images = batch["images"].to(device, non_blocking=True)
    if "maps" in batch:
        images = warp(images, batch["maps"].to(device, non_blocking=True), params.input_size)
    return to_float(images, params.normalize), batch["labels"].to(device, non_blocking=True)


def _pieces(batch: Batch, sizes: list[int]) -> list[Batch]:
    parts = zip(*(values.split(sizes) for values in batch.values()), strict=True)
    return [dict(zip(batch, part, strict=True)) for part in parts]


@torch.no_grad()
def _copy(to: list[Tensor], of: list[Tensor]) -> None:
    """In one launch for all on a GPU: a ResNet-50 has 159 of these buffers."""
    if to:
        torch._foreach_copy_(to, of)  # pyright: ignore[reportPrivateImportUsage] -- as torch's own optimizers do


def is_out_of_memory(error: Exception) -> bool:
    """Whether fewer images at a time may help: an allocator of CUDA, MPS or the CPU had no memory left."""
    if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORKSPACES)


def free_memory() -> None:
    """Give back what an attempt that failed has left; to be called once its exception, which holds it, is gone."""
    gc.collect()
    clear_device_cache()


def piece_sizes(count: int, at_once: int, smallest: int = 1) -> list[int]:
    """The fewest, nearly equal sizes of at most ``at_once``; above it where a piece would be below ``smallest``."""
    pieces = max(1, min(-(-count // at_once), count // smallest))
    size, larger = divmod(count, pieces)
    return [size + (piece < larger) for piece in range(pieces)]
