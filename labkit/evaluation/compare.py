"""Comparison of variants: the mean over seeds, differences with intervals, and exact McNemar tests.

An interval accounts for two sources of chance: which patients are in the test set, and the seed of the training. So
each draw takes groups with replacement, as in `intervals`, and seeds with replacement (Bouthillier et al. 2021, arXiv
2103.03098). Drawn seeds vary too little, so their deviation from the mean of all n is multiplied by sqrt(n / (n - 1))
and Student's quantile (n - 1 degrees of freedom) over the normal one. By simulation a 95 % interval then covers seed
noise alone in 94 % of the studies with 2, 3 or 5 seeds (unscaled: 51, 74 and 83 %), and in 95 to 98 % if patients add
noise. With one seed that part is missing, and the interval says nothing about another seed.

McNemar's test (1947) asks whether two models differ in accuracy. Among the images that only one of them predicts
correctly, each model would have half by chance; p is the exact two-sided binomial value. The test treats images as
independent and so **ignores that two eyes of one patient belong together**, which makes p too small;
`paired_difference` keeps them together.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from labkit.evaluation.decide import Floats, as_labels
from labkit.evaluation.intervals import DRAWN, LEVEL, draw_groups, exact, group_numbers, middle, one_class_mix

Tests = Sequence[pd.DataFrame]  # one decided predictions table per seed: image_id, label, prediction, [group]
Verdict = Literal["equal", "too few", "noise", "higher", "lower"]
FEWEST = 30  # groups: of fewer the bootstrap claims too much
DIFFERING = 6  # groups: if fewer differ, an exact sign test cannot reach p = 0.05


def mean_of_seeds(
    tests: Tests, n_classes: int, aurocs: Sequence[pd.Series] = (), draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """A row per metric: low and high (a 95 % interval) of the mean over seeds.

    `aurocs`: one `ranking.auroc_draws` per seed, with as many draws; its metrics get rows, too. NaN with fewer than two
    groups, and where no draw differs; but an accuracy that is 0 or 1 in all has the exact interval of one seed, and a
    kappa of constant predictions 0 and 0, as in `bootstrap_by_group`. Raises ValueError if the seeds have other images
    or another order.
    """
    found, _, n_groups = _drawn(tests, n_classes, draws, seed)
    means = {name: _mean(metric(found), seed) for name, metric in DRAWN.items()}
    for name in aurocs[0].index if len(aurocs) else ():
        means[str(name)] = _mean(np.stack([of_seed[name] for of_seed in aurocs], axis=1), seed)
    ends = {name: middle(np.clip(of, -1.0 if name == "qwk" else 0.0, 1.0), n_groups) for name, of in means.items()}
    for name in [name for name, (low, high) in ends.items() if high - low < 1e-9]:  # that would claim certainty
        low = ends[name][0]
        ends[name] = float("nan"), float("nan")
        if name == "accuracy" and min(low, 1 - low) < 1e-9:
            ends[name] = exact(round(low), n_groups)
        elif name == "qwk" and all(one["prediction"].nunique() == 1 for one in tests):
            ends[name] = 0.0, 0.0
    return pd.DataFrame.from_dict(ends, orient="index", columns=["low", "high"]).rename_axis("metric")


def paired_difference(a: Tests, b: Tests, n_classes: int, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A row per metric: a, b (means over seeds), difference (b - a), low, high; both get the same groups in each draw.

    Also groups (their number) and differing (in how many of them predictions differ; for accuracy, right ones). Both
    variants must have the same images in the same order: ValueError. With equally many seeds, seeds are drawn as pairs
    (the first of a with the first of b …), otherwise independently.
    """
    found, whole, n_groups = _drawn([*a, *b], n_classes, draws, seed)
    parts = [(found[:, : len(a)], whole[: len(a)]), (found[:, len(a) :], whole[len(a) :])]
    table = _differences(parts, n_groups, seed, same_seeds=len(a) == len(b))
    groups = group_numbers(a[0].get("group"), len(a[0]))
    differing = [_differing(_answers(a, name), _answers(b, name), groups) for name in DRAWN]
    return table.assign(groups=n_groups, differing=differing)


def against_constant(tests: Tests, answer: int, n_classes: int) -> pd.DataFrame:
    """`paired_difference` of always predicting class `answer` (a) and a variant (b), on the same images."""
    return paired_difference([tests[0].assign(prediction=answer)], tests, n_classes)


def verdict(row: Mapping[str, Any] | pd.Series) -> Verdict:
    """What a row of `paired_difference` or `simultaneous_differences` says of b against a.

    'equal': no prediction differs (for accuracy: no right one). 'too few' groups, or groups that differ, to say more.
    """
    numbers: Any = row  # a Series is typed as if each value were one
    low, high, groups, differing = (float(numbers[name]) for name in ("low", "high", "groups", "differing"))
    if differing == 0 or groups < FEWEST:
        return "too few" if differing else "equal"
    if not (low > 0 or high < 0):
        return "noise"
    return "too few" if differing < DIFFERING else "higher" if low > 0 else "lower"


def simultaneous_differences(
    variants: Mapping[str, Tests], metrics: Sequence[str], n_classes: int, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """All ordered pairs of variants, indexed by names and metric: difference, low, high, groups, differing, seeds.

    The 95 % intervals hold together for all pairs and metrics. Half their width is the 95 % quantile of the largest
    |difference - its mean| / standard error among them in joint draws of groups (max-T; Westfall, Young 1993), turned
    from the normal to Student's t distribution, times that error. The degrees of freedom are differing - 1, and
    seeds - 1 for the part of the variance that is due to seeds (Satterthwaite 1946). Ends are cut to
    `largest_difference`.

    Of 80 patients and 2, 4, 7 and 12 equally good variants, a study makes any false claim in 4.2, 3.8, 2.8 and 3.2 % of
    2,000, 1,500, 800 and 500 simulations; of 300 patients and 4 and 12 variants in 5.0 and 6.0 % of 800 and 400.
    """
    tests, owners = _flat(variants)
    found, whole, n_groups = _drawn(tests, n_classes, draws, seed)
    groups = group_numbers(tests[0].get("group"), len(tests[0]))
    rows, drawn, of_patients = {}, [], []
    for key in metrics:
        means, answers = DRAWN[key](whole), _answers(tests, key)
        fixed, both = _scores(DRAWN[key](found), owners, seed)
        for a, b in permutations(variants, 2):
            row = {"difference": means[owners == b].mean() - means[owners == a].mean(), "groups": n_groups}
            row["differing"] = _differing(answers[owners == a], answers[owners == b], groups)
            rows[a, b, key] = row | {"seeds": min(len(variants[a]), len(variants[b]))}
            drawn.append(both[b] - both[a])
            of_patients.append((fixed[b] - fixed[a]).var())
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["a", "b", "metric"])
    half = half_widths(np.array(drawn), np.array(of_patients), table)
    most = np.array([largest_difference(key) for *_, key in rows])
    low, high = table["difference"] - half, table["difference"] + half
    return table.assign(low=low.clip(-most, most), high=high.clip(-most, most))


def largest_difference(metric: str) -> float:
    """How far two scores can be apart: 2 for a kappa, which may be negative, else 1."""
    return 2.0 if metric == "qwk" else 1.0


def score_draws(
    variants: Mapping[str, Tests], metric: str, n_classes: int, draws: int = 2000, seed: int = 0
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Each variant's mean score in the draws of `simultaneous_differences` (draws,): with all seeds, with drawn ones.

    Both are scaled to the unbiased variance of G groups: sqrt(G / (G - 1)) times as far from their mean.
    """
    tests, owners = _flat(variants)
    found, _, n_groups = _drawn(tests, n_classes, draws, seed)
    scores, factor = _scores(DRAWN[metric](found), owners, seed), np.sqrt(n_groups / max(n_groups - 1, 1))
    fixed, both = ({name: of.mean() + factor * (of - of.mean()) for name, of in one.items()} for one in scores)
    return fixed, both


def _flat(variants: Mapping[str, Tests]) -> tuple[list[pd.DataFrame], NDArray[Any]]:
    """All tables, and the variant of each."""
    tests = [one for of_one in variants.values() for one in of_one]
    return tests, np.repeat(list(variants), [len(of_one) for of_one in variants.values()])


def _scores(values: Floats, owners: NDArray[Any], seed: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Scores (draws, S) -> each variant's mean (draws,): with all its seeds, and with drawn ones."""
    of_draws = {name: values[:, owners == name] for name in dict.fromkeys(owners.tolist())}
    fixed = {name: of.mean(axis=1) for name, of in of_draws.items()}
    return fixed, {name: _mean(of, seed, student=False) for name, of in of_draws.items()}


def half_widths(drawn: Floats, of_patients: Floats, table: pd.DataFrame) -> Floats:
    """Of simultaneous intervals (pairs,); `drawn`: differences (pairs, draws), `of_patients`: variance of patients.

    `table`: columns groups, differing and seeds; how they are used: `simultaneous_differences`.
    """
    n_groups, variances = table["groups"].iloc[0], drawn.var(axis=1)
    moving = variances > 1e-24
    if n_groups < 2 or not moving.any():
        return np.full(len(drawn), np.nan if n_groups < 2 else 0.0)
    errors = np.sqrt(np.where(moving, variances, 1.0))
    largest = np.abs((drawn.T - drawn.mean(axis=1)) / errors)[:, moving].max(axis=1)
    groups, seeds = (table[name].to_numpy() - 1 for name in ("differing", "seeds"))
    parts = of_patients**2 / groups.clip(DIFFERING - 1) + (variances - of_patients).clip(0) ** 2 / seeds.clip(1)
    freedom = errors**4 / np.where(moving, parts, 1.0)
    quantile = stats.t.isf(stats.norm.sf(np.quantile(largest, LEVEL)), freedom)
    return np.where(moving, quantile * errors * np.sqrt(n_groups / (n_groups - 1)), 0.0)


def _differing(a: NDArray[Any], b: NDArray[Any], groups: NDArray[np.int64]) -> int:
    """In how many groups the answers of any network of a (S, n) differ from those of one of b."""
    return len(np.unique(groups[(a[:, None] != b[None]).any(axis=(0, 1))]))


def _answers(tests: Tests, name: str) -> NDArray[Any]:
    """(S, n): predictions, or for accuracy whether they are right."""
    right = name == "accuracy"
    return np.stack([one["prediction"] == one["label"] if right else one["prediction"] for one in tests])


def unpaired_difference(
    a: Tests, b: Tests, n_classes: int, draws: int = 2000, seed: int = 0, *, same_seeds: bool = False
) -> pd.DataFrame:
    """As `paired_difference`, but on different images, such as two test sets: all draws of a and b are independent.

    Both are weighted to the class mix of all their images (`one_class_mix`). `same_seeds`: a and b are predictions of
    the same networks, so the same seeds are drawn for both. Without spread low and high are NaN.
    """
    drawn = [_drawn(tests, n_classes, draws, 2 * seed + number) for number, tests in enumerate((a, b))]
    of_draws, wholes, n_groups = zip(*drawn, strict=True)
    mix = np.sum([whole[0].sum(axis=-1) for whole in wholes], axis=0)
    of_draws, wholes = one_class_mix(of_draws, mix), one_class_mix(wholes, mix)
    shared = of_draws[0].any(axis=(1, 2, 3))  # a draw without a class in common has no difference
    parts = [(found[shared], whole) for found, whole in zip(of_draws, wholes, strict=True)]
    rows = _differences(parts, min(n_groups), seed, same_seeds).round(12)  # weighted, 0 may be 1e-17
    rows.loc[rows["low"] == rows["high"], ["low", "high"]] = np.nan  # of constant predictions, say
    return rows


def _differences(parts: list[tuple[Floats, Floats]], n_groups: int, seed: int, same_seeds: bool) -> pd.DataFrame:
    streams = (seed, seed) if same_seeds else (2 * seed, 2 * seed + 1)
    rows = {}
    for name, metric in DRAWN.items():
        a, b = (float(metric(whole).mean()) for _, whole in parts)
        of_a, of_b = (_mean(metric(found), of) for (found, _), of in zip(parts, streams, strict=True))
        most = largest_difference(name)  # seeds that are far apart would give ends beyond it
        low, high = middle(np.clip(of_b - of_a, -most, most), n_groups)
        rows[name] = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def _drawn(tests: Tests, n_classes: int, draws: int, seed: int) -> tuple[Floats, Floats, int]:
    """Confusion matrices of drawn groups (draws, S, C, C), of all images (S, C, C), and the number of groups."""
    first = tests[0]
    for other in tests[1:]:
        _check_same_images(first, other)
    seeds = [(one["label"], one["prediction"]) for one in tests]
    return draw_groups(seeds, first.get("group"), n_classes, draws, seed)


def _mean(values: Floats, seed: int, student: bool = True) -> Floats:
    """Scores (draws, S) of S networks -> their mean in each draw (draws,), of S networks drawn with replacement.

    How far it lies from the mean of all S is enlarged as at the head of this file; by Student's part if `student`.
    """
    draws, n_seeds = values.shape
    picked = np.random.default_rng((seed, n_seeds)).integers(0, n_seeds, (draws, n_seeds))
    of_all = values.mean(axis=1)
    drawn = np.take_along_axis(values, picked, axis=1).mean(axis=1)
    more, tail = max(n_seeds - 1, 1), (1 - LEVEL) / 2
    factor = stats.t.isf(tail, more) / stats.norm.isf(tail) if student else 1.0
    return of_all + factor * np.sqrt(n_seeds / more) * (drawn - of_all)


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> float:
    """The p value of two decided tables; 1 if the same images are right in both. ValueError if their images differ."""
    _check_same_images(a, b)
    labels = as_labels(a["label"], 1_000)  # the number of classes does not matter here
    right_a, right_b = (one["prediction"].to_numpy() == labels for one in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    result: Any = contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=True)
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> Floats:
    """p values corrected for multiple tests (Holm 1979), in the given order; NaN is no test and stays NaN."""
    corrected = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(corrected)
    if known.any():
        corrected[known] = multipletests(corrected[known], method="holm")[1]
    return corrected


def _check_same_images(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Raises ValueError unless both tables have the same images in the same order."""
    a, b = (table["image_id"].to_numpy(object) for table in (one, other))
    if len(a) != len(b):
        raise ValueError(f"image ids: {len(a)} images against {len(b)}; compare models on the same test set")
    if (a != b).any():
        row = int(np.argmax(a != b))
        raise ValueError(f"image ids: row {row} is {a[row]!r} against {b[row]!r}; sort both tables by image_id")
