"""One look for all figures, and one colour, marker and line style per variant through the whole report."""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import Formatter, MaxNLocator

from labkit.format import percent

P = ParamSpec("P")

WIDTH = 7.0  # inches: the text width of an A4 page with 2.5 cm margins is 6.3, of the HTML column 7
GREY = "#666666"
FAINT = "#d9d9d9"

# Okabe & Ito (2008), "Color Universal Design", in an order that alternates dark and light; their yellow is
# left out (unreadable on white) and wine (Paul Tol, "muted") stands in for it.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

# For letters that DejaVu Sans lacks: Chinese, Japanese and Korean, where the machine has a font of them.
OTHERS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "Droid Sans Fallback")
OTHERS += ("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic")
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns that these have no bold

RC: Any = {
    "figure.dpi": 150,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans", *(name for name in OTHERS if name in get_font_names())],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "text.parse_math": False,  # a "$" in a run's name is a "$"
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under RC without changing the caller's own settings."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure (inches) that pyplot does not know: it is freed with its last reference."""
    return Figure(figsize=(width, height), dpi=RC["figure.dpi"], layout="constrained")


@dataclass(frozen=True)
class VariantStyle:
    """How one run is drawn: colour, matplotlib marker and line style ('--' from scratch beside others)."""

    color: str
    marker: str
    linestyle: str

    @property
    def face(self) -> str:
        """Fill of the marker: hollow where the line is dashed."""
        return "white" if self.linestyle == "--" else self.color

    def dot(self, size: float, edge: float = 1.4) -> dict[str, Any]:
        """What `Axes.plot` is given to draw one marker; `size` and `edge` in points."""
        marker = {"marker": self.marker, "markersize": size, "markerfacecolor": self.face, "markeredgewidth": edge}
        return marker | {"color": self.color, "linestyle": "none"}

    @property
    def glyph(self) -> str:
        """The marker as a character, to stand before the variant's name."""
        glyphs = "○□△◇▽✚✖☆" if self.linestyle == "--" else "●■▲◆▼✚✖★"
        return glyphs[MARKERS.index(self.marker)]

    @property
    def ink(self) -> str:
        """The colour, dark enough for text on white (contrast 4.5, WCAG 2.1 AA)."""
        red, green, blue = to_rgb(self.color)
        while contrast_on_white((red, green, blue)) < 4.5:
            red, green, blue = 0.95 * red, 0.95 * green, 0.95 * blue
        return to_hex((red, green, blue))


def contrast_on_white(rgb: tuple[float, ...]) -> float:
    """Contrast ratio of an RGB colour and white, 1 to 21 (WCAG 2.1)."""
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3])
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


class PercentTicks(Formatter):
    """0.725 -> '72.5 %', all ticks of an axis with as many decimals as the finest needs."""

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: D102
        locs = [float(loc) * 100 for loc in self.locs]
        digits = next((d for d in range(3) if all(abs(loc - round(loc, d)) < 1e-6 for loc in locs)), 3)
        return percent(x, digits)


def row_axis(ax: Axes, names: Sequence[str]) -> None:
    """One row for each name, the first on top; a grid for the values and no line at the left."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def value_axis(axis: Axis, in_percent: bool, ticks: int = 6) -> None:
    """Round tick places, written in percent or as they are."""
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    if in_percent:
        axis.set_major_formatter(PercentTicks())


class Palette:
    """Colour, marker and line style of each run, by its place among *all* runs of the study, failed ones too.

    `dashed` names the runs to draw dashed (those trained from scratch); where that would be all of them, none is.
    """

    def __init__(self, names: Iterable[str], dashed: Iterable[str] = ()) -> None:
        self.names = list(dict.fromkeys(map(str, names)))
        self.dashed = frozenset(map(str, dashed))
        if self.dashed.issuperset(self.names):
            self.dashed = frozenset()

    def __getitem__(self, name: str) -> VariantStyle:
        """Raises ValueError for a name that is not in the palette."""
        if name not in self.names:
            raise ValueError(f"run {name!r} is not in the palette; its runs are {', '.join(self.names)}")
        place = self.names.index(name)
        # Beyond eight, a colour comes back with another marker.
        marker = MARKERS[(place + place // len(COLORS)) % len(MARKERS)]
        return VariantStyle(COLORS[place % len(COLORS)], marker, "--" if name in self.dashed else "-")

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Those of the palette's names that are in `names`, in the palette's order."""
        wanted = set(map(str, names))
        for name in wanted:
            self[name]
        return [name for name in self.names if name in wanted]
