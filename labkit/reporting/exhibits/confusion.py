"""Confusion matrices: rows true, columns predicted, coloured by the share of the row."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.format import fixed, percent, plural, some, whole
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import WIDTH, contrast_on_white, new_figure, styled

SIZE = 7.8  # points, of the smallest text: on paper, where figures are drawn at 84 %, 6.5 points
LETTER = 0.067  # inches: mean width of such a letter
LINE = 1.2  # height of a line, in sizes of its text
PAGE = 9.0  # inches: what is left of A4 with its margins and a caption
LEAST = 1.2  # inches: width of a panel
ALONE = (2.05, 1.65)  # inches: width and height of the only panel, for page one
GAP = 0.08  # inches: between panels
BELOW = 0.54  # inches: for the classes of the columns and what the axis is
CELLS = "in a cell: images, percent of the row"


@styled
def confusion_matrices(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Small multiples, one matrix (C, C) of counts per variant, all on one colour scale (share of the row).

    Columns are named by their class's number where its name has no room. Of more panels than a page holds, make one
    figure for each of `matrix_pages`; of more classes (`is_written`) cells are coloured only, and some classes named.
    """
    n, written, alone = len(classes), is_written(matrices), len(matrices) == 1
    panel, fit = _panel(matrices, WIDTH - 1.5)
    across, high = (max(panel, side) if alone else panel for side in ALONE)
    short = max(map(len, classes)) * LETTER < (across - GAP) / n - 0.05
    rows = [wrap(name if short else f"{number} {name}", 16) for number, name in enumerate(classes)]
    heads = classes if short else list(map(str, range(n)))
    left = LETTER * max(len(line) for name in rows for line in name.split("\n")) + 0.32
    lines = -(-len(matrices) // fit)
    columns = -(-len(matrices) // lines)
    titles = [wrap(name, int(panel * 11)) if not alone else "" for name in matrices]
    title_height = 0.16 * max(title.count("\n") + 1 for title in titles) * any(titles) + 0.12
    width, height = across * columns + left, lines * (high + title_height) + BELOW
    # From a class that is named to the next, in rows and in columns.
    step, beside = (max(1, int(np.ceil(size * n / of))) for size, of in ((LINE * SIZE / 72, high), (0.22, across)))
    fig = new_figure(height=height, width=width)
    fig.set_layout_engine("none")
    for place, (title, matrix) in enumerate(zip(titles, matrices.values(), strict=True)):
        row, column = divmod(place, columns)
        corner = (left + column * across) / width, 1 - (row + 1) * (high + title_height) / height
        ax = fig.add_axes((*corner, (across - GAP) / width, (high - GAP) / height))
        _heatmap(ax, matrix, written, 9 if alone and n <= 5 else SIZE)
        ax.set_title(title)
        ax.set_yticks(np.arange(0, n, step) + 0.5, rows[::step] if column == 0 else [""] * len(rows[::step]))
        last = place + columns >= len(matrices)  # where the place below is empty, too, the names have room in it
        ax.set_xticks(np.arange(0, n, beside) + 0.5, heads[::beside] if last else [""] * len(heads[::beside]))
        ax.tick_params(length=0, labelsize=SIZE, rotation=0)
    said = f"predicted\n{CELLS.partition(': ')[2]}" if written else "predicted"
    fig.supxlabel(said, fontsize=8.5, x=(left + width) / 2 / width)
    fig.supylabel("true", fontsize=8.5, y=(1 + BELOW / height) / 2)
    return fig


def is_written(matrices: Mapping[str, np.ndarray]) -> bool:
    """Whether a page has room for the numbers in the cells of matrices (C, C) such as these."""
    return _written(matrices) <= WIDTH


def matrix_pages(matrices: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The matrices in as many parts as they need figures, each no higher than a page."""
    names, (panel, columns) = list(matrices), _panel(matrices, WIDTH - 1.5)
    fit = columns * max(1, int((PAGE - BELOW) // (panel + 0.44)))
    return [{name: matrices[name] for name in names[start : start + fit]} for start in range(0, len(names), fit)]


def _written(matrices: Mapping[str, np.ndarray]) -> float:
    """Inches that a panel needs for a count and below it a percentage in each cell (a digit is 0.64 em wide)."""
    digits = max(3, len(str(max(int(of.max()) for of in matrices.values()))))
    return GAP + max(0.64 * SIZE * digits + 3, 2 * LINE * SIZE + 3) / 72 * len(next(iter(matrices.values())))


def _panel(matrices: Mapping[str, np.ndarray], width: float) -> tuple[float, int]:
    """Side of a panel in inches, and how many fit beside each other in `width`."""
    panel = max(_written(matrices), LEAST) if is_written(matrices) else width
    columns = max(1, min(4, int(width // panel), len(matrices)))
    return min(width / columns, panel), columns


def _heatmap(ax: Axes, matrix: np.ndarray, written: bool, size: float) -> None:
    """`written`: with count and percentage in the cells, in points of `size`, else in colours alone."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)  # 0 in a row without images
    both = zip(matrix.flat, shares.flat, strict=True)
    texts = [f"{int(count)}\n{fixed(share * 100, 0)}" if count else "0" for count, share in both]
    sns.heatmap(
        shares,
        ax=ax,
        annot=np.reshape(texts, matrix.shape) if written else None,
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=1,
        cbar=False,
        linewidths=1 if written else 0,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
        annot_kws={"size": size, "linespacing": 1.1},
    )
    # seaborn turns to white text too early: at a share of 0.5 its contrast is below 3.
    for text, share in zip(list(ax.texts), shares.flat, strict=False):  # no text where it has no room
        text.set_color("white" if contrast_on_white(colormaps["Blues"](share)) > 4.5 else "black")


def confusion_sentence(matrix: np.ndarray, classes: Sequence[str], name: str = "") -> str:
    """The most confused pair; `matrix` (C, C): counts, rows true, columns predicted."""
    total, who = int(matrix.sum()), name or "The model"
    wrong = matrix - np.diag(np.diag(matrix))
    if wrong.sum() == 0:
        return f"{who} classifies {'the only image' if total == 1 else 'all ' + plural(total, 'image')} correctly."
    predicted_at_all = np.flatnonzero(matrix.sum(axis=0))
    constant = ""
    if len(predicted_at_all) == 1 and total > 1:
        constant = f"{who} predicts “{classes[predicted_at_all[0]]}” for every image. "
    rows, count = matrix.sum(axis=1), int(wrong.max())
    whose = f" of {name}" if name and not constant else ""
    pairs = [
        f"{classes[true]} taken for {classes[predicted]}: {whole(count)} of {plural(rows[true], 'image')} "
        f"({percent(count / rows[true])})"
        for true, predicted in np.argwhere(wrong == count).tolist()
    ]
    errors = f"The most frequent error{whose} is" if len(pairs) == 1 else f"The most frequent errors{whose} are"
    return f"{constant}{errors} {some(pairs, 3, joint='; ')}."


def confusions(results: StudyResults) -> Iterator[Exhibit]:
    """Every variant's matrix, and the most frequent error of the chosen one."""
    cells = CELLS if is_written(results.matrices) else "the darker, the larger the share of the row"
    caption = f"Confusion matrices: rows are true, columns predicted; {cells}{results.once}"
    for page in matrix_pages(results.matrices):
        alt = f"{plural(len(page), 'confusion matrix', 'confusion matrices')}, one per variant: rows are true classes, "
        alt += "columns predicted ones, darker where they hold a larger share of the row."
        yield Exhibit(figure=confusion_matrices(page, results.classes), caption=caption, alt=alt)
    yield Exhibit(text=confusion_sentence(results.matrices[results.chosen], results.classes, results.chosen))
