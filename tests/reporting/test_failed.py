"""What the report says of runs that did not finish: state, error, and the end of what they printed, as text."""

import nbformat
import numpy as np
import pytest
from made_runs import labels, make_run
from nbformat.v4 import new_code_cell, new_notebook, new_output

from labkit.params import RunParams
from labkit.reporting import show
from labkit.reporting.results import study_results
from labkit.reporting.runs_table import log_end
from labkit.runs.folder import mark_failed, run_folder
from labkit.studies.file import Study


@pytest.fixture
def study(own_reports, monkeypatch):
    """'good' is finished, 'broken' failed, 'child' starts from it and was refused."""
    table = {"good": {}, "broken": {}, "child": {"weights": "run:broken"}}
    monkeypatch.setattr(
        "labkit.reporting.results.study_of_runs", lambda name: Study(name=name, title="t", question="q", runs=table)
    )
    make_run("good", labels())
    params = RunParams(study="s", run="broken")
    mark_failed(run_folder(params, ""), params, {"name": "broken"}, "FloatingPointError: no number")
    return own_reports / "s" / "runs"


def printed(path, *texts, name="stdout"):
    cells = [new_code_cell("1", outputs=[new_output("stream", name=name, text=text)]) for text in texts]
    nbformat.write(new_notebook(cells=cells), path)


def test_a_failed_run_says_why_and_what_it_printed_last_and_its_child_whom_it_waits_for(study):
    printed(study / "broken-seed0" / "train.ipynb", *(f"line {number}" for number in range(30)))
    rows = study_results("s").unfinished.set_index("run")
    assert list(rows.index) == ["broken-seed0", "child"]
    assert rows.loc["broken-seed0", "error"] == "FloatingPointError: no number"
    assert rows.loc["broken-seed0", "log"].splitlines() == [f"line {number}" for number in range(10, 30)]
    assert rows.loc["child"].tolist() == ["not run", "starts from broken, which is not finished", ""]


def test_a_failed_run_keeps_its_colour_and_leaves_the_others_theirs(study):
    before = study_results("s").palette
    make_run("broken", np.zeros(60, int))
    after = study_results("s").palette
    assert [before[name] for name in ("good", "broken", "child")] == [after[name] for name in after.names]


def test_the_end_of_a_log_is_what_a_terminal_shows(tmp_path):
    printed(tmp_path / "n.ipynb", "50 %\r100 %\n", "\x1b[31mred\x1b[0m\n\n", name="stderr")
    assert log_end(tmp_path / "n.ipynb") == "100 %\nred"


@pytest.mark.parametrize("content", [None, '{"cells": ['])
def test_a_notebook_that_cannot_be_read_has_no_log(tmp_path, content):
    if content:
        (tmp_path / "n.ipynb").write_text(content)
    assert log_end(tmp_path / "n.ipynb") == ""


def test_a_log_is_shown_as_text(monkeypatch):
    shown = []
    monkeypatch.setattr(show, "display", lambda data, raw=True: shown.append(data))
    hostile = "<script>alert('x')</script>"
    show.show_log(hostile, f"a: {hostile}")
    assert "<img" not in shown[0]["text/html"] and "<script" not in shown[0]["text/html"]
    assert hostile in shown[0]["text/plain"]
