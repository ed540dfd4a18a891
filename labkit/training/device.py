"""Device, precision, threads and seeds of a run, decided once and written into its manifest."""

import ctypes
import os
import platform
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from labkit.params import ParameterError, RunParams

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
# What torchrun, accelerate, mpirun or Kubeflow leave in a shell or a container, and Accelerate or PyTorch reads.
INHERITED = r"(ACCELERATE|PET|TORCHELASTIC|PMIX?|OMPI|MPI|MV2|MASTER|FSDP|MEGATRON_LM|PARALLELISM_CONFIG)_\w+|"
INHERITED += r"(\w+_)?(RANK|WORLD_SIZE)|FORK_LAUNCHED|TORCHDYNAMO_DISABLE|TORCH_COMPILE_DISABLE"


def set_up(params: RunParams, launched: bool = False) -> Accelerator:
    """Set threads, seeds and deterministic algorithms; choose device and precision; ``launched``: by `launch`."""
    if left := [name for name in os.environ if re.fullmatch(INHERITED, name) and not launched]:
        print(f"not used, since num_processes alone decides: {', '.join(sorted(left))} in the environment")
        for name in left:
            del os.environ[name]
    device = choose_device(params.device)
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    if device != "cpu" and params.num_processes > gpus:
        most = f"at most {gpus}, one for each GPU of this machine; lower it, or set device to cpu"
        raise ParameterError(f"num_processes: got {params.num_processes}, allowed here: {most}")
    reuse_memory()
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what deterministic cuBLAS asks for
    torch.set_float32_matmul_precision("highest")  # NVIDIA's containers lower it by a variable
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else new memory is filled with NaN first, to find bugs: 2 to 4 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.backends.cudnn.benchmark = False
    random.seed(params.seed)
    np.random.seed(params.seed % 2**32)  # noqa: NPY002 -- libraries may still read the global state
    torch.manual_seed(params.seed)
    bf16 = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = params.precision if params.precision != "auto" else "bf16" if bf16 else "fp32"
    if precision == "fp16" and device == "cpu":
        raise ParameterError("precision: got 'fp16', but a CPU trains in fp32 or bf16; allowed here: auto, fp32, bf16")
    if params.compile:
        check_compiler(device)
    # Accelerate keeps its first settings for the life of a process; a notebook may be run again with others.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)
    # Afterwards, since Accelerate sets a number of its own for several processes.
    torch.set_num_threads(params.threads or max(1, (os.cpu_count() or 1) // params.num_processes))
    decided_by = {"device", "precision", "threads", "num_processes", "seed", "compile"}
    vars(accelerator)["made_from"] = params.model_dump(include=decided_by)
    return accelerator


def reuse_memory() -> None:
    """Have glibc keep blocks over 32 MB: returned and asked for anew, they cost 6 % of a ResNet-18's step."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, -1)


def check_compiler(device: str) -> None:
    """Raises ParameterError where torch.compile has no compiler to work with, told by compiling a line."""
    try:
        torch.compile(lambda x: (x + 1).relu())(torch.zeros(8, device=device))
    except Exception as error:  # of many kinds: TorchInductor's, Triton's, the C++ compiler's
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        cure = "install a C++ compiler (apt install g++, xcode-select --install; on CUDA also pip install triton)"
        failed = f"torch.compile does not work here: {cure}, or set compile to False; it says: {words}"
        raise ParameterError(f"compile: got True, but {failed}") from None


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
    """For the manifest; ``instructions``: the widest that PyTorch uses; with others the last bits may differ."""
    name = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type
    chip = {"processor": processor(), "instructions": torch.backends.cpu.get_cpu_capability()}
    return used(accelerator) | chip | {"device": name, "threads": torch.get_num_threads()}


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")  # Linux tells it here alone
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def used(accelerator: Accelerator) -> dict[str, Any]:
    """What decides a run's numbers: kind of device, precision and, where the CPU trains, its threads."""
    device, precision = accelerator.device.type, accelerator.mixed_precision
    threads = {"threads": torch.get_num_threads()} if device == "cpu" else {}
    return {"device": device, "precision": precision.replace("no", "fp32")} | threads
