"""A study's runs as jobs, made in kernels of this machine: one after another, or a few side by side."""

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from labkit.params import ParameterError, RunParams
from labkit.runs.files import read_json
from labkit.runs.folder import mark_failed, state
from labkit.studies.file import Study
from labkit.studies.notebook import NOTEBOOKS, Say, execute, stop_kernels
from labkit.training.progress import Stopped

STOPPED = f"{Stopped.__name__}: "  # how the error of a run begins that was asked to stop, and saved how far it is


@dataclass(frozen=True)
class Job:
    """One run of a study: its parameters, what decides its numbers, and why it has to be made (None: it has not)."""

    params: RunParams
    inputs: dict[str, Any]
    folder: Path
    reason: str | None

    @property
    def name(self) -> str:
        """``<run>-seed<k>``, as its folder is called."""
        return self.folder.name


class Machines(Protocol):
    """Where jobs are made; ``room``: how many at a time."""

    room: int

    def start(self, job: Job, say: Say) -> "Future[str | None]":
        """Begin a job; its future's result is its error in one line, None where there is none."""
        ...

    def stop(self) -> None:
        """End all jobs early: each is asked to save how far it is."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class ThisMachine:
    """A kernel a run, ``room`` of them at a time."""

    def __init__(self, room: int = 1) -> None:
        self.room = room

    @classmethod
    def of(cls, study: Study, table: list[RunParams]) -> Self:
        """As many runs side by side as ``jobs`` of the study allows and there are cores for the threads of each.

        Raises ParameterError where a run would take all cores for itself.
        """
        greedy = next((params.run for params in table if not params.threads), None)
        if study.jobs > 1 and greedy is not None:
            raise ParameterError(
                f"params/{study.file}: jobs: got {study.jobs}, but run {greedy} has threads: 0, which takes every "
                "core; set threads to what each run may have"
            )
        cores = max(params.threads * params.num_processes for params in table)
        return cls(max(1, min(study.jobs, (os.cpu_count() or 1) // cores)) if cores else 1)

    def start(self, job: Job, say: Say) -> "Future[str | None]":
        """In a thread that looks after the kernel."""
        return self._pool.submit(train, job, say)

    def stop(self) -> None:
        """Kernels save and end."""
        stop_kernels()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self.room, thread_name_prefix="job")
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()


def train(job: Job, say: Say, patience: float = 5.0) -> str | None:
    """Execute train.ipynb into the run folder; its error in one line, if any. The manifest has the last word.

    ``patience``: seconds that a kernel whose study was killed is given to let go of the folder.
    """
    if state(job.folder, patience) == "running":
        return f"{job.folder} is being worked in by another process; wait for it or stop it"
    started = time.monotonic()
    error = execute(NOTEBOOKS / "train.ipynb", job.folder / "train.ipynb", job.params.model_dump(), say)
    if error is not None and error.startswith(STOPPED):
        return error
    if error is None and read_json(job.folder / "run.json").get("status") != "finished":
        error = "the kernel ended before the run was finished"
    if error is not None:
        mark_failed(job.folder, job.params, job.inputs, error)
        return error
    say(f"finished in {(time.monotonic() - started) / 60:.1f} min")
    return None
