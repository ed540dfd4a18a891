"""Sentences must be true whichever way the numbers turned out: above, below, tie, noise, one run, unknown."""

import numpy as np
import pandas as pd
import pytest

from labkit import format as numbers
from labkit.reporting.classes import imbalance_sentence
from labkit.reporting.comparisons import compare_sentence
from labkit.reporting.confusion import confusion_sentence
from labkit.reporting.cost import cost_sentence
from labkit.reporting.learning import curves_sentence
from labkit.reporting.scores import best_variant_sentence, majority_sentence

NAN = float("nan")
BASELINE = 0.7336
GRADES = ["No DR", "Mild", "Moderate"]


def plain(text: str) -> str:
    """With ordinary spaces, to be readable here."""
    return text.replace(numbers.NBSP, " ")


def scores(metric: str = "accuracy", **runs: tuple[float, float, float]) -> pd.DataFrame:
    rows = [(run, metric, *values) for run, values in runs.items()]
    return pd.DataFrame(rows, columns=["run", "metric", "estimate", "low", "high"])


def best(table: pd.DataFrame, baseline: float | None = BASELINE, score: str = "accuracy") -> str:
    return plain(best_variant_sentence(table, score, baseline))


def test_best_variant_above_the_baseline():
    assert best(scores(r50=(0.823, 0.814, 0.832), r18=(0.819, 0.81, 0.828))) == (
        "r50 has the highest accuracy on the test images, 82.3 % [81.4–83.2], "
        "8.9 points above the majority baseline (73.4 %)."
    )


def test_best_variant_below_the_baseline():
    text = best(scores(r50=(0.70, 0.69, 0.71), r18=(0.65, 0.6, 0.69)))
    assert text.endswith("70.0 % [69.0–71.0], 3.4 points below the majority baseline (73.4 %).")


def test_best_variant_whose_interval_holds_the_baseline_is_within_noise():
    assert "0.6 points above the majority baseline (73.4 %), which lies inside" in best(scores(r50=(0.74, 0.73, 0.75)))


def test_variants_that_print_alike_share_the_first_place():
    table = scores(a=(0.8, 0.7, 0.9), b=(0.8002, 0.7, 0.9), c=(0.7, 0.6, 0.8))
    assert best(table, None) == "a and b share the highest accuracy on the test images, 80.0 %."
    equal = scores(a=(BASELINE, 0.7, 0.8), b=(BASELINE, 0.7, 0.8))
    assert best(equal) == (
        "Both variants have the same accuracy on the test images, 73.4 %, the same as the majority baseline (73.4 %)."
    )


def test_one_variant_is_not_called_the_best_of_several():
    assert best(scores(a=(0.75, NAN, NAN)), None) == (
        "The only variant, a, has an accuracy of 75.0 % on the test images."
    )
    assert "The only variant with a known accuracy, a," in best(scores(a=(0.75, NAN, NAN), b=(NAN, NAN, NAN)))


def test_unknown_results_are_called_unknown():
    assert best(scores(a=(NAN, NAN, NAN))) == "No variant has a known accuracy on the test images."


def test_seeds_are_averaged_and_named():
    table = pd.concat([scores(a=(0.80, 0.7, 0.9)), scores(a=(0.82, 0.7, 0.9))])
    assert "81.0 % (mean of 2 seeds)" in best(table)


def test_a_metric_where_less_is_better_is_won_by_the_lowest():
    assert best(scores("ece", a=(0.2, NAN, NAN), b=(0.1, NAN, NAN)), None, score="ece") == (
        "b has the lowest expected calibration error on the test images, 0.100."
    )


@pytest.mark.parametrize(
    ("difference", "low", "high", "ending"),
    [
        (0.012, 0.004, 0.02, "is 1.2 points higher than that of a (95 % interval of the difference 0.4 to 2.0 points)"),
        (-0.012, -0.02, -0.004, "is 1.2 points lower than that of a"),
    ],
)
def test_a_difference_beyond_noise_names_the_better_variant(difference, low, high, ending):
    text = plain(compare_sentence("a", "b", "accuracy", difference, low, high))
    assert text.startswith(f"The accuracy of b {ending}")
    assert text.endswith(f": more than noise, {'b' if difference > 0 else 'a'} is better.")


def test_the_better_of_two_calibration_errors_is_the_lower():
    assert compare_sentence("a", "b", "ece", -0.02, -0.03, -0.01).endswith("b is better.")


@pytest.mark.parametrize("difference", [0.004, -0.004])
def test_an_interval_that_holds_zero_is_noise(difference):
    text = compare_sentence("a", "b", "qwk", difference, -0.005, 0.013)
    assert text.endswith("(95 % interval of the difference −0.005 to 0.013): the difference is within noise.")
    assert "better" not in text


def test_equal_unknown_and_unmeasured_differences_claim_nothing():
    assert "have the same accuracy" in compare_sentence("a", "b", "accuracy", 0.0, -0.01, 0.01)
    assert "cannot be compared" in compare_sentence("a", "b", "accuracy", NAN)
    assert "without an interval it is open" in compare_sentence("a", "b", "accuracy", 0.01)


def majority(table: pd.DataFrame, shares: dict[str, float], n: int = 7026) -> str:
    return plain(majority_sentence(table, "No DR", BASELINE, n, shares))


def test_constant_models_are_called_so_in_so_many_words():
    table = scores(a=(BASELINE, 0.72, 0.75), b=(0.7333, 0.72, 0.75))
    assert majority(table, {"a": 1.0, "b": 0.999}) == (
        "Always predicting “No DR” scores 73.4 % accuracy on the 7,026 test images. "
        "Both variants do no better: each predicts just this for (nearly) every image."
    )


def test_a_model_with_the_baselines_accuracy_but_other_predictions_is_not_called_constant():
    assert majority(scores(a=(0.735, 0.72, 0.75)), {"a": 0.8}).endswith("a is above it only within noise.")


def test_a_constant_model_of_another_class_is_below_not_majority():
    assert majority(scores(a=(0.02, 0.01, 0.03)), {"a": 1.0}).endswith("a is not above it.")


def test_each_variant_lands_on_its_side_of_the_baseline():
    table = scores(a=(0.736, 0.72, 0.75), b=(0.82, 0.81, 0.83), c=(0.745, 0.73, 0.76), d=(0.6, 0.5, 0.7))
    text = majority(table, {"a": 0.99, "b": 0.8, "c": 0.8, "d": 0.4}, n=1)
    assert "on the 1 test image. a does no better" in text
    assert text.endswith("b is above it. c is above it only within noise. d is not above it.")
    assert majority(scores(a=(0.6, 0, 1), b=(0.5, 0, 1)), {"a": 0.5, "b": 0.5}).endswith("Neither variant is above it.")
    assert majority(scores(a=(0.8, 0.79, 0.9), b=(0.9, 0.8, 1)), {"a": 0.5, "b": 0.5}).endswith(
        "Both variants are above it."
    )


def curves(train: list[float], val: list[float], run: str = "a") -> pd.DataFrame:
    epochs = range(1, len(train) + 1)
    table = pd.DataFrame({"run": run, "epoch": epochs, "train_accuracy": train, "val_accuracy": val})
    return table.assign(chosen=table["epoch"] == 1 + int(np.argmax(val)))


def test_curves_tell_over_fitting_and_the_chosen_epoch():
    assert plain(curves_sentence(curves([0.7, 0.8, 0.95], [0.7, 0.78, 0.76]))) == (
        "a over-fits: at the last epoch its training accuracy is 19.0 points above the validation one "
        "(95.0 % against 76.0 %). The chosen epoch is 2 of 3."
    )


def test_curves_name_the_worst_of_several_and_the_others():
    tables = [
        curves([0.7, 0.95], [0.7, 0.8]),
        curves([0.7, 0.9], [0.7, 0.8], "b"),
        curves([0.7, 0.7], [0.7, 0.72], "c"),
    ]
    text = plain(curves_sentence(pd.concat(tables)))
    assert text.startswith("a over-fits the most") and "; so does b." in text
    assert text.endswith("The chosen epochs are 2 (a), 2 (b) and 2 (c).")


@pytest.mark.parametrize(("val", "words"), [(0.78, "3.0 points below"), (0.75, "agree"), (0.72, "3.0 points above")])
def test_curves_without_over_fitting_say_on_which_side_they_end(val, words):
    text = plain(curves_sentence(curves([0.7, 0.75], [0.7, val])))
    assert words in text and "no over-fitting" in text


def test_one_epoch_and_missing_validation_are_not_over_read():
    assert "one epoch only" in curves_sentence(curves([0.7], [0.7]))
    alone = curves([0.7, 0.9], [NAN, NAN])
    assert "no validation or test curve" in curves_sentence(alone)
    tested = plain(curves_sentence(alone.assign(test_accuracy=[0.7, 0.75])))
    assert "its training accuracy is 15.0 points above the test one (90.0 % against 75.0 %)" in tested
    both = pd.concat([curves([0.7, 0.72], [0.7, 0.71], "b"), alone.assign(test_accuracy=[0.9, 0.9])])
    assert "not far above the validation or test accuracy for all variants" in curves_sentence(both)


def test_confusion_names_the_pair_and_the_hardest_class():
    matrix = np.array([[50, 0, 0], [10, 5, 1], [8, 1, 9]])
    assert plain(confusion_sentence(matrix, GRADES, "r18")) == (
        "The most frequent error of r18 is Mild taken for No DR: 10 of 16 images (62.5 %); "
        "hardest is Mild, of which 5 of 16 are found (31.2 %)."
    )


def test_confusion_of_a_constant_model_says_that_it_is_constant():
    text = plain(confusion_sentence(np.array([[50, 0, 0], [10, 0, 0], [8, 0, 0]]), GRADES, "r18"))
    assert text.startswith("r18 predicts “No DR” for every image.")
    assert text.endswith("hardest are Mild and Moderate (of each, 0.0 % found).")


def test_confusion_without_errors():
    assert plain(confusion_sentence(np.eye(3) * 5, GRADES)) == "The model classifies all 15 images correctly."
    assert "only image" in confusion_sentence(np.array([[1, 0], [0, 0]]), ["a", "b"])


def test_imbalance_in_every_degree():
    assert plain(imbalance_sentence([20656, 1955, 581], GRADES)) == (
        "No DR is the most common class with 20,656 of 23,192 training images (89.1 %), "
        "Moderate the rarest with 581 (2.5 %): 35.6 times fewer."
    )
    assert plain(imbalance_sentence([5, 5, 5], GRADES)) == "The classes are balanced: 5 training images of each."
    assert "nearly balanced" in imbalance_sentence([6, 5, 5], GRADES)
    assert plain(imbalance_sentence([40, 40, 8], GRADES)).startswith(
        "No DR and Mild are the most common classes with 40 of 88 training images (45.5 %) each, Moderate the rarest"
    )
    assert imbalance_sentence([0, 5, 0], GRADES).endswith("no training image of No DR or Moderate.")
    assert imbalance_sentence([0, 0, 0], GRADES) == "There are no labelled training images."


@pytest.mark.parametrize(("score", "words"), [(0.6, "0.100 higher."), (0.4, "0.100 lower."), (0.5, "for the same")])
def test_cost_tells_what_the_longest_training_bought(score, words):
    text = plain(cost_sentence(pd.DataFrame({"run": ["a", "b"], "minutes": [20, 60.0], "qwk": [0.5, score]}), "qwk"))
    assert text.startswith("b took the longest to train, 60.0 minutes, 3.0 times as long as a (20.0 minutes)")
    assert words in text


def test_cost_of_one_and_of_equal():
    table = pd.DataFrame({"run": ["a", "b"], "minutes": [20.0, 20.0]})
    assert plain(cost_sentence(table[:1], "qwk")) == "Training a took 20.0 minutes."
    assert plain(cost_sentence(table, "qwk")) == "Both variants took 20.0 minutes to train."


def test_numbers_are_written_as_the_report_wants_them():
    assert plain(numbers.percent(0.73357)) == "73.4 %"
    assert numbers.whole(28100) == "28,100"
    assert numbers.fixed(-0.0004, 3) == "0.000" and numbers.fixed(-0.0123, 3) == "−0.012"
    assert numbers.percent(NAN) == numbers.whole(None) == numbers.fixed(pd.NA, 1) == "–"
    assert (
        plain(numbers.plural(1, "image")) == "1 image" and plain(numbers.plural(2, "class", "classes")) == "2 classes"
    )
    assert numbers.interval("qwk", -0.01, 0.03) == "[−0.010 to 0.030]" and numbers.interval("qwk", NAN, 1) == ""
    assert numbers.metric("val_qwk").name == "quadratic weighted kappa"
    assert numbers.metric("new_score").short == "New score"
