"""What test shares with training (groups, files, looks, images behind the first weights), and what a leak is worth."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from labkit.data.duplicates import LEARNT_FROM, Duplicates, NearDuplicates
from labkit.data.hashes import MAX_DISTANCE, SMALLEST
from labkit.evaluation.compare import unpaired_difference
from labkit.evaluation.decide import decide, labelled_test
from labkit.evaluation.metrics import metric, signed_difference
from labkit.format import percent

MISSED = (  # measured in `near_duplicates`
    "This comparison misses most copies that were cropped, shifted, or made much brighter or richer in contrast, and "
    "about half of those rotated by 2°."
)
UNSPLIT = "unsplit"  # the `split` of data without a split of its own


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
    parts = [table.loc[table["split"] == split, "group"] for split in ("train", "val", "test")]
    train, val, test = (set(part.dropna()) for part in parts)
    shared = (train | val) & test
    return SharedGroups(
        checked=bool((train | val) and test),
        n_learnt_from=len(train | val),
        n_test=len(test),
        n_shared=len(shared),
        n_shared_train_val=len(train & val),
        n_test_images=len(parts[2]),
        n_test_touched=int(parts[2].isin(list(shared)).sum()),
        n_unknown=int(sum(part.isna().sum() for part in parts)),
        n_images=sum(map(len, parts)),
    )


def are(count: int, noun: str, of: int = 0) -> str:
    """`1 patient is`, `7,026 patients are`, `57 of 58 test images are`: the beginning of a sentence."""
    total, verb = f" of {of:,}" * bool(of), "is" if count == 1 else "are"
    return f"{count:,}{total} {noun}{'s' * ((of or count) != 1)} {verb}"


def group_sentences(groups: SharedGroups, name: str) -> list[str]:
    """Whether groups are shared, and how far that is known; `name` is what one group is, such as patient."""
    found = []
    if not groups.n_test_images:
        found.append("There is no labelled test image.")
    elif not groups.checked:
        found.append(f"Whether test shares {name}s with train cannot be checked: which {name} is whose is not known.")
    elif groups.n_shared == 0:
        of = f"{groups.n_learnt_from:,} {name}s in train and validation, {groups.n_test:,} in test"
        found.append(f"No {name} is both in test and in train or validation ({of}).")
    else:
        found.append(
            f"Leak: {are(groups.n_shared, name)} both in test and in train or validation, with "
            f"{groups.n_test_touched:,} of {groups.n_test_images:,} test images ({percent(groups.share_touched)}): "
            "scores on this test set can be too good."
        )
    if groups.checked and groups.n_unknown:
        of = f"{groups.n_unknown:,} of {groups.n_images:,} images"
        found.append(f"The {name} is unknown for {of}: not checked there.")
    if groups.n_shared_train_val:
        so = "the validation score can be too good, and choose a wrong epoch"
        found.append(f"{are(groups.n_shared_train_val, name)} both in train and in validation: {so}.")
    return found


def duplicate_sentences(duplicates: Duplicates, n_test: int) -> list[str]:
    """What exact duplicates mean, a sentence each: leaks first; `n_test`: labelled test images."""
    if not duplicates.checked:
        return ["Exact duplicates were not looked for: no file hashes were given."]
    if duplicates.files.empty:
        return ["No two files have the same bytes."]
    found = []
    if duplicates.n_test_touched:
        touched = are(duplicates.n_test_touched, "test image", n_test)
        found.append(f"Leak: {touched} in train or validation, too, byte for byte.")
    if duplicates.n_across:
        found.append(f"{are(duplicates.n_across, 'image')} in more than one split, byte for byte.")
    if list(duplicates.within) == [UNSPLIT]:
        found.append(f"Surplus copies of an image: {duplicates.within[UNSPLIT]:,}.")
    elif duplicates.within:
        surplus = ", ".join(f"{count:,} in {split}" for split, count in duplicates.within.items())
        found.append(f"Surplus copies of an image inside its own split: {surplus}.")
    if duplicates.n_conflicting:
        found.append(f"{are(duplicates.n_conflicting, 'image')} labelled in two ways: same bytes, different labels.")
    return found


def near_sentences(near: NearDuplicates, n_test: int) -> list[str]:
    """What near duplicates mean, a sentence each, with how alike two images must be to count, and what is missed."""
    bits = f"perceptual hashes within {MAX_DISTANCE} of 256 bits, also mirrored or turned by quarters"
    found = []
    if near.pairs.empty:
        found.append(f"No two different files were found to look alike ({bits}).")
    if near.n_test_touched:
        touched = are(near.n_test_touched, "test image", n_test)
        found.append(f"Leak: {touched} nearly the same as one in train or validation.")
    least = "" if near.complete else "at least "
    across = f", {near.n_across:,} of them across splits" if near.n_across else ""
    pairs = "pair of files looks" if len(near.pairs) == 1 else "pairs of files look"
    if len(near.pairs):
        found.append(f"{least}{len(near.pairs):,} {pairs} alike ({bits}){across}.".capitalize())
    if turned := near.pairs["turned"].tolist().count(True):
        found.append(f"In {turned:,} of these pairs one image is mirrored or turned.")
    if near.n_conflicting:
        found.append(f"{near.n_conflicting:,} of these pairs bear two different labels.")
    if near.n_unseen:
        found.append(f"{are(near.n_unseen, 'image')} blank or below {SMALLEST} px, and not compared.")
    return [*found, MISSED]


def learnt_from(table: pd.DataFrame, hashes: pd.Series, source: str, before: pd.DataFrame) -> pd.DataFrame:
    """Every image and group that a network was trained on or selected by: this run's, and its parents' (``before``).

    Columns sha256 and group; a group is named with its ``source``, since numbers of other data mean other people.
    """
    met = table.loc[table["split"].isin(LEARNT_FROM)]
    own = pd.DataFrame({"sha256": met["image_id"].map(hashes), "group": _named(met["group"], source)}, dtype="string")
    return pd.concat([own, before], ignore_index=True).drop_duplicates(ignore_index=True)


def inherited_leak(table: pd.DataFrame, hashes: pd.Series, source: str, before: pd.DataFrame) -> int:
    """How many test images the weights were trained on before this run, by bytes or by group."""
    test = table.loc[table["split"] == "test"]
    by_bytes = test["image_id"].map(hashes).isin(before["sha256"].dropna())
    by_group = _named(test["group"], source).isin(before["group"].dropna())
    return int((by_bytes | by_group).sum())


def _named(groups: pd.Series, source: str) -> pd.Series:
    return f"{source}/" + groups.astype("string")


@dataclass(frozen=True)
class LeakEffect:
    """`scores`, at one class mix: one row per metric: clean, leaked, difference (leaked - clean), low, high (95 %)."""

    n_leaked: int
    n_clean: int
    scores: pd.DataFrame


def leaked(table: pd.DataFrame, copies: Collection[str]) -> pd.Series:
    """Whether train or val holds the group or a copy of a test image: boolean, by image_id.

    `copies`: as `Findings.copies`. Where no groups are known, all but copies count as clean (`SharedGroups.checked`).
    """
    test, learnt = table.loc[table["split"] == "test"], table.loc[table["split"].isin(LEARNT_FROM)]
    touched = test["group"].isin(learnt["group"].dropna()) | test["image_id"].isin(list(copies))
    return pd.Series(touched.to_numpy(bool), index=pd.Index(test["image_id"], name="image_id"), name="leaked")


def leak_effect(
    predictions: pd.DataFrame,
    touched: pd.Series,
    n_classes: int,
    *others: pd.DataFrame,
    draws: int = 2000,
    seed: int = 0,
) -> LeakEffect | None:
    """Scores on the leaked against the clean part of test, with a bootstrap by group; None without a common class.

    Both parts are weighted to the class mix of the whole test set (`unpaired_difference`); else a constant model would
    differ between them. `predictions`: a predictions table, decided or with logits; `others`: those of its other seeds,
    whose mean is scored. `touched`: what `leaked` says; ValueError on images that it lacks. The parts hold other
    patients, so one may also be harder than the other.
    """
    test = labelled_test(predictions)
    known = touched.reindex(test["image_id"])
    unknown = test.loc[known.isna().to_numpy(bool), "image_id"]
    if len(unknown):
        said = f"{len(unknown)} test images are not in the audited table, the first is {unknown.iloc[0]!r}"
        raise ValueError(f"predictions: {said}")
    flags = known.to_numpy(bool)
    if not set(test.loc[flags, "label"]) & set(test.loc[~flags, "label"]):
        return None
    tests = [one if "prediction" in one else decide(one) for one in (test, *map(labelled_test, others))]
    clean, met = ([one.loc[part] for one in tests] for part in (~flags, flags))
    scores = unpaired_difference(clean, met, n_classes, draws, seed, same_seeds=True)
    return LeakEffect(int(flags.sum()), int((~flags).sum()), scores.rename(columns={"a": "clean", "b": "leaked"}))


def leak_effect_sentence(effect: LeakEffect, score: str = "qwk") -> str:
    """Accuracy, and `score` beside it, on either part at one class mix, and how far they are apart."""
    found = []
    for name in dict.fromkeys(("accuracy", score)):
        row = effect.scores.loc[name]
        clean, touched, *apart = (float(row[key]) for key in ("clean", "leaked", "difference", "low", "high"))
        named, is_ = metric(name), " is" if not found else ""
        far = signed_difference(name, *apart)
        found.append(f"{named.name}{is_} {named.text(touched)} against {named.text(clean)} ({far})")
    said = ", ".join(found)
    return (
        f"On the {effect.n_leaked:,} leaked test images against the {effect.n_clean:,} clean ones of the same model, "
        "both weighted to the class mix of the whole test set in the classes that both have (accuracy and kappa depend "
        f"on prevalence), {said}; 95 % intervals by group."
    )
