"""A run's own test images, grids of images, and what augmentation does to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from labkit.data.augment import Augment, centre_crop
from labkit.data.hashes import file_hashes
from labkit.data.source import open_data
from labkit.data.store import Store, build_store
from labkit.evaluation.subgroups import brightness_and_sharpness
from labkit.format import some
from labkit.params import ExploreParams, ParameterError, RunParams
from labkit.reporting.labels import wrap
from labkit.reporting.style import COLORS, WIDTH, new_figure, row_axis, styled, value_axis
from labkit.runs.folder import cache_root

PICTURE = 224  # pixels a side at which images from elsewhere are shown


@dataclass(frozen=True)
class Pixels:
    """The store of one run's images, cut as its network saw them."""

    params: RunParams
    store: Store

    def of(self, image_ids: Sequence[str]) -> np.ndarray:
        """uint8 (n, S, S, 3), in this order; KeyError names an image that is not there any more."""
        images = self.store.images[[self.store.rows[name] for name in image_ids]]
        return centre_crop(images, self.params.input_size)

    def quality(self, image_ids: Sequence[str]) -> pd.DataFrame:
        """Columns brightness and sharpness, indexed by image_id; read one by one, so that any number fits."""
        each = (self.of([name])[0] for name in image_ids)
        return brightness_and_sharpness(each).set_index(pd.Index(image_ids, name="image_id"))


def open_pixels(params: RunParams) -> Pixels:
    """Raises DataError where the data cannot be read any more."""
    images, hashes = open_data(params, cache_root())
    return Pixels(params, build_store(images.table, hashes, params.image_size, cache_root()))


def pictures(folder: Path, image_ids: Sequence[str]) -> Pixels:
    """Of the files below the folder that ids name, with or without folder and ending; ParameterError without one."""
    if not folder.is_dir():
        raise ParameterError(f"images: {folder}: there is no such folder of images")
    names = ((path, path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
    found = {str(name): path for path, of in names for name in (of.with_suffix(""), of, of.stem, of.name)}
    if missing := [name for name in image_ids if name not in found]:
        raise ParameterError(f"images: {folder}: no file is called {some(missing, 3, 'or')}, with or without an ending")
    table = pd.DataFrame({"image_id": image_ids, "path": [str(found[name]) for name in image_ids]})
    return Pixels(
        RunParams.of({"image_size": PICTURE}),
        build_store(table, file_hashes(table, cache_root()), PICTURE, cache_root()),
    )


def is_augmented(params: ExploreParams) -> bool:
    """Whether training changes an image at random: by flips, a rotation or the place of the crop."""
    cropped = params.crop_size not in (None, params.image_size)
    return cropped or params.horizontal_flip or params.vertical_flip or bool(np.any(params.rotation))


def augmentation_sentence(params: ExploreParams) -> str:
    """What happens to an image in training, and what in validation and test."""
    if not is_augmented(params):
        return "Training does not augment images."
    uncropped = params.model_copy(update={"crop_size": None})
    changes = [Augment.of(params).in_words()] if is_augmented(uncropped) else []
    rest = "validation and test images stay as they are"
    if params.crop_size not in (None, params.image_size):
        changes.append(f"cut to {params.crop_size} px at a random place")
        rest = f"of validation and test images the middle {params.crop_size} px are used"
    rest = "so are validation and test images" if params.augment_test else rest
    return f"In training an image is {' and '.join(changes)}, anew in every epoch; {rest}."


def on_augmented_images(params: Iterable[ExploreParams]) -> str:
    """What a caption of training scores says of their images; nothing where no variant augments them."""
    which = {is_augmented(one) for one in params}
    return ", in training on augmented images" * (True in which) + " (not of all variants)" * (len(which) > 1)


@styled
def image_grid(
    images: np.ndarray | Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    columns: int = 5,
    largest: float = 1.6,
) -> Figure:
    """Images as they are, in a grid; with `rows` (a name per image) one row of the grid for each name.

    `images`: uint8, (N, H, W, 3) or a list of (H, W, 3) of any sizes; `titles`: one per image, written above it.
    A row with more than `columns` images goes on in the next; none is drawn wider than `largest` inches.
    """
    lines = _lines(rows or [""] * len(images), columns)
    width = max(len(line) for _, line in lines)
    cell = min((WIDTH - (0.9 if rows else 0)) / width, largest)
    per_line = max(3, int(cell * 15))
    titles = [wrap(title, per_line) for title in titles] if titles else None
    above = sum(0.16 * max(titles[place].count("\n") + 1.6 for place in line) for _, line in lines) if titles else 0
    fig = new_figure(len(lines) * (cell + 0.04) + above, cell * width + (0.9 if rows else 0))
    fig.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01))
    axes = fig.subplots(len(lines), width, squeeze=False)
    for (name, line), row in zip(lines, axes, strict=True):
        for ax in row[len(line) :]:
            ax.set_axis_off()
        for place, ax in zip(line, row, strict=False):
            _picture(ax, images[place], titles[place] if titles else "")
        if name:
            row[0].set_ylabel(wrap(name, 13), rotation=0, ha="right", va="center", labelpad=5)
    return fig


@styled
def class_bars(shares: pd.DataFrame, titles: Sequence[str], marked: Sequence[str] = (), columns: int = 3) -> Figure:
    """A panel for each row of `shares` (a column per class) with its title; the bars of `marked` classes are orange."""
    lines, names = -(-len(shares) // columns), [str(name) for name in shares.columns]
    fig = new_figure(lines * (0.2 * len(names) + 0.17 * max(title.count("\n") + 2 for title in titles)))
    axes = fig.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, values, title in zip(axes, shares.to_numpy(np.float64), titles, strict=False):
        ax.barh(names, values, color=[COLORS[1] if name in marked else COLORS[0] for name in names])
        row_axis(ax, [wrap(name, 20) for name in names])
        value_axis(ax.xaxis, in_percent=True, ticks=3)
        ax.set_title(wrap(title, 28), fontsize=8.5, fontweight="normal")
    for ax in axes[len(shares) :]:
        ax.set_axis_off()
    axes[0].set_xlim(0, 1)
    return fig


def _lines(rows: Sequence[str], columns: int) -> list[tuple[str, list[int]]]:
    """Row names in order of appearance, each with the places of at most `columns` of its images."""
    lines = []
    for name in dict.fromkeys(rows):
        places = [place for place, row in enumerate(rows) if row == name]
        for start in range(0, len(places), columns):
            lines.append((name if start == 0 else "", places[start : start + columns]))
    return lines


def _picture(ax: Axes, image: np.ndarray, title: str) -> None:
    ax.imshow(image, interpolation="nearest" if image.shape[0] < 64 else "antialiased")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if title:
        ax.set_anchor("S")  # what is left of the cell is for the title
        ax.set_title(title, fontsize=8.5, fontweight="normal", loc="center", pad=2)
