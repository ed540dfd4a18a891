"""The compare page: all runs of a study as one table to sort and filter, with their curves; no request to any host.

The table is plain HTML that can be read, searched and printed without a script; DataTables, which itables brings along,
makes it sortable.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from labkit.evaluation.metrics import METRICS, metric
from labkit.format import DASH, fixed, missing, plural, whole
from labkit.params import DataParams
from labkit.reporting.page.exporter import script_hash
from labkit.reporting.runs_table import FIRST, OF_THE_RUN, TEST, VAL
from labkit.reporting.tables import parameter_text
from labkit.runs.files import write_whole

TEMPLATE, BUNDLE = Path(__file__).resolve().parent / "template", files("itables") / "html"
STYLES = (BUNDLE / "dt_bundle.css", TEMPLATE / "report.css", TEMPLATE / "compare.css")
WIDTH, HEIGHT, EDGE = 132, 30, 4  # of a small curve, CSS pixels
Curves = Mapping[str, Sequence[float]]
N = {"test_images": "n, test", "val_images": "n, validation"}
OF_THE_DATA = [*DataParams.model_fields, "split", "split_seed", "test_fraction"]  # what decides the test images


def render_compare(
    table: pd.DataFrame, html: Path, *, title: str, curves: Curves, links: Mapping[str, str] | None = None
) -> Path:
    """Write the page; returns ``html``. The same rows give the same bytes.

    ``table``: as `runs_table` makes it, one row a run and seed: a table for each test set, the highest score first.
    ``curves``: as `validation_curves` gives them, by ``name-seed``; all are drawn on one scale. ``links``: label ->
    address relative to the page. A parameter that is the same in all runs stands below.
    """
    parameters = [name for name in table.columns if name not in (*FIRST, *OF_THE_RUN) and not _is_score(name)]
    values = {name: list(dict.fromkeys(_text(name, value) for value in _known(table, name))) for name in parameters}
    scored = next((name for name in table.columns if name.startswith(VAL) and _is_score(name)), None)
    shown = _order(table, scored, [name for name in parameters if len(values[name]) > 1])
    states = [f"{count} {state}" for state, count in table["status"].value_counts().items()]
    script = _script()
    page = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True).get_template("compare.html.j2").render(
        title=title,
        links=links or {},
        counts=f"{plural(len(table), 'run')}: {', '.join(states)}",
        curve_name=metric(scored).name if scored else "score",
        columns=[{"head": _head(name), "number": all(map(_is_number, _known(table, name)))} for name in shown],
        sections={head: _rows(part, shown, curves) for head, part in _sections(table, shown, values).items()},
        common={name: values[name][0] for name in parameters if len(values[name]) == 1},
        styles=Markup("".join(file.read_text("utf-8") for file in STYLES)),
        script=Markup(script),
        script_hash=script_hash(script)
    )  # fmt: skip
    write_whole(Path(html), lambda beside: beside.write_bytes(page.encode("utf-8")))
    return Path(html)


def sparkline(values: Sequence[float], epochs: int, low: float, high: float, what: str, chosen: int = 0) -> Markup:
    """``values`` by epoch as SVG, of ``epochs`` epochs between ``low`` and ``high``; a dot marks the ``chosen`` one."""
    span = (high - low) or 1.0

    def point(place: int) -> tuple[float, float]:
        x = EDGE + (WIDTH - 2 * EDGE) * (place / (epochs - 1) if epochs > 1 else 0.5)
        return round(x, 1), round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (values[place] - low) / span, 1)

    line = " ".join(f"{x},{y}" for x, y in map(point, range(len(values))))
    said, dot = f"{what} by epoch: from {fixed(values[0], 3)} to {fixed(values[-1], 3)}", Markup()
    if chosen:
        said += f", {fixed(values[chosen - 1], 3)} in the chosen epoch {chosen}"
        dot = Markup('<circle cx="{}" cy="{}" r="2.6"/>').format(*point(chosen - 1))
    return Markup(
        '<svg role="img" aria-label="{}" viewBox="0 0 {w} {h}" width="{w}" height="{h}"><polyline points="{}"/>{}</svg>'
    ).format(said, line, dot, w=WIDTH, h=HEIGHT)


def _order(table: pd.DataFrame, scored: str | None, varying: list[str]) -> list[str]:
    """The columns behind the curve: the score and accuracy, what makes the runs differ, the cost, further scores."""
    scores = [name for name in table.columns if (name in N or _is_score(name)) and _known(table, name)]
    first = [TEST + (scored or "").removeprefix(VAL), f"{TEST}accuracy", "test_images", scored, "val_images"]
    first = [name for name in dict.fromkeys(first) if name in scores]
    costs = [name for name in ("best_epoch", "seconds") if name in table.columns]
    return [*first, *varying, *costs, *(name for name in scores if name not in first)]


def _sections(table: pd.DataFrame, shown: Sequence[str], values: Mapping[str, list[str]]) -> dict[str, pd.DataFrame]:
    """The runs by heading, the best first: those with the same test images together, since others cannot be compared.

    A heading says in which parameters of the data the test sets differ; without a second test set it is empty.
    """
    score = next((name for name in shown if _is_score(name)), None)
    if score is not None:
        table = table.sort_values(score, ascending=not metric(score).higher_is_better, kind="stable")
    sets = sorted(set(_known(table, "test_set")))
    if len(sets) < 2:
        return {"": table}
    found, differing = {}, [name for name in OF_THE_DATA if len(values.get(name, ())) > 1]
    for number in sets:
        part = table.loc[table["test_set"] == number]
        told = {name: {_text(name, value) for value in _known(part, name)} for name in differing}
        common = [f"{name} {texts.pop()}" for name, texts in told.items() if len(texts) == 1]
        found[", ".join([f"Test set {whole(number)}", *common])] = part
    rest = table.loc[table["test_set"].isna()]
    return found | ({"Runs without a test score": rest} if len(rest) else {})


def _rows(table: pd.DataFrame, shown: Sequence[str], curves: Curves) -> list[dict[str, Any]]:
    drawn = [value for values in curves.values() for value in values]
    epochs = max((len(values) for values in curves.values()), default=0)
    rows = []
    for row in table.to_dict("records"):
        values = curves.get(f"{row['run']}-seed{row['seed']}") or []
        chosen = 0 if missing(row.get("best_epoch")) else int(row["best_epoch"])
        reached = values[chosen - 1] if values else None  # in the last epoch until one is chosen
        curve = sparkline(values, epochs, min(drawn), max(drawn), "validation score", chosen) if values else DASH
        cells = [(_text(name, row.get(name)), row.get(name)) for name in shown]
        page = row["notebook"] if isinstance(row.get("notebook"), str) else None
        # What is shown, and what is sorted by; '' comes first.
        cells = [(text, text if not _is_number(of) else "" if missing(of) else of) for text, of in cells]
        rows.append(row | {"notebook": page, "curve": curve, "reached": reached, "cells": cells})
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _head(name: str) -> str:
    if _is_score(name):
        return metric(name).short + (", test" if name.startswith(TEST) else ", validation")
    return (N | {"best_epoch": "Best epoch", "seconds": "Minutes"}).get(name, name)


def _is_score(name: str) -> bool:
    return name.startswith((TEST, VAL)) and name.removeprefix(TEST).removeprefix(VAL) in METRICS


def _known(table: pd.DataFrame, name: str) -> list[Any]:
    """A column's values, without what is not known of runs that failed before they wrote it."""
    return table[name].dropna().tolist()


def _text(name: str, value: Any) -> str:
    if _is_score(name):
        return metric(name).text(value)
    if name == "seconds":
        return fixed(None if missing(value) else value / 60, 1)
    if name in N:
        return whole(value)
    known = isinstance(value, list | tuple) or not pd.isna(value)  # such as two angles
    return parameter_text(value) if known else DASH


def _script() -> str:
    """itables' bundle of DataTables, and what starts it, as one module; so the policy can name it by its hash."""
    bundle = (BUNDLE / "dt_bundle.js").read_text("utf-8")
    exported = re.search(r"export\s*\{[^{}]*?([\w$]+) as default[^{}]*\};?", bundle)
    if exported is None:
        raise RuntimeError("itables: its bundle exports no DataTable; install the version in requirements.lock")
    own = (TEMPLATE / "compare.js").read_text("utf-8")
    script = f"{bundle.replace(exported[0], '')}\nconst DataTable = {exported[1]};\n{own}"
    return script.replace("</script", "<\\/script")
