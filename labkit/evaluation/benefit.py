"""What a decision is worth: net benefit, predictive values at another prevalence, a guaranteed threshold, abstention.

*Net benefit* (Vickers and Elkin 2006, Medical Decision Making 26) of referring all images with a probability of at
least t is TP / n − FP / n · t / (1 − t): a threshold of 10 % says that one missed case is as bad as nine needless
referrals. It takes the probabilities as they are, so poor calibration costs. `dcurves` computes the same, knows no
patients and would bring lifelines.

*A guaranteed threshold*: with the (m + 1)-th lowest score of n positive images, one per patient, as threshold, the
sensitivity is below WANTED with a probability of at most P(Bin(n, 1 − WANTED) ≤ m) (Wilks 1941, tolerance limits).
It is the last threshold that fixed-sequence testing with exact binomial tests accepts (Angelopoulos et al. 2021, "Learn
then Test"), without a grid. MAPIE's `BinaryClassificationController` knows no patients either. With a fixed sequence it
gives this threshold to within two steps of its grid; with its default correction for many thresholds it gives none for
60 positives, where 29 are enough here.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom

from labkit.evaluation.decide import Floats, NotFitted, as_labels, probabilities_of
from labkit.evaluation.intervals import LEVEL, MANY, Column, draw_groups, group_numbers, middle
from labkit.evaluation.matrices import ratio
from labkit.evaluation.ranking import Flags
from labkit.evaluation.thresholds import WANTED

THRESHOLDS = np.arange(1, 51) / 100  # above 50 % a needless referral would be worse than a missed case
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of the images, referred to a person


def _draws(n: int) -> int:
    return 2000 if n <= MANY else 200


def net_benefit(
    truth: Flags, probabilities: Floats, groups: Column | None = None, prevalence: float | None = None, draws: int = 0
) -> pd.DataFrame:
    """A row per threshold of THRESHOLDS: threshold, estimate, low, high, all, gain, gain_low, gain_high.

    `truth`, `probabilities` (n,); `all`: of referring all images, where referring none has 0; `gain`: the estimate less
    the better of both. Intervals: 95 % at each threshold, by drawing groups. `prevalence`: that of the positives, None:
    as here; sensitivity and specificity stay. `draws`: 0: 2,000, or 200 of more than MANY images. NaN unless there are
    positives and negatives.
    """
    seeds = [(truth, probabilities >= threshold) for threshold in THRESHOLDS]
    drawn, whole, n_groups = draw_groups(seeds, groups, 2, draws or _draws(len(truth)), 0)
    odds, rows = THRESHOLDS / (1 - THRESHOLDS), []
    for matrices in (whole[None], drawn):
        negative, positive = np.moveaxis(ratio(matrices[..., 1], matrices.sum(axis=-1), np.nan), -1, 0)
        share = matrices[..., 1, :].sum(axis=-1) / matrices.sum(axis=(-2, -1)) if prevalence is None else prevalence
        everyone = share - (1 - share) * odds
        model = share * positive - (1 - share) * odds * negative
        rows.append((model, everyone, model - np.maximum(everyone, 0)))
    (model, everyone, gain), (of_draws, _, gains) = rows
    ends = np.array([(*middle(a, n_groups), *middle(b, n_groups)) for a, b in zip(of_draws.T, gains.T, strict=True)])
    table = pd.DataFrame({"threshold": THRESHOLDS, "estimate": model[0], "all": np.ravel(everyone), "gain": gain[0]})
    return table.assign(**dict(zip(("low", "high", "gain_low", "gain_high"), ends.T, strict=True)))


def predictive_values(sensitivity: Floats, specificity: Floats, prevalence: float) -> dict[str, Floats]:
    """PPV and NPV by Bayes' rule; NaN where nothing is predicted so.

    Of the lower and the upper ends of two 95 % intervals it gives the ends of an interval that is rather too wide: both
    values rise with both shares.
    """
    ill, well = prevalence * sensitivity, (1 - prevalence) * specificity
    called, left = ill + (1 - prevalence) * (1 - specificity), well + prevalence * (1 - sensitivity)
    return {"ppv": ratio(ill, called, np.nan), "npv": ratio(well, left, np.nan)}


def positives_needed(wanted: float = WANTED) -> int:
    """The fewest patients with a positive image for which a threshold can be guaranteed: 29 for 90 %."""
    return int(np.ceil(np.log(1 - LEVEL) / np.log(wanted)))


def guaranteed_threshold(
    truth: Flags, scores: Floats, groups: Column | None = None, seed: int = 0
) -> tuple[float, int]:
    """The highest threshold with a sensitivity of WANTED in 95 % of such samples, and the number of positives used.

    `truth`, `scores` (n,) of validation images; of each group one positive image is drawn. The guarantee is of such an
    image of a new group, scored by a model that was not fitted or chosen on these. NotFitted with too few.
    """
    numbers = np.random.default_rng(seed).permutation(np.flatnonzero(truth))
    _, first = np.unique(group_numbers(groups, len(scores))[numbers], return_index=True)
    positive = np.sort(scores[numbers[first]])
    n, needed = len(positive), positives_needed()
    if n < needed:
        raise NotFitted(f"validation has {n} positive images of different groups, and {needed} are needed")
    allowed = int(binom.ppf(1 - LEVEL, n, 1 - WANTED))  # missed
    allowed -= bool(binom.cdf(allowed, n, 1 - WANTED) > 1 - LEVEL)
    return float(positive[allowed]), n


def abstention(
    decided: pd.DataFrame, n_classes: int, score: Callable[[Floats], Floats], draws: int = 0
) -> pd.DataFrame:
    """A row per share of SHARES of the images that is referred to a person, the least confident first.

    Columns referred, estimate, low, high (of `score`, a function of confusion matrices, on the others), and
    kept_0 … kept_{C-1}: the share of each class that is not referred. `decided` needs probabilities.
    """
    confidence, labels = probabilities_of(decided).max(axis=1), as_labels(decided["label"], n_classes)
    place, rows = np.argsort(np.argsort(confidence, kind="stable"), kind="stable"), []
    for share in SHARES:
        referred = place < round(share * len(labels))
        answers = np.where(referred, n_classes, decided["prediction"])  # "referred" as one class more, without labels
        seeds = [(labels, answers)]
        drawn, whole, n_groups = draw_groups(seeds, decided["group"], n_classes + 1, draws or _draws(len(labels)), 0)
        (estimate,), of_draws = (score(of[:, 0, :n_classes, :n_classes]) for of in (whole[None], drawn))
        kept = 1 - ratio(whole[0, :n_classes, n_classes], whole[0, :n_classes].sum(axis=-1), np.nan)
        rows.append([share, estimate, *middle(of_draws, n_groups), *kept])
    return pd.DataFrame(rows, columns=["referred", "estimate", "low", "high", *(f"kept_{k}" for k in range(n_classes))])


def expected_cost(decided: pd.DataFrame, costs: Sequence[Sequence[float]], draws: int = 0) -> dict[str, float]:
    """The mean cost of an image: estimate, low, high; constant, always: the cheapest single prediction; cheapest.

    `costs` (C, C): rows true, columns predicted. `cheapest`: each image gets the class with the least expected cost by
    its probabilities (Elkan 2001, IJCAI); NaN without them.
    """
    table = np.asarray(costs, dtype=np.float64)
    labels = as_labels(decided["label"], len(table))
    seeds = [(labels, decided["prediction"])]
    drawn, whole, n_groups = draw_groups(seeds, decided["group"], len(table), draws or _draws(len(labels)), 0)
    estimate, of_draws = ((of * table).sum(axis=(-2, -1)) / of.sum(axis=(-2, -1)) for of in (whole[0], drawn[:, 0]))
    low, high = middle(of_draws, n_groups)
    constant = table[labels].mean(axis=0)
    cheapest = np.nan
    if "p_0" in decided:
        cheapest = float(table[labels, (probabilities_of(decided) @ table).argmin(axis=1)].mean())
    found = {"estimate": float(estimate), "low": low, "high": high, "cheapest": cheapest}
    return found | {"constant": float(constant.min()), "always": int(constant.argmin())}
