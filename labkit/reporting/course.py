"""What a course's report asks of a study's results: published numbers beside ours, ablations, costs of deviations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.source import PHANTOMS
from labkit.evaluation.compare import unpaired_difference
from labkit.models.build import DEVIATIONS
from labkit.params import RunParams
from labkit.reporting.plots_ablation import MOST
from labkit.reporting.results import Comparison, StudyResults, intervals_over_seeds
from labkit.reporting.sentences_ablation import ablation_sentence, factor_in_words
from labkit.studies.file import Published

Row = dict[str, Any]
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Ablation:
    """One question that a study asks: the pairs of variants that differ in this factor, at most a figure's."""

    factor: str  # a parameter, 'start', or a name for several, as in Comparison
    part: str  # ' (1 of 2)' where the pairs fill several figures
    comparisons: list[Comparison]  # two a pair: on the study's score and on accuracy

    @property
    def pairs(self) -> pd.DataFrame:
        """Columns a, b, metric, difference, low, high, as `plots.ablation` takes them."""
        return pd.DataFrame([vars(comparison) for comparison in self.comparisons])

    @property
    def variants(self) -> list[str]:
        """The runs of these pairs, each once, as the pairs bring them."""
        return list(dict.fromkeys(name for one in self.comparisons for name in (one.a, one.b)))


def ablations(results: StudyResults) -> list[Ablation]:
    """All comparisons of a study by the factor that differs, in the order in which the study's table brings them."""
    by_factor: dict[str, dict[tuple[str, str], list[Comparison]]] = {}
    for comparison in results.comparisons():
        pairs = by_factor.setdefault(comparison.factor, {})
        pairs.setdefault((comparison.a, comparison.b), []).append(comparison)
    found = []
    for factor, of_factor in by_factor.items():
        pairs = list(of_factor.values())
        figures = [pairs[start : start + MOST] for start in range(0, len(pairs), MOST)]
        for number, figure in enumerate(figures, 1):
            part = f" ({number} of {len(figures)})" if len(figures) > 1 else ""
            found.append(Ablation(factor, part, [comparison for pair in figure for comparison in pair]))
    return found


def in_words(ablation: Ablation) -> str:
    """'class weights', or 'network (1 of 2)'."""
    return factor_in_words(ablation.factor) + ablation.part


def ablation_sentences(ablation: Ablation, results: StudyResults) -> list[str]:
    """One a pair, on the study's score, with how far each over-fits.

    Not so for oversampling: its training accuracy is that of balanced classes and cannot stand beside the other one.
    """
    first = results.history.drop_duplicates(["run", "epoch"])  # first seeds
    histories = {str(run): part for run, part in first.groupby("run")} if ablation.factor != "sampling" else None
    return [
        ablation_sentence(c.factor, c.a, c.b, c.metric, c.difference, c.low, c.high, histories, c.also)
        for c in ablation.comparisons
        if c.metric == results.score
    ]


def protocol_rows(results: StudyResults, published: Published | None) -> list[Row]:
    """A row a variant of the study, with what `tables_course.published_table` and `protocol_sentence` take.

    Compared is the published metric, else the study's score. A run that keeps patients apart and does not choose on
    test is honest itself, whatever its name.
    """
    metric = published.metric if published else results.score
    rows = []
    for name in results.study.runs:
        mine = [run for run in results.runs if run["run"] == name]
        ours, again = _ours(mine, metric), _ours(results.honest.get(name, []), metric)
        course, honest = (None, ours) if mine and _is_honest(mine[0]["params"]) else (ours, again)
        cell = _published(published, name)
        rows.append(
            {
                "run": name,
                "metric": metric,
                "published": cell["score"] if cell else None,
                "course": course and course["estimate"],
                "honest": honest and honest["estimate"],
                "gap": _gap(results.honest[name], mine, metric) if course and again else None,
                "same_data": bool(mine and cell and _same_images(mine[0], cell["n"])),
                "interval": ours and (ours["low"], ours["high"]),
                "cells": {"run": name, "published": cell, "course": course, "honest": honest},
            }
        )
    return rows


def _published(published: Published | None, name: str) -> Row | None:
    if published is None or name not in published.scores:
        return None
    of_all = {"data": published.data, "n": published.n, "majority": published.majority}
    return of_all | {"score": published.scores[name]}


def _ours(mine: Sequence[Run], metric: str) -> Row | None:
    """One cell of our own: the mean over seeds, with its interval."""
    if not mine or mine[0].get(metric) is None:
        return None
    first = mine[0]
    intervals = first["intervals"] if len(mine) == 1 else intervals_over_seeds(mine)
    low, high = intervals.loc[metric, ["low", "high"]] if metric in intervals.index else (None, None)
    values = [run[metric] for run in mine]
    return {
        "estimate": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)) if len(mine) > 1 else None,
        "low": low,
        "high": high,
        "n": first["n"],
        "majority": first["majority"]["test"],
        "data": data_in_words(first),
        "seeds": len(mine),
    }


def _gap(honest: Sequence[Run], mine: Sequence[Run], metric: str) -> tuple[float, float, float] | None:
    """How much more the course protocol gives, with its interval; None for a metric that is not of answers alone."""
    tests = [[run["test"] for run in one] for one in (honest, mine)]
    found = unpaired_difference(*tests, n_classes=len(mine[0]["classes"]))
    if metric not in found.index:
        return None
    row = found.loc[metric]
    return float(row["difference"]), float(row["low"]), float(row["high"])


def data_in_words(run: Run) -> str:
    """Which images a run is of: a built-in set in words, else the folder's name and how many were labelled there."""
    data = run["params"].data
    if data in PHANTOMS:
        return PHANTOMS[data]
    return f"“{Path(data).name}” ({sum(run['n_images'].values()):,} images, {run['params'].input_size} px)"


def _is_honest(params: RunParams) -> bool:
    return params.split == "group" and params.select_on != "test" and not params.augment_test


def _same_images(run: Run, n: int) -> bool:
    """Whether these may be the test images of the published number: the course lost one row to a CSV's header."""
    return run["params"].data not in PHANTOMS and run["params"].split == "given" and abs(run["n"] - n) <= 1


def deviation_rows(results: StudyResults) -> list[Row]:
    """What `tables_course.deviation_table` takes: a row for each pair of a proper network and one that deviates."""
    first = results.firsts
    rows: dict[tuple[str, str], Row] = {}
    for one in results.comparisons():
        if one.factor != "deviation":
            continue
        proper, other, sign = (one.a, one.b, 1) if first[one.a]["params"].deviation == "none" else (one.b, one.a, -1)
        if first[proper]["params"].deviation != "none":
            continue  # two deviations against each other say nothing of the proper network
        deviation = first[other]["params"].deviation
        row = rows.setdefault(
            (proper, other),
            {
                "deviation": deviation,
                "reason": DEVIATIONS[deviation],
                "proper": proper,
                "deviating": other,
                "metrics": {},
                "also": one.also if sign == 1 else tuple((key, b, a) for key, a, b in one.also),
            }
            | {
                f"{key}_{side}": first[name][key]
                for key in ("parameters", "flops")
                for side, name in (("proper", proper), ("deviating", other))
            },
        )
        ends = sorted((sign * one.low, sign * one.high))
        values = (*(results.mean(name, one.metric) for name in (proper, other)), sign * one.difference, *ends)
        row["metrics"][one.metric] = values
    return list(rows.values())
