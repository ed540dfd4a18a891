"""Learning curves, and how the training was done."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labkit.evaluation.metrics import metric, signed_difference
from labkit.format import fixed, listing, missing, percent, rate, some, whole
from labkit.reporting.frames import floats, joined, known, mean, only, parts
from labkit.reporting.labels import label_line_ends, named_glyph
from labkit.reporting.show import figure_output
from labkit.reporting.style import GREY, Palette, new_figure, styled, value_axis
from labkit.training.progress import in_browser

SPLITS = {"val_accuracy": "validation", "test_accuracy": "test"}
PANELS = {"train": "training", "val": "validation", "test": "test"}
OVERFIT = 0.05  # gap of accuracy between training and validation that is worth a word
PLATEAU, FALL = 0.005, 0.01  # of accuracy: what counts as no better, and what counts as worse
POINTS = metric("accuracy").difference


@styled
def learning_curves(
    history: pd.DataFrame,
    palette: Palette | None = None,
    *,
    quantity: str = "accuracy",
    baseline: Mapping[str, float] | None = None,
) -> Figure:
    """Training | validation (| test) curves of all variants on one scale, labelled at their ends.

    `history`: columns run, epoch, [seed], [chosen] and `<split>_<quantity>`; a panel for each split that has numbers.
    `baseline`: accuracy of the majority class by split, dashed. A ring: the chosen epoch; thin lines: seeds of a run.
    """
    columns = {f"{split}_{quantity}": title for split, title in PANELS.items()}
    columns = {name: title for name, title in columns.items() if len(known(history, name))}
    baseline = baseline if baseline and quantity == "accuracy" else {}
    history = joined(history)
    palette = palette or Palette(history["run"])
    of_run = parts(history, "run")
    runs = palette.ordered(of_run)
    fig = new_figure(height=max(2.9, 0.9 + 0.3 * len(runs)))
    axes = fig.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        for run in runs:
            _draw_run(ax, of_run[run], column, palette, run)
        if (split := column.split("_")[0]) in baseline:
            ax.axhline(baseline[split], color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        ax.set_title(title)
        ax.grid(axis="y")
        ax.set_xlabel("epoch")
    epochs = floats(history, "epoch")
    pad = max(0.5, 0.03 * (epochs.max() - epochs.min()))
    axes[0].set_xlim(epochs.min() - pad, epochs.max() + pad)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_ylabel(metric(quantity).name)
    value_axis(axes[0].yaxis, metric(quantity).percent, ticks=10)
    if (floats(history, "chosen") > 0).any():
        axes[-1].set_title("○ chosen epoch", loc="right", fontweight="normal", fontsize=8.5, color=GREY)
    last = list(columns)[-1]
    ends = [(_end(of_run[run], last), named_glyph(palette, run), palette[run].ink) for run in runs]
    if (level := baseline.get(last.split("_")[0])) is not None:
        ends.append((level, f"majority class\n{percent(level)}", GREY))
    label_line_ends(axes[-1], [end for end in ends if np.isfinite(end[0])])
    return fig


def _draw_run(ax: Axes, history: pd.DataFrame, column: str, palette: Palette, run: str) -> None:
    style, seeds = palette[run], parts(history, "seed")
    for seed in seeds.values():
        part = known(seed, column)
        epochs, values = floats(part, "epoch"), floats(part, column)
        step = max(1, len(part) // 6)
        line: Any = {"color": style.color, "linestyle": style.linestyle, "marker": style.marker, "markersize": 4}
        line |= {"markerfacecolor": style.face, "linewidth": 0.9, "alpha": 0.75}
        line |= {"linewidth": 1.6, "alpha": 1} if len(seeds) == 1 else {}
        # Markers of different runs at different epochs.
        ax.plot(epochs, values, **line, markevery=(palette.names.index(run) % step, step))
        chosen = floats(part, "chosen") > 0
        ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
        ax.plot(epochs[chosen], values[chosen], "o", color=style.color, zorder=5, **ring)


def _end(run: pd.DataFrame, column: str, place: int = -1) -> float:
    """Mean over seeds of the last value that is there; of the first at `place` 0."""
    seeds = parts(known(run, column), "seed").values()
    return mean(floats(seed, column)[place] for seed in seeds)


def curve_quantities(history: pd.DataFrame, chosen_by: Iterable[str]) -> list[str]:
    """What curves show: accuracy, what the epochs are chosen by, and the loss where no training accuracy is known."""
    named = ["accuracy", *(column.partition("_")[2] for column in chosen_by)]
    named += ["loss"] * (not len(known(history, "train_accuracy")))
    return [name for name in dict.fromkeys(named) if any(len(known(history, f"{split}_{name}")) for split in PANELS)]


def choice_in_words(chosen_by: Iterable[str]) -> str:
    """'the epoch with the highest accuracy on test': of all runs, one part for each rule (`RunParams.chosen_by`)."""
    words = []
    for split, of in dict.fromkeys((column.partition("_")[0], metric(column)) for column in chosen_by):
        best = f"the epoch with the {'highest' if of.higher_is_better else 'lowest'} {of.name} on"
        words.append("the last epoch" if split == "last" else f"{best} {PANELS[split]}")
    return listing(list(dict.fromkeys(words)), "or")


def live_curve(run: str, chosen_by: str) -> Callable[[pd.DataFrame], None] | None:
    """A function for `fit(watch=…)`: figures, drawn again after every epoch. None where nobody watches.

    An executed notebook then holds the epochs' lines alone, and its curves in the cell that follows the training.
    """
    if not in_browser():
        return None
    handles = {}

    def draw(history: pd.DataFrame) -> None:
        for quantity in curve_quantities(history, [chosen_by]):
            figure = learning_curves(history.assign(run=run), quantity=quantity)
            output = figure_output(figure, f"{quantity} of {run} after {len(history)} epochs")
            if quantity in handles:
                handles[quantity].update(output.pop("data"), **output)
            else:
                handles[quantity] = display(output.pop("data"), **output, display_id=True)

    return draw


def curves_sentence(history: pd.DataFrame) -> str:
    """How far training runs ahead of validation (else test) at the end, and which epochs were chosen.

    `history`: columns run, epoch, train_accuracy, [val_accuracy, test_accuracy, seed, chosen]; seeds are averaged.
    """
    table = joined(history)
    if len(set(floats(table, "epoch"))) == 1:
        return "There is one epoch only, so no trend can be read from it."
    of_run = parts(table, "run").items()
    graded = {run: part for run, part in of_run if not len(known(part, "train_accuracy"))}
    others = table.loc[~table["run"].isin(list(graded))]
    gaps = [_gaps_sentence(others, bool(graded))] if len(others) else []
    return f"{' '.join([*gaps, *map(_losses_sentence, graded, graded.values())])}{_chosen_sentence(table)}"


def _losses_sentence(run: str, part: pd.DataFrame) -> str:
    """Of an ordinal run: why it has no training accuracy, and its losses in the last epoch."""
    losses = {split: _end(part, f"{split}_loss") for split in PANELS}
    told = [f"{fixed(loss, 3)} ({PANELS[split]})" for split, loss in losses.items() if not missing(loss)]
    text = f"{run} has no training accuracy, because its cuts between grades are fitted only after training"
    return f"{text}; its loss in the last epoch is {listing(told)}."


def _gaps_sentence(table: pd.DataFrame, some: bool) -> str:
    """`some`: whether there are variants without a training accuracy."""
    of_run = parts(table, "run")
    # Validation beside training, else test.
    columns = {run: [column for column in SPLITS if len(known(part, column))] for run, part in of_run.items()}
    beside = {run: found[0] for run, found in columns.items() if found}
    ends = {run: (_end(of_run[run], "train_accuracy"), _end(of_run[run], column)) for run, column in beside.items()}
    gaps = {run: train - held_out for run, (train, held_out) in ends.items() if not missing(train - held_out)}
    if not gaps:
        return "There is no validation or test curve beside a training curve, so over-fitting cannot be read."
    apart = [run for run, gap in gaps.items() if gap > OVERFIT]
    if apart:
        worse = [run for run in apart if ends[run][0] < _end(of_run[run], "train_accuracy", 0)]
        return _apart_sentence({run: (*ends[run], SPLITS[beside[run]]) for run in apart}, worse)
    widest = max(gaps, key=lambda run: gaps[run])
    train, held_out = ends[widest]
    numbers, points = f"{percent(train)} against {percent(held_out)}", POINTS(gaps[widest])
    printed = {POINTS(gap) for gap in gaps.values()}
    who = widest if len(gaps) == 1 else "all variants" if len(gaps) == len(of_run) and not some else listing(list(gaps))
    who += f" (the widest gap is that of {widest})" if len(printed) > 1 else ""
    split = listing([word for column, word in SPLITS.items() if column in map(beside.get, gaps)], "or")
    if printed == {POINTS(0.0)}:
        return f"At the last epoch training and {split} accuracy agree for {who}: {numbers}."
    side = f"at most {points} above" if gaps[widest] >= 0 else f"at least {POINTS(-gaps[widest])} below"
    text = f"At the last epoch training accuracy is {side} {split} accuracy for {who}: {numbers}"
    return f"{text}; too small a gap to call over-fitting."


def _apart_sentence(ends: dict[str, tuple[float, float, str]], worse: list[str]) -> str:
    """Of variants (training accuracy, held-out accuracy, its split) that are far apart: over-fitting, or `worse`."""
    told = {
        run: f"{run} by {POINTS(train - held_out)} ({percent(train)} against {percent(held_out)} in {split})"
        for run, (train, held_out, split) in sorted(ends.items(), key=lambda item: item[1][1] - item[1][0])
    }
    over = [text for run, text in told.items() if run not in worse]
    text = f"At the last epoch training accuracy is higher than on held-out images: {some(over, 3, 'and')}"
    lines = [f"{text}. That is a sign of over-fitting."] if over else []
    if worse:
        text = "Training accuracy fell during training, and ends above that of held-out images: "
        text += some([told[run] for run in told if run in worse], 3, "and")
        lines.append(f"{text}. That is unstable training rather than over-fitting.")
    return " ".join(lines)


def _chosen_sentence(table: pd.DataFrame) -> str:
    marked = table.loc[floats(table, "chosen") > 0]
    if len(marked) == 1:
        text = f" The chosen epoch is {marked['epoch'].item()} of {whole(floats(table, 'epoch').max())}."
        return text + _frozen_sentence(marked)
    named = []
    for run in parts(table, "run"):
        epochs = only(marked, "run", run).sort_values("seed", kind="stable")["epoch"]
        named += [f"{', '.join(map(str, epochs))} ({run})"] * (len(epochs) > 0)
    text = f" The chosen epochs are {listing(named)}." if named else ""
    return text + _frozen_sentence(marked)


def _frozen_sentence(marked: pd.DataFrame) -> str:
    """Whose chosen epoch lies in the frozen phase, so that its backbone is still that of the weights it starts from."""
    if "phase" not in marked or not (who := list(dict.fromkeys(marked.loc[marked["phase"] == "head", "run"]))):
        return ""
    return f" Of {listing(who)} it lies in the frozen phase: only the last layer of that network was trained."


def phase_sentences(history: pd.DataFrame) -> list[str]:
    """A sentence for each run whose validation (else test) accuracy jumps, swings, stays or falls; possibly none.

    `history`: columns run, epoch, phase, learning_rate, [seed], val_accuracy or test_accuracy. Means over seeds.
    """
    lines = []
    for run, rows in parts(joined(history), "run").items():
        for column in [name for name in SPLITS if len(known(rows, name))][:1]:
            first, *others = parts(known(rows, column), "seed").values()
            curves = np.array([floats(seed, column) for seed in (first, *others)])
            if clauses := [*_jump(first, curves), *_swings(first, curves), *_late(first, curves.mean(axis=0))]:
                lines.append(f"{run}: {SPLITS[column]} accuracy {'; it '.join(clauses)}.")
    return lines


def _jump(rows: pd.DataFrame, curves: np.ndarray) -> Iterator[str]:
    """From the last epoch in which the head alone learns to the first in which everything does."""
    frozen = list(rows["phase"]).count("head") if "phase" in rows else 0
    if 0 < frozen < len(rows):
        before, after = curves[:, frozen - 1 : frozen + 1].mean(axis=0)
        by = signed_difference("accuracy", after - before)
        yield f"goes from {percent(before)} to {percent(after)} ({by}) in the first epoch after the frozen phase"


def _swings(rows: pd.DataFrame, curves: np.ndarray) -> Iterator[str]:
    """Mean change from epoch to epoch before and after the first drop of a constant rate, if there are two or more."""
    rates = floats(rows, "learning_rate").tolist()
    drops = [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1]]
    if drops:
        at, end = drops[0], [*drops, len(rates)][1]
        before, after = (np.abs(np.diff(part, axis=1)) for part in (curves[:, :at], curves[:, at:end]))
        if min(before.shape[1], after.shape[1]) >= 2:
            first = f"changes by {POINTS(before.mean())} from epoch to epoch at a rate of {rate(rates[0])}"
            yield f"{first} and by {POINTS(after.mean())} at {rate(rates[at])}"


def _late(rows: pd.DataFrame, curve: np.ndarray) -> Iterator[str]:
    """Whether nothing is gained in the second half, and how far the last epoch lies below the best."""
    epochs, best = floats(rows, "epoch").astype(int), int(curve.argmax())
    if len(curve) < 4:
        return
    early = int(np.flatnonzero(curve >= curve[best] - PLATEAU)[0])
    if 2 * (early + 1) <= len(curve):
        yield f"gains at most {POINTS(curve[best] - curve[early])} after epoch {epochs[early]} of {epochs[-1]}"
    if curve[best] - curve[-1] > FALL:
        yield f"ends {POINTS(curve[best] - curve[-1])} below its best, {percent(curve[best])} in epoch {epochs[best]}"


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
