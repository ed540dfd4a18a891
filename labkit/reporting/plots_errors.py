"""Figures of single answers: the worst mistakes, confused pairs, where the network looks, and scores by subgroup."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from labkit.evaluation.gradcam import heat
from labkit.evaluation.metrics import confusion
from labkit.format import interval, metric, whole
from labkit.reporting.frames import floats, parts
from labkit.reporting.pixels import Pixels
from labkit.reporting.plots_data import image_grid
from labkit.reporting.sentences_errors import loss_titles, mistake_titles
from labkit.reporting.style import COLORS, WIDTH, new_figure, styled, value_axis

OPACITY = 0.5  # of the hottest place of a Grad-CAM map over its image; cold places show the image alone


def mistakes_gallery(wrong: pd.DataFrame, pixels: Pixels, classes: Sequence[str]) -> Figure:
    """Each row of `evaluation.decide.mistakes` as an image with its file name, class, answer and confidence."""
    return image_grid(pixels.of(wrong["image_id"].tolist()), mistake_titles(wrong, classes))


def losses_gallery(costly: pd.DataFrame, pixels: Pixels, classes: Sequence[str]) -> Figure:
    """Each row of `evaluation.decide.top_losses` as an image with its file name, class, answer and loss."""
    return image_grid(pixels.of(costly["image_id"].tolist()), loss_titles(costly, classes))


def confused_pairs(wrong: pd.DataFrame, n_classes: int, most: int = 3) -> list[tuple[int, int, int]]:
    """The most frequent (true, predicted, images), the commonest first; of equal ones the lower classes."""
    if wrong.empty:
        return []
    matrix = confusion(wrong, n_classes)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    found = [
        (*(int(place) for place in np.unravel_index(cell, matrix.shape)), int(matrix.flat[cell])) for cell in order
    ]
    return [(true, predicted, count) for true, predicted, count in found if count]


def pairs_gallery(wrong: pd.DataFrame, pixels: Pixels, classes: Sequence[str], each: int = 5) -> Figure:
    """A row of images for each of the most confused pairs, the surest mistakes first, with their file names."""
    chosen, rows = [], []
    for true, predicted, count in confused_pairs(wrong, len(classes)):
        mine = wrong.loc[(wrong["label"] == true) & (wrong["prediction"] == predicted)].head(each)
        chosen.append(mine)
        rows += [f"{classes[true]} as {classes[predicted]}\n({whole(count)})"] * len(mine)
    names = pd.concat(chosen)["image_id"].tolist()
    return image_grid(pixels.of(names), names, rows, columns=each)


def missed_gallery(wrong: pd.DataFrame, pixels: Pixels, classes: Sequence[str], label: int, most: int = 10) -> Figure:
    """Images of one class that were taken for another, the surest mistakes first."""
    return mistakes_gallery(wrong.loc[wrong["label"] == label].head(most), pixels, classes)


def gaze_rows(test: pd.DataFrame, wrong: pd.DataFrame, each: int = 4) -> pd.DataFrame:
    """Of a decided test table: the `each` surest mistakes, and right answers of as many classes, of other patients.

    Right answers: the first of each class by image_id, the rarest answers first, so that not all of them are healthy.
    Column `answer` is right or wrong.
    """
    right = test.loc[(test["prediction"] == test["label"]).fillna(False).to_numpy(bool)].sort_values("image_id")
    turn = right.groupby("prediction").cumcount()
    rarity = right["prediction"].map(right["prediction"].value_counts())
    order = pd.DataFrame({"turn": turn, "rarity": rarity}).sort_values(["turn", "rarity"], kind="stable").index
    shown = [right.loc[order[:each]].assign(answer="right"), wrong.head(each).assign(answer="wrong")]
    return pd.concat(shown, ignore_index=True)


def gaze_gallery(rows: pd.DataFrame, maps: np.ndarray, pixels: Pixels, classes: Sequence[str]) -> Figure:
    """Images and, below them, the same under their Grad-CAM maps (n, h, w); `rows` as `gaze_rows` gives them."""
    images = pixels.of(rows["image_id"].tolist())
    under = [overlay(image, one) for image, one in zip(images, heat(maps), strict=True)]
    pictures, titles, names = [], [], []
    for answer in rows["answer"].unique():
        mine = np.flatnonzero(rows["answer"] == answer)
        for what, source in ((answer, images), ("Grad-CAM", under)):
            pictures += [source[place] for place in mine]
            names += [f"{what} ({answer})" if what == "Grad-CAM" else f"{answer} answers"] * len(mine)
        said = [
            f"{classes[row['label']]}\nas {classes[row['prediction']]}" for row in rows.iloc[mine].to_dict("records")
        ]
        titles += [*said, *rows.iloc[mine]["image_id"]]
    return image_grid(pictures, titles, names, columns=max(rows["answer"].value_counts()))


def looked_at(
    images: np.ndarray, maps: np.ndarray, titles: Sequence[str], of_map: str = "Grad-CAM", pairs: int = 2
) -> Figure:
    """Each image (n, H, W, 3) with its title, and beside it the same under its map (n, h, w); `pairs` of them a row."""
    under = [overlay(image, one) for image, one in zip(images, heat(maps), strict=True)]
    pictures = [picture for pair in zip(images, under, strict=True) for picture in pair]
    said = [text for title in titles for text in (title, of_map)]
    return image_grid(pictures, said, columns=2 * pairs, largest=WIDTH / (2 * pairs))


def overlay(image: np.ndarray, heat_map: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) with a map (h, w) from 0 to 1 over it, enlarged smoothly: the hotter, the more opaque."""
    size = (image.shape[1], image.shape[0])
    large = np.asarray(Image.fromarray(heat_map.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    opacity = OPACITY * large[..., None]
    colours = colormaps["inferno"](large)[..., :3] * 255
    return (image * (1 - opacity) + colours * opacity).round().astype(np.uint8)


@styled
def subgroup_dots(table: pd.DataFrame, score: str, overall: float) -> Figure:
    """A panel a factor, a dot with its interval a part; `table` as `evaluation.subgroups.by_subgroup` gives it.

    `overall`: the score of all test images, dashed.
    """
    panels = parts(table, "factor")
    if not panels:
        raise ValueError("subgroup_dots got no subgroup")
    heights = [len(part) for part in panels.values()]
    fig = new_figure(height=0.28 * sum(heights) + 0.42 * len(panels) + 0.5, width=WIDTH)
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (factor, part) in zip(axes, panels.items(), strict=True):
        values, low, high = (floats(part, name) for name in ("estimate", "low", "high"))
        for row, (value, start, end) in enumerate(zip(values, low, high, strict=True)):
            ax.plot([start, end], [row, row], color=COLORS[0])
            ax.plot(value, row, "o", color=COLORS[0], markersize=6)
            text = f"{metric(score).text(value)} {interval(score, start, end)}".strip()
            ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
        ax.axvline(overall, color="#666666", linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        names = [f"{name} (n = {whole(n)})" for name, n in zip(part["part"], part["n"], strict=True)]
        ax.set_yticks(range(len(part)), names)
        ax.set_ylim(len(part) - 0.5, -0.5)
        ax.set_title(factor)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    value_axis(axes[-1].xaxis, metric(score).percent)
    axes[-1].set_xlabel(metric(score).name)
    return fig
