"""What a variant costs, in training and at prediction, and what that buys."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from labkit.evaluation.metrics import metric
from labkit.format import fixed, listing, missing, percent, plural, times, word
from labkit.reporting.frames import means
from labkit.reporting.learning import micro_batch_sentence, processes_sentence
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit

COST = {  # key of a run -> header, divisor, digits
    "minutes": ("training (min)", 1, 1),
    "images_per_second": ("images/s, median epoch", 1, 0),
    "parameters": ("parameters (M)", 1e6, 1),
    "flops": ("FLOPs (G)", 1e9, 2),
    "milliseconds": ("ms per image, CPU", 1, 1),
    "file_mb": ("file (MB)", 1, 1),
}

Runs = Sequence[Mapping[str, Any]]


def cost_table(runs: Runs) -> pd.DataFrame:
    """Columns variant, those of COST, and device; seeds are averaged."""
    rows = []
    for name, mine in pd.DataFrame(list(runs)).groupby("run", sort=False):
        amounts = {head: fixed(mine[key].mean() / unit, digits) for key, (head, unit, digits) in COST.items()}
        rows.append({"variant": str(name)} | amounts | {"device": ", ".join(mine["device"].unique())})
    return pd.DataFrame(rows)


def cost_sentence(costs: pd.DataFrame) -> str:
    """The slowest variant beside the fastest; `costs`: columns run, minutes, [seed]."""
    minutes = means(costs, "run", "minutes")
    slow, fast = (best(minutes, key=minutes.__getitem__) for best in (max, min))
    longest, shortest = _duration(minutes[slow]), _duration(minutes[fast])
    if len(minutes) == 1:
        return f"Training {slow} took {longest}."
    if longest == shortest:
        return f"{'Both' if len(minutes) == 2 else f'All {word(len(minutes))}'} variants took {longest} to train."
    factor = times(minutes[slow] / minutes[fast])
    text = f"{slow} took the longest to train, {longest}, {factor} as long as {fast} ({shortest})"
    return f"{text}; such times depend on what else the machine did, multiply-adds do not."


def _duration(minutes: float) -> str:
    if minutes < 1:
        return plural(fixed(minutes * 60, 1 if minutes * 60 < 9.95 else 0), "second")
    return plural(fixed(minutes, 1), "minute") if minutes < 120 else plural(fixed(minutes / 60, 1), "hour")


def light_sentence(runs: Runs, score: str) -> str:
    """The best variants and the lightest one, seeds averaged; '' where no score is known, or all have the same."""
    named, known = metric(score), pd.DataFrame([run for run in runs if not missing(run.get(score))])
    if known.empty:
        return ""
    scores, flops = means(known, "run", score), means(known, "run", "flops")
    highest = named.text(max(scores.values()))
    winners = [name for name, score in scores.items() if named.text(score) == highest]  # compared as printed
    if len(winners) == len(scores) > 1:
        return ""
    best, light = (min(names, key=flops.__getitem__) for names in (winners, flops))
    text = f"{listing(winners)} {'has' if len(winners) == 1 else 'have'} the best {named.name} on test, {highest}"
    if flops[best] == flops[light]:
        return f"{text}; no variant needs fewer multiply-adds{'' if len(winners) == 1 else f' than {best}'}."
    more = flops[best] / flops[light]
    factor = f"{times(more)} as many" if more >= 1.05 else f"{percent(more - 1)} more"
    return f"{text}; {light} has {named.text(scores[light])} with the fewest multiply-adds, {best} needs {factor}."


def costs(results: StudyResults) -> Iterator[Exhibit]:
    """Time, memory and size of each variant, and what the expensive ones buy."""
    caption = "Cost of each variant, without that of a source run; times as measured, with whatever ran beside"
    text = cost_sentence(pd.DataFrame(results.runs))
    yield Exhibit(table=cost_table(results.runs), caption=caption, text=text)
    for name, run in results.firsts.items():
        size, together = run["params"].batch_size, run["params"].num_processes
        processes = processes_sentence(together, size, run.get("device", "cpu"))
        said = micro_batch_sentence(run.get("micro_batch"), size), processes
        yield Exhibit(text="\n".join(f"- {name}: {line}" for line in said if line))
    if len({run["params"].arch for run in results.runs}) > 1:
        yield Exhibit(text=light_sentence(results.runs, results.score))
