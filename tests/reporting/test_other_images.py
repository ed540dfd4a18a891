"""What the report says of an external test set: numbers that a direct computation gives, and nothing without one."""

import numpy as np
import pandas as pd
import pytest
from made_runs import CLASSES, labels, make_run, without_sums
from made_tables import eyes
from sklearn.metrics import cohen_kappa_score

from labkit.evaluation.calibration import calibration_line
from labkit.evaluation.decide import decide
from labkit.format import NBSP
from labkit.params import RunParams
from labkit.reporting import results as collect_room
from labkit.reporting.exhibits.checklist import checklist
from labkit.reporting.exhibits.external import external, external_scores
from labkit.reporting.exhibits.summary import trust
from labkit.reporting.results import study_results
from labkit.runs.files import read_json, sha256, write_csv, write_json
from labkit.runs.folder import run_folder
from labkit.studies.external import External
from labkit.studies.file import Study

SET = {"dataset": "custom", "data": "clinic"}


def folder(name: str):
    return run_folder(RunParams(study="s", run=name), "")


def add_external(name: str, table: pd.DataFrame, copies=(), params=SET) -> None:
    run = folder(name)
    write_csv(run / "predictions-clinic.csv", table.assign(split="external"))
    sidecar = {"params": External.of(params).model_dump(), "made_from": "x", "data": "d", "n": len(table)}
    sidecar |= {"fingerprint": read_json(run / "run.json")["fingerprint"], "copies": list(copies), "met": []}
    write_json(run / "external-clinic.json", sidecar | {"sha256": sha256(run / "predictions-clinic.csv")})


@pytest.fixture
def study(monkeypatch):
    """Two variants, 'deep' better than 'good' on its own images and worse on the clinic's."""
    table = {"title": "t", "question": "q", "runs": {"good": {}, "deep": {}}, "external": {"clinic": SET}}
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: Study(name=name, **table))
    for name, skill, there in (("good", 1.5, 1.4), ("deep", 2.5, 0.5)):
        make_run(name, labels())
        generator, shares = np.random.default_rng(0), (0.6, 0.2, 0.2)
        parts = [eyes(generator, 200, split, skill, shares=shares) for split in ("val", "test")]
        pd.concat(parts).to_csv(without_sums(folder(name)), index=False)
        other = eyes(np.random.default_rng(9), 150, "external", there, shares=(0.3, 0.3, 0.4))
        add_external(name, other, copies=other["image_id"][:2] if name == "good" else [])


def test_scores_threshold_and_calibration_are_those_of_a_direct_computation(study):
    results = study_results("s")
    there = results.external["clinic"]["deep"][0]
    assert len(there) == 298, "what one run has seen is left out for all"
    table = external_scores(results, "clinic")
    kappa = cohen_kappa_score(there["label"].astype(int), there["prediction"], weights="quadratic")
    assert table.loc["deep", "there"] == pytest.approx(kappa)
    assert table.loc["deep", "own"] == pytest.approx(results.mean("deep", "qwk"))
    scores, points = external(results)
    assert f"{kappa:.3f}" in scores.table.set_index("variant").loc["deep"].iloc[1]

    val = decide(pd.read_csv(folder("deep") / "predictions.csv").query("split == 'val'"))
    highest = np.sort(val.loc[val["label"] == 2, "p_2"])[::-1]
    threshold = highest[int(np.ceil(0.9 * len(highest))) - 1]
    ill = (there["label"] == 2).to_numpy(bool)
    found = (there["p_2"] >= threshold).to_numpy(bool)
    row = points.table.set_index("variant").loc["deep"]
    assert row["sensitivity, clinic"].startswith(f"{100 * found[ill].mean():.1f}{NBSP}%")
    assert row["specificity, clinic"].startswith(f"{100 * (~found)[~ill].mean():.1f}{NBSP}%")
    slope = calibration_line(ill, there["p_2"].to_numpy(), there["group"]).loc["slope", "estimate"]
    assert row["slope"].startswith(f"{slope:.2f} [")


def test_the_sentences_say_whether_score_and_ranking_hold(study):
    scores, _ = external(study_results("s"))
    text = scores.text.replace(NBSP, " ")
    assert "lower there by more than random variation" in text
    assert "deep scores highest on its own test images, good on clinic; 0 of 1 pair of variants" in text
    assert "2 images of clinic are left out" in text and "Class mix" in text


def test_the_checklist_and_page_one_name_the_set_and_only_then(study):
    results = study_results("s")
    assert "clinic (298" in checklist(results, {}).set_index("item").loc["external test", "reported"]
    assert (True, "also tested on clinic") in trust(results)
    assert not any("one data set" in text for _, text in trust(results))
    for name in ("good", "deep"):
        add_external(name, eyes(np.random.default_rng(9), 30, shares=(0.3, 0.3, 0.4)), params=SET | {"data": "moved"})
    results = study_results("s")
    assert results.external == {} and list(external(results)) == [], "predictions of another folder are not shown"
    assert any("one data set" in text for _, text in trust(results))


def test_few_images_allow_no_verdict_and_one_class_no_calibration(study):
    for name in ("good", "deep"):
        few = eyes(np.random.default_rng(9), 10, shares=(0.5, 0.4999, 0.0001))
        add_external(name, few)
    scores, points = external(study_results("s"))
    assert "too few" in scores.table.columns[2] and "too few images for a verdict" in scores.text
    assert "no calibration, all 20 images are negative" in points.text
    assert set(points.table["slope"]) == {"–"} and len(CLASSES) == 3
