"""A row of the benchmark, what it was to reach, and the table of all rows."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from labkit.bench.timing import Times, ratios

NAN = float("nan")


@dataclass(frozen=True)
class Goal:
    """What a row's ratio, or our own figure, is to be: at least or at most so much."""

    sense: Literal["≥", "≤"]
    number: float
    of: Literal["ratio", "ours"] = "ratio"

    def in_words(self, unit: str) -> str:
        """`≥ 10 ×` of a ratio, `≤ 25 s` of a figure."""
        return f"{self.sense} {self.number:g} {'×' if self.of == 'ratio' else unit}"

    def met(self, value: float) -> bool | None:
        """Whether it is reached; None where there is no figure to say so by."""
        if math.isnan(value):
            return None
        return value >= self.number if self.sense == "≥" else value <= self.number


def at_least(times: float) -> Goal:
    """The goal of a ratio that says how many times as fast we are."""
    return Goal("≥", times)


def at_most(times: float) -> Goal:
    """The goal of a ratio that says which part, or how many times, of another's time or bytes ours takes."""
    return Goal("≤", times)


@dataclass(frozen=True)
class Row:
    """One comparison. ``ratio``: ours over theirs, the median of the rounds' own ratios, with the lowest and highest.

    ``theirs`` is missing where we stand alone or the peer could not run; ``note`` then says why. ``seconds`` are the
    medians of a pass that the figures were worked out from, missing where nothing was timed in rounds.
    """

    what: str
    setting: str  # pixels, network, batch: what one would have to set to see the same
    unit: str
    ours: float
    peer: str = ""
    theirs: float = NAN
    ratio: float = NAN
    ratio_low: float = NAN
    ratio_high: float = NAN
    goal: str = ""
    met: bool | None = None
    rounds: int = 1
    our_seconds: float = NAN
    their_seconds: float = NAN
    note: str = ""


def rate_row(
    what: str,
    setting: str,
    unit: str,
    count: int,
    ours: Times,
    peer: str = "",
    theirs: Times | None = None,
    goal: Goal | None = None,
    *,
    per_core: bool = False,
    note: str = "",
) -> Row:
    """A row of so many things (images, mostly) a second; ``count`` are done in one pass, by the peer, too.

    ``per_core``: a second of processors instead of the wall's. ``theirs`` None: the peer could not run, or there is
    none.
    """
    mine = ours.of(per_core)
    low, middle, high = _spread(ratios(theirs.of(per_core), mine)) if theirs else (NAN, NAN, NAN)
    their_seconds = statistics.median(theirs.of(per_core)) if theirs else NAN
    our_seconds = statistics.median(mine)
    return Row(
        what,
        setting,
        unit,
        _rate(count, our_seconds),
        peer,
        _rate(count, their_seconds),
        middle,
        low,
        high,
        **_judged(goal, unit, middle, _rate(count, our_seconds)),
        rounds=len(mine),
        our_seconds=our_seconds,
        their_seconds=their_seconds,
        note=note,
    )


def time_row(
    what: str,
    setting: str,
    ours: Times,
    peer: str = "",
    theirs: Times | None = None,
    goal: Goal | None = None,
    *,
    times: float = 1.0,
    note: str = "",
) -> Row:
    """A row of seconds. ``times``: so many passes of the peer's make what one of ours does (steps of an epoch)."""
    below = [times * seconds for seconds in theirs.wall] if theirs else []
    low, middle, high = _spread(ratios(ours.wall, below)) if theirs else (NAN, NAN, NAN)
    mine, other = statistics.median(ours.wall), statistics.median(below) if theirs else NAN
    return Row(
        what,
        setting,
        "s",
        mine,
        peer,
        other,
        middle,
        low,
        high,
        **_judged(goal, "s", middle, mine),
        rounds=len(ours.wall),
        our_seconds=mine,
        their_seconds=other,
        note=note,
    )


def figure_row(what: str, setting: str, unit: str, ours: float, theirs: float = NAN, **facts) -> Row:
    """A row of a figure that was not timed in rounds: bytes, peak memory, one long run.

    ``facts``: fields of Row, and ``goal`` as a Goal.
    """
    goal = facts.pop("goal", None)
    ratio = ours / theirs if theirs and not math.isnan(theirs) else NAN
    return Row(what, setting, unit, ours, theirs=theirs, ratio=ratio, **_judged(goal, unit, ratio, ours), **facts)


def absent_row(what: str, setting: str, unit: str, peer: str, reason: str, goal: Goal | None = None) -> Row:
    """A row of a peer that cannot run here, and why."""
    return Row(what, setting, unit, NAN, peer, goal=goal.in_words(unit) if goal else "", rounds=0, note=reason)


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else math.inf


def _judged(goal: Goal | None, unit: str, ratio: float, ours: float) -> dict:
    if goal is None:
        return {"goal": "", "met": None}
    return {"goal": goal.in_words(unit), "met": goal.met(ratio if goal.of == "ratio" else ours)}


def as_table(rows: Iterable[Row]) -> pd.DataFrame:
    """A line a row, in the order of the fields."""
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(Row.__dataclass_fields__))
    return table.astype({"met": "boolean"})


def in_words(table: pd.DataFrame) -> str:
    """The table for a shell: figures rounded, what is not there left empty, and notes below, numbered."""
    notes = [note for note in dict.fromkeys(table["note"]) if note]
    shown = pd.DataFrame({"what": table["what"], "setting": table["setting"]})
    shown["ours"] = [_rounded(value, unit) for value, unit in zip(table["ours"], table["unit"], strict=True)]
    shown["peer"] = table["peer"]
    shown["theirs"] = [_rounded(value) for value in table["theirs"]]
    shown["ratio"] = [f"{value:.2f}" if not math.isnan(value) else "" for value in table["ratio"]]
    shown["goal"] = table["goal"]
    shown["met"] = ["" if pd.isna(met) else "yes" if met else "NO" for met in table["met"]]
    shown["note"] = [f"[{notes.index(note) + 1}]" if note else "" for note in table["note"]]
    widths = [max(map(len, [name, *shown[name]])) for name in shown]
    lines = [[*shown.columns], ["-" * width for width in widths], *shown.to_numpy().tolist()]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(text + [f"[{number}] {note}" for number, note in enumerate(notes, 1)])


def _rounded(value: float, unit: str = "") -> str:
    if math.isnan(value):
        return ""
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()
