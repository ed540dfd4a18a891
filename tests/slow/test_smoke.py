"""Every study of the reports, in small: one run for each way through the code, one epoch, and the report of it all.

Which runs those are is found, not listed: a greedy cover of the parameter values that lead through different code.
The notebooks are executed in this process: 27 kernels of their own would import torch for three minutes.
"""

from threading import Lock

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from labkit.params import PROJECT, RunParams
from labkit.reporting.page import report
from labkit.studies import local
from labkit.studies.file import SMALL, Study, load_study
from labkit.studies.find import current_runs
from labkit.studies.runner import StudyRunner

STUDIES = sorted(path.stem for path in (PROJECT / "params" / "course").glob("*.yaml"))
BLOCKS = {"resnet18": "BasicBlock", "resnet34": "BasicBlock", "tf_efficientnet_lite0": "lite"}


def ways(params: RunParams) -> set[tuple[str, object]]:
    """The parameter values of a run that decide which code it goes through; numbers only by what they switch on."""
    plain = ("deviation", "head", "split", "select_on", "train_on", "sampling", "normalize", "optimizer", "schedule")
    found: set[tuple[str, object]] = {(name, getattr(params, name)) for name in plain}
    weights = params.weights or "none"
    return found | {
        ("block", BLOCKS.get(params.arch, "Bottleneck")),
        ("weights", "run" if weights.startswith("run:") else weights),
        ("class_weights", params.class_weights if isinstance(params.class_weights, str) else "numbers"),
        ("rotation", type(params.rotation).__name__ if params.rotation else "none"),
        ("crop", params.crop_size is not None),
        ("freeze", params.freeze_epochs > 0),
        ("augment_test", params.augment_test),
        ("flips", (params.horizontal_flip, params.vertical_flip)),
    }


def smoke_forms() -> dict[str, tuple[Study, list[str]]]:
    """Each study in small on a handful of images, with the runs that bring something new; at least one a study."""
    forms, seen = {}, set()
    for name in STUDIES:
        study = load_study(f"course/{name}{SMALL}")
        sources = {
            source: row | {"data": "tiny", "epochs": 1, "image_size": 32} for source, row in study.sources.items()
        }
        rows = {run: row | {"epochs": 1 + bool(row.get("freeze_epochs"))} for run, row in study.runs.items()}
        study = study.model_copy(update={"sources": sources, "runs": rows, "seeds": [0]})
        left = {params.run: ways(params) for params in study.run_params() if params.run not in sources}
        chosen: list[str] = []
        while left and (not chosen or max(len(new - seen) for new in left.values())):
            best = max(left, key=lambda run: len(left[run] - seen))
            chosen.append(best)
            seen |= left.pop(best)
        forms[name] = (study, chosen)
    return forms


FORMS = smoke_forms()


ONE = Lock()  # IPython has one shell a process; a report executes two notebooks side by side


def execute_here(source, target, params, say=print) -> str | None:
    """`labkit.studies.notebook.execute`, without a kernel."""
    with ONE:
        notebook = parameterize_notebook(load_notebook_node(str(source)), params)
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()
        shell.history_manager.enabled = False
        error = None
        for cell in [cell for cell in notebook.cells if cell.cell_type == "code" and not error]:
            with capture_output() as captured:
                done = shell.run_cell(cell.source, store_history=True)
            cell.execution_count = shell.execution_count - 1
            cell.outputs = [new_output("display_data", one.data, metadata=one.metadata) for one in captured.outputs]
            cell.outputs += [new_output("stream", name="stdout", text=captured.stdout)] * bool(captured.stdout)
            if raised := done.error_before_exec or done.error_in_exec:
                said = {"ename": type(raised).__name__, "evalue": str(raised), "traceback": [captured.stdout]}
                cell.outputs.append(new_output("error", **said))
                error = None if "raises-exception" in cell.metadata.get("tags", []) else repr(raised)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
        return error


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", STUDIES)
def test_every_way_through_a_study_trains_and_its_report_is_made(name, cache, own_reports, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(cache))
    for module in (local, report):
        monkeypatch.setattr(module, "execute", execute_here)
    study, chosen = FORMS[name]
    runner = StudyRunner(study, {"data": "tiny"}, only=chosen)
    runner.run_all()
    assert runner.failed == {}
    finished = current_runs(study.name).query("state == 'finished'")["run"]
    assert set(finished) == runner.wanted()
    html = report.write_report(runner)
    text = html.read_text(encoding="utf-8")
    assert study.title in text and all(run in text for run in chosen)
    lite = {run for run in chosen if "lite" in run}
    assert ("Diagram of a BasicBlock" in text) == (set(chosen) != lite) and ("Tan and Le 2019" in text) == bool(lite)
    assert runner.failed == {}  # nor has an exhibit failed


def test_every_value_that_the_studies_use_is_gone_through():
    """The cover is whole: no study holds a way that no smoke run takes."""
    taken = set().union(*(ways(p) for study, chosen in FORMS.values() for p in study.run_params() if p.run in chosen))
    there = set().union(
        *(ways(p) for study, _ in FORMS.values() for p in study.run_params() if p.run not in study.sources)
    )
    assert there <= taken
