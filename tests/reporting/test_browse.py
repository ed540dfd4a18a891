"""The image browser of explore.ipynb: pages of a class and a split, one figure where nobody watches."""

import base64
import json
from dataclasses import replace

import pandas as pd
import pytest

from labkit.data.augment import Augment
from labkit.data.hashes import file_hashes
from labkit.data.readers import read
from labkit.data.splits import assign_splits
from labkit.data.store import build_store
from labkit.params import PROJECT, DataParams
from labkit.reporting import viewer
from labkit.reporting.viewer import EVERY, PAGE, UNLABELLED, Browser, browse, widget

CLASSES = ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR"]


@pytest.fixture
def browser(image_folder, tmp_path) -> Browser:
    table = read(DataParams(), image_folder).table
    store = build_store(table, file_hashes(table, tmp_path), 24, tmp_path)
    table = assign_splits(table, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2)
    return Browser(table, store, CLASSES, Augment(16, horizontal_flip=True, rotation=45.0), "patient")


@pytest.fixture
def displayed(monkeypatch) -> list:
    """What reaches the notebook, as (mime types, text)."""
    seen: list = []

    def display(content, **_):
        seen.append(content)

    monkeypatch.setattr("labkit.reporting.show.display", display)
    monkeypatch.setattr("labkit.reporting.viewer.display", display)
    return seen


def test_a_class_and_a_split_choose_the_images(browser):
    for label in range(5):
        chosen = browser.chosen(CLASSES[label], "train")
        assert set(chosen["label"]) == {label} and set(chosen["split"]) == {"train"}
    assert len(browser.chosen()) == len(browser.table) == 80
    assert browser.chosen()["group"].is_monotonic_increasing  # both eyes of a patient side by side


def test_images_without_a_label_can_be_looked_at(browser):
    table = browser.table.astype({"label": "Int64"})
    table.loc[table.index[:3], "label"] = pd.NA
    blind = Browser(table, browser.store, CLASSES, browser.augment, "patient")
    assert widget(blind).children[0].options[-1] == UNLABELLED
    assert UNLABELLED not in widget(browser).children[0].options
    assert len(blind.chosen(UNLABELLED)) == 3
    assert UNLABELLED in blind.title(blind.chosen(UNLABELLED).iloc[0].to_dict())


def test_file_name_group_class_and_split_stand_above_each_picture(browser):
    images = browser.chosen("Severe", "train").head(3)
    titles = [ax.get_title() for ax in browser.draw(images).axes if ax.get_title()]
    first = images.iloc[0]
    assert titles[0].splitlines()[0] == first["image_id"]
    assert f"patient {first['group']}" in titles[0] and "Severe, train" in titles[0]
    assert len(titles) == 3


def test_augmentation_changes_the_pictures_and_another_epoch_changes_them_again(browser):
    images = browser.chosen("Severe").head(2)
    drawn = [browser.draw(images, epoch).axes[0].images[0].get_array() for epoch in (0, 1, 2, 1)]
    assert drawn[0].shape == (16, 16, 3)  # as the network sees it: cropped
    assert (drawn[0] != drawn[1]).any() and (drawn[1] != drawn[2]).any() and (drawn[1] == drawn[3]).all()


def test_the_slider_turns_the_pages_of_what_is_chosen(browser, displayed, capsys):
    box = widget(browser)
    label, split, images, page, _ = box.children
    assert list(label.options) == [EVERY, *CLASSES] and set(split.options) == {EVERY, "train", "val", "test"}
    box.update()
    assert page.max == 8 and "80\u00a0images, 10 on this page" in capsys.readouterr().out
    page.value = 8
    label.value = "Mild"
    names = browser.chosen("Mild")["image_id"].tolist()
    assert page.max == page.value == 2 and displayed[-1]["text/plain"] == f"[Figure: {', '.join(names[PAGE:])}]"
    plain = displayed[-1]["image/png"]
    images.value = "augmented"
    assert displayed[-1]["image/png"] != plain and base64.b64decode(plain).startswith(b"\x89PNG")


def test_an_empty_choice_says_so(browser, displayed, capsys):
    table = browser.table[(browser.table["split"] != "val") | (browser.table["label"] != 1)]
    box = widget(Browser(table, browser.store, CLASSES, browser.augment))
    label, split, *_ = box.children
    label.value = "Mild"
    displayed.clear()
    split.value = "val"
    assert not displayed and "0\u00a0images, 0 on this page" in capsys.readouterr().out


def test_where_nobody_watches_there_is_a_figure_of_every_split_and_no_widget(browser, displayed, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(viewer, "widget", None)  # would fail if it were called
    browse(browser)
    assert [next(iter(content)) for content in displayed] == ["image/png", "text/html", "text/markdown"]
    assert "with file name, patient, class and split" in displayed[1]["text/plain"]
    browse(replace(browser, table=browser.table.assign(group=None)))
    assert "with file name, class and split" in displayed[4]["text/plain"]
    sample = browser.sample()
    assert sample["split"].drop_duplicates().tolist() == ["train", "val", "test"]
    assert (sample.groupby("split")["label"].nunique() == 5).all()  # five images, five classes


def test_in_jupyterlab_there_is_a_widget(browser, displayed, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "explore.ipynb")
    browse(browser)
    assert type(displayed[-1]).__name__ == "interactive" and "text/html" not in displayed[0]  # nor a caption


def test_no_notebook_is_committed_with_widget_state():
    for path in (PROJECT / "notebooks").glob("*.ipynb"):
        assert "widgets" not in json.loads(path.read_text())["metadata"], path.name
