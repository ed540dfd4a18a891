"""Executing a notebook through Papermill, from the project's root; its kernel's lines are shown while it runs.

Each kernel is in a session of its own, where Ctrl-C and SIGTERM do not reach, and ends with its parent process.
"""

import os
import sys
import time
import weakref
from itertools import count
from pathlib import Path
from subprocess import Popen
from typing import Any, TextIO

from jupyter_client.manager import AsyncKernelManager, KernelManager

from labkit.params import PROJECT
from labkit.runs.files import CURES, NotWritten, read_json
from labkit.training.progress import Lines, Say

# No notebook needs a grammar of URIs, which nbformat has jsonschema build: a second of every command.
sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]  # None: cannot be imported

NOTEBOOKS = PROJECT / "notebooks"
PAPERMILLS = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that Papermill adds
DIED = "the kernel died; was it killed, or out of memory?"
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "allocate memory")  # torch's, Python's, and torch's on a CPU


def execute(source: Path, target: Path, params: dict[str, Any], say: Say | None = None) -> str | None:
    """Run a notebook; None, or its error in one line. ``say`` is handed every line that the kernel prints."""
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    target.parent.mkdir(parents=True, exist_ok=True)
    _keep_edits(source, target)
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
            stdout_file=Lines(say) if say else None,
        )
    except PapermillExecutionError as error:
        said = f"{error.ename}: {error.evalue}"
        if not error.traceback:  # IPython had no memory left to format it, and printed a line on standard error
            outputs = [output for cell in nbformat.read(target, 4).cells for output in cell.get("outputs", [])]
            printed = "".join(output.text for output in outputs if output.get("name") == "stderr")
            said = printed.strip().rpartition("\n")[2]
        less = "; a smaller batch_size or image_size takes less memory"
        return said + less if any(word in said for word in OUT_OF_MEMORY) else said
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


def _keep_edits(source: Path, target: Path) -> None:
    """Move a notebook with cells that a person has added out of the way of the one that takes its place."""
    try:
        shipped = {cell["id"] for cell in read_json(source)["cells"]}
        cells = read_json(target).get("cells", [])
        own = [cell.get("id") in shipped or PAPERMILLS & {*cell["metadata"].get("tags", [])} for cell in cells]
    except (ValueError, KeyError):  # cut short while it was written
        return
    if not all(own):
        number = next(number for number in count(1) if not target.with_stem(f"{target.stem}-edited{number}").exists())
        kept = target.rename(target.with_stem(f"{target.stem}-edited{number}"))
        print_line(f"{target.name} has cells that are not labkit's: kept as {kept.name}")


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
    asked, until = set[Popen](), time.monotonic() + patience
    try:
        while _executing and time.monotonic() < until:
            for process in set(_processes()) - asked:
                process.terminate()
                asked.add(process)
            time.sleep(0.1)
    finally:  # also when a second Ctrl-C ends the wait
        for process in _processes():
            process.kill()


def _processes() -> list[Popen]:
    """The processes of all kernels that have started and not ended."""
    processes = [getattr(kernel.provisioner, "process", None) for kernel in list(_kernels)]
    return [process for process in processes if process is not None and process.poll() is None]
