"""Tables of a course's report: every cell says which images its number is of, and what is unknown stays so."""

import pandas as pd
import pytest

from labkit.reporting.classes import class_weights_table
from labkit.reporting.deviations import deviation_table
from labkit.reporting.light import light_table
from labkit.reporting.published import published_table
from labkit.reporting.show import table_html

NAN = float("nan")
PUBLISHED = {"score": 0.823, "n": 7025, "data": "EyePACS, the course's test images", "majority": 0.734}
OURS = {"estimate": 0.781, "low": 0.76, "high": 0.80, "n": 5620, "majority": 0.735, "data": "patients kept apart"}


def plain(table: pd.DataFrame) -> list[dict[str, str]]:
    return [{key: value.replace("\u00a0", " ") for key, value in row.items()} for row in table.to_dict("records")]


def published(published=None, course_=None, honest=None, metric: str = "accuracy") -> dict[str, str]:
    rows = [{"run": "r18", "published": published, "course": course_, "honest": honest}]
    return plain(published_table(rows, metric=metric))[0]


def test_published_and_our_numbers_stand_with_the_images_they_are_of():
    assert published(PUBLISHED, OURS | {"data": "the release's test images"}, OURS) == {
        "variant": "r18",
        "published": "82.3 % · EyePACS, the course's test images, n = 7,025, majority 73.4 %",
        "ours, as the data came": "78.1 % [76.0–80.0] · the release's test images, n = 5,620, majority 73.5 %",
        "ours, patients kept apart": "78.1 % [76.0–80.0] · patients kept apart, n = 5,620, majority 73.5 %",
    }


def test_the_source_of_a_published_number_is_named():
    assert published(PUBLISHED | {"source": "report, table 2"})["published"].endswith("73.4 % (report, table 2)")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        (PUBLISHED | {"given": False}, "–"),
        (PUBLISHED | {"given": False, "score": None}, "–"),
        (PUBLISHED | {"given": True, "score": None}, "left open"),
        (PUBLISHED | {"score": NAN}, "left open"),
        ({"score": 0.823, "n": None, "data": "", "majority": None}, "82.3 % · images not stated"),
    ],
)
def test_a_report_without_a_variant_without_its_number_and_without_its_images_are_told_apart(cell, text):
    rows = [{"run": "a", "published": cell}, {"run": "b", "published": PUBLISHED}]
    assert plain(published_table(rows, metric="accuracy"))[0]["published"] == text


def test_a_protocol_that_was_not_run_is_called_so():
    assert published(PUBLISHED)["ours, as the data came"] == "not run"
    row = published(PUBLISHED, {"estimate": None, "data": "any"}, OURS)
    assert row["ours, as the data came"] == "not run" and row["ours, patients kept apart"].startswith("78.1")


def test_a_mean_of_seeds_says_how_many_and_how_far_they_are_apart():
    cell = published(honest=OURS | {"seeds": 3, "spread": 0.004})["ours, patients kept apart"]
    assert cell.startswith("78.1 % ± 0.4 [76.0–80.0], mean of 3 seeds · patients kept apart")


def test_a_column_that_nothing_stands_in_is_left_out():
    assert list(published(PUBLISHED, OURS)) == ["variant", "published", "ours, as the data came"]
    assert list(published(None, OURS, OURS)) == ["variant", "ours, as the data came", "ours, patients kept apart"]


def test_a_score_that_is_no_share_has_three_digits():
    cell = published(honest={"estimate": 0.5, "low": -0.1, "high": 0.6, "data": "x"}, metric="qwk")
    assert cell["ours, patients kept apart"] == "0.500 [−0.100 to 0.600] · x"


def test_a_table_of_no_rows_still_has_its_columns():
    assert list(published_table([], metric="qwk").columns) == ["variant", "ours, as the data came"]


DEVIATION = {
    "deviation": "flat_head",
    "reason": "no average before the last layer",
    "proper": "r18",
    "deviating": "r18-flat",
    "metrics": {"accuracy": (0.823, 0.801, -0.022, -0.031, -0.013), "qwk": (0.62, 0.64, 0.02, None, None)},
    "parameters_proper": 11_178_051,
    "parameters_deviating": 12_000_000,
    "flops_proper": 1.82e9,
    "flops_deviating": 1.82e9,
}


def test_a_deviation_shows_both_values_the_difference_and_what_it_costs_in_size():
    assert plain(deviation_table([DEVIATION])) == [
        {
            "deviation": "flat head: no average before the last layer",
            "runs": "r18 → r18-flat",
            "Accuracy": "82.3 % → 80.1 %: −2.2 points [−3.1 to −1.3]",
            "QWK": "0.620 → 0.640: +0.020",
            "parameters (M)": "11.2 → 12.0",
            "FLOPs (G)": "1.82",
        }
    ]


def test_what_differs_besides_a_deviation_has_a_column_where_anything_does():
    also = (("batch_size", 64, 32), ("schedule", ("step", 5, 0.1), ("cosine", None, None)))
    first, second = plain(deviation_table([DEVIATION | {"also": also}, DEVIATION]))
    assert first["differs, too"] == "batch size 64 → 32; schedule step, 5, 0.1 → cosine"
    assert second["differs, too"] == "–"


def test_unknown_values_of_a_deviation_are_dashes_and_have_no_difference():
    unknown = {"metrics": {"accuracy": (0.8, None, None, None, None)}, "flops_deviating": None}
    first, second = plain(deviation_table([DEVIATION | unknown, DEVIATION]))
    assert (first["Accuracy"], first["FLOPs (G)"], first["QWK"]) == ("80.0 % → –", "1.82 → –", "–")
    assert second["QWK"] == "0.620 → 0.640: +0.020"


LIGHT = [
    {
        "run": "lite0",
        "n": 7025,
        "qwk": 0.43,
        "intervals": {"qwk": (0.40, 0.46)},
        "parameters": 3.4e6,
        "flops": 0.39e9,
        "milliseconds": 9.84,
        "file_mb": 13.7,
        "minutes": 5,
        "device": "CPU",
    },
    {"run": "r50", "n": 7025, "qwk": None, "flops": 4.13e9},
]


def test_light_networks_stand_with_their_score_and_what_predicting_costs():
    assert plain(light_table(LIGHT, "qwk")) == [
        {
            "variant": "lite0",
            "QWK": "0.430 [0.400–0.460]",
            "n": "7,025",
            "parameters (M)": "3.4",
            "FLOPs (G)": "0.39",
            "ms an image, CPU": "9.8",
            "file (MB)": "13.7",
        },
        {
            "variant": "r50",
            "QWK": "–",
            "n": "7,025",
            "parameters (M)": "–",
            "FLOPs (G)": "4.13",
            "ms an image, CPU": "–",
            "file (MB)": "–",
        },
    ]


def test_class_weights_stand_beside_the_images_of_their_class():
    table = class_weights_table(["No DR", "Severe"], [300, 100], {"plain": None, "weighted": [0.5, 1.5]})
    assert plain(table) == [
        {"class": "No DR", "training images": "300 (75.0 %)", "plain": "–", "weighted": "0.500"},
        {"class": "Severe", "training images": "100 (25.0 %)", "plain": "–", "weighted": "1.500"},
    ]
    assert plain(class_weights_table(["No DR"], [0], {}))[0]["training images"] == "0"


def test_a_name_with_markup_in_it_is_text():
    html = table_html(published_table([{"run": "<b>", "published": PUBLISHED | {"data": "a < b"}}], metric="qwk"))
    assert "&lt;b&gt;" in html and "a &lt; b" in html and "<b>" not in html
