"""The two residual blocks of He et al. (2016), "Deep Residual Learning for Image Recognition", and their sizes."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from labkit.format import millions, times
from labkit.models.describe import architecture_table
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import GREY, Palette, new_figure, styled

CONVOLUTION, NORM = "#cfe3f1", "#eeeeee"
ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
HEIGHT = 0.5  # of a box, in units of the drawing
SHORTCUT = Palette("ab")["b"].ink
WORDS = "shortcut:\nidentity, or\n1×1 convolution\nand batch norm\nwhere the shape\nchanges"
WEIGHTS = (  # 2 · 256 · 64 + 9 · 64² and 2 · 9 · 64²
    "The convolutions of a Bottleneck on 256 channels have 69,632 weights, fewer than the 73,728 of a BasicBlock on 64."
)
LITE = (
    "EfficientNet-Lite0 (Tan and Le 2019) is made of inverted residual blocks: a 1×1 convolution widens its input, a "
    "3×3 or 5×5 convolution filters each channel by itself, and another 1×1 convolution narrows the result; the input "
    "is added where the shape stays the same."
)
BASIC = [("3×3 convolution, 64", True), ("3×3 convolution, 64", False)]
BOTTLENECK = [("1×1 convolution, 64", True), ("3×3 convolution, 64", True), ("1×1 convolution, 256", False)]


@styled
def residual_blocks() -> Figure:
    """BasicBlock (ResNet-18, 34) beside Bottleneck (50, 101, 152), with the shortcut; channels of `layer1`."""
    fig = new_figure(height=3.75, width=5.2)
    axes = fig.subplots(1, 2)
    _block(axes[0], "BasicBlock", "in ResNet-18 and 34", "64 channels", BASIC)
    _block(axes[1], "Bottleneck", "in ResNet-50, 101 and 152", "256 channels", BOTTLENECK)
    for ax in axes:
        ax.set_xlim(-1.6, 3.9)
        ax.set_ylim(-7.25, 0.95)
        ax.set_aspect("equal", anchor="N")
        ax.set_axis_off()
    return fig


def _block(ax: Axes, name: str, used_by: str, width: str, layers: list[tuple[str, bool]]) -> None:
    ax.text(-1.45, 0.7, name, fontweight="bold", fontsize=10.5)
    ax.text(-1.45, 0.3, used_by, color=GREY)
    ax.text(0, -0.12, f"x ({width})", ha="center", va="center")
    fork, y = -0.5, -0.66
    ax.plot([0, 0], [-0.33, y], color="black", linewidth=1.2)
    for text, followed in layers:
        y = _box(ax, y, text, CONVOLUTION)
        y = _box(ax, y, "batch norm, ReLU" if followed else "batch norm", NORM)
    plus = y - 0.5
    _arrow(ax, (0, y), (0, plus + 0.2))
    ax.add_patch(Circle((0, plus), 0.2, facecolor="white", edgecolor="black"))
    ax.text(0, plus, "+", ha="center", va="center_baseline", fontsize=10)
    ax.text(-0.35, plus, "F(x) + x", ha="right", va="center")
    _box(ax, plus - 0.2, "ReLU", NORM)
    ax.plot([0, 1.75, 1.75], [fork, fork, plus], color=SHORTCUT, linewidth=1.5, solid_joinstyle="miter")
    _arrow(ax, (1.765, plus), (0.2, plus), SHORTCUT)
    ax.text(1.9, (fork + plus) / 2, WORDS, color=SHORTCUT, va="center", fontsize=8)


def _box(ax: Axes, top: float, text: str, color: str) -> float:
    """Draw an arrow from `top` into a box below it; returns the box's lower edge."""
    upper = top - 0.26
    _arrow(ax, (0, top), (0, upper))
    round_box = "round,pad=0,rounding_size=0.1"
    ax.add_patch(FancyBboxPatch((-1.45, upper - HEIGHT), 2.9, HEIGHT, round_box, facecolor=color, edgecolor=GREY))
    ax.text(0, upper - HEIGHT / 2, text, ha="center", va="center", fontsize=8.2)
    return upper - HEIGHT


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "black") -> None:
    ax.add_patch(FancyArrowPatch(start, end, color=color, **ARROW))


def depth_sentence(architectures: pd.DataFrame) -> str:
    """How parameters grow with depth; `architectures`: `models.describe.architecture_table`."""
    written = architectures.set_index("layer name").filter(like="-layer").loc["parameters"]
    counts = written.str.replace(",", "").astype(int)
    small, large, few, many = *counts.index[[0, -1]], *counts.iloc[[0, -1]]
    return f"The {large} network has {millions(many)} parameters, {times(many / few)} as many as the {small} one."


def architecture(results: StudyResults) -> Iterator[Exhibit]:
    """What a residual network is, and the sizes of those that are compared."""
    params = results.runs[0]["params"]
    archs = {run["params"].arch for run in results.runs}
    if any(arch.startswith("resnet") for arch in archs):
        alt = "Diagram of a BasicBlock of two 3×3 convolutions and a Bottleneck of 1×1, 3×3 and 1×1 convolutions, each "
        alt += "with a shortcut that adds its input to its output."
        caption = "The two building blocks: BasicBlock and Bottleneck"
        yield Exhibit(figure=residual_blocks(), caption=caption, alt=alt, text=WEIGHTS)
        table = architecture_table(params.input_size, len(results.classes))
        caption = f"Architectures for images of {params.input_size} px; FLOPs are multiply-adds of one image"
        if any(run["params"].loss == "ordinal" for run in results.runs):
            caption += "; of an ordinal variant the last layer is 1-d, without softmax"
        yield Exhibit(table=table, caption=caption, text=depth_sentence(table))
    if any("efficientnet" in arch for arch in archs):
        yield Exhibit(text=LITE)
