"""How a number is written, in figures, tables and sentences alike; what each score is called: evaluation.metrics."""

import math
from collections.abc import Iterable

NBSP = "\u00a0"  # between a number and its unit: a line never breaks there
DASH = "\u2013"  # ranges, and a value that is missing
MINUS = "\u2212"


def missing(value: object) -> bool:
    """True for None, NaN and pandas' NA."""
    try:
        return math.isnan(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True


def fixed(value: float | None, digits: int) -> str:
    """1234.5 -> '1,234.5'; a real minus sign; no '-0.000'; a dash for a missing value."""
    if missing(value):
        return DASH
    rounded = round(float(value), digits) + 0.0  # type: ignore[arg-type]
    return f"{rounded:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """0.0123 -> '+0.012'; zero has no sign."""
    text = fixed(value, digits)
    return f"+{text}" if round(float(value), digits) > 0 else text


def percent(share: float | None, digits: int = 1) -> str:
    """0.8233 -> '82.3 %'."""
    return DASH if missing(share) else f"{fixed(float(share) * 100, digits)}{NBSP}%"  # type: ignore[arg-type]


def times(factor: float) -> str:
    """2.53 -> '2.5 times', 25.3 -> '25 times'."""
    return f"{fixed(factor, 1 if factor < 10 else 0)} times"


def whole(count: float | None) -> str:
    """28100 -> '28,100'."""
    return fixed(count, 0)


def millions(count: float | None) -> str:
    """11_689_512 -> '11.7 M'."""
    return DASH if missing(count) else f"{fixed(float(count) / 1e6, 1)}{NBSP}M"  # type: ignore[arg-type]


def rate(value: float) -> str:
    """A learning rate: 0.00123 -> '0.0012', 2.34e-06 -> '2.3e−6' with a real minus sign."""
    if value >= 1e-4:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", MINUS)


def plural(number: int | float | str, noun: str, many: str = "") -> str:
    """1 -> '1 image', 7026 -> '7,026 images', '1.0' -> '1.0 points'."""
    text = number if isinstance(number, str) else whole(number)
    return f"{text}{NBSP}{noun if text == '1' else many or noun + 's'}"


_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def word(number: int) -> str:
    """Small numbers in words, as prose has them: 3 -> 'three', 28 -> '28'."""
    return _WORDS[number] if 0 <= number < len(_WORDS) else whole(number)


def article(noun: str) -> str:
    """'accuracy' -> 'an accuracy', 'macro F1' -> 'a macro F1'."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def listing(names: list[str], last: str = "and") -> str:
    """['a', 'b', 'c'] -> 'a, b and c'."""
    if len(names) < 2:
        return names[0] if names else "none"
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def some(names: Iterable[str], most: int = 5, last: str = "", joint: str = ", ") -> str:
    """The first names, of a set by the alphabet: 'a, b and 2 more'. With `last` as `listing` where all are named."""
    shown = sorted(names) if isinstance(names, (set, dict)) else list(names)
    if len(shown) > most + 1:  # one more has room, too
        return f"{joint.join(shown[:most])} and {len(shown) - most:,} more"
    return listing(shown, last) if shown and last else joint.join(shown)
