"""ROC and precision-recall curves as points: each class against all others, and the question behind the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from labkit.evaluation.decide import is_ordinal
from labkit.evaluation.intervals import Floats
from labkit.evaluation.question import Question
from labkit.evaluation.ranking import auroc, average_precision

COLUMNS = ["run", "of", "kind", "x", "y", "area", "share", "images"]


def curves(tests: Mapping[str, pd.DataFrame], classes: Sequence[str], question: Question | None = None) -> pd.DataFrame:
    """Points of every variant's curves; `tests`: decided predictions by variant.

    Columns run; of: the class, or the question's name; kind: 'roc' (x = 1 - specificity, y = sensitivity) or 'pr'
    (x = sensitivity, y = PPV); area: AUROC or average precision; share: of positives; images: positive ones. What has
    no positive or no negative image has no curve.
    """
    tables = []
    for run, table in tests.items():
        labels = table["label"].to_numpy(np.int64)
        asked = {
            name: (labels == number, table[f"p_{number}"].to_numpy(np.float64))
            for number, name in enumerate(() if is_ordinal(table) else classes)  # a grade ranks no class in the middle
        }
        if question is not None:
            asked[question.name] = question.of(table)
        for name, (truth, chance) in asked.items():
            if truth.any() and not truth.all():
                tables += [part.assign(run=run, of=name) for part in _both(truth, chance)]
    empty = pd.DataFrame(columns=pd.Index(COLUMNS))
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS) if tables else empty


def _both(truth: NDArray[np.bool_], chance: Floats) -> list[pd.DataFrame]:
    known = {"share": truth.mean(), "images": int(truth.sum())}
    x, y, _ = roc_curve(truth, chance)
    roc = pd.DataFrame({"x": x, "y": y, "kind": "roc", "area": auroc(truth, chance)})
    precision, recall, _ = precision_recall_curve(truth, chance)
    pr = pd.DataFrame({"x": recall, "y": precision, "kind": "pr", "area": average_precision(truth, chance)})
    return [roc.assign(**known), pr.assign(**known)]
