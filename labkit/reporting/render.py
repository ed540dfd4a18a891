"""Executed notebooks to one self-contained HTML page, and that page to PDF."""

from pathlib import Path

from labkit.reporting.cells import RenderError, join, read_executed
from labkit.reporting.page import external_references, missing_alt
from labkit.runs import write_whole

__all__ = ["RenderError", "external_references", "missing_alt", "render_notebook", "render_pdf", "render_report"]


def render_report(
    notebooks: list[Path],
    html: Path,
    *,
    title: str,
    subtitle: str = "",
    links: dict[str, str] | None = None,
    allow_errors: bool = False,
) -> Path:
    """Join executed notebooks, in order, into one page with a table of contents; returns `html`.

    `links` (label → address relative to the page) stand under the title. The same notebooks give the same
    bytes. RenderError names the notebook and the cell that was not run or failed, unless `allow_errors`.
    """
    from labkit.reporting.exporter import ReportExporter

    if not notebooks:
        raise RenderError(f"no notebooks given for {html}")
    read = [(Path(path), read_executed(Path(path), allow_errors)) for path in notebooks]
    joined = join(read)
    parts = sum(cell.cell_type == "markdown" and cell.source.startswith("# ") for cell in joined.cells)
    report = {"title": title, "subtitle": subtitle, "links": links or {}, "parts": parts}
    page, _ = ReportExporter().from_notebook_node(joined, {"report": report})
    write_whole(Path(html), lambda beside: beside.write_bytes(page.encode("utf-8")))
    return Path(html)


def render_notebook(notebook: Path, html: Path, *, title: str, allow_errors: bool = False) -> Path:
    """The same for one run's notebook."""
    return render_report([Path(notebook)], html, title=title, allow_errors=allow_errors)


def render_pdf(html: Path, pdf: Path) -> Path:
    """Print a page that render_report wrote to A4, with tags, outline and page numbers; returns `pdf`.

    BrowserMissing (labkit.reporting.browser) says what to install when there is no browser to print with.
    """
    from labkit.reporting.pdf import ReportPDFExporter

    page = Path(html).read_text(encoding="utf-8")
    printed = ReportPDFExporter().run_playwright(page)
    write_whole(Path(pdf), lambda beside: beside.write_bytes(printed))
    return Path(pdf)
