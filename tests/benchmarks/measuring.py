"""Time contestants in turn (A B A B …), and turn their seconds into rows of the benchmark's table.

What else the machine does then slows all contestants alike, so that their ratios stay fair.
"""

import gc
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import torch

Pass = Callable[[], Any]  # one pass of fixed work, the same for every contestant of a comparison
Seconds = list[float]  # of a pass in each round
Times = dict[str, Seconds]  # of each contestant
Row = dict[str, Any]
NAN = float("nan")


@dataclass(frozen=True)
class Bench:
    """What every group of rows is given: a folder for its files, the rounds, the device.

    ``quick``: the smallest sizes that still run every line; the figures then mean nothing.
    """

    folder: Path
    rounds: int = 5
    device: Literal["cpu", "cuda"] = "cpu"
    quick: bool = False

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
        self, what: str, contestants: Mapping[str, Pass], warm: bool = True, fill: float = 0.0, clock=perf_counter
    ) -> Times:
        """Seconds of one pass of each contestant in each round, in turn; `process_time` counts those of all threads.

        ``warm``: each makes one pass before that is not counted. ``fill``: a contestant whose pass takes less than
        these seconds repeats it until they are filled, and the mean counts.
        """
        self.tell(f"{what}: {', '.join(contestants)} …")

        def seconds(once: Pass, passes: int = 1) -> float:
            gc.collect()  # the garbage of one contestant is not collected in the time of the next
            self.wait()
            before = clock()
            for _ in range(passes):
                once()
            self.wait()  # a GPU has ended, too
            return (clock() - before) / passes

        passes = dict.fromkeys(contestants, 1)
        for name, once in contestants.items() if warm else ():
            seconds(once)
            if fill and 0 < (taken := seconds(once)) < fill:
                passes[name] = math.ceil(fill / taken)
        rounds = [[seconds(once, passes[name]) for name, once in contestants.items()] for _ in range(self.rounds)]
        return dict(zip(contestants, map(list, zip(*rounds, strict=True)), strict=True))


def row(what: str, setting: str, unit: str, ours: float = NAN, peer: str = "", theirs: float = NAN, **more: Any) -> Row:
    """One line of the table, all columns in their order.

    ``more``: other columns. A goal is text: `≥ 10 ×` is about the ratio, `≤ 25 s` about our own figure.
    """
    columns = {"what": what, "setting": setting, "unit": unit, "ours": ours, "peer": peer, "theirs": theirs}
    columns |= {"ratio": ours / theirs if theirs else NAN, "ratio_low": NAN, "ratio_high": NAN, "goal": "", "met": None}
    columns |= {"rounds": 1, "note": ""} | more
    return columns | {"met": met(columns["goal"], columns["ratio"], ours)}


def met(goal: str, ratio: float, ours: float) -> bool | None:
    """Whether a goal is reached; None without a goal or without a figure."""
    sense, number, unit = goal.split(" ") if goal else ("", "nan", "")
    value = ratio if unit == "×" else ours
    if not goal or math.isnan(value):
        return None
    return value >= float(number) if sense == "≥" else value <= float(number)


def compared(what: str, setting: str, unit: str, ours: Seconds, peer: str, theirs: Seconds | str, **more) -> Row:
    """A row of two contestants that were timed in turn: seconds, or with ``count`` images a second.

    The ratio is the median of the rounds' own ratios. ``theirs`` is text where the peer could not run: the reason.
    """
    count = more.pop("count", None)
    if isinstance(theirs, str):
        return row(what, setting, unit, peer=peer, **more | {"rounds": 0, "note": theirs})
    pairs = zip(theirs, ours, strict=True) if count else zip(ours, theirs, strict=True)
    ratios = [above / below if below else math.inf for above, below in pairs]
    found = {"ratio": median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios), "rounds": len(ratios)}
    mine, other = (count / median(each) if count else median(each) for each in (ours, theirs))
    return row(what, setting, unit, mine, peer, other, **found | more)
