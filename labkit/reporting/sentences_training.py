"""Sentences on training: over-fitting, the chosen epochs, what the time bought."""

from collections.abc import Iterable

import pandas as pd

from labkit.format import fixed, listing, metric, missing, percent, plural, whole, word
from labkit.reporting.frames import chosen_epoch, floats, joined, mean, parts

OVERFIT = 0.05  # gap of accuracy between training and validation that is worth a word


def curves_sentence(history: pd.DataFrame | Iterable[pd.DataFrame], score: str | None = None) -> str:
    """How far training runs ahead of validation at the end, and which epochs were chosen.

    `history`: columns run, epoch, train_accuracy, val_accuracy, [seed], [chosen or the column `score`]; the seeds of a
    run are averaged.
    """
    table = joined(history)
    if len(set(floats(table, "epoch"))) == 1:
        return "There is one epoch only, so no trend can be read from it."
    return f"{_gaps_sentence(table)}{_chosen_sentence(table, score)}"


def micro_batch_sentence(micro_batch: int | None, batch_size: int) -> str:
    """What it means that memory held a part of a batch at a time; empty where it held all (None: an older run)."""
    if not micro_batch or micro_batch >= batch_size:
        return ""
    return (
        f"Memory held {micro_batch} images at a time in training: the gradients of a batch of {batch_size} were added "
        f"up from such parts. That is the same step, but that BatchNorm took mean and variance of {micro_batch} images."
    )


def processes_sentence(num_processes: int | None, batch_size: int, device: str) -> str:
    """What it means that several processes shared each batch; empty for one (None: an older run)."""
    if not num_processes or num_processes == 1:
        return ""
    share = f"{'' if batch_size % num_processes == 0 else 'about '}{batch_size // num_processes} images"
    text = f"{num_processes} processes trained together, on {share} each of a batch of {batch_size}: "
    if device == "cpu":
        return f"{text}the same step as in one process, but that BatchNorm took mean and variance of {share}."
    return f"{text}the same step as on one GPU, since BatchNorm took mean and variance over all of them."


def _gaps_sentence(table: pd.DataFrame) -> str:
    columns = ("train_accuracy", "val_accuracy")
    ends = {run: tuple(_end(part, column) for column in columns) for run, part in parts(table, "run").items()}
    gaps = {run: train - val for run, (train, val) in ends.items() if not missing(train - val)}
    if not gaps:
        return "There is no validation curve beside the training curve, so over-fitting cannot be read."
    widest = max(gaps, key=lambda run: gaps[run])
    train, val = ends[widest]
    numbers = f"{percent(train)} against {percent(val)}"
    points = metric("accuracy").difference(gaps[widest])
    over = [run for run, gap in gaps.items() if gap > OVERFIT]
    if over:
        most = " the most" if len(over) > 1 else ""
        text = f"{widest} over-fits{most}: at the last epoch its training accuracy is {points} above the validation one"
        others = [run for run in over if run != widest]
        rest = f"; so {'does' if len(others) == 1 else 'do'} {listing(others)}" if others else ""
        return f"{text} ({numbers}){rest}."
    who = widest if len(gaps) == 1 else f"all variants (the widest gap is that of {widest})"
    if points == metric("accuracy").difference(0.0):
        return f"At the last epoch training and validation accuracy agree for {who}: {numbers}, no over-fitting."
    side = "above" if gaps[widest] > 0 else "below"
    return (
        f"At the last epoch the training accuracy is not far above the validation accuracy for {who}: "
        f"{numbers}, {points} {side}, no over-fitting to speak of."
    )


def _end(run: pd.DataFrame, column: str) -> float:
    return mean(floats(part, column)[-1] for part in parts(run, "seed").values())


def _chosen_sentence(table: pd.DataFrame, score: str | None) -> str:
    chosen = {}
    for run, part in parts(table, "run").items():
        epochs = [chosen_epoch(seed, score) for seed in parts(part, "seed").values()]
        if known := [epoch for epoch in epochs if epoch is not None]:
            chosen[run] = known
    if not chosen:
        return ""
    if sum(map(len, chosen.values())) == 1:
        return f" The chosen epoch is {next(iter(chosen.values()))[0]} of {whole(floats(table, 'epoch').max())}."
    named = [f"{', '.join(map(str, epochs))} ({run})" for run, epochs in chosen.items()]
    return f" The chosen epochs are {listing(named)}."


def cost_sentence(costs: pd.DataFrame, score: str = "qwk") -> str:
    """What the most expensive variant buys over the cheapest; `costs`: columns run, minutes, and the score, [seed]."""
    minutes = {run: mean(floats(part, "minutes")) for run, part in parts(costs, "run").items()}
    minutes = {run: time for run, time in minutes.items() if not missing(time)}
    if not minutes:
        return "Training times were not recorded."
    slow, fast = (best(minutes, key=lambda run: minutes[run]) for best in (max, min))
    longest, shortest = minutes[slow], minutes[fast]
    if len(minutes) == 1:
        return f"Training {slow} took {_duration(longest)}."
    if _duration(longest) == _duration(shortest):
        who = "Both" if len(minutes) == 2 else f"All {word(len(minutes))}"
        return f"{who} variants took {_duration(longest)} to train."
    factor = f"{_factor(longest / shortest)} times as long as" if shortest > 0 else "longer than"
    text = f"{slow} took the longest to train, {_duration(longest)}, {factor} {fast} ({_duration(shortest)})"
    named = metric(score)
    gain = mean(floats(parts(costs, "run")[slow], score)) - mean(floats(parts(costs, "run")[fast], score))
    if missing(gain):
        return f"{text}."
    if named.difference(gain) == named.difference(0.0):
        return f"{text}, for the same {named.name}."
    return f"{text}, and its {named.name} is {named.difference(gain)} {'higher' if gain > 0 else 'lower'}."


def _factor(ratio: float) -> str:
    return fixed(ratio, 1 if ratio < 10 else 0)


def _duration(minutes: float) -> str:
    if minutes < 1:
        return plural(fixed(minutes * 60, 0), "second")
    return plural(fixed(minutes, 1), "minute") if minutes < 120 else plural(fixed(minutes / 60, 1), "hour")
