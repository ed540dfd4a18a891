"""Tables: exact cells, and HTML that a screen reader and a style sheet can use."""

import numpy as np
import pandas as pd
import pytest

from labkit.reporting import show as showing
from labkit.reporting import tables
from labkit.reporting.exhibits.classes import class_counts_table
from labkit.reporting.exhibits.comparisons import comparison_table
from labkit.reporting.exhibits.cost import COST, cost_table
from labkit.reporting.results import Comparison

NAN = float("nan")
RUNS = [
    {
        "run": "r18",
        "n": 7026,
        "accuracy": 0.8191,
        "qwk": 0.74,
        "macro_auroc": None,
        "intervals": pd.DataFrame({"low": 0.81, "high": 0.828}, index=["accuracy"]),
        "images_per_second": 55.0,
        "milliseconds": 9.84,
        "file_mb": 44.8,
        "minutes": 20.34,
        "parameters": 11_178_051,
        "flops": 1.81e9,
        "device": "CPU",
    },
    {"run": "r50", "seed": 0, "n": 7026, "accuracy": 0.82, "qwk": 0.75, "minutes": 60.0, "device": "CPU"},
    {"run": "r50", "seed": 1, "n": 7026, "accuracy": 0.83, "qwk": 0.76, "minutes": 62.0, "device": "CPU"},
]
SAME = {"parameters": 25.6e6, "flops": 4.1e9, "images_per_second": 20.0, "milliseconds": 20.0, "file_mb": 102.0}
RUNS[1:] = [run | SAME for run in RUNS[1:]]


def plain(table: pd.DataFrame) -> list[dict[str, str]]:
    return [{key: value.replace("\u00a0", " ") for key, value in row.items()} for row in table.to_dict("records")]


def test_results_table_has_intervals_for_one_seed_and_deviations_for_several():
    rows = plain(tables.results_table(RUNS, {"n": 7026, "accuracy": 0.7336, "qwk": 0.0}, ["accuracy", "qwk"]))
    assert rows == [
        {"variant": "r18", "n": "7,026", "seeds": "1", "Accuracy": "81.9 % [81.0–82.8]", "QWK": "0.740"},
        {"variant": "r50", "n": "7,026", "seeds": "2", "Accuracy": "82.5 % ± 0.7", "QWK": "0.755 ± 0.007"},
        {
            "variant": "majority class",
            "n": "7,026",
            "seeds": "",
            "Accuracy": "73.4 %",
            "QWK": "0 (constant predictions)",
        },
    ]
    wrong = tables.results_table(RUNS[:1], {"n": 1, "accuracy": 0.0}, ["accuracy"])
    assert plain(wrong)[1]["Accuracy"] == "0.0 %"
    few = tables.results_table([RUNS[0] | {"n": 36, "n_groups": 18, "n_without_group": 0}], metrics=["accuracy"])
    assert few["n"].tolist() == ["36, too few"]  # as are 29 images, whatever their groups


def test_results_table_of_single_seeds_has_no_column_for_seeds_and_a_dash_for_unknowns():
    rows = plain(tables.results_table(RUNS[:1], metrics=["accuracy", "macro_auroc"]))
    assert rows == [{"variant": "r18", "n": "7,026", "Accuracy": "81.9 % [81.0–82.8]", "Macro AUROC": "–"}]


def test_cost_table_averages_seeds():
    first, second = plain(cost_table(RUNS))
    assert list(first) == ["variant", *(head for head, *_ in COST.values()), "device"]
    assert list(first.values()) == ["r18", "20.3", "55", "11.2", "1.81", "9.8", "44.8", "CPU"]
    assert list(second.values()) == ["r50", "61.0", "20", "25.6", "4.10", "20.0", "102.0", "CPU"]


def test_variants_table_shows_only_what_differs_and_every_cell_of_it():
    runs = {
        "plain": {"arch": "resnet18", "learning_rate": 1e-4, "epochs": 5, "seed": 0},
        "deep": {"arch": "resnet50", "learning_rate": 1e-3, "epochs": 5, "seed": 3, "class_weights": [1.2, 1.0]},
    }
    table = tables.variants_table(runs, ignore=("seed",))
    assert plain(table) == [
        {"variant": "plain", "arch": "resnet18", "learning_rate": "0.0001", "class_weights": "none"},
        {"variant": "deep", "arch": "resnet50", "learning_rate": "0.001", "class_weights": "1.2, 1"},
    ]
    assert list(tables.variants_table({"alone": {"arch": "resnet18"}}).columns) == ["variant"]


def test_class_counts_table_has_percentages_of_each_split_and_totals():
    counts = pd.DataFrame({"train": [20656, 581], "test": [0, 0]}, index=["No DR", "Severe"])
    assert plain(class_counts_table(counts)) == [
        {"class": "No DR", "train": "20,656 (97.3 %)", "test": "0"},
        {"class": "Severe", "train": "581 (2.7 %)", "test": "0"},
        {"class": "all", "train": "21,237", "test": "0"},
    ]


def test_comparison_table_signs_differences_in_points_or_units():
    comparisons = [
        Comparison("x", "y", "arch", "accuracy", 0.012, -0.001, 0.02, p=0.0001, p_holm=0.0312),
        Comparison("x", "y", "arch", "qwk", NAN, NAN, NAN, p=0.2),
    ]
    first, second = plain(comparison_table(comparisons))
    assert first == {
        "variant": "y",
        "against": "x",
        "metric": "accuracy",
        "difference": "+1.2 points",
        "95 % interval": "−0.1 to +2.0",
        "p": "< 0.001",
        "p (Holm)": "0.031",
    }
    assert (second["difference"], second["95 % interval"], second["p"]) == ("–", "–", "0.200")
    assert second["p (Holm)"] == "–"


def test_html_escapes_scopes_and_aligns_and_has_no_style_block():
    table = pd.DataFrame({"variant": ["<b>", "r50"], "n": [7026, 5], "score": [0.12345, NAN], "share": ["1.0 %", "–"]})
    text = showing.table_html(table, caption="n < 9")
    assert '<caption class="caption" data-kind="table">n &lt; 9</caption>' in text
    assert "&lt;b&gt;" in text and "<b>" not in text and "<style" not in text
    assert '<th scope="col" class="left" style="text-align:left">variant</th>' in text
    assert text.count('<th scope="col" class="right"') == 3
    for cell in ("7,026", "0.123", "–"):
        assert f'<td class="right" style="text-align:right">{cell}</td>' in text
    assert text.count('<th scope="row"') == 0


NUMBERS = [
    "7,026",
    "−0.012",
    "+1.2 points",
    "11.7\u00a0M",
    "1e-05",
    "82.3\u00a0% [81.4–83.2]",
    "0.005 [−0.010 to 0.020]",
    "20,656 (97.3\u00a0%)",
    "0.123 ± 0.004",
    "< 0.001",
    "16×16",
]


@pytest.mark.parametrize("cell", NUMBERS)
def test_numbers_with_units_deviations_and_intervals_stand_right(cell):
    assert '<td class="right"' in showing.table_html(pd.DataFrame({"a": [cell, "–", ""]}))


@pytest.mark.parametrize("cell", ["92480_right", "100_left.jpeg", "3f9c2a", "2.14.1+cu130", "2 of 5", "1" * 60 + "_"])
def test_names_that_begin_with_a_digit_stand_left(cell):
    assert '<td class="left"' in showing.table_html(pd.DataFrame({"a": ["92480", cell]}))


def test_html_shows_an_index_that_says_something_as_row_headers():
    text = showing.table_html(pd.DataFrame({"n": [1]}, index=pd.Index(["No DR"], name="class")))
    assert '<th scope="col" class="left" style="text-align:left">class</th>' in text
    assert '<th scope="row" class="left" style="text-align:left">No DR</th>' in text


@pytest.fixture
def displayed(monkeypatch):
    outputs = []
    monkeypatch.setattr(showing, "display", lambda data, metadata=None, raw=False: outputs.append(data))
    return outputs


def test_show_table_puts_table_and_caption_into_one_bundle(displayed):
    table = pd.DataFrame({"a": [0.5], "b": [True], "c": np.array([3], dtype=np.int64)})
    showing.show_table(table, caption="Results")
    (bundle,) = displayed
    assert all(f">{cell}</td>" in bundle["text/html"] for cell in ("0.500", "yes", "3"))
    assert bundle["text/plain"].startswith("Results\n")


def test_a_note_is_a_list_or_its_text_as_it_is_and_a_banner_is_escaped_html(displayed):
    showing.note("- r18 is *better*\n- $x_1$")
    showing.banner("train & test share patients")
    assert (
        displayed[0]["text/markdown"]
        == r"""- r18 is \*better\*
- \$x\_1\$"""
    )
    assert 'class="banner ' in displayed[1]["text/html"] and "train &amp; test" in displayed[1]["text/html"]
    assert displayed[1]["text/plain"] == "WARNING: train & test share patients"


def test_parameters_are_shown_where_they_differ_from_their_defaults():
    runs = {"a": {"epochs": 3, "arch": "resnet18", "seed": 0}, "b": {"epochs": 3, "arch": "resnet50", "seed": 0}}
    defaults = {"epochs": 1, "arch": "resnet18", "seed": 0, "study": "x"}
    found = tables.parameters_table(runs, defaults, ignore=["study"])
    assert found.to_dict("records") == [
        {"parameter": "epochs", "default": "1", "value": "3"},
        {"parameter": "arch", "default": "resnet18", "value": "resnet18; resnet50: b"},
    ]
