"""Device, precision, threads and seeds of a run, decided once and written into its manifest."""

import ctypes
import os
import platform
import random
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from labkit.params import ParameterError, RunParams

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def set_up(params: RunParams) -> Accelerator:
    """Set threads and seeds and choose device and precision; raises ParameterError where the device is not there.

    Deterministic algorithms are asked for: bit-equality is promised for equal threads, device and versions.
    """
    device = choose_device(params.device)
    refuse_too_many(params.num_processes, device)
    torch.set_num_threads(params.threads or max(1, (os.cpu_count() or 1) // params.num_processes))
    reuse_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else new memory is filled with NaN first, to find bugs: 2 to 4 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.backends.cudnn.benchmark = False
    random.seed(params.seed)
    np.random.seed(params.seed % 2**32)  # noqa: NPY002 -- libraries may still read the global state
    torch.manual_seed(params.seed)
    precision = params.precision
    if precision == "auto":
        precision = "bf16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if precision == "fp16" and device == "cpu":
        raise ParameterError("precision: got 'fp16', but a CPU trains in fp32 or bf16; allowed here: auto, fp32, bf16")
    if params.compile:
        check_compiler(device)
    # Accelerate keeps its first settings for the life of a process; a notebook may be run again with others.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)


def refuse_too_many(num_processes: int, device: str) -> None:
    """Raises ParameterError where there is no GPU for each process."""
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    if device != "cpu" and num_processes > gpus:
        raise ParameterError(
            f"num_processes: got {num_processes}, allowed here: at most {gpus}, one for each GPU of this machine; "
            "lower it, or set device to cpu"
        )


def reuse_memory() -> None:
    """Let the process keep the memory that it frees, since its next step wants it again; where the C library is glibc.

    Left alone, glibc hands every block over 32 MB back to the system and asks for it anew, which then clears it page
    by page: two thirds of the time of normalising 32 images of 480 px, and about 6 % of a ResNet-18's step at 128 px.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def check_compiler(device: str) -> None:
    """Raises ParameterError where torch.compile has no compiler to work with, told by compiling a line."""
    try:
        torch.compile(lambda x: (x + 1).relu())(torch.zeros(8, device=device))
    except Exception as error:  # of many kinds: TorchInductor's, Triton's, the C++ compiler's
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ParameterError(
            "compile: got True, but torch.compile does not work here: install a C++ compiler (apt install g++, "
            f"xcode-select --install; on CUDA also pip install triton), or set compile to False; it says: {words}"
        ) from None


def choose_device(device: str) -> str:
    """``auto`` is CUDA, else Apple's MPS, else the CPU."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        names = ", ".join(name for name, found in there.items() if found)
        raise ParameterError(f"device: got {device!r}, which this machine does not have; allowed here: auto, {names}")
    return device


def machine_facts(accelerator: Accelerator) -> dict[str, Any]:
    """What the manifest says about the machine: name of the device, precision, threads of each process."""
    name = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type
    return used(accelerator) | {"device": name, "threads": torch.get_num_threads()}


def used(accelerator: Accelerator) -> dict[str, Any]:
    """What decides a run's numbers: kind of device, precision and, where the CPU trains, its threads."""
    device, precision = accelerator.device.type, accelerator.mixed_precision
    threads = {"threads": torch.get_num_threads()} if device == "cpu" else {}
    return {"device": device, "precision": {"no": "fp32"}.get(precision, precision)} | threads
