"""Place text beside what it names without covering other text; sizes are measured with the renderer."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from labkit.reporting.style import GREY, Palette

POINTS = 72  # in an inch
LEADER: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
BESIDE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "linespacing": 1.0}
GAP = 14  # points between the end of a line and its label
RADIUS = 6  # of a dot, in points


@dataclass(frozen=True)
class EndLabel:
    """`text` beside the last point of a line, at height `y` in data units."""

    y: float
    text: str
    color: str


def wrap(text: str, width: int = 18) -> str:
    """Break each line of a name after spaces, '-' and '_' into lines of at most `width` characters, where it can."""
    lines = []
    for line in text.split("\n"):
        lines.append("")
        for piece in re.findall(r"[^\s_-]+[\s_-]*|[\s_-]+", line):
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def named_glyph(palette: Palette, run: str, width: int = 18) -> str:
    """A run's marker and its name beside it, on as many lines as it needs."""
    return f"{palette[run].glyph} " + wrap(run, width).replace("\n", "\n    ")


def spread(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> np.ndarray:
    """Centres closest (least squares) to `wanted` such that intervals of `sizes` do not overlap.

    Isotonic regression of the wanted places, less the room that the labels below
    take. What does not fit between `low` and `high` is moved inside; with too little room all are centred.
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


def label_line_ends(fig: Figure, ax: Axes, labels: Sequence[EndLabel]) -> None:
    """Write each label right of `ax`, near its line's end, with a thin leader to it. Freezes the layout."""
    texts = []
    for label in labels:
        place = {
            "xy": (1, label.y),
            "xycoords": ("axes fraction", "data"),
            "xytext": (GAP, 0),
            "annotation_clip": False,
        }
        leader = LEADER | {"color": label.color, "shrinkA": 2, "relpos": (0, 0.5)}
        texts.append(ax.annotate(label.text, **place, **BESIDE, color=label.color, arrowprops=leader))
    fig.draw_without_rendering()  # settles the layout with the labels in it
    fig.set_layout_engine("none")
    frame = ax.get_window_extent()
    heights = [_text_box(text).height + 3 for text in texts]
    wanted = [float(ax.transData.transform((0, label.y))[1]) for label in labels]
    for text, start, end in zip(texts, wanted, spread(wanted, heights, frame.y0 - 8, frame.y1 + 8), strict=True):
        text.xyann = (GAP, (end - start) / fig.dpi * POINTS)


def label_points(fig: Figure, ax: Axes, points: np.ndarray, texts: Sequence[str], colors: Sequence[str]) -> None:
    """Write each text beside its point (shape (n, 2), data units) where it covers no dot and no other text.

    Greedy: of rings of places around the point, ever wider, the first free one inside the axes is taken. Freezes the
    layout.
    """
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    scale = fig.dpi / POINTS
    frame = ax.get_window_extent()
    pixels = ax.transData.transform(points)
    reach = RADIUS * scale
    taken = [Bbox([[x - reach, y - reach], [x + reach, y + reach]]) for x, y in pixels]
    for (x, y), point, text, color in zip(pixels, points, texts, colors, strict=True):
        leader = LEADER | {"color": GREY, "shrinkB": RADIUS}
        label = ax.annotate(text, tuple(point), (0, 0), **BESIDE, color=color, ha="center", arrowprops=leader)
        size = _text_box(label)
        boxes = [
            Bbox.from_bounds(x + dx * scale - size.width / 2, y + dy * scale - size.height / 2, size.width, size.height)
            for dx, dy in _ring(size.width / scale, size.height / scale)
        ]
        inside = (box for box in boxes if frame.contains(*box.min) and frame.contains(*box.max))
        free = (box for box in inside if not any(box.overlaps(other) for other in taken))
        box = next(free, boxes[0])
        taken.append(box)
        if abs((box.x0 + box.x1) / 2 - x) > reach:
            label.set_multialignment("left" if box.x0 > x else "right")
        label.xyann = (((box.x0 + box.x1) / 2 - x) / scale, ((box.y0 + box.y1) / 2 - y) / scale)
        if label.arrow_patch is not None and np.hypot(*label.xyann) < max(size.width, size.height) / scale:
            label.arrow_patch.set_visible(False)  # close enough to need no leader


def _text_box(text: Annotation) -> Bbox:
    """Extent of the text alone, in pixels; an Annotation's own extent includes its arrow."""
    return Text.get_window_extent(text)


def _ring(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Offsets of a label's centre: right, left, above, below and the corners, in widening rings."""
    for gap in (3, 8, 16, 26, 40, 60, 85):
        dx, dy = width / 2 + RADIUS + gap, height / 2 + RADIUS + gap
        yield from ((dx, 0), (-dx, 0), (0, dy), (0, -dy), (dx, dy), (dx, -dy), (-dx, dy), (-dx, -dy))
