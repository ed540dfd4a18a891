"""The box at the head of a report: at most five sentences, all written from the numbers."""

from labkit.data.source import PHANTOMS
from labkit.evaluation.compare import verdict
from labkit.format import listing, metric, percent, plural, signed_difference, whole, word
from labkit.reporting.exhibits.scores import CONSTANT, ENDS, against_baseline, chosen_sentence
from labkit.reporting.results import StudyResults

APART = {
    "higher": "is better than {} by more than noise",
    "lower": "is worse than {} by more than noise",
    "noise": "cannot be told apart from {}",
    "equal": "predicts the same as {}",
    "too few": "is not compared with {} (too few differing images or patients)",
}


def summary(results: StudyResults) -> list[str]:
    """What was done; the variant chosen; the majority baseline; what it is better than; what the numbers are worth."""
    said = [
        _what(results),
        chosen_sentence(results, results.score),
        _without_a_model(results),
        _told_apart(results),
        _how_sound(results),
    ]
    return [sentence for sentence in said if sentence]


def _what(results: StudyResults) -> str:
    first = results.runs[0]
    names = list(results.tests)
    seeds = max(len(results.seeds(name)) for name in names)
    each = f", up to {word(seeds)} times each with another seed," if seeds > 1 else ""
    kind = "synthetic images" if first["params"].data in PHANTOMS else "images"
    of = f" of {plural(first['n_groups'], results.group_name)}" if first["n_groups"] else ""
    network = "One network was" if len(names) == 1 else f"{word(len(names)).capitalize()} variants of networks were"
    text = f"{network} trained{each} on {whole(first['n_images']['train'])} {kind}"
    if begun := [name for name, run in results.firsts.items() if run["start"] != "from scratch"]:
        text += f", {word(len(begun))} of them from weights of an earlier training," if len(names) > 1 else ""
    return f"{text} and tested on {whole(first['n'])} others{of}."


def _without_a_model(results: StudyResults) -> str:
    text = f"Always predicting “{results.majority_class}” is right in {percent(results.baseline['accuracy'])}"
    text += " of the test images"
    if results.score != "accuracy":
        row = results.against_majority[results.chosen].loc["accuracy"]
        text += f", {results.chosen} in {percent(row['b'])}, {against_baseline('accuracy', row)}"
    blind = [name for name in results.tests if results.mean(name, "majority_share") >= CONSTANT]
    if blind:
        each = "" if len(blind) == 1 else "each of "
        text += f"; {each}{listing(blind)} predicts one class for at least {percent(CONSTANT, 0)} of the images"
    return f"{text}."


def _told_apart(results: StudyResults) -> str:
    """The chosen variant against every other, with intervals that hold for all pairs of the study together."""
    found: dict[str, list[str]] = {}
    for name in results.tests:
        if name != results.chosen:
            row = results.differences.loc[(name, results.chosen, results.score)]
            of = signed_difference(results.score, *row[ENDS])
            found.setdefault(verdict(row), []).append(name if verdict(row) == "equal" else f"{name} ({of})")
    named = {key: listing(of) if len(of) <= 3 else f"{word(len(of))} others" for key, of in found.items()}
    said = [words.format(named[key]) for key, words in APART.items() if key in named]
    return f"On {metric(results.score).name}, {results.chosen} {listing(said)}." if said else ""


def _how_sound(results: StudyResults) -> str:
    """What is wrong stands in a warning of its own (`results.stamps`); here, that nothing is, and what is missing."""
    once = [name for name in results.tests if len(results.seeds(name)) == 1]
    by_name = "" if len(once) == len(results.tests) else f" of {listing(once)}"
    unknown = f"what another seed{by_name} would change is not known" if once else ""
    if results.stamps:
        return f"{unknown[:1].upper()}{unknown[1:]}." if unknown else ""
    unknown_groups = results.runs[0]["n_without_group"]
    of_whom = f" (as far as known: {plural(unknown_groups, 'test image')} of nobody named)" if unknown_groups else ""
    whom = f"No {results.group_name} is on both sides of the split{of_whom}"
    sound = f"{whom} and the epoch was chosen without looking at test"
    return f"{sound}; {unknown}." if unknown else f"{sound}."
