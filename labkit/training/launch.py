"""One run in several processes: start them, show what the first one prints, tell them to stop, and end them.

The launcher is Accelerate's on GPUs and PyTorch's on a CPU, where ``accelerate launch`` 1.15 starts one process only.
"""

import hashlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from labkit.params import PROJECT, ParameterError
from labkit.runs.folder import Run
from labkit.training.progress import Stopped, StopRequest

LAST_WORDS = "\x04"  # begins the line of a process that says why it ends
# Of a launcher that this process itself was started by, and of JupyterLab: there is no bar to be drawn.
NOT_INHERITED = re.compile(
    r"(ACCELERATE|PET|TORCHELASTIC|PMI|OMPI_COMM|MV2_COMM|MASTER|JPY)_\w+|(\w+_)?(RANK|WORLD_SIZE)"
)
# SHA-256 of the cells of train.ipynb tagged `training`; the launched processes do what these cells do.
TRAINING_CELLS = (
    "ee2d2e2d2b42ade8",
    "242c056470da6f30",
    "af00ac89ef5a2b43",
    "9256053958f6d6ef",
    "635a0b4a38aa1628",
    "524313a1960e201f",
    "1b56cc9327641761",
)


class ProcessFailed(RuntimeError):
    """One of several processes failed or was killed."""


def launch(run: Run, cuda: bool, threads: int, stop: StopRequest, show: Callable[[str], None]) -> None:
    """Train ``run`` in its ``num_processes`` processes; ``show`` is called with each line of the first one.

    Raises Stopped where it was asked to, and the error of the process that failed first: ParameterError, else
    ProcessFailed. No process is left when this returns or raises.
    """
    count = run.params.num_processes
    launcher = ["torch.distributed.run", f"--nproc_per_node={count}"]
    if cuda:
        launcher = ["accelerate.commands.launch", "--multi_gpu", f"--num_processes={count}", "--num_machines=1"]
        launcher += ["--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"]
    command = [sys.executable, "-m", *launcher, "--module", "labkit.commands.train", str(run.folder)]
    with tempfile.TemporaryFile() as errors:
        process: Any = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=PROJECT,
            env=environment(threads), start_new_session=True,
        )  # fmt: skip
        try:
            words = _follow(process, stop, show)
        finally:
            process.stdin.close()  # each process watches it, and ends when it is closed
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()  # nothing happens if it has ended
        error = _failure(words, process.wait(), count, stop)
        if error is not None:
            errors.seek(0)
            error.add_note(errors.read().decode(errors="replace")[-4000:])
            raise error


def environment(threads: int) -> dict[str, str]:
    """This process's environment for a launcher, without what another launcher has left in it."""
    kept = {name: value for name, value in os.environ.items() if not NOT_INHERITED.fullmatch(name)}
    # A free port that the launcher itself takes and keeps; this machine's own name may lead nowhere.
    kept |= {"PET_STANDALONE": "1", "PET_LOCAL_ADDR": "127.0.0.1", "OMP_NUM_THREADS": str(threads)}
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    return kept | {"PYTHONUNBUFFERED": "1"} | ({"GLOO_SOCKET_IFNAME": loopback} if loopback else {})


def _follow(process: Any, stop: StopRequest, show: Callable[[str], None]) -> list[dict[str, Any]]:
    """The last words of the processes, in the order in which they ended."""
    words, rest, told = [], b"", set[int]()
    while True:
        if select.select([process.stdout], [], [], 0.2)[0]:
            if not (read := os.read(process.stdout.fileno(), 1 << 16)):
                return words
            *lines, rest = (rest + read).split(b"\n")
            for line in (line.decode(errors="replace") for line in lines if line):
                if line.startswith(LAST_WORDS):
                    words.append(json.loads(line.removeprefix(LAST_WORDS)))
                else:
                    show(line)
        if stop.asked:
            with suppress(psutil.Error):
                for child in psutil.Process(process.pid).children():
                    if child.pid not in told:
                        told.add(child.pid)
                        child.terminate()


def _failure(words: list[dict[str, Any]], code: int, count: int, stop: StopRequest) -> Exception | None:
    for said in words:
        if said["kind"] == "Stopped":
            return Stopped(said["message"])
        if said["kind"] == "ParameterError":
            return ParameterError(said["message"])
        if not said["peer"]:
            return ProcessFailed(f"process {said['rank'] + 1} of {count} failed: {said['kind']}: {said['message']}")
    if code == 0:
        return Stopped("stopped as asked, with all epochs done; the same command goes on") if stop.asked else None
    if stop.asked:
        return Stopped("stopped as asked before training went on; the same command goes on from the checkpoint")
    return ProcessFailed(f"one of the {count} processes was killed; was it out of memory?")


def refuse_changed_cells() -> None:
    """Raises ParameterError in a notebook that has not executed all of TRAINING_CELLS; elsewhere there are no cells."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    cells = shell.user_ns.get("In", []) if shell else []
    if any(cells) and set(TRAINING_CELLS) - {cell_hash(cell) for cell in cells}:
        raise ParameterError(
            "num_processes: several processes train the network and loss of labkit's own train.ipynb, and this "
            "notebook's cells tagged `training` differ from its; set num_processes to 1, or undo the changes"
        )


def cell_hash(source: str) -> str:
    """Of a cell's lines, without comments and blank lines."""
    lines = [line.split("  #")[0].rstrip() for line in source.splitlines() if not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()[:16]
