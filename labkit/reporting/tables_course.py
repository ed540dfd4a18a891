"""Tables that a course's report asks for: published numbers beside ours, deviations, class weights, small networks."""

from collections.abc import Mapping, Sequence

import pandas as pd

from labkit.reporting.numbers import DASH, fixed, percent, whole


def class_weights_table(
    classes: Sequence[str], counts: Sequence[int], weights_by_run: Mapping[str, Sequence[float] | None]
) -> pd.DataFrame:
    """A row a class: its training images with their share, and its weight in the loss of each run.

    `counts`: training images per class, as they are. `weights_by_run`: run -> weight per class, None: all equal.
    """
    total = sum(counts)
    table = {
        "class": list(classes),
        "training images": [f"{whole(n)} ({percent(n / total)})" if total else "0" for n in counts],
    }
    for run, weights in weights_by_run.items():
        table[run] = [fixed(weight, 3) for weight in weights] if weights else [DASH] * len(classes)
    return pd.DataFrame(table)
