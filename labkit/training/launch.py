"""One run in several processes, of which only the first one writes and prints; the notebook keeps the folder locked."""

import multiprocessing
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
import torch.distributed as dist
from accelerate.utils import extract_model_from_parallel
from torch import nn

from labkit.params import OneLine, ParameterError
from labkit.runs.files import read_csv, read_json, write_whole
from labkit.runs.fingerprint import run_code
from labkit.runs.folder import Run, read_manifest, read_params
from labkit.training.device import set_up
from labkit.training.progress import Lines, Stopped, stop_requests

Watch = Callable[[pd.DataFrame], None] | None


class ProcessFailed(OneLine, RuntimeError):
    """One of several processes failed or was killed."""


def launch(run: Run, model: nn.Module, made: Sequence[Any], cuda: bool, watch: Watch = None) -> None:
    """Train ``run`` in processes that are handed ``model`` and what was ``made`` for `fit`; none is left behind."""
    parts = [*model.modules(), *made[-1].values()]
    if own := next((part for part in parts if getattr(part, "__module__", "") == "__main__"), None):
        name = getattr(own, "__name__", type(own).__name__)
        told = f"num_processes: other processes cannot see {name}, which a cell of this notebook defines"
        raise ParameterError(f"{told}; move it into a file that is imported, or set num_processes to 1")
    count, spawn = run.params.num_processes, multiprocessing.get_context("spawn")
    with stop_requests(), tempfile.TemporaryDirectory() as place:
        handed = extract_model_from_parallel(model, keep_fp32_wrapper=False), *made
        write_whole(Path(place, "handed.pt"), lambda path: torch.save(handed, path))
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # pyright: ignore
        said = spawn.SimpleQueue()
        Path(place, "stderr").touch()
        given = count, store.port, run.folder, Path(place), said
        processes = [spawn.Process(target=_train, args=(rank, *given)) for rank in range(count)]
        try:
            error = _follow(processes, said, run, watch)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                    process.join()
            run.manifest = read_json(run.path("run.json"))
        if error:
            error.add_note(Path(place, "stderr").read_text(errors="replace")[-4000:])
            raise error
    run.record(batch_norm="synchronised" if cuda else "per process")


def _follow(processes: list[Any], said: Any, run: Run, watch: Watch) -> Exception | None:
    """Start them, and print their lines until all have ended or one has failed; what went wrong, None if nothing."""
    failures: list[Exception] = []
    with stop_requests() as stop:
        for process in processes:
            process.start()
        asked, codes = False, [None]
        while None in codes and not any(codes):
            time.sleep(0.1)
            codes = [process.exitcode for process in processes]
            while not said.empty():
                if isinstance(line := said.get(), Exception):
                    failures.append(line)
                    continue
                print(line, flush=True)
                if watch is not None and line.startswith("epoch "):
                    watch(read_csv(run.path("history.csv")))
            for process in processes if stop.asked and not asked else []:
                process.terminate()
            asked = stop.asked
    # A process says what has failed before it ends; only then the others lose it. One that was killed says nothing.
    if failures and "by peer" not in str(failures[0]):
        return failures[0]
    if stop.asked:
        return Stopped("stopped as asked; the same command goes on from there")
    killed = f"one of the {len(processes)} processes was killed; was it out of memory?"
    return ProcessFailed(killed) if any(codes) else None


def _train(rank: int, count: int, port: int, folder: Path, place: Path, said: Any) -> None:
    """One of the processes, which prints and fails in the notebook's place."""
    from labkit.training.loop import fit

    def end_with_the_notebook() -> None:
        cast(Any, multiprocessing.parent_process()).join()
        os._exit(1)

    threading.Thread(target=end_with_the_notebook, daemon=True).start()
    os.dup2(os.open(place / "stderr", os.O_WRONLY | os.O_APPEND), 2)
    os.environ.pop("JPY_SESSION_NAME", None)  # JupyterLab's: no bar is drawn over the lines
    # They meet at the notebook's store, on this machine alone, whose own name may lead nowhere.
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo", "WORLD_SIZE": str(count)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    failed = False
    try:
        with redirect_stdout(Lines(said.put) if rank == 0 else None), stop_requests():
            params, manifest = read_params(folder), read_manifest(folder)
            accelerator = set_up(params, launched=True)
            if manifest["inputs"].get("code") != run_code():
                raise ParameterError(f"{folder}: labkit's code has changed; restart the notebook and run it again")
            # Of this user, written just before.
            model, loaders, score, made = torch.load(place / "handed.pt", map_location="cpu", weights_only=False)
            fit(model, loaders, params, accelerator, Run(folder, params, manifest), score, **made)
            accelerator.wait_for_everyone()
    except Exception as error:
        traceback.print_exc()
        failed = not isinstance(error, Stopped)  # all of them stop after the same step
        words = f"process {rank + 1} of {count} failed: {type(error).__name__}: {' '.join(str(error).split())[:1000]}"
        said.put(error if type(error) in (Stopped, ParameterError) else ProcessFailed(words))
    os._exit(failed)  # at once: the others must notice
