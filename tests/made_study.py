"""A small study in a copy of the project: called as a person calls it, and killed as a machine kills it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from labkit.commands.verify import FILES
from labkit.params import PROJECT
from labkit.runs.files import read_csv

DEFAULTS = {"dataset": "retinopathy", "data": "tiny", "image_size": 32, "batch_size": 32, "threads": 1, "epochs": 1}


@dataclass
class Lab:
    """A copy of the project, so that a test may write study files and edit code; and where its reports go."""

    project: Path
    reports: Path
    cache: Path
    prefix: tuple[str, ...] = ()  # before every command, such as prlimit
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def made(cls, folder: Path) -> "Lab":
        """A new copy, with the package, the notebooks and the studies."""
        project = folder / "project"
        for name in ("labkit", "notebooks", "params"):
            shutil.copytree(PROJECT / name, project / name)
        for name in ("Makefile", "pyproject.toml", "requirements.lock"):
            shutil.copy(PROJECT / name, project / name)
        return cls(project, folder / "reports", folder / "cache")

    @classmethod
    def of_this_project(cls, folder: Path) -> "Lab":
        """No copy, but reports and a cache of its own: for studies that are there already."""
        return cls(PROJECT, folder / "reports", folder / "cache")

    def study(self, name: str, runs: Mapping[str, Any], title: str = "A small study", **keys: Any) -> str:
        """Write a study file; returns its name. ``defaults`` are DEFAULTS with what is given."""
        table = {"title": title, "question": "What happens?"} | keys
        table |= {"defaults": DEFAULTS | keys.get("defaults", {}), "runs": dict(runs)}
        (self.project / "params" / f"{name}.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
        return name

    def command(self, *arguments: str) -> list[str]:
        """`labkit …`, or `make …` with the Python that runs this, which needs no installing."""
        if arguments[0] == "make":
            where = Path(sys.executable).parent
            return [*self.prefix, "make", "-o", ".venv/.ready", f"BIN={where}", "PDF=0", *arguments[1:]]
        return [*self.prefix, sys.executable, "-m", "labkit.cli", *arguments]

    def variables(self) -> dict[str, str]:
        places = {"LABKIT_REPORTS": str(self.reports), "LABKIT_CACHE": str(self.cache)}
        return os.environ | {"PYTHONPATH": str(self.project)} | places | self.environment

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = self.command(*arguments)
        return subprocess.run(command, cwd=self.project, env=self.variables(), capture_output=True, text=True)

    def papermill(self, *arguments: str) -> None:
        """Execute a notebook of the project; an error where a cell fails."""
        command = [sys.executable, "-m", "papermill", "--no-progress-bar", *arguments]
        subprocess.run(command, cwd=self.project, env=self.variables(), check=True, capture_output=True)

    def start(self, *arguments: str) -> "Call":
        """Begin a command, to be watched and killed."""
        # Not in the reports, which may be full; what a killed call left may still write to its own.
        said = self.cache.parent / f"said-{time.monotonic_ns()}.txt"
        with said.open("w") as file:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.project,
                env=self.variables(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Call(process, said, self.reports)


Moment = Callable[["Call"], None]  # waits for it


@dataclass
class Call:
    """A command that is running."""

    process: subprocess.Popen
    said: Path
    folder: Path

    def __post_init__(self) -> None:
        self.before = _files(self.folder)

    def lines(self) -> list[str]:
        """What it has printed so far."""
        return self.said.read_text(errors="replace").splitlines()

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something; an error where the command ends before."""
        while not happened():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.003)
            if self.process.returncode is not None and not happened():
                raise AssertionError("it ended before it could be killed:\n" + "\n".join(self.lines()))

    def all(self) -> list[psutil.Process]:
        """The command and every process that it started, as long as they are its own."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def labkit(self) -> list[psutil.Process]:
        """The process that drives Papermill: the command itself, or what make has started."""
        return [one for one in self.all() if {"labkit.cli", "labkit"} & {Path(part).name for part in _words(one)}][:1]

    def kernels(self) -> list[psutil.Process]:
        """The notebooks' processes."""
        return [one for one in self.all() if "ipykernel_launcher" in _words(one)]

    def kill(self, whom: str) -> None:
        """kill -9 of ``kernel``, ``labkit`` or ``make``; what the first two leave ends by itself, and is waited for."""
        found: list[psutil.Process] = []
        which = {"kernel": self.kernels, "labkit": self.labkit, "make": lambda: self.all()[:1]}[whom]
        self.until(lambda: bool(found.extend(which()) or found))  # a kernel takes a while to start
        every = self.all()
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        if whom == "make":  # which does not take labkit with it
            return
        self.process.wait()
        wait_for(every)


def wait_for(processes: Sequence[psutil.Process], seconds: float = 120) -> None:
    """Until all have ended, collected by their parents or not."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            # A process is gone with its last thread: one that writes a checkpoint ends, and lets go of locks, later.
            while process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1):
                assert time.monotonic() < deadline, f"{process} has not ended"
                os.sched_yield()


def _words(process: psutil.Process) -> list[str]:
    """Its command line; nothing where it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _files(folder: Path) -> set[tuple[str, int, int]]:
    """Every file of a folder with what changes when it is written anew."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.add((path.name, stat.st_ino, stat.st_mtime_ns))
    return found


# --- moments ----------------------------------------------------------------------------------------------------------


def at_word(word: str) -> Moment:
    """As soon as it has printed this."""
    return lambda call: call.until(lambda: any(word in line for line in call.lines()))


def after_seconds(seconds: float) -> Moment:
    """So long after the start, or what came before."""

    def wait(call: Call) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            call.process.wait(seconds)
        assert call.process.returncode is None, "\n".join(call.lines())

    return wait


def at_change(pattern: str, count: int = 1) -> Moment:
    """At the n-th time that a file of this name is written; ``*checkpoint.pt*`` names its temporary file, too."""

    def wait(call: Call) -> None:
        seen: set[tuple[str, int, int]] = set()

        def happened() -> bool:
            seen.update(one for one in _files(call.folder) - call.before if fnmatch(one[0], pattern))
            return len(seen) >= count

        call.until(happened)

    return wait


def then(*moments: Moment) -> Moment:
    """One after another."""

    def wait(call: Call) -> None:
        for moment in moments:
            moment(call)

    return wait


# --- what must be true ------------------------------------------------------------------------------------------------


def assert_whole(folder: Path) -> None:
    """Every file that a reader would open is whole, whenever its writer was killed."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith("."):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".csv":
            read_csv(path)
        elif path.suffix == ".pt":
            torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), path


def assert_nothing_left(reports: Path) -> None:
    """No half-written file, no lock that is held, no checkpoint of a finished run."""
    assert list(reports.rglob(".*.tmp")) == []
    assert list(reports.rglob("checkpoint.pt")) == []
    for path in reports.rglob(".lock"):
        lock = FileLock(path)
        lock.acquire(timeout=0)
        lock.release()


def results(run: Path) -> dict[str, bytes]:
    """The bytes of a run that must not depend on what happened to it."""
    return {name: (run / name).read_bytes() for name in FILES}


def same_results(a: Path, b: Path) -> Iterator[str]:
    """The files of two runs that differ."""
    one, other = results(a), results(b)
    return (name for name in FILES if one[name] != other[name])
