"""The machine and the versions that figures were measured with; without them a figure says nothing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from labkit.runs.folder import environment

PEERS = ("lightning", "fastai", "timm", "torchvision")


def machine(device: str) -> dict[str, Any]:
    """Processor, cores, memory, load at the start, the GPU where one is used, versions and the project's commit."""
    facts = environment()
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": _memory(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": None,
    }
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    versions = facts["versions"] | {name: _version(name) for name in PEERS}
    return found | {"machine": facts["machine"], "commit": facts["git_commit"], "versions": versions}


def processor() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
