"""Ablations: sentences true whichever way the numbers turned out."""

import pytest
from test_sentences import plain

from labkit.reporting.exhibits.classes import oversampling_sentence
from labkit.reporting.exhibits.comparisons import also_sentence
from labkit.reporting.exhibits.cost import light_sentence
from labkit.reporting.exhibits.published import protocol_sentence, published_sentence
from labkit.reporting.results import Comparison

NAN = float("nan")


def told(factor: str = "augmentation", also=(("epochs", 15, 8),)) -> str:
    return plain(also_sentence(Comparison("a", "b", factor, "qwk", 0.1, NAN, NAN, also)))


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        ("arch", "network"),
        ("class_weights", "class weights"),
        ("normalize", "normalisation"),
        ("start", "starting weights"),
    ],
)
def test_the_factor_is_named_in_words(factor, words):
    assert told(factor).startswith(f"a and b differ in {words}, but also in epochs (15 and 8): so the {words} alone")


def test_all_that_differs_besides_is_said():
    also = (("epochs", 15, 8), ("batch_size", 64, 32), ("schedule", ("step", 5, 0.1), ("cosine", None, None)))
    assert told(also=also).endswith(
        "also in epochs (15 and 8), batch size (64 and 32) and schedule (step, 5, 0.1 and cosine): so the augmentation "
        "alone may not explain their difference."
    )


def protocol(run: str, course, honest, published=None, same_data: bool = True, ends=(NAN, NAN)) -> dict:
    cells = {"published": published, "course": course, "honest": honest}
    low, high = ends
    cells = {key: value and {"estimate": value, "low": low, "high": high} for key, value in cells.items()}
    return {"run": run, "same_data": same_data, "gap": None} | cells


def protocols(*rows: dict) -> str:
    return plain(protocol_sentence(rows, "qwk"))


UNPAIRED = "The test images differ between the protocols, so part of a difference may be which images were tested"


def test_protocols_are_told_by_variant_and_those_known_under_one_are_named():
    rows = [protocol("a", 0.5, 0.45), protocol("b", 0.4, 0.42), protocol("c", None, 0.4)]
    assert protocols(*rows).startswith(
        "Quadratic weighted kappa as the data came minus that with patients kept apart: a +0.050 (no interval); "
        f"b −0.020 (no interval). Only a and b were run under both. {UNPAIRED}"
    )
    assert "apart: a +5.0 points (no interval)." in plain(protocol_sentence(rows[:1], "accuracy"))


def test_a_difference_between_protocols_is_told_with_its_interval():
    rows = [
        protocol("a", 0.5, 0.45) | {"gap": (0.05, 0.01, 0.09)},
        protocol("b", 0.5, 0.45) | {"gap": (0.05, -0.01, 0.11)},
        protocol("c", 0.5, 0.55) | {"gap": (-0.05, -0.09, -0.01)},
    ]
    text = protocols(*rows)
    assert "a +0.050 [+0.010 to +0.090], above zero; b +0.050 [−0.010 to +0.110], which includes zero" in text
    assert "c −0.050 [−0.090 to −0.010], below zero." in text and UNPAIRED in text


def beside(run: str, ours: float, half: float, theirs: float, **more) -> dict:
    """A row of 400 patients; the published score is of 7,000 images. `more`: its margin, and of ours spread, seeds."""
    row = protocol(run, ours, None, theirs, ends=(ours - half, ours + half))
    row["published"] |= {"n": 7000, "margin": more.pop("margin", None)}
    row["course"] |= {"groups": 400} | more
    return row


def test_ours_is_equivalent_to_a_published_score_different_from_it_or_undecided():
    rows = [beside("a", 0.80, 0.02, 0.79, margin=0.04), beside("b", 0.80, 0.02, 0.70), beside("c", 0.80, 0.04, 0.79)]
    rows.append(protocol("d", 0.5, None, None, ends=(0.4, 0.6)))
    assert plain(published_sentence(rows, "accuracy")) == (
        "Ours minus the published accuracy, with 95 % intervals: "
        "a +1.0 points [−0.9 to +2.9], equivalent within ± 4.0 points; "
        "b +10.0 points [+7.7 to +12.3], different; "
        "c +1.0 points [−3.1 to +5.1], undecided (no number of patients would decide). "
        "Of an equivalent score the interval is one of 90 %, and lies within the margin (two one-sided tests at 5 %). "
        "Without a margin in the study nothing is called equivalent. "
        "The published number's own sampling error is included."
    )
    assert published_sentence(rows[3:], "accuracy") == ""


def test_without_a_stated_margin_the_spread_over_seeds_gives_one():
    said = plain(published_sentence([beside("a", 0.80, 0.03, 0.79, spread=0.02, seeds=3)], "qwk"))
    assert "equivalent within ± 0.055. " in said and "The margin is 2.8 standard deviations over seeds" in said
    assert said.endswith("own sampling error is not known and left out.")
    few = beside("a", 0.80, 0.03, 0.70, spread=0.02, seeds=3)
    few["course"]["groups"] = 20
    assert "undecided for a margin of ± 0.055 (too few patients)" in plain(published_sentence([few], "qwk"))
    constant = beside("a", 0.1, 0.0, 0.2)  # predictions of one class have no interval with a width
    assert published_sentence([constant], "qwk") == ""


def test_published_values_of_other_data_are_not_comparable_and_those_of_the_same_are_not_called_so():
    same = beside("a", 0.5, 0.1, 0.6)
    other = protocol("b", 0.5, 0.45, 0.6, same_data=False, ends=(0.4, 0.6))
    unknown = protocol("c", 0.5, 0.45, None, same_data=False)
    said = published_sentence([same, other, unknown], "qwk")
    assert (
        said.endswith("The published value of b is on other data: not comparable with ours.") and ": a −0.100" in said
    )
    both = published_sentence([other, other | {"run": "d"}], "qwk")
    assert both.startswith("The published values of b and d are on")
    assert "comparable with ours" not in published_sentence([same, unknown], "qwk")


def network(run: str, qwk: float | None, scale: float = 1.0, **more) -> dict:
    return {"run": run, "qwk": qwk, "flops": scale * 1e9} | more


def light(*rows: dict) -> str:
    return plain(light_sentence(rows, "qwk"))


def test_the_best_and_the_lightest_are_named_and_seeds_are_averaged():
    text = light(network("small", 0.4), network("large", 0.4, 4, seed=0), network("large", 0.6, 4), network("c", None))
    assert text == (
        "large has the best quadratic weighted kappa on test, 0.500; small has 0.400 with the fewest multiply-adds, "
        "large needs 4.0 times as many."
    )
    assert light(network("a", 0.4)).endswith("0.400; no variant needs fewer multiply-adds.") and not light(
        network("a", None)
    )


def test_equal_costs_and_equal_scores_are_not_called_more():
    plain, turned, deeper = network("plain", 0.4), network("turned", 0.9), network("deeper", 0.7, 2)
    assert light(plain, turned, deeper) == (
        "turned has the best quadratic weighted kappa on test, 0.900; no variant needs fewer multiply-adds."
    )
    assert light(plain, network("near", 0.9, 1.02)).endswith("near needs 2.0 % more.")
    assert light(plain, turned, network("large", 0.9, 2)).startswith("turned and large have the best")
    assert light(network("plain", 0.0), network("deeper", 0.0, 2)) == ""  # nothing is compared


def test_repeated_images_are_counted_by_class():
    text = plain(oversampling_sentence([80, 20, 0], [80, 80, 0], ["No DR", "Mild", "Severe"]))
    assert text == (
        "An epoch has 160 images instead of 100 images: every image of Mild is drawn 4.0 times on average, "
        "one of No DR once; there is no image of Severe to repeat."
    )
    assert "No image is repeated" in oversampling_sentence([5, 5], [5, 5], ["No DR", "Mild"])
