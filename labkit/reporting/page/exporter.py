"""Executed notebooks to one self-contained HTML page: nbconvert's exporter with the report's template.

By hand: `jupyter nbconvert --to labkit.reporting.page.exporter.ReportExporter notebook.ipynb`.
"""

import base64
import copy
import hashlib
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import pass_context
from nbconvert.exporters.html import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathInlineParser
from nbformat import NotebookNode

from labkit.reporting.page.cells import RenderError, clean, join, read_executed
from labkit.reporting.page.html import finish
from labkit.runs.files import sweep, write_whole

HERE = Path(__file__).resolve().parent


def script_hash(script: str) -> str:
    """What a content security policy calls this script by: with it no other one runs, wherever it came from."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


class _Renderer(IPythonRenderer):
    """Leaves formulas as marked TeX for page.html.finish: nbconvert's own pass over the HTML would flatten MathML."""

    def inline_math(self, body: str) -> str:
        return f'<span class="tex">{self.escape_html(body)}</span>'

    def block_math(self, body: str) -> str:
        return f'<span class="tex" data-display="block">{self.escape_html(body)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class _Inline(MathInlineParser):
    # Like Pandoc, so that "$5 and $10" stays money: no blank before the closing $ unless there is one after
    # the opening $, and no digit after the closing $.
    INLINE_MATH_TEX = (
        r"(?<![$\\])\$(?P<tex_blank>\s)?(?P<math_inline_tex>(?:\\\$|[^$`])+?)"
        r"(?(tex_blank)(?<=\s)|(?<=[^\s\\]))\$(?![$\d])"
    )
    SPECIFICATION: ClassVar = {**MathInlineParser.SPECIFICATION, "inline_math_tex": INLINE_MATH_TEX}


class ReportExporter(HTMLExporter):
    """Executed notebook to one self-contained page; `resources["report"]` holds what render_report is given."""

    export_from_notebook = "Lab report (HTML)"

    @property
    def default_config(self):
        """nbconvert's own, with the report's template, without widgets and scripts among the outputs that are shown."""
        config = super().default_config
        config["ReportExporter"]["template_name"] = "template"
        config["ReportExporter"]["extra_template_basedirs"] = [str(HERE)]
        # No widgets and no JavaScript outputs: a report is read where no kernel and no network is.
        shown = "text/html text/markdown image/svg+xml text/latex image/png image/jpeg text/plain"
        config["NbConvertBase"]["display_data_priority"] = shown.split()
        return config

    @pass_context
    def markdown2html(self, context, source):
        """Markdown to HTML; HTML written in a cell is kept, HTML in a computed output is shown as text."""
        cell = context.get("cell", {})
        computed = cell.get("cell_type") == "code"
        renderer = _Renderer(
            escape=computed,
            attachments=cell.get("attachments", {}),
            embed_images=not computed,
            exclude_anchor_links=True,
            path=cell.get("metadata", {}).get("folder")
            or context.get("resources", {}).get("metadata", {}).get("path", ""),
        )
        return MarkdownWithMath(renderer=renderer, inline=_Inline(hard_wrap=False)).render(source)

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """HTML of the notebook, and nbconvert's resources."""
        resources = resources or {}
        script = (HERE / "template" / "report.js").read_text(encoding="utf-8")
        report = {"title": resources.get("metadata", {}).get("name", "Lab report"), "parts": 1}
        report |= {"script": script, "script_hash": script_hash(script)} | resources.get("report", {})
        html, resources = super().from_notebook_node(clean(copy.deepcopy(nb)), resources | {"report": report}, **kw)
        return finish(html, parts=report["parts"]), resources


def render_report(notebooks: list[Path], html: Path, *, title: str, **about: Any) -> Path:
    """Join executed notebooks, in order, into one page with a table of contents; returns `html`.

    Under the title stand, where given, `subtitle`, `facts` (label → value), links to the pages `beside` and, folded,
    `links` to the runs' notebooks (name → address relative to the page), and a box of the cells tagged `summary`. The
    same notebooks give the same bytes. RenderError names a cell that was not run or failed.
    """
    if not notebooks:
        raise RenderError(f"no notebooks given for {html}")
    read = [(Path(path), read_executed(Path(path))) for path in notebooks]
    joined = join(read)
    parts = sum(cell.cell_type == "markdown" and cell.source.startswith("# ") for cell in joined.cells)
    report = about | {"title": title, "parts": parts, "numbered": len(read) > 1}
    page, _ = ReportExporter().from_notebook_node(joined, {"report": report})
    sweep(Path(html).parent, Path(html).name)  # of a call that was killed: one works on a study's pages at a time
    write_whole(Path(html), lambda beside: beside.write_bytes(page.encode("utf-8")))
    return Path(html)
