"""What a run's network says of new photographs, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from labkit.evaluation.thresholds import WANTED, ScreeningPoint
from labkit.format import fixed, missing, percent, plural, whole
from labkit.params import RunParams

NOT_A_DEVICE = (
    "This is not a medical device: these are the answers of a network trained for a lab report, and nobody has checked "
    "them on your camera or your patients."
)


def run_sentence(name: str, params: RunParams, manifest: Mapping[str, Any]) -> str:
    """Which network answers, and what it has learnt from."""
    of = f"{whole(manifest['n_images']['train'])} images of {params.dataset} ({params.data})"
    return f"{name}: {params.arch}, {manifest['start']}; it learnt from {of}."


def point_sentence(point: ScreeningPoint, ordinal: bool) -> str:
    """What the decision is about, where its threshold comes from and what it is worth on test; or why there is none."""
    if point.question is None or point.threshold is None:
        asked = f" on {point.question.name}" if point.question else ""
        return f"No decision{asked}: {point.reason}."
    level = fixed(point.threshold, 2) if ordinal else percent(point.threshold)
    chosen = f"the highest that finds at least {percent(WANTED, 0)} of it on {plural(point.n, 'validation image')}"
    text = (
        f"Positive for {point.question.name} from {'a grade' if ordinal else 'a probability'} of {level} on, {chosen}"
    )
    known = [(name, *point.on_test[name]) for name in ("sensitivity", "specificity") if name in point.on_test]
    on_test = ", ".join(f"{name} {percent(value)} (n = {whole(n)})" for name, value, n in known if not missing(value))
    return f"{text}; on the run's test images: {on_test}." if on_test else f"{text}."


def answer_line(row: Mapping[str, Any]) -> str:
    """One photograph's answer, or why there is none; `row`: of `labkit.commands.predict.for_people`."""
    if row["unreadable"]:
        return f"{row['image']}: not read, {row['unreadable']}"
    text = f"{row['image']}: {row['prediction']} ({_confidence(row)})"
    if "decision" in row:
        text += f"; {_asked(row)}: {_decision(row)}"
    return text + ("; the run has learnt from this very image" if row["learnt_from"] else "")


def answer_title(row: Mapping[str, Any]) -> str:
    """One photograph's answer above its picture."""
    return f"{row['prediction']}, {_confidence(row)}" + (
        f"\n{_asked(row)}: {_decision(row)}" if "decision" in row else ""
    )


def _confidence(row: Mapping[str, Any]) -> str:
    return f"grade {fixed(row['grade'], 2)}" if "grade" in row else percent(row["probability"])


def _asked(row: Mapping[str, Any]) -> str:
    return row["question"].partition(" (")[0]  # what it means in full stands above the answers


def _decision(row: Mapping[str, Any]) -> str:
    return row["decision"] + ("" if "grade" in row else f" ({percent(row['chance'])})")


def count_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many photographs were answered, how many could not be read, and how many are no news to the run."""
    failed = sum(row["unreadable"] is not None for row in rows)
    known = sum(row["unreadable"] is None and row["learnt_from"] for row in rows)
    text = f"{plural(len(rows) - failed, 'image')} answered"
    text += f", {whole(failed)} of {whole(len(rows))} could not be read" if failed else ""
    return text + (f"; the run has learnt from {whole(known)} of these very images." if known else ".")


def answers_table(rows: Sequence[Mapping[str, Any]], most: int = 100) -> pd.DataFrame:
    """The first answers to look at: image, prediction, how sure, and the decision under what is asked."""
    read = [row for row in rows if row["unreadable"] is None][:most]
    shown = []
    for row in read:
        cells = {"image": row["image"], "prediction": row["prediction"]}
        cells |= {"grade": fixed(row["grade"], 2)} if "grade" in row else {"probability": percent(row["probability"])}
        shown.append(cells | ({_asked(row): _decision(row)} if "decision" in row else {}))
    return pd.DataFrame(shown)
