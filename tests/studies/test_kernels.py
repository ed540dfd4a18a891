"""Kernels forked from a warm process: each as fresh as one of its own, and gone when its study is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from labkit.params import PROJECT
from labkit.studies import kernels
from labkit.studies.kernel_server import imports
from labkit.studies.notebook import execute

linux = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")


@pytest.fixture(scope="module", autouse=True)
def nothing_stays():
    yield
    kernels.cool_down()


@pytest.fixture
def light(monkeypatch):
    """A server that imports next to nothing."""
    code = "from labkit.studies import kernel_server as s; s.import_all = lambda: None; s.main()"
    monkeypatch.setattr(kernels, "SERVER", code)
    kernels.cool_down()
    yield
    kernels.cool_down()


def run(tmp_path: Path, *sources: str, **params) -> list[str]:
    """What the cells print, or the error of one."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "in.ipynb")
    error = execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", params)
    if error:
        return [error]
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    return ["".join(output.get("text", "") for output in cell.outputs).strip() for cell in cells]


def test_what_a_server_imports_is_what_the_cells_import(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("import os\nx = 1", "%matplotlib inline", "import os")]
    cells += [nbformat.v4.new_code_cell("from json import dumps, loads"), nbformat.v4.new_markdown_cell("import this")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    assert imports(tmp_path / "a.ipynb") == ["import os", "from json import dumps, loads"]
    assert "from labkit.params import RunParams" in imports(PROJECT / "notebooks" / "train.ipynb")


@linux
def test_a_forked_kernel_has_its_own_names_place_and_draws(light, tmp_path, monkeypatch):
    look = "import os, random, sys, multiprocessing\nprint(os.getcwd(), os.environ['WHOSE'], sorted(In)[-1][:6])"
    draw = "leftover = random.random(); print(leftover, os.getpid(), multiprocessing.get_start_method())"
    monkeypatch.setenv("WHOSE", "first")
    first = run(tmp_path, look, draw)
    monkeypatch.setenv("WHOSE", "second")
    second = run(tmp_path, "print('leftover' in globals())", look, draw)
    assert first[0].split()[:2] == [str(PROJECT), "first"]
    assert second[0] == "False" and second[1].split()[:2] == [str(PROJECT), "second"]
    (a, pid_a, how), (b, pid_b, _) = first[1].split(), second[2].split()
    assert a != b and pid_a != pid_b and how == "fork"


@linux
def test_kernels_come_from_one_server_until_the_code_changes(light, monkeypatch):
    server = kernels.warm_up()
    assert kernels.warm_up() is server
    monkeypatch.setattr(kernels, "code_stamp", lambda: {"edited": (1, 1)})
    other = kernels.warm_up()
    assert other is not server and not server.alive


@linux
def test_a_server_that_was_killed_costs_no_run(light, tmp_path, monkeypatch):
    server = kernels.warm_up()
    server._process.kill()
    monkeypatch.setattr(kernels.KernelServer, "alive", True)  # it died between the look and the start
    assert run(tmp_path, "print(6 * 7)") == ["42"]


@linux
def test_a_kernel_that_dies_is_told_apart_from_a_cell_that_fails(light, tmp_path):
    assert run(tmp_path, "1 / 0") == ["ZeroDivisionError: division by zero"]
    assert "kernel died" in run(tmp_path, "import os; os._exit(1)")[0]


@linux
def test_a_kernel_ends_with_whoever_started_it(tmp_path):
    """Killed at once, the study leaves no kernel behind that would hold its run folder."""
    code = (
        "from labkit import kernels\n"
        "kernels.SERVER = 'from labkit.studies import kernel_server as s; s.import_all = lambda: None; s.main()'\n"
        "argv = [__import__('sys').executable, '-m', 'ipykernel_launcher']\n"
        "import os; print(kernels.warm_up().start(argv, dict(os.environ), os.getcwd()).pid, flush=True)\n"
        "input()\n"
    )
    study = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid = int(study.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    study.kill()
    study.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z" and time.monotonic() < deadline:
        os.sched_yield()
    assert not Path(f"/proc/{pid}").exists() or _state(pid) == "Z"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
