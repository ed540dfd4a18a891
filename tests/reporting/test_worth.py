"""What a study's predictions are worth, from run folders: all of it moves with them, and nothing is made up."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_runs import labels, make_run, without_sums
from made_tables import eyes

from labkit.evaluation.thresholds import operating_points, question
from labkit.format import NBSP
from labkit.params import RunParams
from labkit.reporting import results as collect_room
from labkit.reporting import tables
from labkit.reporting.exhibits.checklist import NOT_REPORTED, checklist, review
from labkit.reporting.exhibits.power import about, power
from labkit.reporting.exhibits.worth import further_scores, points_sentence, points_table, worth
from labkit.reporting.results import study_results
from labkit.runs.folder import run_folder
from labkit.studies.file import Study


@pytest.fixture
def study(monkeypatch):
    """Two runs with validation and both eyes of each patient, three grades; 'deep' sees more than 'good'."""
    table = {"title": "t", "question": "q", "runs": {"good": {}, "deep": {}}}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    for name, skill in (("good", 1.0), ("deep", 2.0)):
        make_run(name, labels())
        generator = np.random.default_rng(0)
        parts = [eyes(generator, 200, split, skill, shares=(0.6, 0.2, 0.2)) for split in ("val", "test")]
        pd.concat(parts).to_csv(path(name), index=False)


def path(name: str):
    return without_sums(run_folder(RunParams(study="s", run=name), ""))


def test_every_part_is_there_for_every_variant(study):
    results = study_results("s")
    found = worth(results)
    assert found.reasons == {} and found.question is not None
    assert [one["run"] for one in found.joined] == ["good + both eyes", "deep + both eyes"]
    assert found.joined[0]["qwk"] > next(run["qwk"] for run in results.runs if run["run"] == "good")
    shown = tables.results_table([*results.runs, *found.joined], metrics=["accuracy", "referable_auroc"])
    assert len(shown) == 4 and not (shown["Referable AUROC"] == "–").any()
    assert set(found.curves["run"]) == {"good", "deep"}
    points = points_table(found.points)
    assert len(points) == 2 and points.filter(like="Sensitivity (n").iloc[:, 0].str.contains(r"\[").all()
    assert list(found.calibrations) == ["good", "deep"]
    assert "referable disease (grade 2 or worse) on validation" in points_sentence(found.points, found.question)
    assert further_scores(results).table["variant"].str.contains("both eyes").sum() == 2


def test_what_the_test_images_can_show_is_told_of_each_variant_and_fills_the_checklist(study):
    results = study_results("s")
    assert checklist(results, {}).set_index("item").loc["sample size calculation", "reported"] == NOT_REPORTED
    shown = power(results)
    text, table = shown.text.replace(NBSP, " "), shown.table.set_index("variant")
    assert list(table.index) == ["deep", "good"] and table.loc["deep", "first in"] == f"100{NBSP}%"
    assert "deep has the highest macro F1 on test" in text or "deep has the highest quadratic" in text
    assert "another variant is first in 0 % of 2,000 draws" in text and "of 200 patients" in text
    assert "half as wide takes about 800 patients" in text and "What another seed would change is not known." in text
    said = review(results).table.set_index("item")["reported"]
    assert said["sample size calculation"].startswith("section Further scores and sample size")


def test_a_single_variant_equal_ones_and_few_patients_have_a_table_too(study):
    results = study_results("s")
    (run, other), few = results.runs, results.runs[0]["test"].head(40)
    alone = power(replace(results, runs=[run]))
    assert len(alone.table.columns) == 3 and len(alone.table) == 1 and "highest" not in alone.text
    same = power(replace(results, runs=[run, other | {"test": run["test"]} | {"qwk": run["qwk"]}]))
    assert "(deep predicts the same): no other variant predicts anything else." in same.text
    assert same.table["80 % power from"].tolist() == ["–", "equal predictions"]
    small = {"n_groups": 20, "n": 40}
    runs = [one | small | {"test": part} for one, part in ((run, few), (other, other["test"].head(40)))]
    text = power(replace(results, runs=runs)).text.replace(NBSP, " ")
    assert "too few images or patients for a verdict." in text and "too few to say how many would be enough" in text
    constant = run | {"test": run["test"].assign(prediction=0), "intervals": run["intervals"].assign(low=0.0, high=0.0)}
    assert "has no interval with a width" in power(replace(results, runs=[constant])).text


def test_extrapolated_numbers_have_two_digits_and_are_rounded_up():
    assert [about(one) for one in (30, 101, 1234, 2000, np.nan, np.inf)] == [
        *["30", "110", "1,300", "2,000", "–", "none would do"]
    ]


def test_a_model_that_leaves_nearly_everybody_alone_is_not_praised():
    """The first finds 3 of 10 and leaves 97 of 100 alone, the second 91 and 80; both were set for 90 % sensitivity."""
    asked = question(["healthy", "ill"], "classes")
    val = [(0, 0.1)] * 50 + [(1, 0.9)] * 50
    blind = val + [(1, 0.95)] * 30 + [(1, 0.2)] * 70 + [(0, 0.95)] * 3 + [(0, 0.3)] * 97
    useful = val + [(1, 0.95)] * 91 + [(1, 0.2)] * 9 + [(0, 0.95)] * 20 + [(0, 0.1)] * 80
    tables = []
    for run, rows in (("blind", blind), ("useful", useful)):
        label, p = np.array(rows).T
        table = pd.DataFrame({"label": label.astype(int), "p_0": 1 - p, "p_1": p, "group": pd.NA})
        table["split"] = np.where(np.arange(300) < 100, "val", "test")
        tables.append(operating_points(table, asked).assign(run=run))
    said = points_sentence(pd.concat(tables), asked).replace(NBSP, " ")
    assert "30.0 % to 91.0 %. The interval of blind lies wholly below 90 %. To" in said and "97.0 %" not in said
    said_of = {n: points_sentence(pd.concat(tables).assign(groups=n), asked).replace(NBSP, " ") for n in (19, 20)}
    assert "too few images or patients to say whether" in said_of[19] and "wholly" not in said_of[19]
    assert "wholly below 90 %" in said_of[20]
    assert "No interval lies wholly below 90 %." in points_sentence(tables[1], asked).replace(NBSP, " ")
    assert "specificity is: useful 80.0 % [" in said and "blind 0.0 % [" in said
    assert said.endswith("a random score has 10 %, and blind cannot be told apart from that.")


def test_without_validation_the_reasons_are_said_and_the_rest_is_shown(study):
    for name in ("good", "deep"):
        table = pd.read_csv(path(name))
        table[table["split"] == "test"].to_csv(path(name), index=False)
    found = worth(study_results("s"))
    assert found.points.empty and found.joined == []
    assert {reason.split(" of ")[0] for reason in found.reasons} == {"operating point", "both eyes"}
    assert all("no validation split" in reason for reason in found.reasons.values())
    assert {one.temperature for one in found.calibrations.values()} == {None}


def test_data_without_sides_is_told_nothing_of_eyes(study):
    for name in ("good", "deep"):
        pd.read_csv(path(name)).assign(side=pd.NA).to_csv(path(name), index=False)
    found = worth(study_results("s"))
    assert found.joined == [] and not any("eye" in what or "eye" in why for what, why in found.reasons.items())
