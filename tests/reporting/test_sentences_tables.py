"""Each table is read by a sentence that follows from its numbers."""

import pandas as pd

from labkit.models.describe import architecture_table
from labkit.reporting.exhibits.blocks import depth_sentence
from labkit.reporting.exhibits.sensitivity import found_sentence, trust_sentence
from labkit.reporting.tables import runs_sentence, variants_sentence


def test_depth_is_told_in_parameters():
    said = depth_sentence(architecture_table(64, 5))
    assert said.endswith(" parameters, 5.2 times as many as the 18-layer one.") and "152-layer network has 58.2" in said


def test_variants_differ_in_what_their_table_shows():
    table = pd.DataFrame({"variant": ["a", "b"], "arch": ["x", "y"], "batch_size": ["1", "2"]})
    assert variants_sentence(table) == "Two variants differ in arch and batch size."
    assert "nothing is compared" in variants_sentence(table.head(1))


def test_classes_are_found_most_and_least_often_on_average():
    table = pd.DataFrame({"class": ["a", "b"] * 2, "sensitivity": [0.9, 0.1, 0.7, 0.3]})
    said = found_sentence(table).replace("\u00a0", " ")
    assert said == "On average over the variants a is found most often (80.0 %), b least often (20.0 %)."
    few = pd.DataFrame({"class": ["c"], "sensitivity": [1.0], "images": [3], "groups": [2]})
    said = found_sentence(pd.concat([table.assign(images=40, groups=20), few]))
    assert "a is found most often" in said and said.endswith("fewer than 30 test images or 20 groups: c.")


def test_the_least_reliable_answer_and_those_never_given_are_named():
    columns = {"variant": "r", "class": list("abcd"), "ppv": [0.9, 0.25, None, 0.0], "predicted": [90, 40, 0, 1]}
    said = trust_sentence(pd.DataFrame(columns), "r").replace("\u00a0", " ")
    assert said == (
        "Of the classes that r predicts at least 30 times, b is the least reliable: right in 25.0 % of 40 predictions; "
        "it never predicts c."
    )
    assert "too few" in trust_sentence(pd.DataFrame(columns).assign(predicted=1), "r")


def test_a_second_look_at_test_is_told():
    run = {"run": "a", "seed": 0, "test_predictions": 1, "attempts": 1}
    assert runs_sentence([run]).startswith("The run predicted the test images once; no")
    twice = run | {"run": "b", "test_predictions": 2, "attempts": 3}
    said = runs_sentence([run, twice]).replace("\u00a0", " ")
    assert said == "Not every run predicted the test images just once: b, seed 0 did not; 1 run was interrupted."
