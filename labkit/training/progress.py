"""One plain line an epoch in executed notebooks, a live bar where a person is watching."""

import os
import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

from labkit.data.loaders import Batch, EpochLoader

ESTIMATE_AFTER = 20  # steps; the first few are slow and would promise too much


def interactive() -> bool:
    """True in JupyterLab (it tells its kernels their notebook's name, Papermill does not), Colab and a terminal."""
    return "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules or sys.stderr.isatty()


def fit_steps(batches: EpochLoader, epoch: int, epochs: int, announce: bool) -> Iterator[Batch]:
    """The batches of one training epoch, with a bar if interactive; ``announce``: say the estimated minutes, once."""
    total = len(batches)
    bar = tqdm(batches, desc=f"epoch {epoch}/{epochs}", leave=False, disable=not interactive())
    started = time.monotonic()
    for step, batch in enumerate(bar):
        if announce and step == ESTIMATE_AFTER:
            minutes = (time.monotonic() - started) / step * total * (epochs - epoch + 1) / 60
            print(f"about {minutes:.1f} minutes to go, by the first {step} steps", flush=True)
        yield batch
