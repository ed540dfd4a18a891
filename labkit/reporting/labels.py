"""Place text beside what it names without covering other text; sizes are measured with the renderer."""

import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.optimize import isotonic_regression

from labkit.reporting.style import Palette

GAP = 14  # points between the end of a line and its label


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


def label_line_ends(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write labels (height in data units, text, colour) right of the axes, near their lines' ends, with a thin leader
    to each. Freezes the figure's layout."""
    fig, texts = cast(Figure, ax.get_figure(root=True)), []
    for y, text, color in ends:
        leader = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 2, "shrinkB": 0, "color": color, "relpos": (0, 0.5)}
        place: Any = {"xycoords": ("axes fraction", "data"), "xytext": (GAP, 0), "textcoords": "offset points"}
        place |= {"va": "center", "linespacing": 1.0, "annotation_clip": False}
        texts.append(ax.annotate(text, (1, y), **place, color=color, arrowprops=leader))
    fig.draw_without_rendering()  # settles the layout with the labels in it
    fig.set_layout_engine("none")
    frame = ax.get_window_extent()
    heights = [Text.get_window_extent(text).height + 3 for text in texts]  # an Annotation's own includes its arrow
    wanted = [float(ax.transData.transform((0, y))[1]) for y, *_ in ends]
    for text, start, end in zip(texts, wanted, spread(wanted, heights, frame.y0 - 8, frame.y1 + 8), strict=True):
        text.xyann = (GAP, (end - start) / fig.dpi * 72)  # points of an inch
