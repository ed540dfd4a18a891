"""Sentences on ablations: what one difference between two variants changed, and what it did not."""

from collections.abc import Sequence

from labkit.reporting.numbers import fixed, listing, plural


def oversampling_sentence(before: Sequence[int], after: Sequence[int], classes: Sequence[str]) -> str:
    """What repeating images changed; `before`, `after`: images per class of one epoch."""
    before, after = [int(n) for n in before], [int(n) for n in after]
    total_before, total_after = sum(before), sum(after)
    text = f"An epoch has {plural(total_after, 'image')} instead of {plural(total_before, 'image')}"
    if before == after:
        return f"No image is repeated: the classes have equally many already ({plural(total_before, 'image')} in all)."
    factors = [new / old if old else 0.0 for old, new in zip(before, after, strict=True)]
    most = max(range(len(factors)), key=factors.__getitem__)
    text += f": every image of {classes[most]} is drawn {fixed(factors[most], 1)} times on average"
    kept = [classes[place] for place, factor in enumerate(factors) if factor == 1]
    if kept:
        text += f", one of {listing(kept, 'or')} once"
    missing = [classes[place] for place, count in enumerate(before) if count == 0]
    return f"{text}; there is no image of {listing(missing, 'or')} to repeat." if missing else f"{text}."
