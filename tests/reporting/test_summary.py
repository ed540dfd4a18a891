"""Page one answers from the numbers, in at most three lines, and says whether to trust it."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import labels, make_run, without_sums
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from test_plots import drawn_texts

from labkit.params import RunParams
from labkit.reporting import results as collect_room
from labkit.reporting import style
from labkit.reporting.exhibits.calibration import reliability
from labkit.reporting.exhibits.checklist import checklist, limits, papers
from labkit.reporting.exhibits.comparisons import differences
from labkit.reporting.exhibits.confusion import confusions
from labkit.reporting.exhibits.mistakes import errors
from labkit.reporting.exhibits.protocol import curves, provenance, variants
from labkit.reporting.exhibits.published import published_scores
from labkit.reporting.exhibits.roc import class_curves, pictogram, screening
from labkit.reporting.exhibits.scores import scores
from labkit.reporting.exhibits.summary import answer, page_one, trust
from labkit.reporting.exhibits.worth import worth
from labkit.reporting.results import Comparison, StudyResults, study_results
from labkit.reporting.show import Exhibit
from labkit.runs.files import write_csv
from labkit.runs.folder import run_folder
from labkit.studies.file import Study


@pytest.fixture
def study(monkeypatch):
    table = {"title": "t", "question": "q", "runs": {name: {} for name in ("blind", "good", "alike")}}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    make_run("blind", np.zeros(60, int))


def said() -> list[str]:
    return [line.replace("\u00a0", " ") for line in answer(study_results("s"))]


def checks() -> dict[str, bool]:
    return {text.replace("\u00a0", " "): holds for holds, text in trust(study_results("s"))}


def test_a_single_variant_that_always_predicts_alike_is_called_so(study):
    (best,) = said()
    assert best == (
        "blind has a quadratic weighted kappa of 0 (constant predictions) on test; always predicting “a” scores the "
        "same (the same images are right and wrong). Its accuracy is 66.7 %; always predicting “a” scores the same "
        "(the same images are right and wrong). blind finds no test image of b (n = 12) or c (n = 8). "
        "blind predicts one class for every "
        "image."
    )


def test_labels_stand_in_sentences_tables_and_figures_and_the_first_table_says_whose_they_are(study, monkeypatch):
    rows = {"blind": {"label": "ResNet-18 from scratch"}, "good": {"label": "ResNet-18 fine-tuned"}}
    named = Study(
        name="s",
        title="t",
        question="q",
        runs=rows,
        published={"source": "p", "data": "d", "n": 9, "scores": {"good": 1}},
    )
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: named)
    make_run("good", labels(), val=labels(), weight_decay=0.1)
    make_run("good-honest", labels(), ids="other")
    results = study_results("s")
    table = next(variants(results)).table
    assert table[["variant", "run"]].to_numpy().tolist() == [[rows[slug]["label"], slug] for slug in rows]
    shown = [*page_one(results), *scores(results), *differences(results), *published_scores(results), *curves(results)]
    shown += [limits(results), Exhibit(text="\n".join(text for _, text in trust(results)))]
    said = " ".join(f"{one.text}{one.caption}{one.alt}{'' if one.table is None else one.table}" for one in shown)
    drawn = {text.get_text() for one in shown if one.figure for text in one.figure.findobj(Text)}
    assert all(any(row["label"] in text for text in drawn) and row["label"] in said for row in rows.values())
    assert not any(slug in f"{said} {drawn}" for slug in rows)
    assert next(provenance(results)).table.loc[0, "value"].endswith("good")


def test_the_answer_begins_with_what_each_setting_does_and_ends_with_the_best(study):
    make_run("good", labels(), val=labels(), weight_decay=0.1)
    factor, best = said()
    assert factor.startswith("Variants that differ in weight decay scored differently (quadratic weighted kappa, one s")
    assert best.startswith("good (best on validation) has a quadratic weighted kappa of 1")
    assert "always predicting “a” has 0.000 (taken alone, the difference is more than noise)." in best
    assert "finds any" not in best  # what one variant finds is found


def test_a_deeper_and_a_pretrained_network_are_told_as_such_whatever_their_order(study):
    make_run("good", labels(), val=labels(), arch="resnet50")
    make_run("alike", labels(), val=labels(), start="ImageNet weights")
    deeper, start, _ = said()
    assert ": good scores 1.000 higher than blind" in deeper and ": alike scores 1.000 higher than blind" in start


NAN = float("nan")
PAIRS = {  # difference, low, high, groups, differing
    "up": (0.2, 0.1, 0.3, 80, 20), "down": (-0.2, -0.3, -0.1, 80, 20), "noise": (0.0001, -0.1, 0.1, 80, 20),
    "few": (0.2, 0.1, 0.3, 5, 5), "unknown": (0.2, NAN, NAN, 80, 20), "equal": (0.0, 0.0, 0.0, 80, 0),
}  # fmt: skip
KAPPA = "(quadratic weighted kappa, one seed each)"
FEW = (
    "cannot be judged (too few images or patients for a verdict; quadratic weighted kappa, one seed each): good scores"
)


def compared(monkeypatch, **factors: str) -> StudyResults:
    """Three runs of which good and blind are compared: pairs of a factor by what was found."""

    def pairs(_):
        for factor, kinds in factors.items():
            for difference, low, high, groups, differing in map(PAIRS.__getitem__, kinds.split()):
                counts = {"groups": groups, "differing": differing}
                yield Comparison("blind", "good", factor, "qwk", difference, low, high, **counts)

    monkeypatch.setattr(StudyResults, "comparisons", pairs)
    make_run("good", labels())
    return study_results("s")


@pytest.mark.parametrize(
    ("factor", "kinds", "begins"),
    [
        ("arch", "up", f"The deeper network scored higher {KAPPA}: good scores 0.200 higher than blind [+0.100 to"),
        ("arch", "noise up up", f"Deeper networks scored higher in 2 of 3 pairs {KAPPA}: good scores 0.200 higher"),
        ("arch", "up up down noise", f"Deeper networks scored higher in 2, lower in 1 of 4 pairs {KAPPA}: good"),
        ("arch", "few up noise", f"Deeper networks scored higher in 1 of 3 pairs; 1 cannot be judged {KAPPA}: good"),
        ("arch", "noise equal", f"Deeper networks showed no difference beyond noise in 2 of 2 pairs {KAPPA}: good"),
        ("arch", "few few", f"Deeper networks {FEW} 0.200 higher than blind [+0.100 to +0.300] (blind predicts"),
        ("arch", "unknown", f"The deeper network {FEW} 0.200 higher than blind, without an interval"),
        ("start", "down", f"The network that starts from trained weights scored lower {KAPPA}: good scores 0.200"),
        ("start", "equal up", f"Networks that start from trained weights scored higher in 1 of 2 pairs {KAPPA}"),
        ("deviation", "up down", f"Variants that differ in network design scored differently in 2 of 2 pairs {KAPPA}"),
        ("select_by", "equal", "Variants that differ in choice of the epoch gave the same predictions ("),
        ("loss", "noise", f"Variants that differ in loss showed no difference beyond noise {KAPPA}: good scores the "
         "same as blind [−0.100 to +0.100], within noise (blind predicts one class)."),
    ],
)  # fmt: skip
def test_a_line_says_of_a_setting_what_its_pairs_show_and_no_more(factor, kinds, begins, study, monkeypatch):
    assert answer(compared(monkeypatch, **{factor: kinds}))[0].replace("\u00a0", " ").startswith(begins)


def test_settings_that_show_a_difference_come_first_and_those_left_out_are_named(study, monkeypatch):
    kinds = {
        "loss": "noise",
        "arch": "few",
        "start": "up",
        "sampling": "noise",
        "select_by": "noise",
        "deviation": "few",
    }
    start, loss, _ = answer(compared(monkeypatch, **kinds))
    assert "trained weights scored higher" in start and loss.startswith("Variants that differ in loss")
    assert loss.endswith(
        " Also compared, in the table of differences: network, sampling, choice of the epoch and network design."
    )


def test_what_else_differs_and_which_variants_have_one_seed_is_said(study):
    for seed in (0, 1):
        make_run("good", labels(), val=labels(), arch="resnet50", epochs=2, seed=seed)
    (deeper, best), found = said(), checks()
    assert "(quadratic weighted kappa, some with one seed): good scores 1.000 higher" in deeper
    assert (
        deeper.endswith("(blind predicts one class; other settings differ, too).")
        and "blind predicts one class for every image." in best
    )
    assert found["1 to 2 seeds per variant: nothing is known of another seed of blind"] is False
    assert "With one seed each" in "".join(one.text for one in differences(study_results("s")))
    assert "All intervals" not in "".join(one.text for one in differences(study_results("s")))  # of one pair


def test_seeds_that_predict_one_class_are_counted(study):
    nearly = np.zeros(60, int)
    nearly[0] = 1
    for seed, answers in enumerate((nearly, np.zeros(60, int), labels())):
        make_run("good", answers, seed=seed, weight_decay=0.1)
    best = "blind and 2 of 3 seeds of good each predict one class for at least 98 % of the images."
    assert said()[-1].endswith(best)


def test_scores_on_validation_are_called_so_and_the_choice_of_the_epoch_is_no_honest_one(study):
    make_run("blind", np.zeros(60, int), split_name="val")
    assert "(constant predictions) on validation;" in said()[0] and "no validation image of b" in said()[0]
    assert checks()["epoch: chosen on the very images that are scored"] is False
    _, forest, _ = page_one(study_results("s"))
    assert "on 60\xa0validation images" in forest.caption and not any("test" in text for text in checks())
    make_run("blind", np.zeros(60, int), split_name="val", select_on="last")
    assert checks()["epoch: the last one"] and "epoch was chosen" not in study_results("s").stamp


def test_a_score_with_patients_kept_apart_stands_beside_that_of_the_data_as_it_came(study):
    make_run("blind-honest", labels(), ids="other")
    assert "Trained again with patients kept apart, it has 1.000 on other images." in said()[0]


def test_where_no_pair_differs_in_one_setting_a_line_says_so(study):
    make_run("good", labels(), val=labels(), arch="resnet50", loss="ordinal")
    assert said()[0] == "No two variants differ in one setting only, so what a setting does is not known."


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"touched": pd.Series([True] * 3 + [False] * 57)},
         "3 of 60 test images show patients seen in training, or are copies of training images"),
        ({"touched": pd.Series([True] + [False] * 59)},
         "1 of 60 test images shows a patient seen in training, or is a copy of a training image"),
        ({"n_without_group": 7}, "7 of 60 test images without a known patient"),
        ({"audit": {"n_conflicting": 2}}, "2 images labelled in two ways"),
        ({"test_predictions": 3}, "test images predicted 3 times"),
    ],
)  # fmt: skip
def test_a_check_that_fails_says_how_far(facts, told, study):
    results = study_results("s")
    results.runs[0].update(facts)
    found = {text.replace("\u00a0", " "): holds for holds, text in trust(results)}
    assert found[told] is False and ("patient" in told) != ("no patient in both training and test" in found)


def test_a_class_without_a_test_image_is_named(study):
    results = study_results("s")
    results.runs[0]["test"]["label"] = results.runs[0]["test"]["label"].clip(upper=1)
    assert (False, "no test image of c") in trust(results)


def test_figures_of_page_one_are_told_in_a_few_words(study, monkeypatch):
    _, forest, matrix = page_one(compared(monkeypatch, loss="up " * 12))
    assert forest.alt.endswith("highest: good with 1.000. Right: 10\u00a0differences between variants.")
    assert "dashed: always “a”; blue: blind (shown because it is the first" in forest.caption
    assert matrix.alt.startswith("Confusion matrix. blind predicts “a” for every image.")
    monkeypatch.setattr(StudyResults, "comparisons", lambda _: ())
    _, forest, _ = page_one(study_results("s"))
    assert "difference" not in forest.alt


def test_page_one_holds_the_answer_a_forest_plot_and_one_matrix(study, monkeypatch):
    make_run("good", labels(), val=labels(), weight_decay=0.1)
    text, forest, matrix = page_one(study_results("s"))
    assert text.text.startswith("- Variants that differ in weight decay") and "by good" in matrix.caption
    left, right = forest.figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["blind", "good", "majority class"]
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["good\n− blind"]
    texts = drawn_texts(forest.figure, monkeypatch)
    boxes = [Text.get_window_extent(one) for one in texts]
    for (one, box), (other, against) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        across = min(box.x1, against.x1) - max(box.x0, against.x0)
        assert min(across, min(box.y1, against.y1) - max(box.y0, against.y0)) < 1, f"{one} and {other} overlap"


def test_the_variant_told_of_is_the_best_mean_on_validation_whatever_test_says(study):
    blind, nearly = np.zeros(60, int), labels()
    nearly[59] = 1
    make_run("blind", blind, val=blind)
    make_run("blind", blind, val=blind, seed=1)
    for seed in (0, 1):
        make_run("good", blind, val=nearly, seed=seed)  # best on validation, and blind on test
    make_run("alike", labels(), val=labels())  # perfect once, and blind the second time
    make_run("alike", blind, val=blind, seed=1)
    results = study_results("s")
    assert results.chosen == "good" and results.n_seeds.replace("\u00a0", " ") == "2 seeds"
    assert results.by_chosen == ", by good (best on validation)"
    ends = results.over_seeds()["alike"].loc["qwk"]
    assert ends["low"] == -1 and ends["high"] == 1  # two seeds this far apart say nothing


def test_without_validation_images_the_first_row_is_told_of_and_stamped(study):
    assert study_results("s").by_chosen == ", by blind"
    make_run("good", labels())
    results = study_results("s")
    assert results.chosen == "blind"
    assert results.by_chosen == ", by blind (shown because it is the first: no validation images to choose by)"
    assert f"kappa{results.by_chosen}: 0 (constant predictions)" in " ".join(checklist(results, {})["reported"])


def test_only_what_a_report_uses_is_referred_to(study):
    make_run("good", labels(), data="somewhere/eyes")
    results = study_results("s")
    listed = papers(results, worth(results))
    assert any("residual learning" in line for line in listed) and any("McNemar" in line for line in listed)
    assert any("(CLAIM): 2024 update" in line and "e240300" in line for line in listed)
    assert not any("EfficientNet" in line or "benchmarks" in line for line in listed)
    assert listed[-1].startswith("Data: ") == (results.runs[0]["params"].data == "somewhere/eyes")


@pytest.mark.parametrize(("kept", "absent"), [("one image", "a or b"), ("one class", "b or c")])
def test_of_one_test_image_or_one_class_no_more_is_said_than_can_be_known(kept, absent, study):
    for name, answers in (("good", labels()), ("blind", np.zeros(60, int))):
        make_run(name, answers, val=answers, weight_decay=0.1 * (name == "good"))
        path = without_sums(run_folder(RunParams(study="s", run=name), ""))
        table = pd.read_csv(path)
        chosen = table["image_id"] == "i59" if kept == "one image" else table["label"] == 0
        write_csv(path, table[chosen | (table["split"] == "val")])
    results, found = study_results("s"), checks()
    assert found[f"no test image of {absent}"] is False
    kappas = next(scores(results)).table.set_index("variant")["QWK"]
    assert kappas["blind"] == kappas["majority class"] == "0 (constant predictions)"
    only = "c" if kept == "one image" else "a"
    images = "The only test image is" if kept == "one image" else "All test images are"
    assert (
        said()[0]
        == f"{images} of one class, “{only}”: kappa is then 0 or undefined (shown as 0), and compares no variants."
    )
    assert "kappa" not in said()[1] and "has an accuracy of 100.0 %" in said()[1]
    if kept == "one image":
        assert found["only one test patient: nothing is known of others"] is False
        told = "".join(one.text for one in reliability(results))
        assert told == "- blind cannot be judged on 1\u00a0image.\n- good cannot be judged on 1\u00a0image."


def test_a_pictogram_shows_whom_screening_finds_and_misses_in_marks_that_gray_print_keeps_apart(study):
    answers = labels()
    answers[52:55], answers[:5] = 0, 2  # three of eight of grade 2 are missed, five others are sent
    make_run("blind", answers, val=labels())
    _, shown, *_ = screening(study_results("s"))
    assert shown.alt.endswith("5 found, 3 missed, 5 sent without need, 47 spared.")
    assert "by blind; a mark is 1\u00a0image;" in shown.caption
    lines = shown.figure.axes[0].lines
    marks = {f"{line.get_marker()}{line.get_markerfacecolor() == 'white'}": len(line.get_xdata()) for line in lines}
    assert sorted(marks.values()) == [3, 5, 5, 47]  # no two kinds look alike in gray
    assert all(style.contrast_on_white(to_rgb(line.get_color())) >= 3 for line in lines)
    few = {"found": 1, "missed": 0, "sent without need": 7, "spared": 6_992}
    assert [len(line.get_xdata()) for line in pictogram(few, 20).axes[0].lines] == [1, 0, 1, 350]


@pytest.mark.parametrize("loss", ["ordinal", "cross_entropy"])
def test_predicted_grades_are_drawn_by_true_grade_with_the_cuts_between_them(loss, study):
    answers = labels()
    answers[44:52] = 0
    make_run("blind", answers, val=answers, loss=loss)
    if loss == "ordinal":
        path = without_sums(run_folder(RunParams(study="s", run="blind"), ""))
        table = pd.read_csv(path)
        table["grade"] = table.filter(like="logit_").to_numpy().argmax(axis=1) + np.tile([0.1, -0.1], len(table) // 2)
        write_csv(path, table.drop(columns=table.filter(like="logit_").columns))
    results = study_results("s")
    vars(results)["pixels"] = SimpleNamespace(of=lambda ids: np.zeros((len(ids), 8, 8, 3), np.uint8))
    _, strip, pairs = errors(results)
    right, wrong, *cuts = strip.figure.axes[0].lines
    assert (len(right.get_xdata()), len(wrong.get_xdata()), len(cuts)) == (52, 8, 2 * (loss == "ordinal"))
    assert set(np.round(wrong.get_ydata())) == {1} and max(wrong.get_xdata()) < 0.5
    assert {text.get_text() for text in strip.figure.axes[0].texts} == (set("012") if cuts else set())
    said = strip.text.replace("\u00a0", " ")
    assert said.startswith("8 of 12 test images (66.7 %) of b are missed: taken for a (8). The median of the predicted")
    assert said.endswith("; b is predicted from 0.50 to 1.50." if cuts else " for c.") and pairs.figure


def test_a_study_of_ordinal_runs_alone_has_every_exhibit_that_needs_no_probabilities(study):
    answers = labels()
    answers[55:] = 1
    for name, given in (("good", labels()), ("blind", np.zeros(60, int)), ("alike", answers)):
        make_run(name, given, val=given, loss="ordinal", arch="resnet18" if name == "good" else "resnet34")
        path = without_sums(run_folder(RunParams(study="s", run=name), ""))
        table = pd.read_csv(path)
        grades = table.filter(like="logit_").to_numpy().argmax(axis=1) + np.tile([0.1, -0.1], len(table) // 2)
        write_csv(path, table.drop(columns=table.filter(like="logit_").columns).assign(grade=grades))
    results = study_results("s")
    shown = [one for of in (screening, class_curves, reliability, scores) for one in of(results)]
    assert len(shown) >= 3 and "ROC curve" not in "".join(one.caption for one in shown)
    assert "a grade or a prediction alone is no probability" in "".join(one.text for one in shown)
    assert said()[-1].startswith("good (best on validation) has a quadratic weighted kappa of 1")


def test_what_is_of_one_seed_or_of_a_fitted_threshold_says_so_and_equal_predictions_are_called_equal(study):
    for seed in (0, 1):
        make_run("good", labels(), val=labels(), seed=seed, weight_decay=0.1)
        make_run("alike", labels(), val=labels(), seed=seed)
        make_run("blind", np.zeros(60, int), val=np.zeros(60, int), seed=seed)
    results = study_results("s")
    of_one_seed = [one.caption for of in (confusions, screening, reliability) for one in of(results) if one.figure]
    assert len(of_one_seed) >= 3 and all(", first seed" in caption for caption in of_one_seed)
    assert any("± is the standard deviation over seeds" in one.text for one in scores(results))
    assert any("ignore that the thresholds are estimates" in one.caption for one in screening(results))
    assert "With one seed each" not in "".join(one.text for one in differences(results))
    table = next(one.table for one in differences(results) if one.table is not None)
    equal = table.loc[table[["variant", "against"]].isin(["good", "alike"]).all(axis=1), "95 % interval"]
    assert len(equal) == 2 and (equal == "equal predictions").all()
    perfect = table.query("variant == 'blind' or against == 'blind'").query("metric == 'quadratic weighted kappa'")
    assert set(perfect["difference"]) == {"+1.000"} and set(perfect["95 % interval"]) == {"no spread"}
    assert "scores 1.000 higher than blind [no spread]" in said()[0]
    assert "the difference is more than noise" in said()[-1]
