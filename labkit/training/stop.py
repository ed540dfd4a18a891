"""Being asked to stop by SIGTERM: SLURM's time limit, a pre-emption, `kill`, or Ctrl-C at labkit's command line."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Stopped(Exception):
    """Training that was asked to stop did so, and has saved what it had done: it goes on from there, to the bit."""


@dataclass
class StopRequest:
    """Whether somebody has asked; looked at between two batches, so that no step is lost and none is half done."""

    asked: bool = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Take SIGTERM as a request for as long as this lasts; before and after, it ends the process as ever.

    Python lets only the main thread, in which a kernel runs its cells, decide on signals: in another nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: object) -> None:
        request.asked = True

    former = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        # None: installed by other means than Python's, which cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)


def how_far(epoch: int, steps: int, step_count: int) -> str:
    """``after step 31 of 140 of epoch 2``: where a run is that has done ``steps`` of an epoch (from 1)."""
    if steps == 0:
        return f"after epoch {epoch - 1}" if epoch > 1 else "before its first step"
    if steps == step_count:
        return f"after the last step of epoch {epoch}, before it is evaluated"
    return f"after step {steps} of {step_count} of epoch {epoch}"
