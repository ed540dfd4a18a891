"""Sentences on classes: how uneven they are, and which are confused."""

from collections.abc import Iterable, Sequence

import numpy as np

from labkit.format import fixed, listing, percent, plural, whole


def confusion_sentence(matrix: np.ndarray, classes: Sequence[str], name: str = "") -> str:
    """The most confused pair and the hardest class; `matrix` (C, C): counts, rows true, columns predicted."""
    matrix = np.asarray(matrix).astype(int)
    total = int(matrix.sum())
    who = name or "The model"
    if total == 0:
        return "There are no labelled images, so nothing can be confused."
    wrong = matrix - np.diag(np.diag(matrix))
    if wrong.sum() == 0:
        return f"{who} classifies {'the only image' if total == 1 else 'all ' + plural(total, 'image')} correctly."
    answered = np.flatnonzero(matrix.sum(axis=0))
    constant = f"{who} answers “{classes[answered[0]]}” for every image. " if len(answered) == 1 and total > 1 else ""
    true, predicted = (int(place) for place in np.unravel_index(wrong.argmax(), wrong.shape))
    rows = matrix.sum(axis=1)
    count, images = int(wrong[true, predicted]), int(rows[true])
    whose = f" of {name}" if name and not constant else ""
    pair = f"The most frequent error{whose} is {classes[true]} taken for {classes[predicted]}"
    share = f"{whole(count)} of {plural(images, 'image')} ({percent(count / images)})"
    return f"{constant}{pair}: {share}; {_hardest(np.diag(matrix), rows, classes)}."


def _hardest(found: np.ndarray, rows: np.ndarray, classes: Sequence[str]) -> str:
    sensitivity = np.divide(found, rows, out=np.full(len(rows), np.nan), where=rows > 0)
    hardest = [int(place) for place in np.flatnonzero(sensitivity == np.nanmin(sensitivity))]
    share = percent(float(sensitivity[hardest[0]]))
    if len(hardest) == 1:
        place = hardest[0]
        verb = "is" if found[place] == 1 else "are"
        part = f"{whole(found[place])} of {whole(rows[place])}"
        return f"hardest is {classes[place]}, of which {part} {verb} found ({share})"
    if len(hardest) == (rows > 0).sum():
        return f"all classes are equally hard ({share} found)"
    return f"hardest are {listing([classes[place] for place in hardest])} (of each, {share} found)"


def imbalance_sentence(counts: Iterable[int], classes: Sequence[str], split: str = "training") -> str:
    """How uneven the classes are; `counts`: images per class."""
    numbers = [int(count) for count in counts]
    total = sum(numbers)
    if total == 0:
        return f"There are no labelled {split} images."
    most, least = (numbers.index(end(numbers)) for end in (max, min))
    high, low = numbers[most], numbers[least]
    empty = [str(name) for name, count in zip(classes, numbers, strict=True) if count == 0]
    share = f"{whole(high)} of {plural(total, f'{split} image')} ({percent(high / total)})"
    if empty:
        return (
            f"{classes[most]} is the most common class, {share}; there is no {split} image of {listing(empty, 'or')}."
        )
    if high == low:
        return f"The classes are balanced: {plural(high, f'{split} image')} of each."
    rare = f"{classes[least]} the rarest with {whole(low)} ({percent(low / total)})"
    if high < 1.5 * low:
        return f"The classes are nearly balanced: {classes[most]} is the most common with {share}, {rare}."
    return f"{classes[most]} is the most common class with {share}, {rare}: {fixed(high / low, 1)} times fewer."
