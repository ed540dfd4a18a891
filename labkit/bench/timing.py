"""Contestants in turn, A B A B …: what the machine does beside us then slows all of them, and ratios stay fair."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Pass = Callable[[], Any]  # one pass of fixed work, the same for every contestant of a comparison


@dataclass
class Times:
    """Seconds of each round's pass: by the clock on the wall, and of this process's processors (all threads)."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def of(self, per_core: bool) -> list[float]:
        """Seconds of processors where a figure is one per core, else of the wall."""
        return self.cpu if per_core else self.wall


@dataclass(frozen=True)
class Clock:
    """What is read before and after a pass; ``wait`` first, since a GPU works on behind the loop's back."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    wait: Callable[[], Any] = lambda: None
    sweep: Callable[[], Any] = gc.collect  # one contestant's garbage is not swept up in another's time


def in_turn(
    contestants: Mapping[str, Pass], rounds: int, clock: Clock | None = None, warm: bool = True, fill: float = 0.0
) -> dict[str, Times]:
    """Seconds of a pass of each contestant in ``rounds`` rounds, after one pass each that is not counted.

    A contestant whose pass takes less than ``fill`` seconds makes as many passes a round as fill them, and their mean
    counts. ``warm=False`` where a first call is what is measured. Raises ValueError for fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: got {rounds}, at least 1 is needed")
    clock = clock or Clock()
    passes = dict.fromkeys(contestants, 1)
    for name, once in contestants.items() if warm else ():
        _time(once, 1, clock)
        if fill:
            wall, _ = _time(once, 1, clock)
            passes[name] = math.ceil(fill / wall) if 0 < wall < fill else 1
    times = {name: Times() for name in contestants}
    for _ in range(rounds):
        for name, once in contestants.items():
            wall, cpu = _time(once, passes[name], clock)
            times[name].wall.append(wall)
            times[name].cpu.append(cpu)
    return times


def _time(once: Pass, passes: int, clock: Clock) -> tuple[float, float]:
    """Mean seconds of so many passes: wall, processors."""
    clock.sweep()
    clock.wait()
    wall, cpu = clock.wall(), clock.cpu()
    for _ in range(passes):
        once()
    clock.wait()
    return (clock.wall() - wall) / passes, (clock.cpu() - cpu) / passes


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Seconds over seconds, round by round; inf where a clock was too coarse to see the second."""
    return [a / b if b else float("inf") for a, b in zip(above, below, strict=True)]
