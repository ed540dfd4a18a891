"""Kernels of a study: each starts afresh, is stopped with time to save, and ends with the process that started it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from labkit.params import PROJECT
from labkit.studies.notebook import DIED, _executing, execute, stop_kernels


def notebook(tmp_path: Path, *sources: str) -> Path:
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "in.ipynb")
    return tmp_path / "in.ipynb"


def run(tmp_path: Path, *sources: str) -> list[str]:
    """What the cells print."""
    assert execute(notebook(tmp_path, *sources), tmp_path / "out.ipynb", {}) is None
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    return ["".join(output.get("text", "") for output in cell.outputs).strip() for cell in cells]


def test_a_kernel_has_its_own_names_place_and_draws(tmp_path, monkeypatch):
    look = "import os, random; print(os.getcwd(), os.environ['WHOSE'], 'JPY_SESSION_NAME' in os.environ)"
    draw = "leftover = random.random(); print(leftover, os.getpid())"
    monkeypatch.setenv("JPY_SESSION_NAME", "somebody's.ipynb")
    monkeypatch.setenv("WHOSE", "first")
    first = run(tmp_path, look, draw)
    monkeypatch.setenv("WHOSE", "second")
    second = run(tmp_path, "print('leftover' in globals())", look, draw)
    assert first[0].split() == [str(PROJECT), "first", "False"]
    assert second[0] == "False" and second[1].split() == [str(PROJECT), "second", "False"]
    (a, pid_a), (b, pid_b) = first[1].split(), second[2].split()
    assert a != b and pid_a != pid_b
    assert os.environ["JPY_SESSION_NAME"] == "somebody's.ipynb"


SAVES = """
import pathlib, signal, sys, time
def save(number, frame):
    pathlib.Path({place!r}).write_text("saved")
    raise ValueError("stopped")
signal.signal(signal.SIGTERM, save)
print("ready")
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(600)"


@pytest.mark.parametrize(
    ("source", "patience", "error"), [(SAVES, 60.0, "ValueError: stopped"), (DEAF, 1.0, DIED)], ids=["saves", "deaf"]
)
def test_kernels_are_asked_to_end_and_killed_if_they_do_not(tmp_path, source, patience, error):
    place, ready, ended = tmp_path / "saved.txt", threading.Event(), []
    path = notebook(tmp_path, source.format(place=str(place)) if source is SAVES else source)

    def executed() -> None:
        ended.append(execute(path, tmp_path / "out.ipynb", {}, lambda line: ready.set()))

    thread = threading.Thread(target=executed, daemon=True)
    thread.start()
    assert ready.wait(60)
    stop_kernels(patience)
    thread.join(60)
    assert ended == [error] and place.exists() == (source is SAVES)
    assert kernels_below(psutil.Process()) == []


def test_a_kernel_that_is_only_starting_is_stopped_too(tmp_path):
    ended = []
    path = notebook(tmp_path, "import time; time.sleep(600)")
    thread = threading.Thread(target=lambda: ended.append(execute(path, tmp_path / "out.ipynb", {})), daemon=True)
    thread.start()
    while not _executing:
        time.sleep(0.001)
    stop_kernels()
    thread.join(10)
    assert ended == [DIED]


def test_a_kernel_ends_with_the_process_that_started_it(tmp_path):
    """Killed at once, the study leaves no kernel behind that would hold its run folder."""
    path = notebook(tmp_path, "print('ready')", "import time; time.sleep(600)")
    code = "import sys; from pathlib import Path; from labkit.studies.notebook import execute\n"
    code += "execute(Path(sys.argv[1]), Path(sys.argv[2]), {}, lambda line: print(line, flush=True))"
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "out.ipynb")]
    study = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert study.stdout is not None and study.stdout.readline() == "ready\n"
    kernels = kernels_below(psutil.Process(study.pid))
    assert len(kernels) == 1
    study.send_signal(signal.SIGKILL)
    study.wait()
    assert not psutil.wait_procs(kernels, timeout=60)[1]


def kernels_below(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "ipykernel_launcher" in child.cmdline()]


def test_cells_that_a_person_added_are_kept_when_their_notebook_is_executed_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("papermill.execute_notebook", lambda source, target, *_, **options: shutil.copy(source, target))
    source, target = notebook(tmp_path, "a = 1"), tmp_path / "out.ipynb"
    execute(source, target, {})
    made = nbformat.read(target, as_version=4)
    made.cells.append(nbformat.v4.new_code_cell("a = 2", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(made, target)
    execute(source, target, {})  # Papermill's own cells are nobody's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb"]
    for number in (1, 2):
        made.cells.append(nbformat.v4.new_markdown_cell(f"my note {number}"))
        nbformat.write(made, target)
        if number == 2:  # an older Jupyter gives cells no ids
            target.write_text(re.sub(r'"id": "\w+",', "", target.read_text()))
        execute(source, target, {})
        assert f"my note {number}" in (tmp_path / f"out-edited{number}.ipynb").read_text()
        assert f"kept as out-edited{number}.ipynb" in capsys.readouterr().out and "note" not in target.read_text()
