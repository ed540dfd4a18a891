"""What a person sees of a training and asks of it: bar, estimate, and a request to stop by SIGTERM (no torch)."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from labkit.params import OneLine

Batch = TypeVar("Batch")
Say = Callable[[str], Any]
ESTIMATE_AFTER = 20  # steps; the first few are slow and would promise too much


def in_browser() -> bool:
    """True in JupyterLab (it tells its kernels their notebook's name, Papermill does not) and in Colab."""
    return "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules


def interactive() -> bool:
    """True where a person is watching: in a notebook that is open in a browser, and in a terminal."""
    return in_browser() or sys.stderr.isatty()


class Bar:
    """A bar for each epoch, where a person is watching, and once an estimate of the minutes for all ``steps``."""

    def __init__(self, steps: int, epochs: int):
        self.steps, self.epochs, self.done, self.started = steps, epochs, 0, time.monotonic()

    def epoch(self, batches: Iterable[Batch], epoch: int, done: int, total: int) -> Iterator[Batch]:
        """The batches of an epoch, of whose ``total`` steps ``done`` were done before."""
        # In a browser the bar is printed where the epochs' lines are, which replace it; stderr would be shown in red.
        file = sys.stdout if in_browser() else sys.stderr
        bar = {"total": total, "initial": done, "leave": False, "disable": not interactive(), "file": file}
        for batch in tqdm(batches, desc=f"epoch {epoch}/{self.epochs}", **bar):
            yield batch
            self.done += 1
            if self.done == ESTIMATE_AFTER < self.steps:
                minutes = (time.monotonic() - self.started) / self.done * (self.steps - self.done) / 60
                print(f"about {minutes:.1f} minutes to go, by the first {self.done} steps", flush=True)


class Stopped(OneLine):
    """Training was asked to stop, saved its state and ended; the next call continues from there to the same bytes."""


class Lines(io.TextIOBase):
    """A text stream that hands on full lines."""

    def __init__(self, say: Say) -> None:
        self.say, self.unfinished = say, ""

    def write(self, text: str) -> int:
        """As of every text stream."""
        *lines, self.unfinished = (self.unfinished + text).split("\n")
        for line in lines:
            self.say(line)
        return len(text)


class StopRequest:
    """Whether SIGTERM has come; looked at between two batches, so that no step is lost or half done."""

    asked = False

    def __call__(self, number: int, frame: object) -> None:
        """As a signal handler."""
        self.asked = True


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Take SIGTERM as a request to stop, inside this block and those in it; but for the main thread, do nothing."""
    former = signal.getsignal(signal.SIGTERM)
    if isinstance(former, StopRequest):
        yield former
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    signal.signal(signal.SIGTERM, request)
    try:
        yield request
    finally:
        # None: installed by other means than Python's, which cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)
