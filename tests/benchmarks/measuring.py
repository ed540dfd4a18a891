"""Time contestants in turn (A B A B …), and turn their seconds into rows of the benchmark's table.

What else the machine does then slows all contestants alike, so that their ratios stay fair.
"""

import gc
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

Pass = Callable[[], Any]  # one pass of fixed work, the same for every contestant of a comparison
Times = dict[str, list[float]]  # seconds of a pass in each round: "wall", and "cpu" of all threads of this process
Row = dict[str, Any]
NAN = float("nan")


def clocks() -> tuple[float, float]:
    """Seconds of the wall's clock, and of this process on all cores."""
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Bench:
    """What every group of rows is given: a folder for its files, the rounds, the device.

    ``quick``: the smallest sizes that still run every line; the figures then mean nothing.
    """

    folder: Path
    rounds: int = 5
    device: Literal["cpu", "cuda"] = "cpu"
    quick: bool = False
    clocks: Callable[[], tuple[float, float]] = clocks

    def size(self, full: int, quick: int) -> int:
        """The full number of images or steps, or the quick one."""
        return quick if self.quick else full

    def tell(self, text: str) -> None:
        """Progress, on stderr: stdout holds the table alone."""
        print(f"benchmark: {text}", file=sys.stderr, flush=True)

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def times(
        self, what: str, contestants: Mapping[str, Pass], warm: bool = True, fill: float = 0.0
    ) -> dict[str, Times]:
        """Seconds of one pass of each contestant in each round, in turn.

        ``warm``: each makes one pass before that is not counted. ``fill``: a contestant whose pass takes less than
        these seconds repeats it until they are filled, and the mean counts.
        """
        self.tell(f"{what}: {', '.join(contestants)} …")
        passes = dict.fromkeys(contestants, 1)
        for name, once in contestants.items() if warm else ():
            self.seconds(once, 1)
            if fill:
                wall, _ = self.seconds(once, 1)
                passes[name] = math.ceil(fill / wall) if 0 < wall < fill else 1
        times: dict[str, Times] = {name: {"wall": [], "cpu": []} for name in contestants}
        for _ in range(self.rounds):
            for name, once in contestants.items():
                for clock, taken in zip(("wall", "cpu"), self.seconds(once, passes[name]), strict=True):
                    times[name][clock].append(taken)
        return times

    def seconds(self, once: Pass, passes: int) -> list[float]:
        """Seconds of a pass, by both clocks, which are read when a GPU has ended, too."""
        gc.collect()  # the garbage of one contestant is not collected in the time of the next
        self.wait()
        before = self.clocks()
        for _ in range(passes):
            once()
        self.wait()
        return [(after - start) / passes for after, start in zip(self.clocks(), before, strict=True)]


def row(what: str, setting: str, unit: str, ours: float = NAN, peer: str = "", theirs: float = NAN, **more: Any) -> Row:
    """One line of the table, all columns in their order.

    ``more``: other columns. A goal is text: `≥ 10 ×` is about the ratio, `≤ 25 s` about our own figure.
    """
    ratio = ours / theirs if theirs else NAN
    columns = {"what": what, "setting": setting, "unit": unit, "ours": ours, "peer": peer, "theirs": theirs}
    columns |= {"ratio": ratio, "ratio_low": NAN, "ratio_high": NAN, "goal": "", "met": None, "rounds": 1}
    columns |= {"note": ""} | more
    return columns | {"met": met(columns["goal"], columns["ratio"], ours)}


def met(goal: str, ratio: float, ours: float) -> bool | None:
    """Whether a goal is reached; None without a goal or without a figure."""
    if not goal:
        return None
    sense, number, unit = goal.split(" ")
    value = ratio if unit == "×" else ours
    if math.isnan(value):
        return None
    return value >= float(number) if sense == "≥" else value <= float(number)


def compared(what: str, setting: str, unit: str, ours: Times, peer: str, theirs: Times | str, **more: Any) -> Row:
    """A row of two contestants that were timed in turn: seconds, or with ``count`` images a second.

    The ratio is the median of the rounds' own ratios. ``theirs`` is text where the peer could not run: the reason.
    ``clock="cpu"`` counts the seconds of processors.
    """
    count, clock = more.pop("count", None), more.pop("clock", "wall")
    if isinstance(theirs, str):
        return row(what, setting, unit, peer=peer, **more | {"rounds": 0, "note": theirs})
    mine, other = ours[clock], theirs[clock]
    pairs = [(b, a) if count else (a, b) for a, b in zip(mine, other, strict=True)]
    ratios = [above / below if below else math.inf for above, below in pairs]
    found = {"ratio": median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios), "rounds": len(mine)}
    values = [count / median(each) if count else median(each) for each in (mine, other)]
    return row(what, setting, unit, values[0], peer, values[1], **found | more)
