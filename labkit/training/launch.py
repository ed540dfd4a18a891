"""One run in several processes: start them, show what the first one prints, pass on a request to stop, and end them.

The launcher is PyTorch's: Accelerate's starts one process only on a CPU, and lets a file of the user's decide. Each of
its processes is ``-m labkit.training.launch RUN_FOLDER FILE`` and trains the run whose notebook has opened the folder,
holds its lock and has left in the file what it has made. Only the first process writes there and prints.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record

from labkit.params import PROJECT, OneLine, ParameterError
from labkit.runs.files import read_csv, read_json, write_whole
from labkit.runs.fingerprint import run_code
from labkit.runs.folder import Run, read_manifest, read_params
from labkit.training.device import set_up
from labkit.training.progress import Stopped, StopRequest, stop_requests


class ProcessFailed(OneLine, RuntimeError):
    """One of several processes failed or was killed."""


def launch(
    run: Run, model: nn.Module, made: Sequence[Any], cuda: bool, watch: Callable[[pd.DataFrame], None] | None = None
) -> None:
    """Train ``run`` in its ``num_processes`` processes, which leave weights and history in its folder.

    They are handed ``model`` and what else was ``made`` for `fit`; ParameterError where a cell defines a part of it.
    Raises Stopped where it was asked to, and the error of the process that failed first. No process is left behind.
    """
    parts = [*model.modules(), *made[-1].values()]
    if own := next((part for part in parts if getattr(part, "__module__", "") == "__main__"), None):
        name = getattr(own, "__name__", type(own).__name__)
        told = f"num_processes: other processes cannot see {name}, which a cell of this notebook defines"
        raise ParameterError(f"{told}; move it into a file that is imported, or set num_processes to 1")
    count = run.params.num_processes
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with stop_requests() as stop, tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}", f"--log_dir={logs}"]
        command += ["--module", "labkit.training.launch", str(run.folder), f"{logs}/handed.pt"]
        handed = extract_model_from_parallel(model, keep_fp32_wrapper=False), *made
        write_whole(Path(logs, "handed.pt"), lambda path: torch.save(handed, path))
        process: Any = subprocess.Popen(command, **pipes, stderr=errors, cwd=PROJECT, env=environment())
        try:
            _follow(process, stop, run, watch)
        finally:
            process.stdin.close()  # each process watches it, and ends when it is closed
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()  # does nothing where it has ended
            run.manifest = read_json(run.path("run.json"))
        if error := _failure(Path(logs), process.wait(), count, stop):
            errors.seek(0)
            error.add_note(errors.read().decode(errors="replace")[-4000:])
            raise error
    run.record(batch_norm="synchronised" if cuda else "per process")


def environment() -> dict[str, str]:
    """This process's environment, which `set_up` has cleared of another launcher's variables, for our own."""
    kept = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONUNBUFFERED": "1"}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # they can import what this process could
    kept.pop("JPY_SESSION_NAME", None)  # JupyterLab's: no bar is drawn over the lines
    # The launcher takes a free port and keeps it. This machine's own name may lead nowhere.
    kept |= {"PET_STANDALONE": "1", "PET_LOCAL_ADDR": "127.0.0.1"}
    return kept | {"GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"}


def _follow(process: Any, stop: StopRequest, run: Run, watch: Callable[[pd.DataFrame], None] | None) -> None:
    """Print the lines of the processes until they have ended, and pass on a request to stop."""
    rest, told = b"", set[int]()
    while True:
        if select.select([process.stdout], [], [], 0.2)[0]:
            if not (read := os.read(process.stdout.fileno(), 1 << 16)):
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in (line.decode(errors="replace") for line in lines if line):
                print(line, flush=True)
                if watch is not None and line.startswith("epoch "):
                    watch(read_csv(run.path("history.csv")))
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children() if stop.asked else []:
                if child.pid not in told:
                    told.add(child.pid)
                    child.terminate()


def _failure(logs: Path, code: int, count: int, stop: StopRequest) -> Exception | None:
    """By the error files of torch's launcher (``<rank>/error.json``): the first one that is no loss of another's."""
    for file in sorted(logs.rglob("error.json"), key=lambda file: file.stat().st_mtime_ns):
        error = " ".join(json.loads(file.read_text())["message"]["message"].split())
        kind, _, message = error.partition(": ")
        if known := {"Stopped": Stopped, "ParameterError": ParameterError}.get(kind):
            return known(message)
        if "by peer" not in message:
            return ProcessFailed(f"process {int(file.parent.name) + 1} of {count} failed: {error[:1000]}")
    if stop.asked:
        return Stopped("stopped as asked; the same command goes on from there")
    return ProcessFailed(f"one of the {count} processes was killed; was it out of memory?") if code else None


def main(folder: Path, handed: Path) -> None:
    """One of the processes: train; if that fails, the reason is left in the error file. Ends the process."""
    threading.Thread(target=_end_with_the_others, daemon=True).start()
    if os.environ["RANK"] != "0":
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 -- until the process ends
    try:
        with stop_requests(), suppress(Stopped):  # no failure: all of them stop after the same step
            record(_train)(folder, handed)
    except Exception:
        traceback.print_exc()
        os._exit(1)  # at once: the others must notice
    os._exit(0)


def _end_with_the_others() -> None:
    """End this process if its launcher has ended, or if the notebook has closed the pipe or was killed."""
    launcher = os.getppid()
    while os.getppid() == launcher and not select.select([0], [], [], 0.5)[0]:
        pass
    os._exit(1)


def _train(folder: Path, handed: Path) -> None:
    from labkit.training.loop import fit

    params, manifest = read_params(folder), read_manifest(folder)
    accelerator = set_up(params, launched=True)
    if manifest["inputs"].get("code") != run_code():
        raise ParameterError(f"{folder}: labkit's code has changed since; restart the notebook and run it again")
    # Of this user, written just before.
    model, loaders, score, made = torch.load(handed, map_location="cpu", weights_only=False)
    fit(model, loaders, params, accelerator, Run(folder, params, manifest), score, **made)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
