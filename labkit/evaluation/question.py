"""The yes-or-no question behind the classes: is the eye to be referred, is the cell a leukemia cell?

Grades are asked whether they are 2 or worse, *referable* diabetic retinopathy (moderate non-proliferative or more;
Gulshan et al. 2016, JAMA 316(22)); two classes are asked for the second, which the catalogue makes the disease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from labkit.evaluation.decide import severity

REFERABLE_FROM = 2  # the lowest grade that is referred


@dataclass(frozen=True)
class Question:
    """`name`: of what is looked for; `positive`: the numbers of the classes that are it, the last ones."""

    name: str
    positive: tuple[int, ...]

    def truth(self, labels: ArrayLike | pd.Series) -> NDArray[np.bool_]:
        """Which of the class numbers (n,) are positive. Raises ValueError on missing labels."""
        values = np.asarray(labels)
        if pd.isna(values).any():
            raise ValueError(f"labels: {pd.isna(values).sum()} of {len(values)} rows are unlabelled")
        return np.isin(values.astype(np.int64), self.positive)

    def of(self, decided: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Truth of the rows of a decided predictions table, and what ranks them (`decide.severity`)."""
        return self.truth(decided["label"]), severity(decided, self.positive[0])


def question(classes: Sequence[str], task: str) -> Question | None:
    """The question of a data set's classes; None where there is none (several kinds, none worse than another).

    `task`: 'grades' or 'classes', as the catalogue has it.
    """
    if task == "grades" and len(classes) > REFERABLE_FROM:
        name = f"referable disease (grade {REFERABLE_FROM} or worse)"
        return Question(name, tuple(range(REFERABLE_FROM, len(classes))))
    return Question(classes[1], (1,)) if len(classes) == 2 else None
