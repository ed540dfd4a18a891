"""Sentences and tables about a run's predictions for new images."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from labkit.evaluation.thresholds import WANTED, ScreeningPoint
from labkit.format import fixed, missing, percent, plural, whole
from labkit.params import RunParams

NOT_A_DEVICE = (
    "This is not a medical device: these are predictions of a network trained for a lab report. They have not been "
    "validated for your camera or your patients."
)


def run_sentence(name: str, params: RunParams, manifest: Mapping[str, Any]) -> str:
    """Which network predicts, and what it was trained on."""
    of = f"{whole(manifest['n_images']['train'])} images of {params.dataset} ({params.data})"
    return f"{name} (study {params.study}): {params.arch}, {manifest['start']}; trained on {of}."


def point_sentence(point: ScreeningPoint, ordinal: bool) -> str:
    """The decision, where its threshold comes from and its scores on test; or why there is no decision."""
    if point.question is None or point.threshold is None:
        asked = f" on {point.question.name}" if point.question else ""
        return f"No decision{asked}: {point.reason}."
    level = fixed(point.threshold, 2) if ordinal else percent(point.threshold)
    text = f"Positive for {point.question.name} at {'a grade' if ordinal else 'a probability'} of {level} or more, the "
    text += f"highest threshold with at least {percent(WANTED, 0)} sensitivity on {plural(point.n, 'validation image')}"
    known = [(name, *point.on_test[name]) for name in ("sensitivity", "specificity") if name in point.on_test]
    on_test = ", ".join(f"{name} {percent(value)} (n = {whole(n)})" for name, value, n in known if not missing(value))
    return f"{text}; on the run's test images: {on_test}." if on_test else f"{text}."


def prediction_line(row: Mapping[str, Any]) -> str:
    """One image's prediction, or why there is none; `row`: of `labkit.commands.predict.for_people`."""
    if row["unreadable"]:
        return f"{row['image']}: not read, {row['unreadable']}"
    text = f"{row['image']}: {row['prediction']} ({_confidence(row)})"
    if "decision" in row:
        text += f"; {_asked(row)}: {_decision(row)}"
    return text + ("; this image was used for training" if row["learnt_from"] else "")


def prediction_title(row: Mapping[str, Any]) -> str:
    """The title above an image: its prediction."""
    return f"{row['prediction']}, {_confidence(row)}" + (
        f"\n{_asked(row)}: {_decision(row)}" if "decision" in row else ""
    )


def _confidence(row: Mapping[str, Any]) -> str:
    return f"grade {fixed(row['grade'], 2)}" if "grade" in row else percent(row["probability"])


def _asked(row: Mapping[str, Any]) -> str:
    return row["question"].partition(" (")[0]  # the full name is in `point_sentence`


def _decision(row: Mapping[str, Any]) -> str:
    return row["decision"] + ("" if "grade" in row else f" ({percent(row['score'])})")


def count_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many images were predicted, could not be read, or were used for training."""
    failed = sum(row["unreadable"] is not None for row in rows)
    known = sum(row["unreadable"] is None and row["learnt_from"] for row in rows)
    text = f"{plural(len(rows) - failed, 'image')} predicted"
    text += f", {whole(failed)} of {whole(len(rows))} could not be read" if failed else ""
    return text + (f"; {whole(known)} of them were used for training." if known else ".")


def predictions_to_show(rows: Sequence[Mapping[str, Any]], most: int = 100) -> pd.DataFrame:
    """The first predictions as a table: image, prediction, probability (or grade), and decision."""
    read = [row for row in rows if row["unreadable"] is None][:most]
    shown = []
    for row in read:
        cells = {"image": row["image"], "prediction": row["prediction"]}
        cells |= {"grade": fixed(row["grade"], 2)} if "grade" in row else {"probability": percent(row["probability"])}
        shown.append(cells | ({_asked(row): _decision(row)} if "decision" in row else {}))
    return pd.DataFrame(shown)
