"""A run asks no host for anything, and writes where it says: checked from inside every process that it starts."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from labkit.params import PROJECT

# Python imports this at every start, in kernels and workers too. Hooks cannot be taken off again, whatever is imported
# later; what they see is written down, so that a refusal that somebody caught is still found.
GUARD = """
import os, sys

LOG = os.environ["GUARD_LOG"]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LOOPBACK = ("127.", "::1", "localhost")

def note(kind, what):
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{kind}\\t{os.getpid()}\\t{what}\\n".encode())
    os.close(descriptor)

def watch(event, args):
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            note("connect", address)
            raise OSError("no network in this test")
    elif event == "socket.getaddrinfo" and args[0] and not str(args[0]).startswith((*LOOPBACK, "0.0.0.0")):
        note("resolve", args[0])
        raise OSError("no network in this test")
    elif event == "open" and isinstance(args[0], (str, bytes)) and args[2] & WRITES and os.fsdecode(args[0]) != LOG:
        note("write", os.path.abspath(os.fsdecode(args[0])))
    elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link"):
        place = args[0] if event == "os.mkdir" else args[1]
        note("write", os.path.abspath(os.fsdecode(place)))

note("start", " ".join(sys.argv))
sys.addaudithook(watch)
"""


@pytest.fixture
def guarded(tmp_path, own_reports):
    """Runs a command under the guard; what it says and what its processes did, as (kind, what)."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    log = tmp_path / "guard.log"

    def run(*command: str) -> tuple[subprocess.CompletedProcess, list[tuple[str, str]]]:
        path = os.pathsep.join(filter(None, [str(tmp_path / "guard"), str(PROJECT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path, "GUARD_LOG": str(log), "HOME": str(tmp_path / "home")}
        environment |= {"LABKIT_CACHE": str(own_reports / ".cache")}
        environment |= {"MPLCONFIGDIR": matplotlib.get_cachedir()}  # its list of fonts takes a while to make
        environment |= {"TMPDIR": str(tmp_path / "scratch"), "TORCH_HOME": str(tmp_path / "home/torch")}
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):  # torch.compile sets them for its own children
            environment.pop(name, None)
        for name in ("home", "scratch"):
            (tmp_path / name).mkdir(exist_ok=True)
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
        lines = [line.split("\t") for line in log.read_text().splitlines()]
        return done, [(kind, what) for kind, _, what in lines]

    return run


def test_a_report_asks_no_host_and_writes_nothing_outside_its_reports(guarded, tmp_path, own_reports):
    """Its runs, its notebooks and its pages; the PDF is printed by a browser, which is no Python to look into."""
    small = ["-p", "image_size", "32", "-p", "threads", "1", "--runs", "resnet18-scratch"]
    done, seen = guarded(sys.executable, "-m", "labkit.cli", "report", "tiny", "--no-pdf", *small)
    assert done.returncode == 0, done.stderr
    assert sum(kind == "start" for kind, _ in seen) >= 2  # the kernels' process, too
    assert [what for kind, what in seen if kind in ("connect", "resolve")] == []
    written = [Path(what) for kind, what in seen if kind == "write"]
    for name in ("predictions.csv", "report.html", "compare.html", "train.html"):
        assert any(path.name.startswith(f".{name}") for path in written), name
    # what Jupyter and Matplotlib keep under a home folder, what goes with its process, and Python's compiled files
    others = (
        own_reports,
        Path(matplotlib.get_cachedir()),
        tmp_path / "home",
        tmp_path / "scratch",
        Path("/dev"),
        Path("/proc"),
    )
    outside = [path for path in written if not any(path.is_relative_to(folder) for folder in others)]
    assert [str(path) for path in outside if "__pycache__" not in path.parts] == []
    assert list((tmp_path / "home").rglob("*.csv")) == []


def test_weights_that_were_asked_for_are_the_one_thing_that_asks_a_host(guarded):
    done, seen = guarded(
        sys.executable, "-m", "labkit.cli", "run", "tiny", "-p", "weights", "IMAGENET1K_V1", "-p", "arch", "resnet18"
    )
    asked = {what for kind, what in seen if kind in ("connect", "resolve")}
    assert asked == {"download.pytorch.org"}
    assert done.returncode == 1 and "cannot be downloaded from https://download.pytorch.org" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_guard_sees_what_it_must(guarded, tmp_path):
    """Else the tests above would pass of themselves."""
    code = (
        "import socket\n"
        f"open({str(tmp_path / 'elsewhere')!r}, 'w').close()\n"
        "try: socket.socket().connect(('192.0.2.1', 80))\n"
        "except OSError: pass\n"
        "try: socket.getaddrinfo('example.com', 80)\n"
        "except OSError: pass\n"
    )
    _, seen = guarded(sys.executable, "-c", code)
    assert ("write", str(tmp_path / "elsewhere")) in seen
    assert [kind for kind, _ in seen if kind in ("connect", "resolve")] == ["connect", "resolve"]
