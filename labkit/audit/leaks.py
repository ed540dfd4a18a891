"""Groups (patients, subjects) that lie on both sides of a split."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from labkit.audit.words import are, count
from labkit.format import percent


@dataclass(frozen=True)
class SharedGroups:
    """Groups (patients, subjects) on both sides. `checked` is False where no group is known on one of the sides."""

    checked: bool
    n_learnt_from: int  # known groups in train and val
    n_test: int  # known groups in test
    n_shared: int
    n_shared_train_val: int
    n_test_images: int
    n_test_touched: int  # test images whose group is in train or val, too
    n_unknown: int  # images of train, val and test whose group is unknown
    n_images: int  # images of train, val and test

    @property
    def share_touched(self) -> float:
        """Share of the test images whose group is in train or validation, too; 0 where there are none."""
        return self.n_test_touched / self.n_test_images if self.n_test_images else 0.0


def shared_groups(table: pd.DataFrame) -> SharedGroups:
    """Groups that lie on both sides, and how many test images they touch."""
    train, val, test = (table.loc[table["split"] == split, "group"] for split in ("train", "val", "test"))
    train_groups, val_groups, test_groups = (set(groups.dropna()) for groups in (train, val, test))
    learnt_from = train_groups | val_groups  # val chooses the epoch, so what it shares with test leaks just as well
    shared = learnt_from & test_groups
    return SharedGroups(
        checked=bool(learnt_from and test_groups),
        n_learnt_from=len(learnt_from),
        n_test=len(test_groups),
        n_shared=len(shared),
        n_shared_train_val=len(train_groups & val_groups),
        n_test_images=len(test),
        n_test_touched=count(test.isin(list(shared))),
        n_unknown=sum(count(groups.isna()) for groups in (train, val, test)),
        n_images=len(train) + len(val) + len(test),
    )


def group_sentences(groups: SharedGroups, name: str) -> list[str]:
    """Whether groups are shared, and how far that is known; `name` is what one group is, such as patient."""
    found = []
    if not groups.n_test_images:
        found.append("There is no labelled test image.")
    elif not groups.checked:
        found.append(f"Whether test shares {name}s with train cannot be checked: which {name} is whose is not known.")
    elif groups.n_shared == 0:
        found.append(
            f"No {name} is both in test and in train or validation "
            f"({groups.n_learnt_from:,} {name}s in train and validation, {groups.n_test:,} in test)."
        )
    else:
        found.append(
            f"Leak: {are(groups.n_shared, name)} both in test and in train or validation, with "
            f"{groups.n_test_touched:,} of {groups.n_test_images:,} test images ({percent(groups.share_touched)}): "
            "scores on this test set can be too good."
        )
    if groups.checked and groups.n_unknown:
        found.append(
            f"The {name} is unknown for {groups.n_unknown:,} of {groups.n_images:,} images: not checked there."
        )
    if groups.n_shared_train_val:
        found.append(
            f"{are(groups.n_shared_train_val, name)} both in train and in validation: "
            "the validation score can be too good, and choose a wrong epoch."
        )
    return found
