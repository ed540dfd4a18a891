"""Tables of a course's report: every cell says which images its number is of, and what is unknown stays so."""

import pandas as pd
import pytest

from labkit.reporting.exhibits.published import published_table

PUBLISHED = {"estimate": 0.823, "n": 7025, "data": "EyePACS, the course's test images", "majority": 0.734}
OURS = {"estimate": 0.781, "low": 0.76, "high": 0.80, "n": 5620, "majority": 0.735, "data": "patients kept apart"}


def plain(table: pd.DataFrame) -> list[dict[str, str]]:
    return [{key: value.replace("\u00a0", " ") for key, value in row.items()} for row in table.to_dict("records")]


def row(run: str, published=None, course=None, honest=None) -> dict:
    return {"run": run, "published": published, "course": course, "honest": honest}


def published(published=None, course=None, honest=None, score: str = "accuracy") -> dict[str, str]:
    return plain(published_table([row("r18", published, course, honest)], score))[0]


def test_published_and_our_numbers_stand_with_the_images_they_are_of():
    assert published(PUBLISHED, OURS | {"data": "the release's test images"}, OURS) == {
        "variant": "r18",
        "published": "82.3 % · EyePACS, the course's test images, n = 7,025, majority 73.4 %",
        "ours, as the data came": "78.1 % [76.0–80.0] · the release's test images, n = 5,620, majority 73.5 %",
        "ours, patients kept apart": "78.1 % [76.0–80.0] · patients kept apart, n = 5,620, majority 73.5 %",
    }


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        (PUBLISHED | {"estimate": None}, "left open"),
        (PUBLISHED | {"majority": None}, "82.3 % · EyePACS, the course's test images, n = 7,025"),
    ],
)
def test_a_report_without_a_variant_without_its_number_and_without_a_baseline_are_told_apart(cell, text):
    assert plain(published_table([row("a", cell), row("b", PUBLISHED)], "accuracy"))[0]["published"] == text


def test_a_protocol_that_was_not_run_is_called_so():
    assert published(PUBLISHED)["ours, as the data came"] == "not run"
    first, _ = plain(published_table([row("a", PUBLISHED, None, OURS), row("b", None, OURS, OURS)], "accuracy"))
    assert first["ours, as the data came"] == "not run" and first["ours, patients kept apart"].startswith("78.1")


def test_a_mean_of_seeds_says_how_many_and_how_far_they_are_apart():
    cell = published(honest=OURS | {"seeds": 3, "spread": 0.004})["ours, patients kept apart"]
    assert cell.startswith("78.1 % ± 0.4 [76.0–80.0], mean of 3 seeds · patients kept apart")


def test_a_column_that_nothing_stands_in_is_left_out():
    assert list(published(PUBLISHED, OURS)) == ["variant", "published", "ours, as the data came"]
    assert list(published(None, OURS, OURS)) == ["variant", "ours, as the data came", "ours, patients kept apart"]
