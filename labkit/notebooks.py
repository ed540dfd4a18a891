"""Executing a notebook through Papermill, from the project's root; its kernel's lines are shown while it runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.params import PROJECT

NOTEBOOKS = PROJECT / "notebooks"

Say = Callable[[str], None]


def execute(source: Path, target: Path, params: dict[str, Any], say: Say | None = None) -> str | None:
    """Run a notebook; None, or its error in one line. ``say`` is handed every line that the kernel prints."""
    import papermill
    from jupyter_client.manager import KernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from labkit.kernels import WarmKernelManager

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
        return f"{error.ename}: {error.evalue}"
    except DeadKernelError:
        return DIED
    finally:
        if watched is not None:
            os.environ["JPY_SESSION_NAME"] = watched
    return None


DIED = "the kernel died; was it killed, or out of memory?"


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
