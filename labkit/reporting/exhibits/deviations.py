"""Variants that deviate from the network of He et al.: what is changed, and how depth serves without shortcuts."""

from labkit.evaluation.metrics import signed_difference
from labkit.format import percent
from labkit.models.build import DEVIATIONS, RESNETS
from labkit.reporting.frames import means
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit


def deviation_sentences(results: StudyResults) -> list[str]:
    """What each deviation changes in the network, and in which variants; what that does is a row of comparisons."""
    named: dict[str, list[str]] = {}
    for name, run in results.firsts.items():
        named.setdefault(run["params"].deviation, []).append(name)
    used = [deviation for deviation in DEVIATIONS if deviation in named]
    return [f"{key.replace('_', ' ')} ({', '.join(named[key])}): {DEVIATIONS[key]}." for key in used]


def degradation_sentence(results: StudyResults) -> str:
    """How training accuracy changes with depth, with shortcuts and without; empty without plain networks of two depths.

    He et al. (2016, figure 4): 34 plain layers learn their training images worse than 18, 34 residual ones better.
    """
    named = {(run["params"].deviation, run["params"].arch): name for name, run in results.firsts.items()}
    depths = [arch for arch in RESNETS if ("none", arch) in named and ("no_shortcut", arch) in named]
    if len(depths) < 2:
        return ""
    epochs = results.history.groupby("run")["epoch"]
    reached = means(results.history.loc[results.history["epoch"] == epochs.transform("max")], "run", "train_accuracy")
    clauses = []
    for deviation, how in (("none", "with shortcuts"), ("no_shortcut", "without")):
        shallow, deep = named[deviation, depths[0]], named[deviation, depths[-1]]
        by = signed_difference("accuracy", reached[deep] - reached[shallow])
        clauses.append(f"{by} {how} ({percent(reached[shallow])} {shallow}, {percent(reached[deep])} {deep})")
    return f"Training accuracy of the last epoch, {depths[-1]} against {depths[0]}: {' and '.join(clauses)}."


def deviations(results: StudyResults) -> Exhibit:
    """What variants change in the network, and what depth does without shortcuts."""
    lines = [*deviation_sentences(results), degradation_sentence(results)]
    return Exhibit(text="\n".join(f"- {line}" for line in lines if line))
