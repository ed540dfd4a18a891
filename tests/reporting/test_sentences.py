"""Sentences must be true whichever way the numbers turned out: above, below, tie, noise, one run, unknown."""

import numpy as np
import pandas as pd
import pytest

from labkit import format as numbers
from labkit.evaluation import metrics
from labkit.reporting.exhibits.classes import imbalance_sentence
from labkit.reporting.exhibits.comparisons import compare_clause
from labkit.reporting.exhibits.confusion import confusion_sentence
from labkit.reporting.exhibits.cost import cost_sentence
from labkit.reporting.exhibits.scores import majority_sentence
from labkit.reporting.exhibits.sensitivity import found_sentence
from labkit.reporting.learning import choice_in_words, curve_quantities, curves_sentence
from labkit.reporting.results import Comparison
from labkit.reporting.tables import variants_sentence

NAN = float("nan")
BASELINE = 0.7336
GRADES = ["No DR", "Mild", "Moderate"]


def plain(text: str) -> str:
    """With ordinary spaces, to be readable here."""
    return text.replace(numbers.NBSP, " ")


def beside(difference: float, low: float, high: float, groups: int = 80, differing: int = 20) -> pd.DataFrame:
    """As `compare.against_constant`, of which the sentences read one row."""
    row = {"a": BASELINE, "b": BASELINE + difference, "difference": difference, "low": low, "high": high}
    return pd.DataFrame([row | {"groups": groups, "differing": differing}], ["accuracy"])


ABOVE, NOISE = beside(0.075, 0.013, 0.144), beside(0.006, -0.01, 0.02)
ALIKE, BELOW, FEW = beside(0, 0, 0, differing=0), beside(-0.1, -0.2, -0.05), beside(0.003, 0.001, 0.006, 1353, 4)


def pair(metric: str, difference: float, low: float = NAN, high: float = NAN, **counts: int) -> str:
    return plain(compare_clause(Comparison("a", "b", "arch", metric, difference, low, high, **counts)))


def test_what_is_said_of_intervals_stands_only_where_there_are_several():
    assert "Each interval" not in majority(a=ABOVE, b=ALIKE) and "taken alone" not in majority(a=ABOVE, b=ALIKE)
    text = majority(a=ABOVE, b=ABOVE, c=beside(0.1, 0.1, 0.1))
    assert "are above it, each taken alone." in text and text.count("[no spread]") == 1
    assert "Each interval" not in majority(a=ABOVE, b=beside(0.1, 0.1, 0.1))


def test_a_difference_has_its_side_its_interval_and_its_verdict():
    assert pair("accuracy", 0.012, 0.004, 0.02) == "b scores 1.2 points higher than a [+0.4 to +2.0]"
    assert pair("qwk", -0.012, -0.02, -0.004) == "b scores 0.012 lower than a [−0.020 to −0.004]"
    assert pair("qwk", 0.004, -0.005, 0.013).endswith("[−0.005 to +0.013], within noise")
    assert pair("accuracy", 0.012, 0.004, 0.02, groups=29).endswith("too few images or patients for a verdict")


def test_equal_unknown_and_unmeasured_differences_claim_nothing():
    assert pair("qwk", 0.0, 0.0, 0.0, differing=0) == "b predicts the same as a"
    assert "cannot be compared" in pair("accuracy", NAN)
    assert "whether that is more than noise is not known" in pair("accuracy", 0.01)


def majority(n: int = 7026, **against: pd.DataFrame) -> str:
    return plain(majority_sentence(against, "No DR", n))


def test_constant_models_are_called_so_in_so_many_words():
    assert majority(a=ALIKE, b=ALIKE).startswith(
        "Always predicting “No DR” scores 73.4 % accuracy on the 7,026 test images. "
        "a and b do no better: each predicts just this."
    )


def test_each_variant_lands_on_its_side_of_the_baseline():
    other = pd.concat([ALIKE, beside(0.1, 0, 0.2).set_axis(["qwk"])])  # others of the wrong images
    text = majority(1, a=other, b=ABOVE, c=NOISE, d=BELOW, e=ALIKE, f=FEW)
    assert "on the 1 test image. e does no better: it predicts just this for every image." in text
    assert (
        "a does no better: the same images are right and wrong. b (+7.5 points [+1.3 to +14.4]) is above it. c ("
        in text
    )
    assert "cannot be told apart from it. f (+0.3 points [+0.1 to +0.6]) has too few images or patients" in text
    assert text.endswith(
        "d (−10.0 points [−20.0 to −5.0]) is below it. Each interval is of one "
        "difference alone; intervals that hold for all variants together are wider."
    )
    assert majority(a=ABOVE, b=ABOVE).count("are above it, each taken alone.") == 1 and "by itself" not in majority(
        a=ABOVE
    )


def curves(train: list[float], val: list[float], run: str = "a") -> pd.DataFrame:
    epochs = range(1, len(train) + 1)
    table = pd.DataFrame({"run": run, "epoch": epochs, "train_accuracy": train, "val_accuracy": val})
    return table.assign(chosen=table["epoch"] == 1 + int(np.argmax(val)))


def test_curves_tell_over_fitting_and_the_chosen_epoch():
    assert plain(curves_sentence(curves([0.7, 0.8, 0.95], [0.7, 0.78, 0.76]))) == (
        "At the last epoch training accuracy is higher than on held-out images: a by 19.0 points (95.0 % against "
        "76.0 % in validation). That is a sign of over-fitting. The chosen epoch is 2 of 3."
    )


def test_curves_name_the_worst_of_several_and_the_others():
    tables = [
        curves([0.7, 0.95], [0.7, 0.8]),
        curves([0.7, 0.9], [0.7, 0.8], "b"),
        curves([0.7, 0.7], [0.7, 0.72], "c"),
    ]
    text = plain(curves_sentence(pd.concat(tables)))
    assert "held-out images: a by 15.0 points" in text and " and b by 10.0 points" in text and " c by" not in text
    assert text.endswith("The chosen epochs are 2 (a), 2 (b) and 2 (c).")


@pytest.mark.parametrize(("val", "words"), [(0.78, "3.0 points below"), (0.75, "agree"), (0.72, "3.0 points above")])
def test_curves_without_over_fitting_say_on_which_side_they_end(val, words):
    text = plain(curves_sentence(curves([0.7, 0.75], [0.7, val])))
    assert words in text and ("too small a gap" in text) == (words != "agree")


def test_a_gap_that_opens_because_training_got_worse_is_not_called_over_fitting():
    fell = curves([0.66, 0.63], [0.6, 0.1], "a")
    text = plain(curves_sentence(pd.concat([fell, curves([0.7, 0.9], [0.7, 0.8], "b")])))
    assert (
        "held-out images: b by 10.0 points (90.0 % against 80.0 % in validation). That is a sign of over-fitting."
        in text
    )
    assert "a by 53.0 points (63.0 % against 10.0 % in validation). That is unstable training rather than" in text


def test_an_epoch_of_the_frozen_phase_is_called_so():
    frozen = curves([0.7, 0.8, 0.8], [0.7, 0.78, 0.76]).assign(phase=["head", "head", "all"])
    assert "Of a it lies in the frozen phase: only the last layer of that network" in curves_sentence(frozen)
    assert "frozen" not in curves_sentence(frozen.assign(phase=["head", "all", "all"]))


def test_one_epoch_and_missing_validation_are_not_over_read():
    assert "one epoch only" in curves_sentence(curves([0.7], [0.7]))
    alone = curves([0.7, 0.9], [NAN, NAN])
    assert "no validation or test curve" in curves_sentence(alone)
    tested = plain(curves_sentence(alone.assign(test_accuracy=[0.7, 0.75])))
    assert "a by 15.0 points (90.0 % against 75.0 % in test)" in tested
    both = pd.concat([curves([0.7, 0.72], [0.7, 0.71], "b"), alone.assign(test_accuracy=[0.9, 0.9])])
    assert "at most 1.0\xa0points above validation or test accuracy for all variants" in curves_sentence(both)


def test_equal_ones_are_all_named():
    assert plain(confusion_sentence(np.array([[8, 2, 0], [2, 8, 0], [0, 0, 9]]), GRADES)).startswith(
        "The most frequent errors are No DR taken for Mild: 2 of 10 images (20.0 %); Mild taken for No DR: 2 of 10"
    )
    many = plain(confusion_sentence(40 * np.ones((5, 5)), [*"abcde"]))
    assert "; a taken for d: 40 of 200 images (20.0 %) and 17 more." in many
    assert numbers.some("edcba", 3, "or") == "e, d, c and 2 more" and numbers.some("dcba", 3, "or") == "d, c, b or a"
    assert numbers.some({"b", "a"}, last="or") == "a or b"
    found = pd.DataFrame({"class": ["a", "b", "c"], "sensitivity": [0.9, 0.0, 0.0]})
    assert plain(found_sentence(found)).endswith("a is found most often (90.0 %), b and c least often (0.0 %).")
    assert "all these classes are found equally often" in found_sentence(found.assign(sensitivity=0.5))
    same = pd.concat([curves([0.7, 0.72], [0.7, 0.71], run) for run in "ab"])
    assert "widest gap" not in curves_sentence(same) and "1.0 points above" in plain(curves_sentence(same))
    level = pd.concat([curves([0.7, 0.7], [0.6, 0.7]), curves([0.7, 0.7], [0.7, 0.9], "b")])
    assert "agree" not in curves_sentence(level)  # b is 20 points below
    assert variants_sentence(pd.DataFrame({"variant": ["a", "b"]})) == "Two variants do not differ in any parameter."


def test_a_run_that_predicts_grades_has_no_training_accuracy_and_says_why():
    losses = {"train_loss": [0.9, 0.5], "val_loss": [0.8, 0.6]}
    ordinal = curves([NAN, NAN], [0.7, 0.8], "o").assign(**losses)
    text = plain(curves_sentence(ordinal.drop(columns="train_accuracy")))
    assert text == (
        "o has no training accuracy, because its cuts between grades are fitted only after training; its loss in the "
        "last epoch is 0.500 (training) and 0.600 (validation). The chosen epoch is 2 of 2."
    )
    both = plain(curves_sentence(pd.concat([curves([0.7, 0.95], [0.7, 0.8]), ordinal])))
    assert "a by 15.0 points" in both and "o has no training accuracy" in both
    assert curve_quantities(ordinal, ["val_qwk"]) == ["accuracy", "loss"]  # there is no kappa in this history
    assert curve_quantities(curves([0.5], [0.5]).assign(val_qwk=0.1), ["val_qwk", "last_qwk"]) == ["accuracy", "qwk"]


def test_how_the_epoch_was_chosen_is_said_of_all_runs():
    assert choice_in_words(["val_qwk", "val_qwk"]) == (
        "the epoch with the highest quadratic weighted kappa on validation"
    )
    assert choice_in_words(["test_accuracy", "val_loss", "last_qwk", "last_macro_f1"]) == (
        "the epoch with the highest accuracy on test, the epoch with the lowest loss on validation or the last epoch"
    )


def test_confusion_names_the_pair():
    matrix = np.array([[50, 0, 0], [20, 10, 2], [8, 1, 9]])
    error = "The most frequent error of r18 is Mild taken for No DR: 20 of 32 images (62.5 %)."
    assert plain(confusion_sentence(matrix, GRADES, "r18")) == error


def test_confusion_without_errors():
    assert plain(confusion_sentence(np.eye(3) * 5, GRADES)) == "The model classifies all 15 images correctly."
    assert "only image" in confusion_sentence(np.array([[1, 0], [0, 0]]), ["a", "b"])


def test_imbalance_in_every_degree():
    assert plain(imbalance_sentence([20656, 1955, 581], GRADES)) == (
        "No DR is the most common class with 20,656 of 23,192 training images (89.1 %), "
        "Moderate the rarest with 581 (2.5 %): 35.6 to 1."
    )
    assert plain(imbalance_sentence([5, 5, 5], GRADES)) == "The classes are balanced: 5 training images of each."
    assert "nearly balanced" in imbalance_sentence([6, 5, 5], GRADES)
    assert plain(imbalance_sentence([40, 40, 8], GRADES)).startswith(
        "No DR and Mild are the most common classes with 40 of 88 training images (45.5 %) each, Moderate the rarest"
    )
    assert imbalance_sentence([0, 5, 0], GRADES).endswith("no training image of No DR or Moderate.")
    assert imbalance_sentence([0, 0, 0], GRADES) == "There are no labelled training images."


def test_cost_names_the_slowest_and_says_that_times_are_no_property_of_a_network():
    text = plain(cost_sentence(pd.DataFrame({"run": ["a", "b"], "minutes": [20, 60.0]})))
    assert text.startswith(
        "b took the longest to train, 60.0 minutes, 3.0 times as long as a (20.0 minutes); such times"
    )


def test_cost_of_one_and_of_equal():
    table = pd.DataFrame({"run": ["a", "b"], "minutes": [20.0, 20.0]})
    assert plain(cost_sentence(table[:1])) == "Training a took 20.0 minutes."
    assert plain(cost_sentence(table)) == "Both variants took 20.0 minutes to train."


def test_a_few_seconds_have_a_decimal_so_that_their_ratio_can_be_checked():
    text = plain(cost_sentence(pd.DataFrame({"run": ["a", "b"], "minutes": [1.4 / 60, 2.6 / 60]})))
    assert "2.6 seconds, 1.9 times as long as a (1.4 seconds)" in text


def test_numbers_are_written_as_the_report_wants_them():
    assert plain(numbers.percent(0.73357)) == "73.4 %"
    assert numbers.whole(28100) == "28,100"
    assert numbers.fixed(-0.0004, 3) == "0.000" and numbers.fixed(-0.0123, 3) == "−0.012"
    assert numbers.percent(NAN) == numbers.whole(None) == numbers.fixed(pd.NA, 1) == "–"
    assert (
        plain(numbers.plural(1, "image")) == "1 image" and plain(numbers.plural(2, "class", "classes")) == "2 classes"
    )
    assert metrics.interval("qwk", -0.01, 0.03) == "[−0.010 to 0.030]" and metrics.interval("qwk", NAN, 1) == ""
    assert metrics.metric("val_qwk").name == "quadratic weighted kappa"
    assert metrics.metric("new_score").short == "New score"
