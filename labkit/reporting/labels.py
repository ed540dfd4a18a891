"""Place text beside what it names without covering other text; sizes are measured with the renderer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.optimize import isotonic_regression

from labkit.reporting.style import Palette

POINTS = 72  # in an inch
LEADER: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
BESIDE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "linespacing": 1.0}
GAP = 14  # points between the end of a line and its label


@dataclass(frozen=True)
class EndLabel:
    """`text` beside the last point of a line, at height `y` in data units."""

    y: float
    text: str
    color: str


def wrap(text: str, width: int = 18) -> str:
    """Break each line after spaces, and longer words after '-' and '_', to at most `width` characters, where it can."""
    lines = []
    for line in text.split("\n"):
        lines.append("")
        words = [[word] if len(word) <= width else re.findall("[^_-]+[_-]*|[_-]+", word) for word in line.split()]
        for piece in (piece for word in words for piece in [*word[:-1], f"{word[-1]} "]):
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def named_glyph(palette: Palette, run: str, width: int = 18) -> str:
    """A run's marker and its name beside it, on as many lines as it needs."""
    return f"{palette[run].glyph} " + wrap(run, width).replace("\n", "\n    ")


def spread(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> np.ndarray:
    """Centres closest (least squares) to `wanted` such that intervals of `sizes` do not overlap.

    Isotonic regression of the wanted places, less the room that the labels below take. What does not fit between `low`
    and `high` is moved inside; with too little room all are centred.
    """
    order = np.argsort(wanted, kind="stable")
    size = np.asarray(sizes, float)[order]
    offset = np.cumsum(size) - size / 2
    starts = isotonic_regression(np.asarray(wanted, float)[order] - offset).x
    room = high - low - size.sum()
    starts = np.clip(starts, low, low + room) if room >= 0 else np.full(len(size), low + room / 2)
    centres = np.empty(len(size))
    centres[order] = starts + offset
    return centres


def label_line_ends(fig: Figure, labels: Sequence[tuple[Axes, Sequence[EndLabel]]]) -> None:
    """Write each label right of its `Axes`, near its line's end, with a thin leader to it. Freezes the layout."""
    written = []
    for ax, ends in labels:
        written.append([])
        for end in ends:
            place = {"xycoords": ("axes fraction", "data"), "xytext": (GAP, 0), "annotation_clip": False}
            leader = LEADER | {"color": end.color, "shrinkA": 2, "relpos": (0, 0.5)}
            text = ax.annotate(end.text, (1, end.y), **place, **BESIDE, color=end.color, arrowprops=leader)
            written[-1].append(text)
    fig.draw_without_rendering()  # settles the layout with the labels in it
    fig.set_layout_engine("none")
    for (ax, ends), texts in zip(labels, written, strict=True):
        frame = ax.get_window_extent()
        heights = [Text.get_window_extent(text).height + 3 for text in texts]  # an Annotation's own includes its arrow
        wanted = [float(ax.transData.transform((0, end.y))[1]) for end in ends]
        for text, start, end in zip(texts, wanted, spread(wanted, heights, frame.y0 - 8, frame.y1 + 8), strict=True):
            text.xyann = (GAP, (end - start) / fig.dpi * POINTS)
