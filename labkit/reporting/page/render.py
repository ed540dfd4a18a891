"""Executed notebooks to one self-contained HTML page."""

from pathlib import Path

from labkit.reporting.page.cells import RenderError, join, read_executed
from labkit.runs.files import sweep, write_whole


def render_report(
    notebooks: list[Path],
    html: Path,
    *,
    title: str,
    subtitle: str = "",
    facts: dict[str, str] | None = None,
    links: dict[str, str] | None = None,
    compare: str | None = None,
) -> Path:
    """Join executed notebooks, in order, into one page with a table of contents; returns `html`.

    Under the title stand `facts` (label → value), a link to the page `compare`, `links` to the runs' notebooks (name →
    address relative to the page) and a box of the cells tagged `summary`. The same notebooks give the same bytes.
    RenderError names a cell that was not run or failed, and a label that is referred to and that nothing has.
    """
    from labkit.reporting.page.exporter import ReportExporter

    if not notebooks:
        raise RenderError(f"no notebooks given for {html}")
    read = [(Path(path), read_executed(Path(path))) for path in notebooks]
    joined = join(read)
    parts = sum(cell.cell_type == "markdown" and cell.source.startswith("# ") for cell in joined.cells)
    report = {"title": title, "subtitle": subtitle, "facts": facts or {}, "links": links or {}, "compare": compare}
    report |= {"parts": parts, "numbered": len(read) > 1}
    page, _ = ReportExporter().from_notebook_node(joined, {"report": report})
    sweep(Path(html).parent, Path(html).name)  # of a call that was killed: one works on a study's pages at a time
    write_whole(Path(html), lambda beside: beside.write_bytes(page.encode("utf-8")))
    return Path(html)
