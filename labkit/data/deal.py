"""Dealing groups out to parts in proportion, every class alike; linear in the images but for sorting the groups.

scikit-learn's StratifiedGroupKFold takes time quadratic in the groups (18 s for 100,000 rows; here about 1 s)
and does not promise that every part gets each class, which this does where a class has enough groups.
"""

import numpy as np
import pandas as pd

UNWANTED = 1e18  # a cost above every sum of squares


def deal(table: pd.DataFrame, fractions: dict[str, float], seed: int) -> np.ndarray:
    """The part of each row. Groups with the same counts per class are dealt out in proportion; what is left over goes,
    largest first, where it mends the proportions best. `fractions` by part, summing to 1; the same `seed` and rows, in
    any order, give the same parts. ValueError where there are fewer groups than parts.
    """
    parts = [name for name, fraction in fractions.items() if fraction > 0]
    share = np.array([fractions[name] for name in parts])
    # Groups are numbered by their names, not by the order of the rows; images without a group come last.
    named, alone = "group " + table["group"].astype(object), "image " + table["image_id"].astype(object)
    group_of = pd.factorize(named.fillna(alone), sort=True)[0]
    label = pd.factorize(table["label"], sort=True)[0]  # of the classes that have images
    counts = np.zeros((group_of.max() + 1, label.max() + 1), np.int64)
    np.add.at(counts, (group_of, label), 1)
    if len(counts) < len(parts):
        raise ValueError(f"{len(counts)} groups cannot fill {', '.join(parts)}; set a fraction to 0 or bring more data")
    draw = np.random.Generator(np.random.PCG64(seed)).random(len(counts))
    part_of = _one_of_each_class(counts, share, draw)
    _in_proportion(part_of, counts, share, draw)
    _mend(part_of, counts, share, draw)
    return np.array(parts, dtype=object)[part_of[group_of]]


def _one_of_each_class(counts: np.ndarray, share: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Puts a group of every class into every part (rarest class first), the rest nowhere yet (-1).

    Chance could miss a class with barely enough groups; classes that share theirs may need another order of drawing.
    """
    held = counts > 0
    members = [np.flatnonzero(column) for column in held.T] + [np.arange(len(counts))]  # the last: no part is empty
    wanted = sorted((groups for groups in members if len(groups) >= len(share)), key=len)
    best, fewest = np.full(len(counts), -1), None
    for attempt in range(20):
        turn = np.modf(draw + attempt * 0.6180339887)[0]  # another order, from the same draw
        part_of, missed = np.full(len(counts), -1), 0
        for groups in wanted:
            for part in np.argsort(share, kind="stable"):  # small parts are the ones that miss out
                if (part_of[groups] == part).any():
                    continue
                free = groups[part_of[groups] == -1]
                if not len(free):
                    missed += 1
                    continue
                wanted_at_most = share[part] * counts.sum(axis=0) / 2
                excess = (counts[free] / wanted_at_most).max(axis=1)
                fitting = free[excess <= max(excess.min(), 1)]
                part_of[fitting[np.argmin(turn[fitting])]] = part
        if fewest is None or missed < fewest:
            best, fewest = part_of, missed
        if fewest == 0:
            break
    return best


def _in_proportion(part_of: np.ndarray, counts: np.ndarray, share: np.ndarray, draw: np.ndarray) -> None:
    """Deals the groups of each profile (counts per class), in drawn order, as far as whole groups go."""
    free = np.flatnonzero(part_of == -1)
    profile = np.unique(counts[free], axis=0, return_inverse=True)[1].ravel()
    order = free[np.lexsort((draw[free], profile))]
    sizes = np.bincount(profile)
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank, size = np.arange(len(order)) - start, np.repeat(sizes, sizes)
    begin = np.zeros(len(order), np.int64)
    for part, fraction in enumerate(share):
        end = begin + np.floor(fraction * size + 1e-9).astype(np.int64)
        part_of[order[(begin <= rank) & (rank < end)]] = part
        begin = end


def _mend(part_of: np.ndarray, counts: np.ndarray, share: np.ndarray, draw: np.ndarray) -> None:
    """The groups that are left go, one by one, where they lessen the squared miss of the wanted counts most
    (each class by its own size, as in Pearson's chi-squared). Large groups first; among like sizes as drawn.
    """
    left = np.flatnonzero(part_of == -1)
    size = counts[left].sum(axis=1)
    left = left[np.lexsort((draw[left], -np.log2(size.clip(1)).astype(np.int64)))]
    wanted = np.outer(share, counts.sum(axis=0))
    have = np.stack([counts[part_of == part].sum(axis=0) for part in range(len(share))])
    miss, weight = (have - wanted).tolist(), (1 / wanted).tolist()
    # plain numbers: with thousands of groups of their own profile numpy's overhead a call would cost more
    for group, images in zip(left.tolist(), counts[left].tolist(), strict=True):
        held = [(number, count) for number, count in enumerate(images) if count]
        cost = [
            # a group that is more than half of a part's class would speak for the class alone: only if it must
            sum(count * (2 * over[number] + count) * scale[number] for number, count in held)
            + (UNWANTED if any(2 * count * scale[number] > 1 for number, count in held) else 0)
            for over, scale in zip(miss, weight, strict=True)
        ]
        part = cost.index(min(cost))
        part_of[group] = part
        for number, count in held:
            miss[part][number] += count
