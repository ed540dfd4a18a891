"""How many images each class has, what oversampling makes of that, and what a class weighs in the loss."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from labkit.format import fixed, listing, percent, plural, whole
from labkit.reporting.frames import floats
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import COLORS, WIDTH, new_figure, row_axis, styled, value_axis


@styled
def class_histogram(counts: pd.DataFrame) -> Figure:
    """A bar for each class's share of its split, with its count and percentage.

    `counts`: a row per class, a column per split, of which at least one has labelled images; others are left out.
    """
    numbers = {str(split): floats(counts, split) for split in counts.columns}
    numbers = {split: values for split, values in numbers.items() if values.sum() > 0}
    columns = len(numbers)
    fig = new_figure(height=0.85 + 0.32 * len(counts))
    axes = fig.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for ax, (split, values) in zip(axes, numbers.items(), strict=True):
        shares = values / values.sum()
        bars = ax.barh(range(len(counts)), shares, height=0.62, color=COLORS[5])
        texts = [f"{whole(count)}\n{percent(share)}" for count, share in zip(values, shares, strict=True)]
        ax.bar_label(bars, texts, padding=3, fontsize=8.5)
        ax.set_title(f"{split}: {plural(values.sum(), 'image')}")
        row_axis(ax, [wrap(str(name)) for name in counts.index])
        ax.grid(visible=False)
    text_width, panel = 0.55, (WIDTH - 1.3) / columns  # inches: the text at the end of the longest bar, and its panel
    top = max(float(values.max() / values.sum()) for values in numbers.values())
    first = axes[0]
    first.set_xlim(0, top * panel / (panel - text_width))
    value_axis(first.xaxis, in_percent=True, ticks=4)
    ticks = [tick for tick in first.get_xticks() if tick <= top + 0.02]  # no tick under the text
    first.set_xticks(ticks)
    fig.supxlabel("share of the split's images", fontsize=9)
    return fig


def class_counts_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts (rows: classes, columns: splits) -> 'count (percent of the split)', with a row of totals."""
    table = {"class": [*map(str, counts.index), "all"]}
    for split in counts.columns:
        numbers = floats(counts, split)
        total = numbers.sum()
        cells = [f"{whole(count)} ({percent(count / total)})" if total else "0" for count in numbers]
        table[str(split)] = [*cells, whole(total)]
    return pd.DataFrame(table)


def imbalance_sentence(counts: Iterable[int], classes: Sequence[str]) -> str:
    """How uneven the classes are; `counts`: training images per class."""
    numbers = [int(count) for count in counts]
    total = sum(numbers)
    if total == 0:
        return "There are no labelled training images."
    high, low = max(numbers), min(numbers)
    most, least = ([str(k) for k, count in zip(classes, numbers, strict=True) if count == end] for end in (high, low))
    share = f"{whole(high)} of {plural(total, 'training image')} ({percent(high / total)}){' each' * (len(most) > 1)}"
    common = f"{listing(most)} {'is the most common class' if len(most) == 1 else 'are the most common classes'}"
    if low == 0:
        return f"{common}, {share}; there is no training image of {listing(least, 'or')}."
    if high == low:
        return f"The classes are balanced: {plural(high, 'training image')} of each."
    rare = f"{listing(least)} the rarest with {whole(low)} ({percent(low / total)}){' each' * (len(least) > 1)}"
    if high < 1.5 * low:
        return f"The classes are nearly balanced: {common} with {share}, {rare}."
    return f"{common} with {share}, {rare}: {fixed(high / low, 1)} to 1."


def oversampling_sentence(before: Sequence[int], after: Sequence[int], classes: Sequence[str]) -> str:
    """What repeating images changed; `before`, `after`: images per class of one epoch."""
    old, new = sum(before), sum(after)
    if list(before) == list(after):
        return f"No image is repeated: the classes have equally many already ({plural(old, 'image')} in all)."
    factors = {name: b / a for name, a, b in zip(classes, before, after, strict=True) if a}
    most = max(factors, key=factors.__getitem__)
    text = f"An epoch has {plural(new, 'image')} instead of {plural(old, 'image')}: "
    text += f"every image of {most} is drawn {fixed(factors[most], 1)} times on average"
    if kept := [name for name, factor in factors.items() if factor == 1]:
        text += f", one of {listing(kept, 'or')} once"
    absent = [name for name in classes if name not in factors]
    return f"{text}; there is no image of {listing(absent, 'or')} to repeat." if absent else f"{text}."


def class_balance(results: StudyResults) -> Iterator[Exhibit]:
    """What class weights and oversampling do to rare classes, where a variant uses them."""
    weighted = {name: run["class_weights"] for name, run in results.firsts.items() if run.get("class_weights")}
    if weighted:
        first = results.runs[0]
        counts = [f"{whole(n)} ({percent(n / sum(first['train_counts']))})" for n in first["train_counts"]]
        table = {"class": results.classes, "training images": counts}
        table |= {run: [fixed(weight, 3) for weight in weights] for run, weights in weighted.items()}
        caption = f"Weight of each class in the loss (images: {first['run']}); other variants weigh all equally"
        yield Exhibit(table=pd.DataFrame(table), caption=caption)
    for name, run in results.firsts.items():
        before, drawn = run["train_counts"], run["drawn_counts"]
        if drawn != before:
            yield Exhibit(text=f"{name}: {oversampling_sentence(before, drawn, results.classes)}")
