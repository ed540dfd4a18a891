"""Simulated studies of 85 patients: what is said of ranks, differences and equivalence holds as often."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from labkit.evaluation.compare import simultaneous_differences, verdict
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.evaluation.power import equivalence, ranking
from labkit.evaluation.subgroups import gaps

pytestmark = pytest.mark.slow
NOISE = (1.0, 0.5, 0.7, 0.4)  # standard deviations: how hard a patient is and an image is, for all and for a variant
GROUPS = np.repeat(np.arange(85), 2)


def drawn_study(generator, skills, groups=GROUPS) -> dict[str, list[pd.DataFrame]]:
    """A variant per skill, which predicts an image if it is easier than this."""
    n, patients = len(groups), groups.max() + 1
    labels = generator.choice(3, patients, p=[0.6, 0.25, 0.15])[groups]
    ids, variants = [f"i{number}" for number in range(n)], {}
    hard = NOISE[0] * generator.normal(size=patients)[groups] + NOISE[1] * generator.normal(size=n)
    for number, skill in enumerate(skills):
        own = NOISE[2] * generator.normal(size=patients)[groups] + NOISE[3] * generator.normal(size=n)
        answers = np.where(hard + own < skill, labels, (labels + generator.integers(1, 3, n)) % 3)
        table = pd.DataFrame({"image_id": ids, "label": labels, "prediction": answers, "group": groups})
        variants[f"v{number}"] = [table]
    return variants


def judged(variants, metric="accuracy"):
    found = simultaneous_differences(variants, [metric], 3, draws=400)
    return found, ranking(variants, found, metric, 3, draws=400)


@pytest.mark.parametrize(("variants", "spread", "least"), [(2, 0.2, 0.0), (2, 0.4, 0.0), (5, 0.4, 0.0), (5, 0.1, 0.05)])
def test_the_chance_of_a_false_win_is_as_told_but_too_low_among_equals(variants, spread, least):
    """Measured: told 16 and 19 %, 9 and 10 %, 21 and 19 % were false; where skills are 0.1 apart told 40, were 53 %."""
    generator, told, false = np.random.default_rng(variants), [], []
    for _ in range(400):
        skills = 0.8 + spread * generator.normal(size=variants)
        ranks = judged(drawn_study(generator, skills))[1]
        told.append(1 - ranks["first"].iloc[0])
        false.append(skills[int(ranks.index[0][1:])] < skills.max())
    off = np.mean(false) - np.mean(told)
    assert least - 0.01 < off < (0.25 if least else 0.06)


@pytest.mark.parametrize(("skill", "patients"), [(0.7, 85), (0.5, 140)])
def test_the_smallest_difference_that_is_shown_is_found_in_four_of_five_studies(skill, patients):
    """Power 82 % where the true difference was 1.07 times the smallest; 51 % at 0.8 and 96 % at 1.3 times."""
    generator, seen, shown = np.random.default_rng(1), [], []
    for _ in range(300):
        found, ranks = judged(drawn_study(generator, [0.8 + skill, 0.8, 0.5], np.repeat(np.arange(patients), 2)))
        seen.append(verdict(found.loc[("v1", "v0", "accuracy")]) == "higher")
        if ranks.index[0] == "v0":
            shown.append(ranks.loc["v1", "shown"])
    scale = np.sqrt(np.square(NOISE).sum())
    true = norm.cdf((0.8 + skill) / scale) - norm.cdf(0.8 / scale)
    assert np.mean(seen) == pytest.approx(0.8, abs=0.08) and true / np.nanmean(shown) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize(("apart", "margin", "wrong"), [(0.1, 0.1, "equivalent"), (0, None, "different")])
@pytest.mark.parametrize("published", [400, 7000])
def test_equivalence_and_difference_are_wrongly_claimed_in_one_study_of_twenty(apart, margin, wrong, published):
    """Measured: equivalent at the margin in 5.1 and 3.2 %, different at 0 in 4.9 and 5.0 % of 1,500 studies."""
    generator, count, studies = np.random.default_rng(0), 0, 800
    for _ in range(studies):
        hard = 0.7 * generator.normal(size=85)[GROUPS] + np.sqrt(0.51) * generator.normal(size=170)
        right = (hard < norm.ppf(0.75 + apart)).astype(int)
        share = generator.binomial(published, 0.75) / published
        row = bootstrap_by_group(np.ones(170, int), right, GROUPS, 2, draws=400).loc["accuracy"]
        ours, error = (row["estimate"], row["low"], row["high"]), np.sqrt(share * (1 - share) / published)
        count += equivalence(ours, share, 85, margin, error).verdict == wrong
    assert count / studies <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize(("metric", "level"), [("accuracy", 0.05), ("qwk", 0.07)])
def test_of_subgroups_without_a_difference_few_studies_show_a_gap(metric, level):
    """Measured: 4.7 % in accuracy, 5.1 % in macro F1, and 6.9 % in kappa, of 4,500 studies."""
    generator, false, studies = np.random.default_rng(2), 0, 800
    for _ in range(studies):
        (table,) = drawn_study(generator, [0.8])["v0"]
        quality = pd.DataFrame({"brightness": generator.normal(size=170)}, index=table["image_id"])
        table = table.assign(side=np.tile(["left", "right"], 85), sex=generator.choice(["f", "m"], 85)[GROUPS])
        false += bool((gaps(table, quality, 3, metric, ["sex"])["low"] > 0).any())
    assert false / studies <= level + 2.5 * np.sqrt(level * (1 - level) / studies)
