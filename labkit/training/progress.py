"""One plain line an epoch in executed notebooks, a live bar where a person is watching."""

import os
import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

from labkit.data.loaders import Batch, EpochLoader

ESTIMATE_AFTER = 20  # steps; the first few are slow and would promise too much


def in_browser() -> bool:
    """True in JupyterLab (it tells its kernels their notebook's name, Papermill does not) and in Colab."""
    return "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules


def interactive() -> bool:
    """True where a person is watching: in a notebook that is open in a browser, and in a terminal."""
    return in_browser() or sys.stderr.isatty()


class Estimate:
    """Says once, after the first steps of a run, how many minutes the rest of its ``steps`` will take."""

    def __init__(self, steps: int):
        self.steps, self.done, self.started = steps, 0, time.monotonic()

    def step(self) -> None:
        """Count a step; print the estimate after the first ESTIMATE_AFTER."""
        self.done += 1
        if self.done == ESTIMATE_AFTER < self.steps:
            minutes = (time.monotonic() - self.started) / self.done * (self.steps - self.done) / 60
            print(f"about {minutes:.1f} minutes to go, by the first {self.done} steps", flush=True)


def fit_steps(batches: EpochLoader, epoch: int, epochs: int, estimate: Estimate, done: int = 0) -> Iterator[Batch]:
    """The batches of one training epoch that are left, with a bar if a person is watching, counted by ``estimate``."""
    # In a browser the bar goes where the epochs' lines go, which then take its place; stderr would stand there in red.
    file = sys.stdout if in_browser() else sys.stderr
    bar = {"total": len(batches), "initial": done, "leave": False, "disable": not interactive(), "file": file}
    for batch in tqdm(batches, desc=f"epoch {epoch}/{epochs}", **bar):
        yield batch
        estimate.step()
