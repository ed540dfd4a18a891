"""How far the scores of one model differ between two sets of images, such as the leaked and the clean part of test."""

from __future__ import annotations

import pandas as pd

from labkit.evaluation.intervals import METRICS, _cells, _distinct, _draw, _per_group, middle


def difference_between_parts(
    part_a: pd.DataFrame, part_b: pd.DataFrame, n_classes: int, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """A row a metric: a, b, difference (b - a), low, high (the middle `level` of the draws).

    The parts (columns label, prediction and, if known, group) hold different images, so nothing is paired: the groups
    of each part are drawn with replacement by themselves. With fewer than two groups in a part there is no interval:
    low and high are NaN. Raises ValueError on a part without rows, and on unlabelled rows.
    """
    drawn, whole, n_groups = [], [], []
    for number, part in enumerate((part_a, part_b)):
        cells = _cells(part["label"], part["prediction"], n_classes)
        matrices, counts = _distinct(_per_group(cells, part.get("group"), n_classes**2))
        drawn.append(_draw(matrices, counts, draws, 2 * seed + number).reshape(draws, n_classes, n_classes))
        whole.append((counts @ matrices).reshape(n_classes, n_classes))
        n_groups.append(int(counts.sum()))
    rows = {}
    for name, metric in METRICS.items():
        a, b = (float(metric(matrix)) for matrix in whole)
        low, high = middle(metric(drawn[1]) - metric(drawn[0]), level, min(n_groups))
        rows[name] = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
