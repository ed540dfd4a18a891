"""The report as its reader meets it: complete, self-contained, described, never made from an unfinished notebook."""

import asyncio
import base64
import io
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from check_report import as_pictures, external_references, fonts_left_out, missing_alt, over_the_edge, stranded
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from labkit.reporting.page import browser
from labkit.reporting.page.cells import EXHIBIT, RenderError, collapse, failed
from labkit.reporting.page.exporter import render_report
from labkit.reporting.page.pdf import render_pdf
from labkit.reporting.show import VECTOR, vector


def needs_browser(test):
    here = pytest.mark.skipif(browser.find_browser() is None, reason=f"no browser; {browser.INSTALL}")
    return pytest.mark.slow(here(test))


TITLE = "Grading diabetic retinopathy with residual networks & their kin"
TABLE = pd.DataFrame({"image": ["<b>10_left</b>.jpeg", "13_right.jpeg"], "n": [7026, 12], "kappa": [0.71, -0.02]})


def png(inches: tuple[float, float]) -> str:
    picture = Image.effect_noise((int(inches[0] * 150), int(inches[1] * 150)), 20).convert("L").quantize(4)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", dpi=(150, 150))
    return base64.b64encode(buffer.getvalue()).decode()


def picture(inches=(7.0, 3.0), **metadata):
    return new_output(
        "display_data", {"image/png": png(inches)}, metadata={"image/png": metadata | {"width": int(inches[0] * 96)}}
    )


def html(text: str):
    return new_output("display_data", {"text/html": text, "text/plain": "-"})


def code(source: str, *outputs, tags=(), count: int | None = 1):
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata={"tags": list(tags)})


def md(source: str):
    return nbformat.v4.new_markdown_cell(source)


def stream(text: str, name: str = "stdout"):
    return new_output("stream", name=name, text=text)


def write(path: Path, *cells) -> Path:
    language = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(new_notebook(cells=list(cells), metadata={"language_info": language}), path)
    return path


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("notebooks")
    Image.new("RGB", (8, 8)).save(folder / "beside.png")
    wide = pd.DataFrame([[0.123] * 16] * 3, columns=[f"sensitivity {k}" for k in range(16)])
    styled = TABLE.style.format(escape="html").highlight_max(subset=["n"]).set_caption("Marked.").set_uuid("abc")
    explore = write(
        folder / "explore.ipynb",
        new_markdown_cell("# What do the images look like?"),
        code("seed = 0  # the default", tags=["parameters"]),
        code('# Parameters\nseed = 3\narchs = ["resnet18", "<i>"]\n', tags=["injected-parameters"]),
        code("import secret_of_the_hidden_cell", stream("hidden words"), tags=["hide"]),
        new_markdown_cell(
            "## Counts\n\n無糖尿病視網膜病變. Pays $5 and $10; $\\kappa_w \\le 1$ in text; `$HOME/$x` in code.\n\n"
            "![beside](beside.png)"
        ),
        code("table", new_output("execute_result", {"text/html": TABLE._repr_html_(), "text/plain": "-"})),
        code("show(fig)", picture(alt="Bars by grade"), html('<p class="caption" data-kind="figure">By grade.</p>')),
        code("fit()", stream("\r 10 %\r 90 %\rdone\n"), stream("a warning\n", "stderr"), stream("wait …\nend\n")),
    )
    analysis = write(
        folder / "analysis.ipynb",
        new_markdown_cell("# Results\n\n[to the counts](#Counts), [a page](https://example.org/)"),
        new_markdown_cell("## Introduction\n\n$$ y = \\mathcal{F}(x) + x $$\n\n#### Far below\n\n## Counts"),
        code("styled", html(styled.to_html())),
        code("wide", html(wide._repr_html_())),
        code("show(fig)", picture((14, 4), alt='Three "curves" & more', caption="Three curves.")),
        code("note()", new_output("display_data", {"text/markdown": "file `a.png` **<img src=x onerror=alert(1)>**"})),
        code("", count=None),
    )
    return [explore, analysis]


@pytest.fixture(scope="module")
def report(notebooks, tmp_path_factory) -> Path:
    page = tmp_path_factory.mktemp("report") / "report.html"
    return render_report(notebooks, page, title=TITLE, subtitle="A < B", links={"First run": "runs/a/train.html"})


@pytest.fixture(scope="module")
def soup(report) -> BeautifulSoup:
    return BeautifulSoup(report.read_text("utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pdf(report, tmp_path_factory):
    pypdf = pytest.importorskip("pypdf")
    return pypdf.PdfReader(render_pdf(report, tmp_path_factory.mktemp("pdf") / "report.pdf"))


def test_page_refers_to_nothing_outside_itself(report):
    page = report.read_text("utf-8")
    assert external_references(page) == []
    assert "cdnjs" not in page and "unpkg" not in page
    assert len(page) < 1_500_000


def test_pictures_and_scripts_of_a_network_do_not_come_in(tmp_path):
    remote = "![badge](https://example.org/badge.svg)\n\n<script src='https://example.org/x.js'></script>"
    page = render_report([write(tmp_path / "a.ipynb", new_markdown_cell(remote))], tmp_path / "a.html", title="A")
    text = page.read_text("utf-8")
    assert external_references(text) == [] and "[picture not included: badge]" in text


def test_one_h1_and_no_heading_level_is_skipped(soup):
    levels = [int(tag.name[1]) for tag in soup.find_all(re.compile(r"^h[1-6]$"))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [tag.get_text() for tag in soup.find_all("h2")] == ["What do the images look like?", "Results"]


def test_contents_link_to_every_section_once(soup):
    targets = [link["href"][1:] for link in soup.select("#toc a")]
    assert targets == [tag["id"] for tag in soup.select("main h2, main h3")]
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert soup.find("a", string="to the counts")["href"][1:] in ids  # as the link is written in JupyterLab


def test_language_title_and_links_are_given(soup):
    assert soup.html["lang"] == "en"
    assert soup.title.string == TITLE == soup.h1.get_text()
    assert soup.select_one(".subtitle").get_text() == "A < B"
    assert soup.select_one(".links a")["href"] == "runs/a/train.html"


def test_every_image_is_described(soup, report):
    assert missing_alt(report.read_text("utf-8")) == []
    assert [image["alt"] for image in soup.select("figure img")] == ["Bars by grade", 'Three "curves" & more']


def test_a_drawing_is_its_svg_in_the_page_with_the_alternative_text_and_nothing_broken(tmp_path):
    figure = Figure((3, 2))
    figure.subplots().set_title("100 % <of> \"A\" & 'B' #1")
    drawn = picture(alt="A title")
    drawn.data[VECTOR] = vector(figure)
    page = render_report([write(tmp_path / "a.ipynb", code("fig", drawn))], tmp_path / "a.html", title="A")
    (image,) = BeautifulSoup(page.read_text("utf-8"), "html.parser").select("figure img")
    kind, _, text = str(image["src"]).partition(",")
    assert kind == "data:image/svg+xml" and image["alt"] == "A title" and image["width"] == "672"
    assert ElementTree.fromstring(unquote(text)).tag.endswith("svg")
    assert "image/png" not in page.read_text("utf-8")


def test_figures_have_their_size_in_inches_and_numbered_captions(soup):
    figures = [image.parent for image in soup.select("figure img")]
    assert [figure.img["width"] for figure in figures] == [str(7 * 96), str(14 * 96)]
    captions = [figure.figcaption.get_text() for figure in figures]
    assert captions == ["Figure 1. By grade.", "Figure 2. Three curves."]
    assert soup.select_one("figure.table figcaption").get_text() == "Table 1. Marked."
    assert soup.find(id=soup.select_one("table[aria-labelledby]")["aria-labelledby"]).get_text() == "Table 1. Marked."


def test_title_block_holds_the_facts_and_the_way_to_all_runs(notebooks, tmp_path):
    facts, links = {"Study": "<b>demo</b>", "Date": "1 May 2026"}, {f"run{k}": f"runs/{k}.html" for k in range(12)}
    page = render_report(
        notebooks, tmp_path / "a.html", title="A", facts=facts, links=links, beside={"Compare all runs": "compare.html"}
    )
    header = BeautifulSoup(page.read_text("utf-8"), "html.parser").header
    pairs = [(pair.dt.get_text(), pair.dd.get_text()) for pair in header.select("dl > div")]
    assert pairs == list(facts.items())
    assert header.find("a", string="Compare all runs")["href"] == "compare.html"
    assert len(header.select("details:not([open]) a")) == 12  # twelve runs do not flood the title block


def test_cells_tagged_summary_become_a_box_under_the_title_block(tmp_path):
    said = new_output("display_data", {"text/markdown": "The *best* is a."})
    cells = [nbformat.v4.new_markdown_cell("## Summary", metadata={"tags": ["summary"]})]
    cells += [code("note()", said, tags=["summary"]), md("## Introduction"), md("## Limits")]
    page = render_report([write(tmp_path / "a.ipynb", md("# T"), *cells)], tmp_path / "a.html", title="T")
    one = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    box = one.header.find_next_sibling()
    assert (box.name, box["aria-label"], box.h2.get_text()) == ("aside", "Summary", "Summary")
    assert box.p.get_text() == "The best is a." and "best" not in one.main.get_text()
    assert [head.get_text() for head in one.main.select("h2")] == ["Introduction", "Limits"]
    assert [link.get_text() for link in one.select("#toc a")] == ["Summary", "Introduction", "Limits"]


def test_formulas_become_mathml_and_dollars_elsewhere_stay(soup):
    displays = [math["display"] for math in soup.find_all("math")]
    assert displays == ["inline", "block"]
    text = soup.main.get_text()
    assert "$5 and $10" in text and "$HOME/$x" in text and "\\kappa" not in text and "$$" not in text


def test_cells_that_set_parameters_are_gone(notebooks, soup, tmp_path):
    pages = [render_report([path], tmp_path / f"{path.stem}.html", title="A").read_text("utf-8") for path in notebooks]
    assert not any("the default" in page or "archs" in page for page in [*pages, str(soup)])


def test_cells_tagged_alike_are_taken_out_and_stand_where_the_tag_says(tmp_path):
    first = nbformat.v4.new_markdown_cell("## Sound?", metadata={"tags": ["audit"]})
    place = nbformat.v4.new_markdown_cell("## Data", metadata={"tags": ["explore"]})
    audit = [
        nbformat.v4.new_markdown_cell("## Is the data sound?", metadata={"tags": ["audit"]}),
        code("audit()", stream("a leak\n"), tags=["audit"]),
    ]
    outer = write(tmp_path / "analysis.ipynb", md("# Results"), first, md("## Before"), place, md("## After"))
    inner = write(tmp_path / "explore.ipynb", md("# Data"), md("## Images"), *audit, md("## Augmented"))
    page = render_report([outer, inner], tmp_path / "r.html", title="T").read_text("utf-8")
    main = BeautifulSoup(page, "html.parser").main
    heads = [f"{head.name} {head.get_text()}" for head in main.select("h2, h3")]
    assert heads == ["h2 Is the data sound?", "h2 Before", "h2 Data", "h3 Images", "h3 Augmented", "h2 After"]
    assert main.get_text().index("a leak") < main.get_text().index("Before")


def test_code_is_folded_and_hidden_cells_are_gone(soup):
    shown = soup.select("details.code")
    assert all(not fold.has_attr("open") and fold.summary.get_text() == "Show code" for fold in shown)
    assert all(block.find_parent("details") for block in soup.select(".highlight"))
    assert "secret_of_the_hidden_cell" not in str(soup) and "hidden words" not in str(soup)


def test_stdout_is_kept_and_stderr_and_overwritten_lines_are_not(soup):
    assert soup.select_one("pre.stdout").get_text() == "done\nend\n"
    assert "a warning" not in soup.get_text()


def test_carriage_returns_collapse_to_what_a_terminal_shows():
    assert collapse("0 %\r50 %\r100 %\nnext\r\nend\r") == "100 %\nnext\nend"


def test_html_in_values_is_text(soup):
    assert "<b>10_left</b>.jpeg" in [cell.get_text() for cell in soup.select("td")]
    assert soup.find("img", onerror=True) is None and "<img src=x onerror=alert(1)>" in soup.get_text()


def test_no_style_of_pandas_leaks_to_the_page(soup):
    assert len(soup.select("table.dataframe")) == 2 and not soup.find("style", attrs={"scoped": True})


def test_same_notebooks_give_the_same_bytes(notebooks, report, tmp_path):
    again = render_report(
        notebooks, tmp_path / "again.html", title=TITLE, subtitle="A < B", links={"First run": "runs/a/train.html"}
    )
    assert again.read_bytes() == report.read_bytes()


def test_leading_heading_of_a_single_notebook_becomes_the_subtitle(notebooks, tmp_path):
    page = render_report([notebooks[0]], tmp_path / "a.html", title="resnet18, seed 0").read_text("utf-8")
    one = BeautifulSoup(page, "html.parser")
    assert one.h1.get_text() == "resnet18, seed 0"
    assert one.select_one(".subtitle").get_text() == "What do the images look like?"
    assert one.h2.get_text() == "Counts"


def test_notebook_of_a_killed_kernel_is_refused(tmp_path):
    # What Papermill leaves: every cell "completed", but those after the kernel's death have no count.
    dead = write(tmp_path / "dead.ipynb", code("a = 1"), code("train()", count=None))
    dead_again = nbformat.read(dead, 4)
    dead_again.cells[1].metadata["papermill"] = {"status": "completed", "exception": False}
    nbformat.write(dead_again, dead)
    with pytest.raises(RenderError, match=r"dead\.ipynb: cell 2 \('train\(\)'\) was not run"):
        render_report([dead], tmp_path / "a.html", title="A")
    assert not (tmp_path / "a.html").exists()


def test_failed_notebook_is_refused_with_its_error(tmp_path):
    error = new_output("error", ename="ValueError", evalue="no images", traceback=["\x1b[31mValueError\x1b[0m"])
    path = write(tmp_path / "failed.ipynb", code("read()", error))
    with pytest.raises(RenderError, match=r"failed\.ipynb: cell 1 .*ValueError: no images"):
        render_report([path], tmp_path / "a.html", title="A")


def test_an_exhibit_that_failed_is_a_line_of_the_page_and_the_others_are_there(tmp_path):
    error = new_output("error", ename="ValueError", evalue="<no> images\nat all", traceback=["\x1b[31mValueError"])
    exhibit = code("show(roc)", error, tags=[EXHIBIT])
    path = write(tmp_path / "a.ipynb", md("# Results"), md("### Curves"), exhibit, code("x", stream("still here")))
    page = BeautifulSoup(render_report([path], tmp_path / "a.html", title="A").read_text(), "html.parser")
    assert page.select_one("main .banner").get_text() == "Not shown: ValueError: <no> images"
    assert "still here" in page.get_text() and "31m" not in page.get_text()
    assert list(failed(path)) == [("Curves", "ValueError: <no> images")]


@pytest.mark.parametrize("content", [None, "", '{"cells": [{"cell_ty', "[]"])
def test_missing_or_truncated_notebook_is_refused(tmp_path, content):
    path = tmp_path / "cut.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RenderError, match=r"cut\.ipynb"):
        render_report([path], tmp_path / "a.html", title="A")


def test_refusal_leaves_the_last_good_page_alone(tmp_path, notebooks):
    page = render_report(notebooks, tmp_path / "a.html", title="A")
    before = page.read_bytes()
    with pytest.raises(RenderError):
        render_report([tmp_path / "none.ipynb"], page, title="A")
    assert page.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["a.html"]


@needs_browser
def test_pdf_is_tagged_a4_with_outline_and_page_numbers(pdf):
    root = pdf.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and "/StructTreeRoot" in root and root["/Lang"] == "en"
    assert [round(float(side)) for side in pdf.pages[0].mediabox[2:]] == [595, 842]
    title = pdf.outline[0].title
    assert " ".join(title.split()) == TITLE
    assert [entry.title for entry in pdf.outline[1] if not isinstance(entry, list)][-1] == "Results"
    text = pdf.pages[0].extract_text()
    assert f"1 / {len(pdf.pages)}" in text and TITLE in text


@needs_browser
def test_pdf_text_can_be_selected_and_hides_code_and_local_addresses(pdf):
    text = "".join(page.extract_text() for page in pdf.pages)
    assert "7026" in text and "sensitivity" in text
    assert "Show code" not in text and "show(fig)" not in text
    addresses = [
        str(note.get_object().get("/A", {}).get("/URI", "")) for page in pdf.pages for note in page.get("/Annots", [])
    ]
    assert [address for address in addresses if address] == ["https://example.org/"]


def has_chinese_font() -> bool:
    """One with 病 (U+75C5). Of a machine without fontconfig (macOS, Windows) we take it that it has one."""
    listing = shutil.which("fc-list")
    return not listing or bool(subprocess.run([listing, ":charset=75c5"], capture_output=True).stdout)


@needs_browser
@pytest.mark.skipif(not has_chinese_font(), reason="no Chinese font here; make setup brings one with its browser")
def test_pdf_writes_chinese(pdf):
    assert "病" in "".join(page.extract_text() for page in pdf.pages)


@needs_browser
@pytest.mark.skipif(not shutil.which("pdftoppm"), reason="no pdftoppm (poppler) to look at the pages with")
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_pdf_pages_keep_their_margins_and_no_heading_stands_alone(tmp_path, paper):
    pypdf = pytest.importorskip("pypdf")
    cells = []
    for number in range(16):  # text of growing length, so that headings meet every height of a page
        cells += [
            md("Words.\n\n" * number + f"## Section {number}\n\nWhat is to be seen."),
            code("f", picture(alt="a")),
        ]
        wide = pd.DataFrame([[0.123] * 16] * 3, columns=[f"sensitivity {k}" for k in range(16)])
        cells.append(code("t", html(wide._repr_html_())))
    page = render_report([write(tmp_path / "a.ipynb", *cells)], tmp_path / "a.html", title="A")
    printed = render_pdf(page, tmp_path / "a.pdf", paper=paper)
    reader, pictures = pypdf.PdfReader(printed), as_pictures(printed)
    assert {tuple(map(round, page.mediabox[2:])) for page in reader.pages} == {
        (612, 792) if paper == "Letter" else (595, 842)
    }
    assert len(pictures) == len(reader.pages) > 8 and len(reader.outline[1]) == 16
    assert stranded(reader, pictures) == [] and over_the_edge(pictures) == [] and fonts_left_out(reader) == set()


def test_the_check_of_pages_finds_what_is_wrong_with_them():
    white = np.full((468, 331), 255, np.uint8)  # A4 at 40 dots an inch
    wide = white.copy()
    wide[200, 320] = 0
    assert over_the_edge([white, wide]) == [2]

    class Heading(dict):
        title = "Alone"

    class Reader:
        outline: ClassVar = [Heading({"/Top": 100.0})]

        def get_destination_page_number(self, entry):
            return 0

    page = white.copy()
    page[415:422, 50:200] = 0
    assert stranded(Reader(), [page]) == ["Alone"]
    page[430:434, 50:200] = 0
    assert stranded(Reader(), [page]) == []


@needs_browser
def test_pdf_prints_inside_a_running_event_loop_and_with_a_dead_display(tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":77")
    page = render_report([write(tmp_path / "a.ipynb", new_markdown_cell("words"))], tmp_path / "a.html", title="A")

    async def kernel():
        return render_pdf(page, tmp_path / "a.pdf")

    assert asyncio.run(kernel()).read_bytes().startswith(b"%PDF")


@needs_browser
def test_browser_that_does_not_start_is_named_with_the_cure(monkeypatch, tmp_path, report):
    broken = tmp_path / "chrome"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("LABKIT_CHROME", str(broken))
    with pytest.raises(browser.BrowserMissing, match=r"does not start"):
        render_pdf(report, tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()
