"""Where memory ends: tell that from other errors, let go of what failed, and take fewer images of a batch at a time."""

import gc

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

# What libraries say that ask the driver for memory themselves; Accelerate knows what torch says.
WORKSPACES = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION",
)


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
    """Sizes of the fewest, and nearly equal, pieces of ``count`` images with at most ``at_once`` each.

    No piece is below ``smallest``, even if a piece must then be larger: 5 in pieces of 2, and none of 1, are 3 and 2.
    """
    pieces = max(1, min(-(-count // at_once), count // smallest))
    size, larger = divmod(count, pieces)
    return [size + (piece < larger) for piece in range(pieces)]
