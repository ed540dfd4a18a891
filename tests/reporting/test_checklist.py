"""The reviewer's page says what the manifests know and admits the rest."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import labels, make_run

from labkit.audit import audit
from labkit.params import RunParams
from labkit.reporting import results as collect_room
from labkit.reporting.exhibits.checklist import (
    NOT_REPORTED,
    checklist,
    choice_sentence,
    limits,
    machine_sentence,
    review,
)
from labkit.reporting.exhibits.mistakes import errors
from labkit.reporting.exhibits.protocol import provenance, variants
from labkit.reporting.results import study_results
from labkit.runs.folder import reports_root
from labkit.studies.file import Study


@pytest.fixture
def results(monkeypatch):
    study = Study(name="s", title="t", question="Does it help?", runs={"a": {}})
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: study)
    make_run("a", labels())
    return study_results("s")


def reported(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["item"], table["reported"].str.replace("\u00a0", " "), strict=True))


def test_what_the_manifest_knows_is_reported_and_the_rest_is_not(results):
    said = reported(checklist(results, {}))
    assert said["objective"] == "Does it help?"
    assert "train 100 images" in said["partitions"] and "test shows 30 patients" in said["partitions"]
    assert "drawn by patient; 1 seed" in said["uncertainty"]
    assert said["external test"].startswith("none: ")
    for item in ("eligibility of patients", "reference standard", "sample size calculation", "calibration"):
        assert said[item] == NOT_REPORTED


def test_a_fact_that_the_manifest_lacks_is_not_reported(results):
    run = results.runs[0]
    assert reported(checklist(results, {}))["unreadable or missing data"] == NOT_REPORTED  # the made run has no count
    run["unreadable"], run["test_predictions"], run["git_commit"] = 2, 1, "abc"
    said = reported(checklist(results, {}))
    assert said["unreadable or missing data"].endswith("left out: 2")
    assert "commit abc" in said["code"] and said["looks at the test images"].endswith("images once")
    run["git_commit"] = None
    assert reported(checklist(results, {}))["code"] == NOT_REPORTED


def test_the_devices_of_all_runs_are_named(results):
    first = results.runs[0] | {"device": "cpu", "precision": "fp32"}
    results.runs[:] = [first, first, first | {"device": "NVIDIA H200", "precision": "bf16"}]
    assert reported(checklist(results, {}))["software and machine"].endswith("cpu, fp32 (a); NVIDIA H200, bf16 (a)")


def test_a_leak_stands_in_the_checklist(results):
    table = pd.DataFrame({"image_id": ["a", "b", "c"], "group": ["1", "2", "1"], "label": [0, 1, 0], "side": None})
    table["split"] = ["train", "train", "test"]
    hashes = pd.Series({"a": "x", "b": "y", "c": "x"})
    results.runs[0]["audit"] = audit(table, hashes, ["a", "b"], "patient").facts()
    said = reported(checklist(results, {}))
    assert said["disjoint patients"].startswith("Leak: 1 patient")
    assert said["duplicate images"].startswith("Leak: 1 of 1 test image is in train")


def test_the_notebook_adds_what_it_shows_and_no_other_item(results):
    table = checklist(results, also={"failure analysis": "ten mistakes"})
    said = reported(table)
    assert said["failure analysis"] == "ten mistakes" and said["calibration"] == NOT_REPORTED


def test_what_runs_do_not_share_is_said_of_each(results):
    first = results.runs[0] | {"device": "cuda", "precision": "bf16", "threads": 4}
    first["params"] = first["params"].model_copy(update={"select_on": "last"})
    results.runs[0] |= {"precision": "fp32", "threads": 1}
    chosen = "The weights are those of the epoch with the highest quadratic weighted kappa on validation"
    ties = "; of equal epochs, the one with the lower loss."
    assert choice_sentence(results) == f"{chosen}{ties}"
    by_loss = results.runs[0]["params"].model_copy(update={"select_by": "loss"})
    one = replace(results, runs=[results.runs[0] | {"params": by_loss}])
    assert choice_sentence(one).endswith(f"the epoch with the lowest loss on validation{ties}")
    results.runs.append(first | {"run": "b", "n_images": {"train": 120, "test": 60}})
    assert choice_sentence(results) == f"{chosen} (a); the last epoch (b){ties}"
    machines = machine_sentence(results).replace("\u00a0", " ")
    assert machines == "Trained on cpu in fp32 with 1 thread (a); cuda in bf16 with 4 threads (b)."
    said = reported(checklist(results, {}))
    assert "(a); the last epoch (b)" in said["choice of the final model"]
    assert "cuda, bf16 (b)" in said["software and machine"]
    assert "val 20 images, test 60 images (a); train 120 images, test 60 images (b)" in said["partitions"]


def test_numbers_of_guidelines_are_of_claim_alone(results):
    guidelines = checklist(results, {})["guideline"]
    assert all(not any(c.isdigit() for c in part) for g in guidelines for part in g.split("; ") if "CLAIM" not in part)
    assert reports_root().is_dir()


def test_what_a_variant_starts_from_is_named_with_its_parameters(results):
    run = results.runs[0]
    results.sources["f"] = RunParams(run="source", epochs=9)
    run |= {"start": "from source-seed0, trained on other eyes", "precision": "fp32", "threads": 1}
    assert "first trained on other eyes." in next(variants(results)).text
    run["class_weights"] = [0.5, 1.5, 1]
    weights = next(one.table for one in variants(results) if "Weight of each class" in one.caption)
    assert weights["a"].tolist() == ["0.500", "1.500", "1.000"] and weights.iloc[0, 1].startswith("70 (70.0")
    run["params"] = run["params"].model_copy(update={"parent": "f", "weights": "/somewhere/model.safetensors"})
    shown = next(provenance(results))
    said = shown.table.set_index("parameter")["value"]
    assert said["weights"] == "run:source; none: source" and said["epochs"].endswith("9: source")
    assert "seed" not in shown.caption


@pytest.mark.parametrize(("dataset", "graded"), [("retinopathy", True), ("bloodmnist", False)])
def test_of_classes_without_an_order_none_is_the_mildest(results, dataset, graded):
    run = results.runs[0]
    run["params"] = run["params"].model_copy(update={"dataset": dataset})
    run["test"]["prediction"] = 0
    vars(results)["pixels"] = SimpleNamespace(of=lambda ids: np.zeros((len(ids), 8, 8, 3), np.uint8))
    assert any("of b are missed" in shown.text for shown in errors(results)) == graded


def test_the_report_says_once_what_guidelines_miss(results):
    said, missed = review(results).text, limits(results).text
    assert said.replace("\u00a0", " ") == "16 of 31 items are reported." and "eligibility of patients" not in said
    assert "- 1\u00a0seed per variant: nothing is known of another seed.\n- Too few test images of b and c" in missed
    assert "Guidelines ask for more than is known here: eligibility of patients; " in missed
