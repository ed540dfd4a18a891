"""How a number is written, in figures, tables and sentences alike, and what each metric is called."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

NBSP = "\u00a0"  # between a number and its unit: a line never breaks there
DASH = "\u2013"  # ranges, and a value that is missing
MINUS = "\u2212"


@dataclass(frozen=True)
class Metric:
    """`percent`: printed in percent, differences in points; otherwise with three digits."""

    name: str
    short: str
    percent: bool = True
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The name at the head of a sentence: 'Macro AUROC'."""
        return self.name[:1].upper() + self.name[1:]

    def text(self, value: float | None, *, unit: bool = True) -> str:
        """0.8233 -> '82.3 %', or '0.823' for a metric that is no share."""
        if self.percent:
            return percent(value) if unit else percent(value).removesuffix(f"{NBSP}%")
        return fixed(value, 3)

    def difference(self, value: float | None) -> str:
        """The size (without sign) of a difference: 0.012 -> '1.2 points', or '0.012'."""
        if missing(value):
            return DASH
        size = abs(float(value))  # type: ignore[arg-type]
        return plural(f"{size * 100:.1f}", "point") if self.percent else fixed(size, 3)


METRICS = {
    "accuracy": Metric("accuracy", "Accuracy"),
    "balanced_accuracy": Metric("balanced accuracy", "Balanced accuracy"),
    "macro_f1": Metric("macro F1", "Macro F1", percent=False),
    "weighted_f1": Metric("weighted F1", "Weighted F1", percent=False),
    "mcc": Metric("Matthews correlation", "MCC", percent=False),
    "qwk": Metric("quadratic weighted kappa", "QWK", percent=False),
    "macro_auroc": Metric("macro AUROC", "Macro AUROC", percent=False),
    "auroc": Metric("AUROC", "AUROC", percent=False),
    "macro_average_precision": Metric("macro average precision", "Macro AP", percent=False),
    "referable_auroc": Metric("AUROC of referable disease", "Referable AUROC", percent=False),
    "referable_average_precision": Metric("average precision of referable disease", "Referable AP", percent=False),
    "sensitivity": Metric("sensitivity", "Sensitivity"),
    "specificity": Metric("specificity", "Specificity"),
    "ppv": Metric("positive predictive value", "PPV"),
    "npv": Metric("negative predictive value", "NPV"),
    "ece": Metric("expected calibration error", "ECE", percent=False, higher_is_better=False),
    "brier": Metric("Brier score", "Brier", percent=False, higher_is_better=False),
    "loss": Metric("loss", "Loss", percent=False, higher_is_better=False),
}


def metric(key: str) -> Metric:
    """The metric of a column name; `val_qwk` and `test_qwk` are `qwk`. An unknown one is printed as it is spelt."""
    for prefix in ("train_", "val_", "test_"):
        key = key.removeprefix(prefix)
    words = key.replace("_", " ")
    return METRICS.get(key, Metric(words, words[:1].upper() + words[1:], percent=False))


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


def signed_difference(key: str, value: float, low: float | None = None, high: float | None = None) -> str:
    """'+5.0 points [+1.0 to +9.0]', or '+0.050 [+0.010 to +0.090]'; without brackets when there is no interval."""
    scale, digits, unit = (100, 1, f"{NBSP}points") if metric(key).percent else (1, 3, "")
    text = f"{signed(scale * value, digits)}{unit}"
    if missing(low) or missing(high):
        return text
    return f"{text} [{signed(scale * low, digits)} to {signed(scale * high, digits)}]"  # type: ignore[operator]


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


def interval(key: str, low: float | None, high: float | None) -> str:
    """'[81.4-83.2]' with an en dash, in the metric's own digits; empty when either end is missing."""
    if missing(low) or missing(high):
        return ""
    low_text, high_text = (metric(key).text(end, unit=False) for end in (low, high))
    joint = " to " if MINUS in low_text + high_text else DASH
    return f"[{low_text}{joint}{high_text}]"


def with_interval(key: str, estimate: float | None, *ends: float | None, spread: float | None = None) -> str:
    """'82.3 % ± 0.4 [81.4-83.2]' of estimate, low, high and `spread` over seeds, without what is not known."""
    named = metric(key)
    if named is METRICS["qwk"] and {estimate, *ends} == {0} and ends:  # as `bootstrap_by_group` leaves it
        return "0 (constant predictions)"
    text = named.text(estimate) + ("" if missing(spread) else f" ± {named.text(spread, unit=False)}")
    return f"{text} {interval(key, *ends) if ends else ''}".strip()


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
