"""Confusion matrices: rows true, columns predicted, coloured by the share of the row."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.evaluation.intervals import TOO_FEW
from labkit.format import fixed, listing, percent, plural, whole
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import WIDTH, contrast_on_white, new_figure, styled

SIZE, SMALL = 8.5, 7.0  # points
LETTER = 0.073  # inches: mean width of a letter of 8.5 points
LINE = 1.2  # height of a line, in sizes of its text
PAGE = 9.0  # inches: what is left of A4 with its margins and a caption


@styled
def confusion_matrices(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Small multiples, one matrix (C, C) of counts per variant, all on one colour scale (share of the row).

    Each cell shows the count and below it the percentage of its row; small cells leave out the percent sign and the
    thousands separator. Rows of panels wrap so that the text stays readable; of more than a page holds, make one
    figure for each of `matrix_pages`. Of more classes than a page holds (`is_written`) the cells are coloured only, and
    only every second, third … class is named.
    """
    left = LETTER * max(len(line) for name in classes for line in wrap(name, 14).split("\n")) + 0.4
    columns, panel, size = _layout(matrices, WIDTH - left)
    lines = -(-len(matrices) // columns)
    titles = [wrap(name, int(panel * 11)) for name in matrices]
    title_height = 0.16 * max(title.count("\n") + 1 for title in titles) + 0.12
    # Slanted names reach to the left: upright where that is into another panel.
    rotation = 45 if len(matrices) % columns == 0 and len(classes) <= 5 else 90
    name_size = 8.5 if panel / len(classes) > 0.28 else 7.5
    step = max(1, int(np.ceil(LINE * name_size / 72 * len(classes) / panel)))  # from a class that is named to the next
    named = list(classes)[::step]
    reach = LETTER * name_size / 8.5 * max(map(len, classes))
    bottom = (0.72 if rotation == 45 else 0.9) * reach + 0.35
    fig = new_figure(height=lines * (panel + title_height) + bottom, width=panel * columns + left)
    axes = fig.subplots(lines, columns, squeeze=False)
    for ax in axes.flat[len(matrices) :]:
        ax.set_axis_off()
    for place, (ax, matrix) in enumerate(zip(axes.flat, matrices.values(), strict=False)):
        _heatmap(ax, matrix, size if is_written(matrices) else None)
        ax.set_aspect("equal")
        ax.set_title(titles[place])
        ax.set_xticks([])
        ax.set_yticks(np.arange(0, len(classes), step) + 0.5, [""] * len(named), rotation=0, fontsize=name_size)
        if place % columns == 0:
            ax.set_yticklabels([wrap(name, 14) if step == 1 else name for name in named])
        if place + columns >= len(matrices):
            # Above an empty place the names hang into it; the layout must not make room for them between the rows.
            _names_below(ax, named, step, rotation, name_size, in_layout=place // columns == lines - 1)
    fig.supxlabel("predicted", fontsize=9)
    fig.supylabel("true", fontsize=9)
    for _ in range(3):  # panels of fixed aspect: each pass gets closer to the final layout
        fig.draw_without_rendering()
    fig.set_layout_engine("none")
    return fig


def is_written(matrices: Mapping[str, np.ndarray]) -> bool:
    """Whether a page has room for the numbers in the cells of matrices (C, C) such as these."""
    return all(_cell_size(SMALL, ("100", str(int(of.max())))) * len(of) <= WIDTH for of in matrices.values())


def matrix_pages(matrices: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The matrices in as many parts as they need figures, each no higher than a page."""
    names = list(matrices)
    largest = max(int(np.max(matrix)) for matrix in matrices.values())
    cell = _cell_size(SMALL, ("100", str(largest)))
    needed = cell * len(next(iter(matrices.values()))) if is_written(matrices) else WIDTH - 1.6
    fit = max(1, int((WIDTH - 1.6) // needed)) * max(1, int((PAGE - 1.2) // (needed + 0.44)))
    return [{name: matrices[name] for name in names[start : start + fit]} for start in range(0, len(names), fit)]


def _cell_size(size: float, texts: Sequence[str]) -> float:
    """Inches that a cell needs for a count and a percentage below it; a digit is 0.64 em wide in DejaVu Sans."""
    return max(0.64 * size * max(map(len, texts)) + 3, 2 * LINE * size + 3) / 72


def _layout(matrices: Mapping[str, np.ndarray], width: float) -> tuple[int, float, float]:
    """Panels per row, width of a panel (inches) and size of its text, such that the longest number fits its cell."""
    classes, number = len(next(iter(matrices.values()))), len(matrices)
    largest = max(int(matrix.max()) for matrix in matrices.values())
    columns, panel, size = 1, 2.7, SIZE
    for size, texts in ((SIZE, ("100 %", whole(largest))), (SMALL, ("100", str(largest)))):
        needed = classes * _cell_size(size, texts) if is_written(matrices) else width
        columns = int(np.clip(width // needed, 1, 4 if classes <= 2 else 3))
        lines = -(-number // columns)
        columns = -(-number // lines)
        page = (PAGE - 1.2) / lines - 0.44
        panel = max(needed, min(width / columns, page, 2.0))
        if page >= needed:
            break
    return columns, panel, size


def _names_below(ax: Axes, names: Sequence[str], step: int, rotation: float, size: float, in_layout: bool) -> None:
    for place, name in enumerate(names):
        ax.annotate(
            name,
            (place * step + 0.5, 0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(2 if rotation == 45 else 0, -4),
            textcoords="offset points",
            rotation=rotation,
            rotation_mode="anchor",
            ha="right",
            va="top" if rotation == 45 else "center",
            fontsize=size,
            annotation_clip=False,
        ).set_in_layout(in_layout)


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Counts (C, C) -> share of each row; a row without images is all zero."""
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)


def _heatmap(ax: Axes, matrix: np.ndarray, size: float | None) -> None:
    """`size`: that of the text in the cells, or None for colours alone."""
    shares = row_shares(matrix)
    texts = [
        f"{whole(count)}\n{percent(share, 0)}" if size == SIZE else f"{int(count)}\n{fixed(share * 100, 0)}"
        for count, share in zip(matrix.flat, shares.flat, strict=True)
    ]
    sns.heatmap(
        shares,
        ax=ax,
        annot=np.reshape(texts, matrix.shape) if size else None,
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=1,
        cbar=False,
        linewidths=1 if size else 0,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
        annot_kws={"size": size, "linespacing": 1.1},
    )
    # seaborn turns to white text too early: at a share of 0.5 its contrast is below 3.
    for text, share in zip(list(ax.texts), shares.flat, strict=False):  # no text where it has no room
        text.set_color("white" if contrast_on_white(colormaps["Blues"](share)) > 4.5 else "black")
    ax.tick_params(length=0)


def confusion_sentence(matrix: np.ndarray, classes: Sequence[str], name: str = "") -> str:
    """The most confused pair and the hardest class; `matrix` (C, C): counts, rows true, columns predicted."""
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
    return f"{constant}{errors} {'; '.join(pairs)}{_hardest(np.diag(matrix), rows, classes)}."


def _hardest(found: np.ndarray, rows: np.ndarray, classes: Sequence[str]) -> str:
    """Which of the classes with enough images is found least often; empty where there are not two of these."""
    enough = rows >= TOO_FEW
    if enough.sum() < 2:
        return ""
    sensitivity = np.divide(found, rows, out=np.full(len(rows), np.nan), where=enough)
    hardest = [int(place) for place in np.flatnonzero(sensitivity == np.nanmin(sensitivity))]
    share = percent(float(sensitivity[hardest[0]]))
    if len(hardest) == 1:
        place = hardest[0]
        part = f"{whole(found[place])} of {whole(rows[place])} {'is' if found[place] == 1 else 'are'}"
        return f"; hardest is {classes[place]}, of which {part} found ({share})"
    if len(hardest) == enough.sum():
        return f"; all classes with {TOO_FEW} images are equally hard ({share} found)"
    return f"; hardest are {listing([classes[place] for place in hardest])} (of each, {share} found)"


def confusions(results: StudyResults) -> Iterator[Exhibit]:
    """Every variant's matrix, and its most frequent error."""
    matrices = results.matrices
    lines = {name: confusion_sentence(matrix, results.classes, name) for name, matrix in matrices.items()}
    cells = "images and percent of the row" if is_written(matrices) else "the darker, the larger the share of the row"
    caption = f"Confusion matrices: rows are true, columns predicted; {cells}{results.once}"
    for page in matrix_pages(matrices):
        alt = f"Confusion matrices of {', '.join(page)}. {lines[results.chosen]}"
        yield Exhibit(figure=confusion_matrices(page, results.classes), caption=caption, alt=alt)
    yield Exhibit(text="\n".join(f"- {line}" for line in lines.values()))
