"""Training a study's runs on this machine: one after another, or a few side by side, each in a kernel of its own."""

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.params import ParameterError, RunParams
from labkit.runs.folder import make_way, mark_failed, read_manifest
from labkit.studies.file import Study
from labkit.studies.notebook import NOTEBOOKS, Say, execute, stop_kernels
from labkit.training.progress import Stopped

STOPPED = f"{Stopped.__name__}: "  # start of the error of a run that was stopped and has saved how far it is


@dataclass(frozen=True)
class Job:
    """One run of a study: its parameters, what decides its numbers, and why to run it (None: it is up to date)."""

    params: RunParams
    inputs: dict[str, Any]
    folder: Path
    reason: str | None
    kept: Path | None = None  # where its run is, if it was set aside

    @property
    def name(self) -> str:
        """The name of its folder: ``<run>-seed<k>``."""
        return self.folder.name


class ThisMachine(ThreadPoolExecutor):
    """One kernel per run, ``room`` at a time (``jobs``, if there are cores). ParameterError if a run takes all."""

    def __init__(self, study: Study, table: list[RunParams]) -> None:
        greedy = [params.run for params in table if not params.threads]
        if study.jobs > 1 and greedy:
            told = f"jobs: got {study.jobs}, but run {greedy[0]} has threads: 0, which takes every core"
            raise ParameterError(f"{study.file}: {told}; set the number of threads of each run")
        cores = max(1, *(params.threads * params.num_processes for params in table))
        self.room = max(1, min(study.jobs, (os.cpu_count() or 1) // cores))
        super().__init__(self.room, thread_name_prefix="job")

    def start(self, job: Job, say: Say) -> "Future[str | None]":
        """Start a job in a thread that waits for its kernel; the future's result is its error in one line, or None."""
        return self.submit(train, job, say)

    stop = staticmethod(stop_kernels)  # each job saves how far it is


def train(job: Job, say: Say, patience: float = 5.0) -> str | None:
    """Execute train.ipynb into the run folder; its error in one line, or None. ``patience``: seconds for its lock."""
    try:
        make_way(job.folder, job.inputs, patience)
    except ParameterError as locked:
        return str(locked)
    started = time.monotonic()
    error = execute(NOTEBOOKS / "train.ipynb", job.folder / "train.ipynb", job.params.model_dump(), say)
    if error is None and read_manifest(job.folder).get("status") != "finished":
        error = "the kernel ended before the run was finished"
    if error is None:
        say(f"finished in {(time.monotonic() - started) / 60:.1f} min")
    elif not error.startswith(STOPPED):
        mark_failed(job.folder, job.params, job.inputs, error)
    return error
