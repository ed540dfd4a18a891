"""Put figures, tables and sentences into a notebook, so that a reader of the page or of the PDF gets all of them.

A figure is one output, with its alternative text in the metadata, followed by one caption output; a table carries its
caption inside. The report numbers captions.
"""

import base64
import html
import io
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from PIL import Image

from labkit.format import DASH, fixed
from labkit.reporting.style import RC

# A whole cell: 7,026 or 11.7 M or 0.123 ± 0.004 or 82.3 % [81.4–83.2], but no 92480_right, which is a name.
_VALUE = r"[<>]?\s*[\u2212\u2013+-]?\d[\d,.]*(?:[eE][\u2212+-]?\d+)?(?:\s*(?:%|[kMG]|[MG]B|px|s|min|h|points?))?"
_NUMBER = re.compile(rf"{_VALUE}(?:(?:\s*(?:±|\u2013|to|/|×)\s*|\s*[\[(]){_VALUE}[\])]?)*")
PLAIN = "mathjax_ignore"  # JupyterLab's: a "$" in it begins no formula
CSS_PIXELS_PER_INCH = 96
# What the pages show of a drawing. JupyterLab shows SVG without alternative text, and only in notebooks that it trusts.
VECTOR = "application/vnd.labkit.svg+xml"
MOST_MARKS = 2_000  # of one line or one set of dots in a vector figure: more are drawn as pixels
MARKUP = re.compile(r"[\\`*_\[\]<>&#|~$]")  # of Markdown and of formulas; a list's "- " at the start of a line is ours
NO_GLYPH = "missing from font"  # Matplotlib's warning
NO_FONT = "Some letters in the figure above have no font on this machine: install one, such as Noto Sans CJK."
LONGEST_ALT = 200  # characters: a screen reader cannot pause in it; what more there is to say is said below


@dataclass(frozen=True)
class Exhibit:
    """What is shown together: a figure or a table with its caption, and the text that reads it (see `note`)."""

    text: str = ""
    figure: Figure | None = None
    alt: str = ""
    table: pd.DataFrame | None = None
    caption: str = ""


def show(shown: Figure | Exhibit | Iterable[Exhibit], *, alt: str = "", caption: str = "") -> None:
    """Display exhibits, or a figure and its caption; letters without a font are told below. `alt` says in words what is
    to be seen: without it a blind reader could not read the figure, so an empty one raises ValueError."""
    if not isinstance(shown, Figure):
        for one in (shown,) if isinstance(shown, Exhibit) else shown:
            if one.figure is not None:
                show(one.figure, alt=one.alt, caption=one.caption)
            if one.table is not None:
                show_table(one.table, caption=one.caption)
            if one.text:
                note(one.text)
        return
    if not alt.strip():
        raise ValueError("show(fig, alt=...) needs a text that says what the figure shows; it is empty")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        output = figure_output(shown, alt)
        if not _photographs(shown):
            output["data"][VECTOR] = vector(shown)
    display(output.pop("data"), **output)
    if caption:
        paragraph = f'<p class="caption {PLAIN}" data-kind="figure">{html.escape(caption)}</p>'
        display({"text/html": paragraph, "text/plain": caption}, metadata={"labkit": {"caption": "figure"}}, raw=True)
    if any(NO_GLYPH in str(warning.message) for warning in said):
        note(NO_FONT)


def figure_output(fig: Figure, alt: str) -> dict[str, Any]:
    """What `display` is given to show a figure with its alternative text, shortened, in its own size."""
    alt = shorten(alt, LONGEST_ALT, placeholder=" …")
    width, height = (round(inches * CSS_PIXELS_PER_INCH) for inches in fig.get_size_inches())
    kind, data = picture(fig)
    metadata = {kind: {"alt": alt, "width": width, "height": height}}
    return {"data": {kind: data, "text/plain": f"[Figure: {alt}]"}, "metadata": metadata, "raw": True}


def picture(fig: Figure) -> tuple[str, str]:
    """Kind and base64 data of a figure: PNG, or JPEG where it shows photographs and that is smaller.

    The same figure gives the same bytes (no date, no version inside).
    """
    buffer = io.BytesIO()
    with mpl.rc_context(RC):  # some of its texts are made now
        fig.savefig(buffer, format="png", metadata={"Software": None})
    kind, data = "image/png", buffer.getvalue()
    if _photographs(fig):
        smaller = io.BytesIO()
        with Image.open(buffer) as image:  # full resolution of colour, for the letters on it
            image.convert("RGB").save(smaller, "jpeg", quality=85, subsampling=0)
        if smaller.tell() < len(data):
            kind, data = "image/jpeg", smaller.getvalue()
    return kind, base64.b64encode(data).decode("ascii")


def _photographs(fig: Figure) -> bool:
    return any(image.get_array().ndim == 3 for image in fig.findobj(AxesImage))  # pyright: ignore


def vector(fig: Figure) -> str:
    """The figure as SVG without a background, its words as text; the same figure gives the same bytes."""
    for line in fig.findobj(Line2D):
        line.set_rasterized(np.size(line.get_xdata()) > MOST_MARKS)
    for dots in fig.findobj(Collection):
        dots.set_rasterized(np.shape(dots.get_offsets())[0] > MOST_MARKS)
    text = io.StringIO()
    with mpl.rc_context(RC | {"svg.hashsalt": "labkit", "svg.fonttype": "none"}):
        fig.savefig(text, format="svg", metadata={"Creator": None, "Date": None}, transparent=True)
    return text.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")  # Verdana is as wide


def show_table(table: pd.DataFrame, *, caption: str = "") -> None:
    """Display a DataFrame as an HTML table with its caption, and as plain text.

    Columns of numbers, also of numbers in strings, are right-aligned.
    """
    plain = f"{caption}\n{table.to_string(index=not _trivial(table.index))}".strip()
    display(
        {"text/html": table_html(table, caption=caption), "text/plain": plain},
        metadata={"labkit": {"caption": "table"}} if caption else {},
        raw=True,
    )


def table_html(table: pd.DataFrame, *, caption: str = "") -> str:
    """The `<table class="table">` of `show_table`: escaped, `scope` on every header, index hidden if it only counts."""
    cells = {name: [_cell(value) for value in table[name]] for name in table.columns}
    sides = {name: _side(column) for name, column in cells.items()}
    head = [_tag("th", name, sides[name], "col") for name in cells]
    rows = [[_tag("td", column[place], sides[name]) for name, column in cells.items()] for place in range(len(table))]
    if not _trivial(table.index):
        head.insert(0, _tag("th", table.index.name or "", "left", "col"))
        rows = [[_tag("th", name, "left", "row"), *row] for name, row in zip(table.index, rows, strict=True)]
    title = ""
    if caption:
        title = f'<caption class="caption" data-kind="table">{html.escape(caption)}</caption>\n'
    top, *body = (f"<tr>{''.join(row)}</tr>" for row in [head, *rows])
    below = "\n".join(body)
    return f'<table class="table {PLAIN}">\n{title}<thead>{top}</thead>\n<tbody>\n{below}\n</tbody>\n</table>'


def _tag(name: str, content: object, side: str, scope: str = "") -> str:
    attributes = f' scope="{scope}"' if scope else ""
    # The side is also given inline, because JupyterLab has no style sheet of ours.
    return f'<{name}{attributes} class="{side}" style="text-align:{side}">{html.escape(str(content))}</{name}>'


def _cell(value: Any) -> str:
    if not isinstance(value, str) and (value is None or (pd.api.types.is_scalar(value) and pd.isna(value))):
        return DASH
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return fixed(int(value), 0)
    return fixed(float(value), 3) if isinstance(value, float | np.floating) else str(value)


def _side(cells: list[str]) -> str:
    filled = [cell for cell in cells if cell not in ("", DASH)]
    return "right" if filled and all(_NUMBER.fullmatch(cell) for cell in filled) else "left"


def _trivial(index: pd.Index) -> bool:
    return index.name is None and list(index) == list(range(len(index)))


def note(text: str) -> None:
    """Display the sentence(s) that read the figure or table above: a paragraph, or a list of lines that begin "- ".

    All else is shown as it is: a class may be called `*` or `$x$`.
    """
    display({"text/markdown": MARKUP.sub(r"\\\g<0>", text), "text/plain": text}, raw=True)


def show_checks(checks: Iterable[tuple[bool, str]]) -> None:
    """Display what holds (✓) and what does not (⚠), a line each."""
    marks = [("✓ ", "holds", text) if holds else ("⚠ ", "lacks", text) for holds, text in checks]
    items = "".join(f'<li class="{kind}"><span>{mark}</span>{html.escape(text)}</li>' for mark, kind, text in marks)
    plain = "\n".join(f"{mark}{text}" for mark, _, text in marks)
    display({"text/html": f'<ul class="checks {PLAIN}">{items}</ul>', "text/plain": plain}, raw=True)


def show_log(text: str, caption: str) -> None:
    """Display lines that a program printed, as text, under a sentence that says whose they are."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere"
    lines = f'<pre class="stdout" style="{style}">{html.escape(text)}</pre>'
    display({"text/html": f"<p>{html.escape(caption)}</p>{lines}", "text/plain": f"{caption}\n{text}"}, raw=True)


def banner(text: str) -> None:
    """Display a warning that must not be overlooked (class `banner`), such as a leak or a selection on test."""
    style = "border-left:4px solid #D55E00;background:#fdf0e7;padding:0.5em 1em;margin:0.5em 0"
    box = f'<div class="banner {PLAIN}" role="note" style="{style}">{html.escape(text)}</div>'
    display({"text/html": box, "text/plain": f"WARNING: {text}"}, raw=True)
