"""What the files of this room share: the names of the parts, counting, and a phrase."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

LEARNT_FROM = ("train", "val")
UNSPLIT = "unsplit"  # what data without parts of its own has as `split` while it is looked through


def count(flags: ArrayLike | pd.Series | pd.DataFrame) -> int:
    """How many flags are true, whatever holds them."""
    return int(np.count_nonzero(np.asarray(flags)))


def are(count: int, noun: str) -> str:
    """`1 test image is`, `7,026 test images are`: the beginning of a sentence."""
    return f"{count:,} {noun} is" if count == 1 else f"{count:,} {noun}s are"
