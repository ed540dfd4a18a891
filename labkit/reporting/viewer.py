"""Leaf through a data set's images: by class, by split, before and after augmentation, a page at a time.

In JupyterLab a slider turns the pages. Where nobody can move it (Papermill) some images of every split are drawn.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from labkit.data.augment import Augment, centre_crop
from labkit.data.store import Store
from labkit.format import plural, whole
from labkit.reporting.images import image_grid
from labkit.reporting.show import figure_output, note, show
from labkit.training.progress import in_browser

EVERY = "(all)"  # no folder is called so
UNLABELLED = "no label"
STATES = ("as it is", "augmented", "augmented again")  # epoch 0, 1 and 2 of `Browser.draw`
PAGE = 10  # images: two rows of five


@dataclass(frozen=True)
class Browser:
    """An image table with `split`, its store, and how training augments; ``group_name``: what one group is."""

    table: pd.DataFrame
    store: Store
    classes: Sequence[str]
    augment: Augment
    group_name: str = "group"

    def chosen(self, label: str = EVERY, split: str = EVERY) -> pd.DataFrame:
        """The table's rows of this class (by name, or UNLABELLED) and split, sorted by group and image_id."""
        names = self.table["label"].map(dict(enumerate(self.classes)).get, na_action="ignore").fillna(UNLABELLED)
        wanted = (names == label) | (label == EVERY), (self.table["split"] == split) | (split == EVERY)
        return self.table.loc[np.logical_and(*wanted)].sort_values(["group", "image_id"], kind="stable")

    def draw(self, images: pd.DataFrame, epoch: int = 0) -> Figure:
        """These rows of the table as a grid: file name, group, class and split above each picture.

        As a network is given them, without augmentation; from epoch 1 on augmented, drawn for that epoch.
        """
        places = np.array([self.store.rows[name] for name in images["image_id"]], np.int64)
        pixels = self.store.images[places]
        draws = self.augment.draws(epoch, len(self.store.rows), places)
        drawn = self.augment(list(pixels), draws) if epoch else centre_crop(pixels, self.augment.crop_size)
        return image_grid(drawn, [self.title(row) for row in images.to_dict("records")])

    def title(self, row: Mapping[Hashable, Any]) -> str:
        """`16_left`, `patient 16`, `Mild, train`: what stands above a picture."""
        known = [] if pd.isna(row["group"]) else [f"{self.group_name} {row['group']}"]
        label = UNLABELLED if pd.isna(row["label"]) else self.classes[int(row["label"])]
        return "\n".join([str(row["image_id"]), *known, f"{label}, {row['split']}"])

    def sample(self, each: int = 5) -> pd.DataFrame:
        """For a page that nobody turns: `each` images of every split, of as many classes as they can show."""
        table = self.chosen().sort_values("label", kind="stable")
        turn = table.groupby(["split", "label"], dropna=False).cumcount()
        shown = table.loc[turn.sort_values(kind="stable").index].groupby("split").head(each)
        order = {"train": 0, "val": 1, "test": 2}
        return shown.sort_values("split", key=lambda splits: splits.map(order).fillna(3), kind="stable")


def browse(browser: Browser) -> None:
    """Show the browser: with buttons in JupyterLab, and as one figure of every split where nobody watches."""
    if in_browser():
        display(widget(browser))
        return
    images, group = browser.sample(), f"{browser.group_name}, " * bool(browser.table["group"].notna().any())
    text = f"Some images of every split, with file name, {group}class and split"
    show(browser.draw(images), caption=text, alt=f"{text}: {', '.join(images['image_id'])}.")
    shown, there = whole(len(images)), plural(len(browser.table), "image")
    note(f"These are {shown} of {there}; explore.ipynb, opened in JupyterLab, turns page by page through all of them.")


def widget(browser: Browser):
    """An ipywidgets box: class, split and augmentation to choose, and a slider through pages of PAGE images."""
    from ipywidgets import IntSlider, ToggleButtons, interactive

    labels = [EVERY, *browser.classes, *([UNLABELLED] if browser.table["label"].hasnans else [])]
    splits, pages = [EVERY, *browser.table["split"].dropna().unique()], IntSlider(1, 1, 1, continuous_update=False)

    def turn(label: str, split: str, images: str, page: int) -> None:
        chosen = browser.chosen(label, split)
        pages.max = max(1, -(-len(chosen) // PAGE))
        shown = chosen.iloc[(min(page, pages.max) - 1) * PAGE :][:PAGE]
        print(f"{plural(len(chosen), 'image')}, {whole(len(shown))} on this page")
        if len(shown):
            figure = browser.draw(shown, STATES.index(images))
            output = figure_output(figure, ", ".join(shown["image_id"].astype(str)))
            display(output.pop("data"), **output)

    return interactive(turn, label=labels, split=splits, images=ToggleButtons(options=STATES), page=pages)
