"""What `labkit report` made is believed by its bytes alone: a file that is damaged or gone is named and made again."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from made_runs import make_run

from labkit.reporting.page import report
from labkit.runs.files import read_json
from labkit.studies.file import Study
from labkit.studies.runner import StudyRunner

MADE = ["report.html", "compare.html", "runs.csv", "explore.ipynb", "analysis.ipynb", "runs/a-seed0/train.html"]


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """The notebooks that a report executes, by their place: they are only written, as if they had been executed."""
    executed = {}

    def kernel(source, target, params, say=None):
        target.parent.mkdir(exist_ok=True)
        cells = [nbformat.v4.new_markdown_cell(f"# {source.stem}", id=source.stem)]
        cells.append(nbformat.v4.new_code_cell("1", execution_count=1, id=f"{source.stem}-b"))
        nbformat.write(nbformat.v4.new_notebook(cells=cells), target)
        executed[f"{target.parent.name}/{target.name}"] = params

    monkeypatch.setattr(report, "execute", kernel)
    monkeypatch.setattr(report, "study_file", lambda name: tmp_path / "s.yaml")
    monkeypatch.setattr(StudyRunner, "data_fingerprint", lambda self, params: "d")
    (tmp_path / "s.yaml").write_text("title: t\n")
    return executed


def written(runs):
    runner = StudyRunner(Study(name="s", title="t", question="q", runs=runs))
    for name, changes in runs.items():
        make_run(name, np.zeros(60, int), **changes)
        folder = runner.folder / "runs" / f"{name}-seed0"
        runner.planned[folder.name] = read_json(folder / "run.json")["fingerprint"]
    runner.stamp("runs", runner.planned)
    report.execute(Path("train"), runner.folder / "runs" / "a-seed0" / "train.ipynb", {})
    report.write_report(runner)
    return runner


@pytest.fixture
def reported(executed):
    """A study whose report is there."""
    runner = written({"a": {}, "b": {}})
    assert executed.keys() == {"a-seed0/train.ipynb", "s/analysis.ipynb", "s/explore.ipynb"}
    return runner


def test_each_set_of_test_images_has_a_report_of_its_own(executed):
    runner = written({"a": {}, "b": {"split_seed": 1}, "c": {"split_seed": 1}})
    compared = {place: params["runs"] for place, params in executed.items() if "analysis" in place}
    assert compared == {"s/analysis.ipynb": ["a"], "report-b/analysis.ipynb": ["b", "c"]}
    assert executed["report-b/explore.ipynb"]["split_seed"] == 1
    for page, other in (("report", "report-b"), ("report-b", "report")):
        assert f'href="{other}.html"' in (runner.folder / f"{page}.html").read_text()


def test_what_is_as_it_was_made_is_not_made_again(reported, capsys):
    before = {name: (reported.folder / name).stat() for name in MADE}
    reported.planned = dict(reversed(reported.planned.items()))  # in the order in which runs were ready this time
    report.write_report(reported)
    assert before == {name: (reported.folder / name).stat() for name in MADE} and capsys.readouterr().out == ""


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("how", ["cut off", "gone", "changed"])
def test_a_file_that_is_not_as_it_was_made_is_named_and_made_again(reported, name, how, capsys):
    path = reported.folder / name
    whole = path.read_bytes()
    damaged = {"cut off": whole[:99], "gone": None, "changed": whole.replace(b"a", b"b", 1)}[how]
    path.write_bytes(damaged) if damaged else path.unlink()
    report.write_report(reported)
    assert path.read_bytes() == whole
    assert f"{path}: missing or not as labkit wrote it; it is made again\n" in capsys.readouterr().out
