"""What every group of rows is handed: rounds, device, how small it may be, and how it says what it is doing."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from labkit.bench.timing import Clock, Pass, Times, in_turn
from labkit.params import ParameterError
from labkit.runs.folder import cache_root

FOLDER = "bench"  # in the cache
say: Callable[[str], None] = partial(print, file=sys.stderr, flush=True)  # the table alone goes to stdout


@dataclass(frozen=True)
class Setting:
    """``quick``: the smallest sizes that still run every line, whose figures mean nothing. ``folder``: for files."""

    folder: Path
    rounds: int = 5
    device: str = "cpu"
    quick: bool = False
    tell: Callable[[str], None] = say

    def size(self, full: int, quick: int) -> int:
        """So many images or steps: the full number, or the quick one."""
        return quick if self.quick else full

    def times(self, what: str, contestants: dict[str, Pass], **options: Any) -> dict[str, Times]:
        """`in_turn` in this setting, after it is said; ``options``: its ``warm`` and ``fill``."""
        self.tell(f"labkit bench: {what}: {', '.join(contestants)} …")
        return in_turn(contestants, self.rounds, Clock(wait=self.wait), **options)

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()


def open_setting(rounds: int = 5, device: str = "cpu", quick: bool = False) -> Setting:
    """The setting with its folder in the cache; ParameterError for a round too few or a device that is not there."""
    if rounds < 1:
        raise ParameterError(f"--rounds: got {rounds}, allowed: at least 1")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ParameterError("--device: got 'cuda', which this machine does not have; allowed here: cpu")
    from labkit.training.device import reuse_memory

    reuse_memory()  # as every run does at its start; all contestants get it, since a process has one allocator
    folder = cache_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return Setting(folder, rounds, device, quick)
