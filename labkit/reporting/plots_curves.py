"""ROC and precision-recall curves: a panel a class, all variants in each, with their areas written in the panel."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.format import fixed, percent, plural
from labkit.reporting.frames import floats, only, parts
from labkit.reporting.labels import POINTS, wrap
from labkit.reporting.style import GREY, WIDTH, Palette, new_figure, styled
from labkit.reporting.tables import TOO_FEW

LINE = 0.17  # inches: a line of the list of names
STEPS = {"roc": "default", "pr": "steps-post"}  # between two points precision is not a straight line
AXES = {"roc": ("false positives (%)", "sensitivity (%)"), "pr": ("sensitivity (%)", "PPV (%)")}


@styled
def roc_curves(curves: pd.DataFrame, palette: Palette | None = None, *, of: Sequence[str] | None = None) -> Figure:
    """Sensitivity against 1 - specificity; dashed: chance. `curves`: as `ranking.curves`; `of`: which, all if None.

    A panel each; the variants' names stand once, with their AUROC where there is one panel only.
    """
    return _panels(curves, palette, "roc", of)


@styled
def precision_recall_curves(
    curves: pd.DataFrame, palette: Palette | None = None, *, of: Sequence[str] | None = None
) -> Figure:
    """Positive predictive value against sensitivity; dashed: chance, the share of positives. As `roc_curves`."""
    return _panels(curves, palette, "pr", of)


def _panels(curves: pd.DataFrame, palette: Palette | None, kind: str, of: Sequence[str] | None) -> Figure:
    table = only(curves, "kind", kind)
    names = [name for name in parts(table, "of") if of is None or name in of]
    if not names:
        raise ValueError("no class has both positive and negative images, so there is no curve to draw")
    table = pd.concat([only(table, "of", name) for name in names])
    palette = palette or Palette(table["run"])
    runs = palette.ordered(table["run"])
    columns = min(3, len(names) + 1)  # one place more than panels, for the names
    lines = -(-(len(names) + 1) // columns)
    keys = [_key(table, palette, run, kind, names) for run in runs]
    needed = LINE * sum(text.count("\n") + 1 for text, _ in keys) + 0.05 * len(keys) + 0.5
    fig = new_figure(height=max(2.45 * lines, needed * lines), width=WIDTH if columns == 3 else 5.2)
    axes = fig.subplots(lines, columns, squeeze=False)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for place, name in enumerate(names):
        ax, part = axes.flat[place], only(table, "of", name)
        _panel(ax, part, palette, runs, kind)
        images, share = floats(part, "images")[0], floats(part, "share")[0]
        few = ", too few" if images < TOO_FEW else ""
        ax.set_title(f"{wrap(name, 20)}\n{plural(images, 'image')} ({percent(share)}{few})", fontsize=8.5)
        ax.set_xlabel(AXES[kind][0])
        if place % columns == 0:
            ax.set_ylabel(AXES[kind][1])
    down = 0.0  # points below the top of the place for the names
    for text, color in keys:
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "linespacing": 1.15}
        axes.flat[len(names)].annotate(text, (0, 1), (0, -down), color=color, fontsize=8.5, **place)
        down += (text.count("\n") + 1) * LINE * POINTS + 3
    return fig


def _panel(ax: Axes, table: pd.DataFrame, palette: Palette, runs: Sequence[str], kind: str) -> None:
    share = float(floats(table, "share")[0])
    chance = [0, 1] if kind == "roc" else [share, share]
    ax.plot([0, 1], chance, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    of_run = parts(table, "run")
    for run in runs:
        if run in of_run:
            x, y = floats(of_run[run], "x"), floats(of_run[run], "y")
            style = palette[run]
            ax.plot(x, y, color=style.color, linestyle=style.linestyle, linewidth=1.3, drawstyle=STEPS[kind])
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks([0, 0.5, 1], ["0", "50", "100"])
    ax.grid()


def _key(table: pd.DataFrame, palette: Palette, run: str, kind: str, names: Sequence[str]) -> tuple[str, str]:
    """A variant's name beside its colour; with its area where there is one panel only."""
    text = f"{palette[run].glyph} " + wrap(run, 22).replace("\n", "\n    ")
    if len(names) == 1:
        area = fixed(floats(only(table, "run", run), "area")[0], 3)
        text += f"\n    {'AUROC' if kind == 'roc' else 'average precision'} {area}"
    return text, palette[run].ink
