"""Executing a notebook through Papermill, from the project's root; its kernel's lines are shown while it runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.params import PROJECT
from labkit.runs.files import CURES, NotWritten

NOTEBOOKS = PROJECT / "notebooks"
DIED = "the kernel died; was it killed, or out of memory?"
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "allocate memory")  # torch's, Python's, and torch's on a CPU
MORE_MEMORY = "; a smaller batch_size or image_size takes less memory"

Say = Callable[[str], None]


def execute(source: Path, target: Path, params: dict[str, Any], say: Say | None = None) -> str | None:
    """Run a notebook; None, or its error in one line. ``say`` is handed every line that the kernel prints.

    Raises NotWritten where the disk refuses the executed notebook.
    """
    import papermill
    from jupyter_client.manager import KernelManager
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from labkit.studies.kernels import WarmKernelManager

    target.parent.mkdir(parents=True, exist_ok=True)
    watched = os.environ.pop("JPY_SESSION_NAME", None)  # JupyterLab's, where this is called from: nobody looks here
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            params,
            resources={"metadata": {"path": str(PROJECT)}},  # its place; `cwd` would be that of all our threads
            progress_bar=False,
            config=Config({KernelManager.__name__: {"transport_encryption": "auto"}}),  # else every kernel warns
            kernel_manager_class=WarmKernelManager,
            stdout_file=_Lines(say) if say else None,
        )
    except PapermillExecutionError as error:
        said = f"{error.ename}: {error.evalue}"
        return said + MORE_MEMORY if any(word in said for word in OUT_OF_MEMORY) else said
    except RuntimeError as error:  # nbclient's DeadKernelError, or Jupyter's own of a kernel that never answered
        if "Kernel died" not in str(error):
            raise
        return DIED
    except OSError as error:
        if error.errno not in CURES:
            raise
        raise NotWritten(target, error.errno, error.strerror) from error
    finally:
        if watched is not None:
            os.environ["JPY_SESSION_NAME"] = watched
    return None


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
