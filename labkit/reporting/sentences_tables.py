"""One sentence for each table that none of the figures' sentences reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from labkit.format import fixed, listing, metric, millions, missing, percent, plural, whole, word
from labkit.reporting.frames import floats, known, mean, parts


def blocks_sentence(wide: int = 256, narrow: int = 64) -> str:
    """Weights of a Bottleneck's convolutions on `wide` channels beside a BasicBlock's on `narrow` (He et al. 2016)."""
    bottleneck, basic = 2 * wide * narrow + 9 * narrow**2, 2 * 9 * narrow**2
    text = f"The convolutions of a Bottleneck on {wide} channels have {whole(bottleneck)} weights"
    side = "fewer" if bottleneck < basic else "more"
    return f"{text}, {side} than the {whole(basic)} of a BasicBlock on {narrow}."


def depth_sentence(architectures: pd.DataFrame) -> str:
    """How parameters grow with depth; `architectures`: `models.describe.architecture_table`."""
    rows = {row["layer name"]: row for row in architectures.to_dict("records")}
    counts = {str(name): text for name, text in rows["parameters"].items() if str(name).endswith("-layer")}
    (small, few), *_, (large, many) = ((name, int(str(text).replace(",", ""))) for name, text in counts.items())
    return f"From {small} to {large} the parameters grow {fixed(many / few, 1)} times, to {millions(many)}."


def variants_sentence(variants: pd.DataFrame) -> str:
    """In what the variants differ; `variants`: `tables.variants_table`."""
    differing = [str(name).replace("_", " ") for name in variants.columns[1:]]
    number = word(len(variants)).capitalize()
    if len(variants) == 1:
        return "There is one variant only, so nothing is compared."
    return f"{number} variants differ in {listing(differing)}."


def weights_sentence(classes: Sequence[str], counts: Sequence[int], weights: Mapping[str, Sequence[float]]) -> str:
    """What the rarest class weighs beside the most frequent one; `weights`: run -> weight per class."""
    held = [place for place, count in enumerate(counts) if count]
    rare, common = min(held, key=counts.__getitem__), max(held, key=counts.__getitem__)
    if counts[rare] == counts[common]:
        return "The classes have equally many training images."
    texts = [f"{fixed(of[rare] / of[common], 2)} times in {run}" for run, of in weights.items() if of[common]]
    return f"An image of {classes[rare]} weighs {listing(texts)} what one of {classes[common]} does."


def found_sentence(sensitivity: pd.DataFrame) -> str:
    """Which class is found most and least often, on average over the variants; columns class, sensitivity."""
    means = {
        name: mean(floats(known(part, "sensitivity"), "sensitivity"))
        for name, part in parts(sensitivity, "class").items()
    }
    means = {name: value for name, value in means.items() if not missing(value)}
    if len(means) < 2:
        return "The sensitivity of fewer than two classes is known."
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return (
        f"On average over the variants {best} is found most often ({percent(means[best])}), "
        f"{worst} least often ({percent(means[worst])})."
    )


def trust_sentence(shares: pd.DataFrame, run: str) -> str:
    """Which answer of `run` is right least often; `shares`: `metrics.per_class_table` with the column variant."""
    mine = [row for row in shares.to_dict("records") if row["variant"] == run]
    given = [row for row in mine if not missing(row["ppv"])]
    row = min(given, key=lambda row: float(row["ppv"]))
    never = [str(row["class"]) for row in mine if row["predicted"] == 0]
    text = f"The least reliable answer of {run} is {row['class']}: right in {percent(row['ppv'])}"
    text += f" of {plural(row['predicted'], 'answer')}"
    return f"{text}; it never answers {listing(never, 'or')}." if never else f"{text}."


def further_sentence(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Which variant leads in each further score, by the mean over its seeds."""
    leads: dict[str, list[str]] = {}
    for name in names:
        means: dict[str, list[float]] = {}
        for run in runs:
            if not missing(run.get(name)):
                means.setdefault(str(run["run"]), []).append(float(run[name]))
        if means:
            best = max(means, key=lambda run: sum(means[run]) / len(means[run]))
            leads.setdefault(best, []).append(metric(name).name)
    return "; ".join(f"{run} leads in {listing(scores)}" for run, scores in leads.items()) + "."


def runs_sentence(runs: Sequence[Mapping[str, Any]]) -> str:
    """How often test was looked at, and how many runs were interrupted."""
    often = [f"{run['run']}, seed {run['seed']}" for run in runs if run["test_predictions"] != 1]
    again = sum(run["attempts"] > 1 for run in runs)
    text = f"{'Every run' if len(runs) > 1 else 'The run'} predicted the test images once"
    if often:
        text = f"Not every run predicted the test images just once: {listing(often)} did not"
    runs_again = "no run" if not again else plural(again, "run")
    return f"{text}; {runs_again} {'was' if again <= 1 else 'were'} interrupted."
