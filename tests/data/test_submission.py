"""Files to hand in: complete, in their list's order, and honest about what was not predicted."""

import pandas as pd
import pytest

from labkit.data.phantoms.make import phantom
from labkit.data.readers import ImageData, read
from labkit.data.source import submissions
from labkit.params import DataParams


@pytest.fixture
def cells(tmp_path) -> ImageData:
    return read(DataParams(dataset="leukemia"), phantom("leukemia", "tiny", tmp_path))


@pytest.fixture
def predictions(cells) -> pd.Series:
    """ALL (1) for every third of the images without a label, HEM (0) for the others."""
    ids = cells.table.loc[cells.table["split"] == "unlabeled", "image_id"]
    return pd.Series([int(number % 3 == 0) for number in range(len(ids))], index=ids.to_numpy())


def test_every_list_is_answered_in_its_own_order_and_spelling(cells, predictions):
    done = submissions(cells, predictions)
    assert list(done) == ["resnet_152_test.csv", "resnet_18_test.csv", "resnet_50_test.csv"]
    for name, answers in done.items():
        asked = pd.read_csv(cells.root / name)["Path"].tolist()
        assert list(answers) == ["ID", "label"] and answers["ID"].tolist() == asked
        assert answers["label"].tolist() == [predictions[path.removeprefix("./")] for path in asked]
        assert answers["label"].dtype == "int64" and answers.attrs["notes"] == []
    written = done["resnet_18_test.csv"].to_csv(index=False).splitlines()
    assert written[0] == "ID,label" and written[1].startswith("./new_dataset/test/")


def test_an_image_that_cannot_be_read_gets_the_class_predicted_most_often_and_is_told(cells, predictions):
    lost = predictions.index[0]
    assert predictions[lost] == 1
    for answers in submissions(cells, predictions.drop(lost)).values():
        assert answers.set_index("ID")["label"][f"./{lost}"] == 0 and len(answers) == len(predictions)
        (note,) = answers.attrs["notes"]
        assert f"1 of {len(predictions)} images cannot be read" in note and f"HEM: ./{lost}" in note


def test_a_list_that_was_learnt_from_is_not_handed_in(cells, predictions):
    assert submissions(cells, predictions.iloc[: len(predictions) // 2]) == {}
    assert submissions(cells, predictions.iloc[:0]) == {}


def test_data_without_lists_has_nothing_to_hand_in(image_folder):
    data = read(DataParams(), image_folder)
    assert submissions(data, pd.Series(0, index=data.table["image_id"])) == {}
