"""Running a study: skips what is up to date, goes on after a failure, never takes a dead kernel for a finished run."""

import threading

import nbformat
import pytest

from labkit.data.readers.label_files import DataError
from labkit.params import ParameterError, RunParams
from labkit.reporting.page.report import _explore_params, any_finished
from labkit.runs import folder as runs
from labkit.runs.files import read_json
from labkit.runs.fingerprint import run_inputs
from labkit.studies import local as jobs
from labkit.studies.file import Study
from labkit.studies.find import current_runs, out_of_date
from labkit.studies.runner import StudyRunner, open_study

TABLE = {
    "title": "t",
    "question": "q",
    "defaults": {"data": "tiny"},
    "sources": {"start": {}},
    "runs": {"scratch": {}, "child": {"weights": "run:start"}},
}


@pytest.fixture
def runner(monkeypatch):
    """A study whose notebooks are not executed: what a kernel would leave behind is written at once."""
    monkeypatch.setattr(StudyRunner, "data_fingerprint", lambda self, params: f"bytes of {params.data}")
    runner = StudyRunner(Study(name="s", **TABLE))
    runner.executed, runner.broken, runner.flawed = [], set(), set()

    def kernel(source, target, params, say=None):
        params = RunParams.of(params)
        runner.executed.append(params.run)
        if params.run in runner.broken:
            return "ValueError: broken on purpose"
        run = runs.open_run(params, run_inputs(params, f"bytes of {params.data}"))
        run.finish()
        if params.run in runner.flawed:
            runs._open.pop(run.folder).release()
            return "ValueError: in a plot"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", execution_count=1)])
        nbformat.write(notebook, target)
        runs._open.pop(run.folder).release()
        return None

    monkeypatch.setattr(jobs, "execute", kernel)
    return runner


def test_parents_run_first_and_a_second_call_runs_nothing(runner):
    runner.run_all()
    assert runner.executed == ["start", "scratch", "child"] and not runner.failed
    runner.run_all()
    assert runner.executed == ["start", "scratch", "child"]


def test_a_failed_run_stops_its_children_and_no_others(runner, capsys):
    runner.broken = {"start"}
    runner.run_all()
    assert runner.executed == ["start", "scratch"]
    assert set(runner.failed) == {"start-seed0", "child-seed0"}
    folder = runs.reports_root() / "s" / "runs" / "start-seed0"
    assert runs.state(folder) == "failed" and "broken on purpose" in read_json(folder / "run.json")["error"]
    assert "FAILED: ValueError: broken on purpose" in capsys.readouterr().err
    runner.broken, runner.failed = set(), {}  # mended, the next time
    runner.run_all()
    assert runner.executed == ["start", "scratch", "start", "child"] and not runner.failed


def test_an_exhibit_that_fails_is_told_and_stops_no_child(runner):
    runner.flawed = {"start"}
    runner.run_all()
    assert runner.executed == ["start", "scratch", "child"]
    assert runner.failed == {"start-seed0": "ValueError: in a plot"}
    manifest = read_json(runner.folder / "runs" / "start-seed0" / "run.json")
    assert (manifest["status"], manifest["error"]) == ("finished", "ValueError: in a plot")


def test_what_is_no_longer_planned_is_out_of_date(runner):
    runner.run_all()
    assert set(current_runs("s")["state"]) == {"finished"}
    changed = StudyRunner(Study(name="s", **TABLE | {"sources": {"start": {"epochs": 2}}}))
    runner.broken = {"start"}
    changed.run_all()
    states = current_runs("s").set_index("run")["state"].to_dict()
    assert states == {"start": "failed", "scratch": "finished", "child": "out of date"}


def test_two_calls_on_one_study_do_not_meet(runner):
    with runner.alone(), pytest.raises(ParameterError, match="another process"), StudyRunner(runner.study).alone():
        pass


def test_changed_parameters_repeat_their_run_and_what_starts_from_it(runner, capsys):
    runner.run_all()
    changed = TABLE | {"sources": {"start": {"epochs": 2}}}
    again = StudyRunner(Study(name="s", **changed))
    lines = list(again.dry_run())
    assert lines[0].startswith("start-seed0: would run, changed since it was run: epochs")
    assert lines[1] == "scratch-seed0: up to date"
    assert "child-seed0: would run, starts from start-seed0" in lines[2]
    runner.executed.clear()
    again.run_all()
    assert runner.executed == ["start", "child"]


def test_a_dry_run_expects_no_training_from_a_notebook_that_was_cut_short(runner):
    runner.run_all()
    (runner.folder / "runs" / "start-seed0" / "train.ipynb").unlink()
    assert list(runner.dry_run()) == [
        "start-seed0: would run, finished, but its notebook was cut short",
        "scratch-seed0: up to date",
        "child-seed0: up to date",
    ]


def test_a_wish_that_is_taken_back_trains_nothing_again(runner, capsys):
    """The source's and, through it, its child's: both are taken back."""
    runner.run_all()
    other = StudyRunner(Study(name="s", **TABLE | {"sources": {"start": {"epochs": 2}}}))
    other.run_all()
    assert runner.executed == ["start", "scratch", "child", "start", "child"]
    assert "2 finished runs to train again" in capsys.readouterr().out.replace("\xa0", " ")
    lines = list(runner.dry_run())
    assert [line.partition("@")[0] for line in lines] == [
        "start-seed0: up to date, taken back from start-seed0",
        "scratch-seed0: up to date",
        "child-seed0: up to date, taken back from child-seed0",
    ]
    runner.run_all()
    assert len(runner.executed) == 5 and set(current_runs("s")["state"]) == {"finished"} and not runner.failed
    assert len(list((runner.folder / "runs").glob("*@*"))) == 2


def test_without_training_what_is_out_of_date_is_shown_and_stamped(runner, monkeypatch):
    runner.run_all()
    changed = StudyRunner(Study(name="s", **TABLE | {"defaults": {"data": "tiny", "epochs": 3}}))
    changed.plan_only()
    assert len(runner.executed) == 3 and not list((runner.folder / "runs").glob("*@*"))
    assert set(current_runs("s")["state"]) == {"finished"} and any_finished(changed)
    assert out_of_date("s") == [
        "out of date and not trained again: start-seed0, scratch-seed0, child-seed0 (changed since it was run: epochs)"
    ]
    monkeypatch.setattr(StudyRunner, "data_fingerprint", without_data(DataError("gone: no such folder")))
    gone = StudyRunner(
        Study(name="s", **TABLE | {"defaults": {"data": "gone"}, "sources": {}, "runs": {"scratch": {}}})
    )
    gone.plan_only()
    assert out_of_date("s") == ["out of date and not trained again: scratch-seed0 (gone: no such folder)"]
    assert not gone.failed
    StudyRunner(changed.study).run_all()
    assert out_of_date("s") == [] and len(runner.executed) == 6


def test_changed_data_repeats_every_run_that_reads_it(runner, monkeypatch):
    runner.run_all()
    monkeypatch.setattr(StudyRunner, "data_fingerprint", lambda self, params: "other bytes")
    *lines, sentence = runner.dry_run()
    assert all("would run" in line for line in lines)
    assert sentence.replace("\xa0", " ").startswith(
        "3 finished runs to train again, 0.0 minutes the first time; they are kept"
    )


TWO_DATA_SETS = {"title": "t", "question": "q", "runs": {"gone": {"data": "gone"}, "there": {"data": "tiny"}}}


def without_data(error):
    """`StudyRunner.data_fingerprint` where the data of one run raises this error."""

    def read(self, params):
        if params.data == "gone":
            raise error
        return f"bytes of {params.data}"

    return read


@pytest.mark.parametrize(
    "error", [DataError("gone: no such folder"), PermissionError("gone: not readable"), ParameterError("gone: a URL")]
)
def test_a_run_whose_data_cannot_be_read_fails_alone(runner, monkeypatch, capsys, error):
    monkeypatch.setattr(StudyRunner, "data_fingerprint", without_data(error))
    runner.study = Study(name="s", **TWO_DATA_SETS)
    assert list(runner.dry_run()) == [f"gone-seed0: cannot run, {error}", "there-seed0: would run, not run yet"]
    runner.failed = {}
    runner.run_all()
    assert runner.executed == ["there"] and runner.failed == {"gone-seed0": str(error)}
    assert capsys.readouterr().err == f"[1/2] gone: FAILED: {error}\n"
    assert any_finished(runner)
    assert _explore_params(runner, ["gone", "there"])["data"] == "tiny"  # and not that of the first run


def test_a_run_whose_data_is_gone_costs_nothing_while_another_is_asked_for(runner, monkeypatch, capsys):
    runner.study = Study(name="s", **TWO_DATA_SETS)
    runner.run_all()
    runner.executed.clear()
    monkeypatch.setattr(StudyRunner, "data_fingerprint", without_data(DataError("gone: no such folder")))
    runner.only = ["there"]
    runner.run_all()
    assert not runner.failed and any_finished(runner)
    assert capsys.readouterr().err == "gone-seed0: not in the report: gone: no such folder\n"
    assert current_runs("s").set_index("run")["state"].to_dict() == {"gone": "out of date", "there": "finished"}


def test_only_the_runs_that_are_asked_for_are_made_and_what_they_start_from(runner):
    runner.only = ["chi*"]
    runner.run_all()
    assert runner.executed == ["start", "child"]
    runner.only = ["scratch"]
    runner.run_all()
    assert runner.executed == ["start", "child", "scratch"]
    assert set(current_runs("s")["state"]) == {"finished"}  # those that were left alone are still planned
    runner.only = ["resnet*"]
    with pytest.raises(ParameterError, match=r"no run is called resnet\*; there are start, scratch, child"):
        runner.run_all()


def test_runs_side_by_side_wait_for_their_parents_alone(runner, monkeypatch, capsys):
    """Two at a time: the source and the run from scratch meet in their kernels, their child comes after its parent."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    both, kernel = threading.Barrier(2, timeout=60), jobs.execute

    def meeting(source, target, params, say=None):
        if params["run"] != "child":
            both.wait()
            say("epoch 1/1")
        with one_at_a_time:  # what the made-up kernel shares
            return kernel(source, target, params, say)

    one_at_a_time = threading.Lock()
    monkeypatch.setattr(jobs, "execute", meeting)
    runner.study = Study(name="s", **TABLE | {"jobs": 2, "defaults": {"data": "tiny", "threads": 1}})
    runner.run_all()
    assert not runner.failed and runner.executed[-1] == "child" and set(runner.executed[:2]) == {"start", "scratch"}
    said = capsys.readouterr().out
    assert "    start  epoch 1/1\n" in said and "    scratch  epoch 1/1\n" in said


@pytest.mark.parametrize(("cores", "threads", "room"), [(1, 1, 1), (2, 1, 2), (8, 1, 3), (8, 4, 2), (8, 16, 1)])
def test_side_by_side_are_as_many_runs_as_cores_allow(monkeypatch, cores, threads, room):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    study = Study(name="s", **TABLE | {"jobs": 3})
    assert jobs.ThisMachine(study, [RunParams(threads=threads), RunParams(threads=1)]).room == room
    shared = RunParams(threads=1, num_processes=threads, batch_size=2 * threads)  # as many cores
    assert jobs.ThisMachine(study, [shared]).room == room


def test_side_by_side_a_run_may_not_take_every_core():
    with pytest.raises(ParameterError, match="jobs: got 2, but run greedy has threads: 0"):
        jobs.ThisMachine(Study(name="s", **TABLE | {"jobs": 2}), [RunParams(run="greedy", threads=0)])


def test_a_run_that_was_stopped_is_interrupted_and_not_failed(runner, monkeypatch, capsys):
    """Asked by somebody else than us to save and end, it goes on the next time."""
    kernel = jobs.execute

    def stopped(source, target, params, say=None):
        if params["run"] != "scratch" or runner.executed.count("scratch"):
            return kernel(source, target, params, say)
        runner.executed.append("scratch")
        parsed = RunParams.of(params)
        runs._open.pop(runs.open_run(parsed, run_inputs(parsed, "bytes of tiny")).folder).release()
        return "Stopped: saved after step 3 of 9 of epoch 1"

    monkeypatch.setattr(jobs, "execute", stopped)
    runner.run_all()
    assert runner.failed == {"scratch-seed0": "saved after step 3 of 9 of epoch 1"}
    assert runs.state(runs.reports_root() / "s" / "runs" / "scratch-seed0") == "interrupted"
    runner.failed = {}
    runner.run_all()
    assert not runner.failed and set(current_runs("s")["state"]) == {"finished"}


@pytest.mark.parametrize(
    ("data", "name"), [("demo", "course/light-small"), ("tiny", "course/light-small"), ("mine", "course/light")]
)
def test_a_study_is_run_in_small_on_the_built_in_images(data, name):
    assert open_study("course/light", {"data": data}).study.name == name
