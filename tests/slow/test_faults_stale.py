"""Stale results: nothing old is mixed with new, and what is up to date is made neither by a run nor by a report.

The studies are called as a person calls them, in a copy of the project whose parameters, code and data are changed.
"""

import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from made_study import Lab

from labkit.data.phantoms.make import phantom
from labkit.reporting.page.cells import EXHIBIT
from labkit.runs.files import read_csv, read_json

RUNS = {"parent": {}, "child": {"weights": "run:parent"}, "apart": {"seed": 1}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    """A study of three finished runs on a folder of photographs."""
    made = Lab.made(tmp_path_factory.mktemp("stale"))
    shutil.copytree(phantom("retinopathy", "tiny", made.cache), made.project.parent / "photographs")
    made.study("small", RUNS, defaults={"data": str(made.project.parent / "photographs")})
    done = made.call("run", "small")
    assert done.returncode == 0, done.stderr
    return made


def planned(lab: Lab) -> dict[str, str]:
    """What a dry run says of each run."""
    done = lab.call("run", "small", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\xa0", " ").splitlines()
    return dict(line.split(": ", 1) for line in lines if " to train again" not in line)


def fingerprints_of(lab: Lab) -> dict[str, str]:
    """What each run was made from."""
    folders = sorted((lab.reports / "small" / "runs").iterdir())
    return {folder.name: read_json(folder / "run.json")["fingerprint"] for folder in folders}


def edit(lab: Lab, name: str) -> None:
    """A line more in a file of the package."""
    path = lab.project / "labkit" / name
    path.write_text(path.read_text() + "\nNOTHING = 0\n")


def test_finished_runs_are_up_to_date_also_where_their_folders_and_the_project_are_moved(lab):
    fresh = dict.fromkeys(("parent-seed0", "child-seed0", "apart-seed1"), "up to date")
    assert planned(lab) == fresh
    before = lab.project, lab.reports, lab.cache
    moved = Lab(*(place.rename(place.with_name(f"moved-{place.name}")) for place in before))
    assert planned(moved) == fresh
    for now, place in zip((moved.project, moved.reports, moved.cache), before, strict=True):
        now.rename(place)


def test_every_exhibit_may_fail_by_itself_and_the_report_is_made(lab):
    """All of them at once, in the notebooks of the copy; what computes the results is left as it is."""
    sources, count = {path: path.read_text() for path in (lab.project / "notebooks").glob("*.ipynb")}, 0
    for name in ("analysis", "explore"):
        notebook = nbformat.reads(sources[lab.project / "notebooks" / f"{name}.ipynb"], 4)
        tagged = [cell for cell in notebook.cells if EXHIBIT in cell.metadata.get("tags", [])]
        exhibits = [cell for cell in tagged if "hide" not in cell.metadata["tags"]]
        for cell in exhibits:
            cell.source = f"raise ValueError('of {name}')\n{cell.source}"
        count += len(exhibits)
        nbformat.write(notebook, lab.project / "notebooks" / f"{name}.ipynb")
    done = lab.call("report", "small", "--no-pdf")
    assert (
        done.returncode == 1 and "analysis.ipynb, “Confusion matrices”, failed: ValueError: of analysis" in done.stderr
    )
    page = BeautifulSoup((lab.reports / "small" / "report.html").read_text(encoding="utf-8"), "html.parser")
    lines = [banner.get_text() for banner in page.select(".not-shown")]
    assert len(lines) == count and {"Not shown: ValueError: of analysis", "Not shown: ValueError: of explore"} == {
        *lines
    }
    for path, text in sources.items():
        path.write_text(text)
    assert lab.call("report", "small", "--no-pdf").returncode == 0
    assert "Not shown" not in (lab.reports / "small" / "report.html").read_text(encoding="utf-8")


def test_changed_parameters_of_a_parent_repeat_it_and_its_child_alone(lab):
    data = {"data": str(lab.project.parent / "photographs")}
    lab.study("small", RUNS | {"parent": {"learning_rate": 0.002}}, defaults=data)
    assert planned(lab) == {
        "parent-seed0": "would run, changed since it was run: learning_rate",
        "child-seed0": "would run, starts from parent-seed0, which is re-run",
        "apart-seed1": "up to date",
    }
    before = fingerprints_of(lab)
    done = lab.call("run", "small", "--runs", "parent")  # and the child waits
    assert done.returncode == 0
    assert planned(lab)["child-seed0"] == "would run, changed since it was run: parent"
    after = fingerprints_of(lab)
    assert after["apart-seed1"] == before["apart-seed1"] and after["parent-seed0"] != before["parent-seed0"]


def test_a_change_in_evaluation_reporting_or_words_makes_the_analysis_again_and_no_run(lab):
    before = {path: path.stat().st_mtime_ns for path in lab.reports.rglob("predictions.csv")}
    plan = planned(lab)
    edit(lab, "evaluation/compare.py")
    edit(lab, "reporting/exhibits/scores.py")
    notebook = lab.project / "notebooks" / "train.ipynb"
    text = notebook.read_text()
    for words, others in (("# as for a CPU", "# for a CPU"), ("as the network is given them", "for the network")):
        assert words in text
        text = text.replace(words, others)
    notebook.write_text(text)
    assert planned(lab) == plan
    done = lab.call("report", "small", "--no-pdf", "--runs", "apart")
    assert done.returncode == 0 and "[1/1] apart: up to date" in done.stdout, done.stderr
    assert "analysis.ipynb" in done.stdout and "explore.ipynb" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_report_leaves_out_what_was_made_from_something_else_and_says_so(lab):
    """The report just made: the child's predictions are those of the old parent's weights."""
    text = BeautifulSoup((lab.reports / "small" / "report.html").read_text("utf-8"), "html.parser").get_text(" ")
    assert re.search(r"child-seed0\s+out of date", text)
    table = read_csv(lab.reports / "small" / "runs.csv").set_index("run")
    assert table.loc["child", "status"] == "out of date" and table["test_accuracy"].isna()["child"]


@pytest.mark.parametrize("name", ["evaluation/matrices.py", "training/step.py"])
def test_changed_code_of_training_or_of_the_scores_that_choose_its_epoch_repeats_every_run(lab, name):
    path = lab.project / "labkit" / name
    before = path.read_text()
    edit(lab, name)
    words = planned(lab)
    path.write_text(before)
    assert words["apart-seed1"] == words["parent-seed0"] == "would run, changed since it was run: code"


def test_a_finished_run_is_kept_with_a_persons_notes_and_taken_back(lab):
    """Also one whose folder is a link."""
    data = {"data": str(lab.project.parent / "photographs")}
    lab.study("kept", {"apart": RUNS["apart"]}, defaults=data)
    folder, elsewhere = lab.reports / "kept" / "runs" / "apart-seed1", lab.project.parent / "elsewhere"
    shutil.copytree(lab.reports / "small" / "runs" / folder.name, elsewhere)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(elsewhere)
    (elsewhere / "notes.md").write_text("mine")
    before = read_json(elsewhere / "run.json")
    done = lab.call("run", "kept", "-p", "learning_rate", "0.002")
    assert done.returncode == 0 and "1\xa0finished run to train again" in done.stdout, done.stdout + done.stderr
    kept = folder.with_name(f"{folder.name}@{before['fingerprint'][:8]}")
    assert kept.is_symlink() and not (folder / "notes.md").exists() and read_json(kept / "run.json") == before
    done = lab.call("run", "kept")
    assert done.returncode == 0 and "up to date" in done.stdout, done.stdout + done.stderr
    assert (folder / "notes.md").read_text() == "mine" and read_json(folder / "run.json") == before
    lab.study("kept", {"apart": RUNS["apart"] | {"learning_rate": 0.003}}, defaults=data)
    done = lab.call("report", "kept", "--no-train", "--no-pdf")
    assert done.returncode == 0 and read_json(folder / "run.json") == before, done.stderr
    text = (lab.reports / "kept" / "report.html").read_text("utf-8")
    assert "apart-seed1 (changed since it was run: learning_rate)" in text


def test_one_changed_byte_of_one_photograph_repeats_every_run(lab):
    path = sorted((lab.project.parent / "photographs" / "images").glob("*.jpeg"))[3]
    path.write_bytes(path.read_bytes() + b"\0")
    words = planned(lab)
    assert words["apart-seed1"] == words["parent-seed0"] == "would run, changed since it was run: data"
    assert words["child-seed0"] == "would run, starts from parent-seed0, which is re-run"


def test_a_study_by_its_path_and_relative_places_are_one_folder(lab, tmp_path):
    lab.study("mine", {"a": {}})
    (lab.project / "params" / "mine.yaml").rename(tmp_path / "mine.yaml")
    here = Lab(lab.project, Path("rel"), lab.cache)
    command = [*here.command("run", "./mine.yaml")]
    done = subprocess.run(command, cwd=tmp_path, env=here.variables(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rel" / "mine" / "runs" / "a-seed0" / "run.json").is_file() and not (
        lab.project / "rel"
    ).exists()
