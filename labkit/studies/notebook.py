"""Executing a notebook through Papermill, from the project's root; its kernel's lines are shown while it runs.

Each notebook has a kernel of its own, in its own session: Ctrl-C and SIGTERM reach only us, and `stop_kernels` passes
them on. A kernel also ends when its parent process does; ipykernel checks that every second.
"""

import os
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any, TextIO

from jupyter_client.manager import AsyncKernelManager, KernelManager

from labkit.params import PROJECT
from labkit.runs.files import CURES, NotWritten

# No notebook needs a grammar of URIs, which nbformat has jsonschema build: a second of every command.
sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]  # None: cannot be imported

NOTEBOOKS = PROJECT / "notebooks"
DIED = "the kernel died; was it killed, or out of memory?"
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "allocate memory")  # torch's, Python's, and torch's on a CPU
MORE_MEMORY = "; a smaller batch_size or image_size takes less memory"

Say = Callable[[str], None]


def execute(source: Path, target: Path, params: dict[str, Any], say: Say | None = None) -> str | None:
    """Run a notebook; None, or its error in one line. ``say`` is handed every line that the kernel prints."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    target.parent.mkdir(parents=True, exist_ok=True)
    watched = os.environ.pop("JPY_SESSION_NAME", None)  # JupyterLab's, where this is called from: nobody looks here
    _executing.append(target)
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            params,
            resources={"metadata": {"path": str(PROJECT)}},  # its place; `cwd` would be that of all our threads
            progress_bar=False,
            config=Config({KernelManager.__name__: {"transport_encryption": "auto"}}),  # else every kernel warns
            kernel_manager_class=KnownKernel,
            stdout_file=_Lines(say) if say else None,
        )
    except PapermillExecutionError as error:
        said = f"{error.ename}: {error.evalue}" if error.traceback else _last_printed(target)
        return said + MORE_MEMORY if any(word in said for word in OUT_OF_MEMORY) else said
    except RuntimeError as error:  # nbclient's DeadKernelError, or Jupyter's own of a kernel that never answered
        if "Kernel died" not in str(error):
            raise
        return DIED
    except OSError as error:
        if error.errno not in CURES:
            raise
        raise NotWritten(Path(error.filename or target), error.errno, error.strerror) from error
    finally:
        _executing.remove(target)
        if watched is not None:
            os.environ["JPY_SESSION_NAME"] = watched
    return None


def _last_printed(notebook: Path) -> str:
    """The last line on standard error: where IPython has no memory left to format an exception, it is printed there."""
    from nbformat import NO_CONVERT, read

    outputs = [output for cell in read(notebook, NO_CONVERT).cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.get("name") == "stderr")
    return printed.strip().rpartition("\n")[2]


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print a line in one piece, so that lines of several threads do not mix; ``file``: standard output by default."""
    print(f"{text}\n", end="", file=file, flush=True)


class KnownKernel(AsyncKernelManager):
    """Jupyter's own kernel manager, which `stop_kernels` can find."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _kernels.add(self)


_kernels: "weakref.WeakSet[KnownKernel]" = weakref.WeakSet()
_executing: list[Path] = []  # notebooks; one whose kernel has not started yet is among them


def stop_kernels(patience: float = 60.0) -> None:
    """Send SIGTERM to every kernel, which saves a checkpoint; kill those that are left after ``patience`` seconds."""
    asked: set[int] = set()
    until = time.monotonic() + patience
    try:
        while _executing and time.monotonic() < until:
            for process in _processes():
                if process.pid not in asked:
                    process.terminate()
                    asked.add(process.pid)
            time.sleep(0.1)
    finally:  # also when a second Ctrl-C ends the wait
        for process in _processes():
            process.kill()


def _processes() -> list[Popen]:
    """The processes of all kernels that have started and not ended."""
    processes = [getattr(kernel.provisioner, "process", None) for kernel in list(_kernels)]
    return [process for process in processes if process is not None and process.poll() is None]


class _Lines:
    """A text stream that hands on full lines."""

    def __init__(self, say: Say) -> None:
        self.say, self.unfinished = say, ""

    def write(self, text: str) -> None:
        *lines, self.unfinished = (self.unfinished + text).split("\n")
        for line in lines:
            self.say(line)

    def flush(self) -> None:
        """A line is handed on when it is full."""
