"""The process that a study's kernels are forked from: it has imported all that the notebooks import, torch above all.

A kernel of its own takes some seconds of a core for imports alone, for every run anew; a fork of this process takes
none. Nothing is computed here and no thread pool of torch's is woken, so that a fork starts as fresh as a new process
does. `labkit.studies.kernels` is the other end: lines of JSON over a socket, `{"start": …}` or `{"poll": pid}`.
"""

import ast
import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# What a kernel, a figure and an optimiser import when they are first used.
ALSO = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "matplotlib.backends.backend_agg")
ALSO += ("torch._dynamo",)
IMPORT = ast.Import | ast.ImportFrom


def main() -> None:
    """Import, then serve until the other end is closed; a forked child goes on from here as a kernel."""
    atexit.register(leave)  # the first is called last
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all of a job, say: its kernels still have to save
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asking for a GPU must not open it: it could not be forked then
    import_all()
    gc.freeze()  # what is here stays: the children's collections need not walk through it, nor copy its pages
    if (wanted := serve(channel)) is not None:
        become_kernel(wanted)


def leave() -> None:
    """End here, when all others have cleaned up: to take apart some thousand modules, one by one, takes a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def import_all() -> None:
    """All that the notebooks' cells import."""
    for statement in imports(*sorted(NOTEBOOKS.glob("*.ipynb"))):
        # What cannot be imported fails again in the cell that wants it, and says so there.
        with contextlib.suppress(Exception):
            exec(statement, {})
    for name in ALSO:
        importlib.import_module(name)


def imports(*notebooks: Path) -> list[str]:
    """The import statements of the notebooks' code cells, each once, in order; cells that are no plain Python are
    passed over.
    """
    found: dict[str, None] = {}
    for notebook in notebooks:
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                with contextlib.suppress(SyntaxError):
                    tree = ast.parse("".join(cell["source"]))
                    found |= {ast.unparse(node): None for node in tree.body if isinstance(node, IMPORT)}
    return list(found)


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Answer requests. Returns what to run in a child that was forked for it, None where the other end is gone.

    The children go with the other end: they would hold the folders of their runs.
    """
    codes: dict[int, int | None] = {}  # of every child; None while it lives
    for request in map(json.loads, _lines(channel)):
        if "start" in request:
            ready, done = os.pipe()
            if (pid := os.fork()) == 0:
                os.setsid()  # a group of its own: an interrupt is meant for it alone, not for whoever started us
                for ours in (channel.detach(), ready, done):
                    os.close(ours)
                return request["start"]
            os.close(done)
            os.read(ready, 1)  # until it is closed on the other side, too: only then it can be signalled as a group
            os.close(ready)
            codes[pid] = None
            _send(channel, {"pid": pid})
        else:
            _send(channel, {"code": _code(request["poll"], codes)})
    for pid in codes:
        if _code(pid, codes) is None:
            os.killpg(pid, signal.SIGKILL)
    return None


def _code(pid: int, codes: dict[int, int | None]) -> int | None:
    """A child's exit code; None while it lives."""
    if codes[pid] is None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        codes[pid] = os.waitstatus_to_exitcode(status) if ended else None
    return codes[pid]


def _lines(channel: socket.socket) -> Iterator[bytes]:
    rest = b""
    while data := channel.recv(1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _send(channel: socket.socket, answer: dict[str, Any]) -> None:
    channel.sendall(json.dumps(answer).encode() + b"\n")


def become_kernel(wanted: dict[str, Any]) -> None:
    """What `python -m ipykernel_launcher` does, in a process that is warm already."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(wanted["env"] | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(wanted["cwd"])
    torch = sys.modules.get("torch")
    if torch and torch.cuda._is_in_bad_fork():  # something opened the GPU before the fork: start from nothing instead
        os.execve(sys.executable, wanted["argv"], dict(os.environ))
    # What follows python -m ipykernel_launcher; and whom to end with, which ipykernel read when it was imported.
    sys.argv = [*wanted["argv"][2:], f"--IPKernelApp.parent_handle={os.getppid()}"]
    if sys.path[0] == "":
        del sys.path[0]  # as the launcher does; IPython puts it back
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
