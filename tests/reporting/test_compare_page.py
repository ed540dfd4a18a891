"""Every run of a study as a row, whatever became of it; and the page that shows them."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from check_report import external_references
from made_pages import CURVES, compare_page
from made_runs import labels, make_run

from labkit.params import RunParams
from labkit.reporting.page.compare import render_compare, sparkline
from labkit.reporting.runs_table import runs_table, validation_curves
from labkit.runs.files import read_json, write_json
from labkit.runs.fingerprint import run_inputs
from labkit.runs.folder import mark_failed, open_run, run_folder


@pytest.fixture
def study(own_reports):
    """Study 's': a good run, a constant one of another rate, one that failed, and one that was refused."""
    make_run("good", labels())
    make_run("constant", np.zeros(60, int), learning_rate=0.5)
    params = RunParams(study="s", run="big", batch_size=64)
    inputs = run_inputs(params, "data")
    mark_failed(run_folder(params, ""), params, inputs, "OutOfMemoryError: too large")
    names = {"good-seed0": None, "constant-seed0": None, "big-seed0": None, "child-seed0": None}
    made = {name: read_json(own_reports / "s" / "runs" / name / "run.json").get("fingerprint") for name in names}
    write_json(own_reports / "s" / "report.json", {"runs": made})
    return own_reports / "s"


def test_every_run_has_a_row_with_its_status_scores_and_parameters(study):
    table = runs_table("s", failed={"child-seed0": "starts from big, which failed"})
    assert list(table["run"]) == ["good", "constant", "big", "child"]  # as the study planned them
    assert list(table["status"]) == ["finished", "finished", "failed", "not run"]
    assert list(table["error"]) == ["", "", "OutOfMemoryError: too large", "starts from big, which failed"]
    assert (
        list(table["test_accuracy"])[:2] == [1.0, pytest.approx(40 / 60)] and table["test_accuracy"].isna().sum() == 2
    )
    assert list(table["val_qwk"])[:2] == [0.3, 0.3] and list(table["test_images"])[:2] == [60, 60]
    assert list(table["learning_rate"])[:3] == [0.001, 0.5, 0.001] and table["batch_size"][2] == 64
    assert table["weights"][0] == "none" and pd.isna(table["weights"][3])


def test_scores_come_from_the_predictions_and_not_from_what_was_written_down(study):
    path = study / "runs" / "good-seed0" / "predictions.csv"
    predictions = pd.read_csv(path)
    predictions.loc[:5, ["logit_0", "logit_1"]] = [0.0, 9.0]
    predictions.to_csv(path, index=False)
    row = runs_table("s").loc[0, ["status", "error"]].tolist()
    assert row == ["damaged", "damaged: predictions.csv is not what the run wrote"]
    manifest = read_json(path.with_name("run.json"))
    del manifest["sha256"]  # of a run that was finished before they were kept
    write_json(path.with_name("run.json"), manifest)
    assert runs_table("s")["test_accuracy"][0] == pytest.approx(54 / 60)


def test_a_run_made_from_other_parameters_is_out_of_date(study):
    planned = read_json(study / "report.json")
    planned["runs"]["good-seed0"] = "other"
    write_json(study / "report.json", planned)
    assert runs_table("s")["status"][0] == "out of date"


def test_a_parent_is_named_and_not_given_as_a_path(study):
    params = RunParams(study="s", run="big", weights=f"{study}/runs/good-seed0/model.safetensors", parent="f")
    open_run(params, {"name": "big"})
    assert runs_table("s").set_index("run").loc["big", "weights"] == "run:good-seed0"


def test_curves_are_the_validation_score_by_epoch(study):
    assert validation_curves("s") == {"good-seed0": [0.1, 0.3], "constant-seed0": [0.1, 0.3]}


def test_curves_and_scores_are_of_the_metric_that_chooses_the_epoch(own_reports):
    make_run("a", labels(), select_by="accuracy")
    assert validation_curves("s") == {"a-seed0": [0.5, 0.7]} and runs_table("s")["val_accuracy"].tolist() == [0.7]
    make_run("b", labels())  # by another metric: then the data set's, in which both can be compared
    assert validation_curves("s") == {"a-seed0": [0.1, 0.3], "b-seed0": [0.1, 0.3]}


def test_the_page_of_a_study_names_its_failed_runs_and_what_differs(study, tmp_path):
    table, curves = runs_table("s"), validation_curves("s")
    page = render_compare(table, tmp_path / "compare.html", title="All runs", curves=curves)
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    heads = [head.get_text() for head in soup.select("table.runs thead th")]
    assert heads[:7] == ["Run", "Seed", "Status", "Curve", "QWK, test", "Accuracy, test", "n, test"]
    assert heads[7:13] == ["QWK, validation", "n, validation", "batch_size", "learning_rate", "Best epoch", "Minutes"]
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in soup.select("table.runs tbody tr")]
    assert {len(row) for row in rows} == {len(heads)}
    assert [row[4:7] for row in rows[:2]] == [["1.000", "100.0\xa0%", "60"], ["0.000", "66.7\xa0%", "60"]]
    assert rows[2][2] == "failed: OutOfMemoryError: too large" and rows[2][9] == "64"
    assert len(soup.select("table.runs svg")) == 2
    same = {row.th.get_text(): row.td.get_text() for row in soup.select("main > table tbody tr")}
    assert same["arch"] == "resnet18" and "learning_rate" not in same
    assert soup.select_one(".subtitle").get_text() == "4\u00a0runs: 2 finished, 1 failed, 1 not run"


def test_runs_tested_on_other_images_stand_apart_and_the_best_comes_first(study, tmp_path):
    make_run("elsewhere", labels(), ids="other", split="given")
    names = ["constant-seed0", "elsewhere-seed0", "good-seed0", "big-seed0"]
    made = {name: read_json(study / "runs" / name / "run.json").get("fingerprint") for name in names}
    write_json(study / "report.json", {"runs": made})
    page = render_compare(runs_table("s"), tmp_path / "c.html", title="T", curves={})
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    found = {
        part["aria-label"]: [row.th.get_text() for row in part.select("tbody tr")] for part in soup.select(".runs")
    }
    assert found == {
        "Test set 1, split group": ["good", "constant"],
        "Test set 2, split given": ["elsewhere"],
        "Runs without a test score": ["big"],
    }
    assert [head.get_text() for head in soup.select("h2")][:3] == list(found)


def test_the_page_asks_no_host_and_is_the_same_again(tmp_path):
    first = compare_page(tmp_path).read_bytes()
    assert external_references(first.decode()) == [] and len(first) < 1_500_000
    assert compare_page(tmp_path).read_bytes() == first


def test_a_study_without_a_finished_run_has_a_page_too(tmp_path):
    table = pd.DataFrame([{"run": "a", "seed": 0, "status": "failed", "error": "no", "test_set": None}])
    text = render_compare(table, tmp_path / "c.html", title="T", curves={}).read_text("utf-8")
    assert BeautifulSoup(text, "html.parser").select_one("table.runs tbody td.status").get_text() == "failed: no"


def test_small_curves_share_one_scale():
    low, high = 0.0, 1.0
    one = BeautifulSoup(sparkline(CURVES["resnet18-seed0"], 5, low, high, "score", 3), "html.parser")
    points = [tuple(map(float, pair.split(","))) for pair in one.polyline["points"].split()]
    assert points == [(4.0, 23.8), (35.0, 15.0), (66.0, 17.2)]  # half the height at 0.5, half the width of five epochs
    assert (one.circle["cx"], one.circle["cy"]) == ("66.0", "17.2")  # the chosen one, be it the highest or not
    assert one.svg["aria-label"] == "score by epoch: from 0.100 to 0.400, 0.400 in the chosen epoch 3"
    assert "circle" in sparkline([0.3], 1, 0.3, 0.3, "score", 1)  # one epoch, one value: a dot
    assert "circle" not in sparkline([0.3], 1, 0.3, 0.3, "score")  # none is chosen yet


def test_parameters_that_are_lists_are_shown_and_runs_left_from_before_are_not(study):
    make_run("angled", labels(), rotation=[0, 90], class_weights=[1.2, 1.0, 1.0])
    planned = read_json(study / "report.json")
    for name in ("good-seed0", "angled-seed0"):
        planned["runs"][name] = read_json(study / "runs" / name / "run.json")["fingerprint"]
    del planned["runs"]["constant-seed0"]
    write_json(study / "report.json", planned)
    (study / "runs" / "constant-seed0" / "params.yaml").write_text("arch: resnext50_32x4d\n")  # unknown by now
    table = runs_table("s")
    assert "constant" not in set(table["run"]) and "constant-seed0" not in validation_curves("s")
    page = render_compare(table, study / "compare.html", title="T", curves=validation_curves("s"))
    text = BeautifulSoup(page.read_text("utf-8"), "html.parser").get_text()
    assert "0, 90" in text and "1.2, 1, 1" in text  # as the report writes them
