"""What a report costs beside its training: the overhead of a run, the analysis of many, the demo as a whole."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat

from labkit.bench import made_study
from labkit.bench.rows import Goal, Row, figure_row, time_row
from labkit.bench.setting import Setting
from labkit.bench.timing import in_turn
from labkit.params import PROJECT
from labkit.runs.files import read_json
from labkit.runs.folder import reports_root
from labkit.studies.kernels import cool_down, warm_up
from labkit.studies.notebook import NOTEBOOKS, execute


def report_rows(setting: Setting) -> Iterator[Row]:
    """A run's overhead, the analysis of twelve made runs, and `labkit report` on the demo: first and second call."""
    yield from overhead_rows(setting)
    yield from analysis_rows(setting)
    yield from demo_rows(setting)


def overhead_rows(setting: Setting) -> Iterator[Row]:
    """A notebook of the train notebook's imports alone, on a forked kernel and on one of its own, in turn."""
    source = setting.folder / "imports.ipynb"
    cells = nbformat.read(NOTEBOOKS / "train.ipynb", as_version=4)
    cells.cells = [
        cell for cell in cells.cells if cell.cell_type == "code" and cell.source.startswith(("import", "from"))
    ]
    cells.cells[0].source = "import numpy, pandas"  # params would be read from cells that are not here
    nbformat.write(cells, source)

    def forked() -> None:
        _executed(source, setting.folder / "forked.ipynb")

    def plain() -> None:
        command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR", str(source)]
        subprocess.run([*command, str(setting.folder / "plain.ipynb")], check=True, cwd=PROJECT)

    warm_up()
    times = setting.times("Papermill, kernel and imports", {"ours": forked, "papermill": plain})
    goal, where = Goal("≤", 11, "ours"), "train.ipynb's imports, no training"
    yield time_row("a run's overhead", where, times["ours"], "papermill", times["papermill"], goal)


def analysis_rows(setting: Setting) -> Iterator[Row]:
    """analysis.ipynb over twelve finished runs of 7,026 test images; its pictures are decoded before."""
    test = setting.size(7_026, 300)
    root = setting.folder / f"made-{test}"
    data = made_study.photographs(root / "data", setting.size(10_000, 600), test)
    with made_study.reports_in(root):
        count = made_study.made_runs(data)
        target = reports_root() / made_study.STUDY / "analysis.ipynb"
        cool_down()  # a server started before has other places in mind

        def analyse() -> None:
            _executed(NOTEBOOKS / "analysis.ipynb", target, study=made_study.STUDY)

        setting.tell(f"labkit bench: analysis of {count} runs …")
        times = in_turn({"ours": analyse}, setting.rounds)["ours"]
    where = f"{count} runs, {test:,} test images × 5 classes, 64 px"
    yield time_row("analysis notebook", where, times, goal=Goal("≤", 60, "ours"), note="metrics, bootstrap, figures")


def demo_rows(setting: Setting) -> Iterator[Row]:
    """`labkit report` into an empty folder, once, and again; the tiny study in its place where figures mean nothing."""
    study, root = ("tiny" if setting.quick else "demo"), setting.folder / "demo"
    shutil.rmtree(root, ignore_errors=True)
    seconds = []
    for call in ("first", "second"):
        setting.tell(f"labkit bench: the {call} labkit report {study} …")
        with made_study.reports_in(root):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "labkit.cli", "report", study], cwd=PROJECT, check=True)
            seconds.append(time.perf_counter() - start)
    training = sum(_trained(folder) for folder in (root / "reports" / study / "runs").iterdir())
    note = f"of which {training:.0f} s in the epochs of its runs; drawing the images included"
    yield figure_row("report, first call", study, "s", seconds[0], goal=Goal("≤", 240, "ours"), note=note)
    yield figure_row("report, second call", study, "s", seconds[1], goal=Goal("≤", 8, "ours"))


def _trained(folder: Path) -> float:
    return sum(read_json(folder / "run.json")["epoch_seconds"])


def _executed(source: Path, target: Path, **params: str) -> None:
    if error := execute(source, target, params):
        raise RuntimeError(f"{source.name}: {error}")
