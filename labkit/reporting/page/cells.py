"""What a reader should see of executed notebooks: refuse unfinished ones, join them, clean their cells."""

import copy
import html
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labkit.reporting.show import VECTOR

# Parameters are shown by what is made from them; the last tag is Papermill's own words about an error.
DROPPED_TAGS = frozenset({"hide", "remove_cell", "parameters", "injected-parameters", "papermill-error-cell-tag"})
EXHIBIT = "raises-exception"  # Jupyter's tag of a cell after whose error the next one is executed
SLOTS = frozenset({"audit", "explore"})  # of Markdown cells that only say where explore.ipynb's cells go
CODELESS_TAGS = frozenset({"hide_input", "remove_input"})
WIDGET = "application/vnd.jupyter.widget-view+json"


class RenderError(RuntimeError):
    """A notebook that must not be shown as a finished report; names the file, the cell and the cure."""


def read_executed(path: Path, allow_errors: bool = False) -> NotebookNode:
    """Read an executed notebook; RenderError when it is missing, cut short, not run to its end or failed.

    Papermill marks every cell "completed", also after its kernel was killed: the kernel must have counted each cell.
    """
    path = Path(path)
    try:
        nb = nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise RenderError(f"{path}: no such notebook; run it first") from error
    except (ValueError, OSError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise RenderError(f"{path}: not a readable notebook ({_first_line(error)}); re-run it") from error
    for number, cell in enumerate(nb.cells, start=1):
        if allow_errors or cell.cell_type != "code" or not cell.source.strip():
            continue  # an exhibit (`failed`) may have failed, too
        where = f"{path}: cell {number} ({_first_line(cell.source)!r})"
        for output in cell.outputs:
            if output.output_type == "error" and EXHIBIT not in _tags(cell):
                raise RenderError(f"{where} failed with {_reason(output)}; correct it and run the notebook again")
        if cell.execution_count is None:
            raise RenderError(f"{where} was not run (was the kernel killed?); run the notebook again")
    return nb


def failed(path: Path) -> Iterator[tuple[str, str]]:
    """Each exhibit of an executed notebook that failed: the heading above it, and the error in one line."""
    heading = path.stem
    for cell in read_executed(path).cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)):
            heading = found[-1]
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield heading, _reason(output)


def _reason(error: NotebookNode) -> str:
    missing = " (an earlier part failed)" * (error.get("ename") == "NameError")
    return f"{error.get('ename', 'error')}: {_first_line(error.get('evalue', ''))}{missing}"


def join(notebooks: list[tuple[Path, NotebookNode]]) -> NotebookNode:
    """One notebook with all cells in order; each cell remembers its folder, for pictures beside it.

    A cell of the first notebook that is tagged with another's name (`explore` for explore.ipynb) gives its place to
    that one's cells, so that the data can stand between introduction and results; its H1 then gives way. So does one
    that is tagged as some cells of the others are (`audit`), to these alone: what must be read first can stand first.
    """
    first = notebooks[0][1]
    metadata = {key: first.metadata[key] for key in ("kernelspec", "language_info") if key in first.metadata}
    places = [cell for cell in first.cells if cell.cell_type == "markdown" and not DROPPED_TAGS & {*_tags(cell)}]
    slots = {tag: _level(cell) for cell in places for tag in _tags(cell)}
    inserted: dict[str, list[NotebookNode]] = {}
    for path, nb in notebooks[1:]:
        depth = slots.get(path.stem, 0)
        below = copy.deepcopy(_with_folder(path, nb))
        for cell in (cell for cell in below if depth and cell.cell_type == "markdown"):  # H1 is a section there
            cell.source = re.sub(r"^(#{1,5}) ", rf"{'#' * (depth - 1)}\1 ", cell.source, flags=re.MULTILINE)
        for cell, whole in zip(below, nb.cells, strict=True):
            slot = next((tag for tag in _tags(cell) if tag in slots), None)
            inserted.setdefault(slot or path.stem, []).append(whole if slot else cell)
    cells = []
    for cell in _with_folder(*notebooks[0]):
        names = [tag for tag in _tags(cell) if tag in inserted and cell.cell_type == "markdown"]
        unfilled = SLOTS & {*_tags(cell)} and not names  # such as for predictions, whose data is not explored
        cells += inserted.pop(names[0]) if names else [] if unfilled else [cell]
    joined = nbformat.v4.new_notebook(metadata=metadata)
    joined.cells = [*cells, *(cell for rest in inserted.values() for cell in rest)]
    return joined


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _with_folder(path: Path, nb: NotebookNode) -> list[NotebookNode]:
    for cell in nb.cells:
        cell.metadata["folder"] = str(Path(path).parent)
    return nb.cells


def _level(cell: NotebookNode) -> int:
    """1 for a Markdown cell that begins with "# ", 2 for "## "…; 0 for one that does not begin with a heading."""
    return len(cell.source) - len(cell.source.lstrip("#")) if cell.cell_type == "markdown" else 0


def clean(nb: NotebookNode) -> NotebookNode:
    """Change cells in place to what a reader should see (see the functions below); returns the notebook."""
    cells: list[NotebookNode] = []
    for cell in nb.cells:
        tags = set(_tags(cell))
        if tags & DROPPED_TAGS or not cell.source.strip():
            continue
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        cell.outputs = clean_outputs(cell.outputs)
        if tags & CODELESS_TAGS:
            cell.metadata["codeless"] = True
        if cells and _silent(cells[-1]) and not tags & CODELESS_TAGS:
            cell.source = f"{cells.pop().source}\n\n{cell.source}"  # one "Show code", not three in a row
        cells.append(cell)
    nb.cells = _without_empty_sections(cells)
    return nb


def _without_empty_sections(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Without headings below which code was run and nothing came out, and without that code."""
    kept: list[NotebookNode] = []
    silent: list[NotebookNode] = []  # code since the heading above, which is not reached yet
    filled, below = False, 0  # something is shown there; the level of the heading that was kept last
    for cell in reversed(cells):
        if _silent(cell):
            silent.append(cell)
        elif not (level := _level(cell)):
            filled = True
            kept += [*silent, cell]
            silent = []
        elif filled or below > level or not silent:
            kept += [*silent, cell]
            silent, filled, below = [], False, level
        else:
            silent = []
    return [*kept, *silent][::-1]


def clean_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Without stderr (warnings, progress bars) and widgets; stdout joined, overwritten lines collapsed.

    A drawing is its SVG; an error is one line in the place of what could not be made.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stdout" and kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
            elif output.name == "stdout":
                kept.append(output)
        elif output.output_type == "error":
            line = f'<div class="banner not-shown" role="note">Not shown: {html.escape(_reason(output))}</div>'
            kept.append(nbformat.v4.new_output("display_data", {"text/html": line}))
        elif WIDGET not in output.data:
            if VECTOR in output.data:
                output.data = {"image/svg+xml": output.data[VECTOR]}
                output.metadata = {"image/svg+xml": output.metadata["image/png"]}
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":  # a line that ends in "…" was of the moment
            output.text = "\n".join(line for line in collapse(output.text).split("\n") if not line.endswith("…"))
    return [o for o in kept if o.output_type != "stream" or o.text.strip()]


def collapse(text: str) -> str:
    r"""What a terminal shows in the end of text whose lines were overwritten with `\r`."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(next((part for part in reversed(line.split("\r")) if part), "") for line in lines)


def _silent(cell: NotebookNode) -> bool:
    """A code cell that shows code and nothing else."""
    return cell.cell_type == "code" and not cell.outputs and "codeless" not in cell.metadata


def _first_line(text: object) -> str:
    return next((line.strip()[:80] for line in str(text).splitlines() if line.strip()), "")
