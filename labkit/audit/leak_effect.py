"""What a leak is worth: the same model on the leaked and on the clean part of its test set."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from labkit.audit.words import LEARNT_FROM, count
from labkit.evaluation.compare import unpaired_difference
from labkit.evaluation.decide import decide
from labkit.format import metric, signed_difference


@dataclass(frozen=True)
class LeakEffect:
    """`scores`: a row a metric with clean, leaked, difference (leaked - clean), low, high (95 %)."""

    n_leaked: int
    n_clean: int
    scores: pd.DataFrame


def leaked(table: pd.DataFrame, hashes: pd.Series | None) -> pd.Series:
    """Whether what was learnt from (train, val) touches a test image, by its group or its bytes: boolean, by image_id.

    `table` has its `split` filled; `hashes`: SHA-256 by image_id (None: by group alone). Images of a test set without
    known groups count as clean unless their bytes say otherwise, so look at `shared_groups(table).checked` first.
    """
    test, learnt = table.loc[table["split"] == "test"], table.loc[table["split"].isin(LEARNT_FROM)]
    touched = test["group"].isin(list(learnt["group"].dropna().unique())).to_numpy(bool)
    if hashes is not None:
        met = set(learnt["image_id"].map(hashes).dropna())
        touched = touched | test["image_id"].map(hashes).isin(list(met)).to_numpy(bool)
    return pd.Series(touched, index=pd.Index(test["image_id"], name="image_id"), name="leaked")


def leak_effect(
    predictions: pd.DataFrame,
    touched: pd.Series,
    n_classes: int,
    *others: pd.DataFrame,
    draws: int = 2000,
    seed: int = 0,
) -> LeakEffect | None:
    """Scores on the leaked against the clean part of test, with a bootstrap by group; None where a part is empty.

    `predictions`: a predictions table, decided or with logits (other splits than test and unlabelled rows are left
    out); `others`: those of the model's other seeds, of the same images in the same order: scores are means over seeds
    then. `touched`: what `leaked` says. The parts hold other patients, so a difference may also mean that one part is
    harder than the other. Raises ValueError on test images that `touched` does not know.
    """
    test = _labelled_test(predictions)
    known = touched.reindex(test["image_id"])
    unknown = count(known.isna())
    if unknown:
        first = test.loc[known.isna().to_numpy(bool), "image_id"].iloc[0]
        raise ValueError(f"predictions: {unknown} test images are not in the audited table, the first is {first!r}")
    flags = known.to_numpy(bool)
    if not flags.any() or flags.all():
        return None
    tests = [one if "prediction" in one else decide(one) for one in (test, *(_labelled_test(one) for one in others))]
    clean, met = ([one.loc[part] for one in tests] for part in (~flags, flags))
    scores = unpaired_difference(clean, met, n_classes, draws, seed, same_seeds=True)
    return LeakEffect(count(flags), count(~flags), scores.rename(columns={"a": "clean", "b": "leaked"}))


def _labelled_test(predictions: pd.DataFrame) -> pd.DataFrame:
    test = predictions.loc[predictions["split"] == "test"] if "split" in predictions else predictions
    return pd.DataFrame(test.loc[test["label"].notna()])


def leak_effect_sentence(effect: LeakEffect, score: str = "qwk") -> str:
    """Accuracy, and `score` beside it, on either part and how far they are apart."""
    found = []
    for name in dict.fromkeys(("accuracy", score)):
        row = effect.scores.loc[name]
        clean, touched, difference, low, high = (
            float(row[key]) for key in ("clean", "leaked", "difference", "low", "high")
        )
        named, is_ = metric(name), " is" if not found else ""
        far = signed_difference(name, difference, low, high)
        found.append(f"{named.name}{is_} {named.text(touched)} against {named.text(clean)} ({far})")
    said = ", ".join(found)
    return (
        f"On the {effect.n_leaked:,} leaked test images against the {effect.n_clean:,} clean ones of the same model, "
        f"{said}; 95 % intervals by group."
    )
