"""Published scores beside ours, under two protocols: the data as it came, and patients kept apart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.source import PHANTOMS
from labkit.evaluation.compare import unpaired_difference
from labkit.evaluation.metrics import metric, signed_difference, with_interval
from labkit.evaluation.power import REPEATED, Equivalence, equivalence
from labkit.format import DASH, NBSP, listing, missing, percent, plural, whole
from labkit.reporting.exhibits.power import about, unit_of
from labkit.reporting.learning import choice_in_words
from labkit.reporting.results import StudyResults, intervals_over_seeds
from labkit.reporting.show import Exhibit
from labkit.studies.file import Published

AS_IT_CAME, HONEST = "ours, as the data came", "ours, patients kept apart"

Row = dict[str, Any]
Run = Mapping[str, Any]


def protocol_rows(results: StudyResults, published: Published | None) -> list[Row]:
    """One row per variant of the study, for the table and the sentences of this file.

    `run`; `published`, `course`, `honest`: a cell (`_cell`) or None; `gap`: course minus honest at one class mix
    (difference, low, high) or None; `same_data`: whether the published number is of our test images. A run that keeps
    patients apart and does not choose on test is honest itself, whatever its name.
    """
    score = published.metric if published else results.score
    rows = []
    for slug, name in results.study.labels.items():
        mine = results.of(name)
        course, honest = _cell(mine, score), _cell(results.honest.get(name, []), score)
        gap, params = None, mine[0]["params"] if mine else None
        if course and honest:
            tests = [[run["test"] for run in one] for one in (results.honest[name], mine)]
            found = unpaired_difference(*tests, n_classes=len(results.classes))
            if score in found.index:  # not one of probabilities
                gap = tuple(found.loc[score, ["difference", "low", "high"]].astype(float))
        if params and params.split == "group" and params.select_on != "test" and not params.augment_test:
            course, honest, gap = None, course, None
        theirs = None
        if published and slug in published.scores:
            theirs = published.model_dump(include={"data", "n", "majority", "margin"}) | {
                "estimate": published.scores[slug]
            }
        cells = {"published": theirs, "course": course, "honest": honest}
        same = bool(theirs and params and params.data not in PHANTOMS and params.split == "given")
        if same and theirs:  # the course lost one row to a CSV's header
            same = abs(mine[0]["n"] - theirs["n"]) <= 1
        also = _also(mine[0], results.honest[name][0]) if course and honest else []
        rows.append({"run": name, "gap": gap, "same_data": same, "also": also} | cells)
    return rows


def _also(mine: Run, honest: Run) -> list[str]:
    """In what else than the split the two protocols differ, in words."""
    a, b = mine["params"], honest["params"]
    rules = [choice_in_words([of["params"].chosen_by(of["score"])]) for of in (mine, honest)]
    found = [f"the final network is that of {listing(rules)}"] if rules[0] != rules[1] else []
    found += ["test images are augmented in the first alone"] if a.augment_test and not b.augment_test else []
    sizes = [whole(of["n_images"]["train"]) for of in (mine, honest)]
    return found + [f"{listing(sizes)} training images"] * (sizes[0] != sizes[1])


def _cell(mine: Sequence[Run], score: str) -> Row | None:
    """One cell of our own: the mean over seeds, with its interval."""
    if not mine or mine[0].get(score) is None:
        return None
    first = mine[0]
    intervals = intervals_over_seeds(mine)
    low, high = intervals.loc[score, ["low", "high"]] if score in intervals.index else (None, None)
    values = [run[score] for run in mine]
    return {
        "estimate": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)) if len(mine) > 1 else None,
        "low": low,
        "high": high,
        "n": first["n"],
        "groups": first["n_groups"] + first["n_without_group"],
        "majority": first["majority"]["test"],
        "data": data_in_words(first),
        "seeds": len(mine),
    }


def data_in_words(run: Run) -> str:
    """Which images a run is of: a built-in set in words, else the folder's name and how many were labelled there."""
    data = run["params"].data
    if data in PHANTOMS:
        return PHANTOMS[data]
    return f"“{Path(data).name}” ({sum(run['n_images'].values()):,} images, {run['params'].input_size} px)"


def published_table(rows: Sequence[Row], score: str) -> pd.DataFrame:
    """A published number of each variant beside ours under two protocols; each cell names the images it is of.

    `rows` as `protocol_rows` gives them. An empty column is left out, except for the first of ours.
    """
    heads = {"published": "published", AS_IT_CAME: "course", HONEST: "honest"}
    filled = [head for head, key in heads.items() if any(row[key] for row in rows)]
    if not {AS_IT_CAME, HONEST} & set(filled):
        filled.append(AS_IT_CAME)
    table = [
        {"variant": row["run"]} | {head: _text(row[heads[head]], heads[head], score) for head in filled} for row in rows
    ]
    return pd.DataFrame(table, columns=["variant", *filled])


def _text(cell: Row | None, column: str, score: str) -> str:
    """'78.1 % ± 0.4 [76.0–80.0], mean of 3 seeds · EyePACS, n = 7,025, majority 73.4 %'."""
    if cell is None:
        return DASH if column == "published" else "not run"
    if missing(cell["estimate"]):
        return "left open"
    text = with_interval(score, cell["estimate"], cell.get("low"), cell.get("high"), spread=cell.get("spread"))
    if cell.get("seeds", 1) > 1:
        text += f", mean of {plural(cell['seeds'], 'seed')}"
    majority = "" if cell["majority"] is None else f", majority{NBSP}{percent(cell['majority'])}"
    return f"{text} · {cell['data']}, n{NBSP}={NBSP}{whole(cell['n'])}{majority}"


def protocol_sentence(rows: Sequence[Row], score: str) -> str:
    """How far the score as the data came is above that with patients kept apart, and what may not be concluded."""
    both = [row for row in rows if row["course"] and row["honest"]]
    if not both:
        return f"No variant's {metric(score).name} is known under both protocols, so they cannot be compared."
    gaps = {row["run"]: _apart(row, score) for row in both}
    text = f"{metric(score).title} as the data came minus that with patients kept apart: {'; '.join(gaps.values())}."
    if any(row["gap"] for row in both):
        text += " These differences are re-weighted to one class mix, so they are not the plain ones of the table."
    if len(gaps) < len(rows):
        text += f" Only {listing(list(gaps))} {'was' if len(gaps) == 1 else 'were'} run under both."
    text += " The test images differ between the protocols, so part of a difference may be which images were tested"
    also = dict.fromkeys(what for row in both for what in row.get("also", ()))
    return text + (f"; and more than the split differs: {'; '.join(also)}." if also else ".")


def _apart(row: Row, score: str) -> str:
    """'lite0 +0.050 [−0.010 to +0.110], which includes zero'."""
    difference, low, high = row["gap"] or (row["course"]["estimate"] - row["honest"]["estimate"], *[float("nan")] * 2)
    text = f"{row['run']} {signed_difference(score, difference, low, high)}"
    if missing(low):
        return f"{text} (no interval)"
    return f"{text}, {'above zero' if low > 0 else 'below zero' if high < 0 else 'which includes zero'}"


def published_sentence(rows: Sequence[Row], score: str, group: str = "patient") -> str:
    """Whether ours is equivalent to each published value, and which are of other data; empty where none is known."""
    rows = [row for row in rows if row["published"] and row["published"]["estimate"] is not None]
    judged = [(row, *found) for row in rows if row["same_data"] and (found := _judged(row, score))]
    text, margins = "", [margin for *_, margin in judged]
    if clauses := [_verdict(row["run"], found, margin, score, group) for row, found, margin in judged]:
        text = f"Ours minus the published {metric(score).name}, with 95 % intervals: {'; '.join(clauses)}."
        if any(margins):
            text += " Of an equivalent score the interval is one of 90 %, and lies within the margin (two one-sided "
            text += "tests at 5 %)."
        if any(margin and not row["published"].get("margin") for row, _, margin in judged):
            text += " The margin is 2.8 standard deviations over seeds: 1 in 20 pairs of trainings differs by more."
        if not all(margins):
            text += " Without a margin in the study nothing is called equivalent."
        known = metric(score).interval == "share"
        text += f" The published number's own sampling error is {'included' if known else 'not known and left out'}."
    if foreign := [row["run"] for row in rows if not row["same_data"]]:
        values = "value of {} is" if len(foreign) == 1 else "values of {} are"
        text += f" The published {values.format(listing(foreign))} on other data: not comparable with ours."
    return text.strip()


def _judged(row: Row, score: str) -> tuple[Equivalence, float | None] | None:
    """The verdict and its margin (the study's, else that of the seeds); None where ours has no interval of a width.

    The two errors are taken as independent, although both are of the same images: the interval is rather too wide.
    """
    ours, theirs = row["course"] or row["honest"], row["published"]
    if not ours or missing(ours["low"]) or ours["high"] - ours["low"] < 1e-9:
        return None
    value, spread = theirs["estimate"], ours.get("spread") or 0.0
    margin = theirs.get("margin") or REPEATED * spread or None
    error = np.sqrt(value * (1 - value) / theirs["n"]) if metric(score).interval == "share" else 0.0
    ends, of_seeds = (ours["estimate"], ours["low"], ours["high"]), spread / np.sqrt(ours.get("seeds", 1))
    return equivalence(ends, value, ours["groups"], margin, error, of_seeds), margin


def _verdict(run: str, found: Equivalence, margin: float | None, score: str, group: str) -> str:
    """'a +1.0 points [+0.1 to +1.9], equivalent within ± 2.0 points'."""
    text = f"{run} {signed_difference(score, found.difference, found.low, found.high)}, {found.verdict}"
    how = {"equivalent": "within", "undecided": "for a margin of"}.get(found.verdict)
    text += f" {how} ± {metric(score).difference(margin)}" if margin and how else ""
    if found.verdict != "undecided":
        return text
    if missing(found.needed) or np.isinf(found.needed):
        return f"{text} ({f'too few {group}s' if missing(found.needed) else f'no number of {group}s would decide'})"
    return f"{text} (about {about(found.needed)} {group}s would decide)"


def published_scores(results: StudyResults) -> Iterator[Exhibit]:
    """Published numbers beside ours, and the course's protocol beside the honest one."""
    compared = {one.metric: one for one in results.study.published}
    if results.honest:
        compared = {results.score: None} | compared
    for judged, published in compared.items():
        rows = protocol_rows(results, published)
        source = f"; published: {published.source}" if published else ""
        caption = f"{metric(judged).title} of each variant, with its images in the same cell{source}"
        caption += (f"; of “{AS_IT_CAME}”:" if results.honest and results.stamp else "") + results.stamp
        against = protocol_sentence(rows, judged) if results.honest else ""
        text = f"{published_sentence(rows, judged, unit_of(results))} {against}".strip()
        yield Exhibit(table=published_table(rows, judged), caption=caption, text=text)
