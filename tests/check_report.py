"""Check a finished report as a reader would meet it: `python tests/check_report.py reports/demo`.

The HTML and the PDF hold what they must, load nothing from a network, and show no leftovers of the machinery.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader

from labkit.reporting.page.browser import require_browser
from labkit.reporting.page.html import what_it_loads
from labkit.runs.files import read_json
from labkit.studies.file import load_study

HEADINGS = (
    "Answer",
    "Is the data sound?",
    "What was compared",
    "Results",
    "Differences between variants",
    "Confusion matrices",
    "Learning curves",
    "Mistakes",
    "Limits",
    "Appendix",
    "Data",
    "Augmentation",
    "Cost",
    "Reporting checklist",
)
MEGABYTES = 15  # of the HTML; it must go into a mail
LEFTOVERS = ("Traceback", "Warning:", "it/s]", "<Figure", "[Figure", "No description has been provided", "NaN", "<NA>")
NO_ALT = "No description has been provided for this image"  # what nbconvert writes


def missing_alt(html: str) -> list[str]:
    """The images (number and start of the source) that a screen reader cannot describe."""
    images = BeautifulSoup(html, "html.parser").find_all("img")
    return [
        f"image {number}: {str(image.get('src', ''))[:40]}"
        for number, image in enumerate(images, start=1)
        if str(image.get("alt", "")).strip() in ("", NO_ALT)
    ]


def long_alt(html: str) -> list[str]:
    """The alternative texts of more than 200 characters, or that were cut to these: nobody listens to them."""
    texts = [str(image.get("alt", "")) for image in BeautifulSoup(html, "html.parser").find_all("img")]
    return [text for text in texts if len(text) > 200 or text.endswith("…")]


def external_references(html: str) -> list[str]:
    """Addresses that opening the page would load: every src, stylesheet and CSS url that is not inside it."""
    soup = BeautifulSoup(html, "html.parser")
    found = [str(tag[name]) for tag, name in what_it_loads(soup)]
    for style in soup.find_all("style"):
        found += re.findall(r"(?:url\(|@import)\s*['\"]?(?!data:|['\"\s])([^'\")]+)", style.get_text())
    return found


def check(folder: Path) -> list[str]:
    """What is wrong with a report folder; an empty list if nothing is."""
    study = load_study(folder.name)
    html = (folder / "report.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(html, "html.parser")
    text = soup.get_text(" ")
    pdf = PdfReader(folder / "report.pdf")
    printed = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pdf.pages))
    headings = {re.sub(r"\s+", " ", heading.get_text()).strip() for heading in soup.find_all(["h2", "h3", "h4"])}

    wrong = [f"no section {name!r}" for name in HEADINGS if name not in headings]
    wrong += [f"the PDF has no {name!r}" for name in HEADINGS if name not in printed]
    for run in study.runs:
        wrong += [
            f"{run} is missing in the {what}" for what, where in (("HTML", text), ("PDF", printed)) if run not in where
        ]
        manifest = read_json(folder / "runs" / f"{run}-seed0" / "run.json")
        if manifest.get("status") != "finished":
            wrong.append(f"{run} is not finished")
        elif manifest["test_predictions"] != 1:
            wrong.append(f"{run} predicted test {manifest['test_predictions']} times")
        link = f"runs/{run}-seed0/train.html"
        if not soup.find("a", href=link) or not (folder / link).is_file():
            wrong.append(f"no link to {link}")
    wrong += [f"loads {address}" for address in external_references(html)]
    wrong += [f"without alternative text: {image}" for image in missing_alt(html)]
    wrong += [f"too long an alternative text: {alt}" for alt in long_alt(html)]
    wrong += [f"{word!r} in the HTML's text" for word in LEFTOVERS if word in text]
    wrong += [f"{word!r} in the PDF" for word in LEFTOVERS if word in printed]
    if len(html) > MEGABYTES * 1e6:
        wrong.append(f"the HTML has {len(html) / 1e6:.1f} MB, more than {MEGABYTES}")
    if not soup.select_one("header + aside.summary"):
        wrong.append("no summary box under the title")
    box = soup.select_one("aside.summary")
    if (
        not box
        or len(box.select("figure")) != 2
        or not box.select("ul.checks li.holds")
        or not box.select("dl.facts dt")
    ):
        wrong.append("page one lacks one of its two figures, its checks or its facts")
    if not box or not 1 <= len(box.select(".markdown li")) <= 3:
        wrong.append("the answer has not one to three lines")
    if len(soup.find_all("img")) < 8 or len(soup.find_all("table")) < 8:
        wrong.append("fewer than 8 figures or 8 tables")
    if not soup.find("details"):
        wrong.append("the code cannot be unfolded")
    if not pdf.outline or not pdf.trailer["/Root"].get("/MarkInfo"):
        wrong.append("the PDF is not tagged or has no outline")
    if {round(float(page.mediabox.width)) for page in pdf.pages} != {595}:
        wrong.append("the PDF is not A4")
    pages = as_pictures(folder / "report.pdf")
    wrong += [f"the PDF lacks the font {name}" for name in fonts_left_out(pdf)]
    wrong += [f"the heading {title!r} stands alone at the foot of its page" for title in stranded(pdf, pages)]
    wrong += [f"page {number} of the PDF is drawn into its margin" for number in over_the_edge(pages)]
    runs = sorted(folder.glob("runs/*/train.html"))
    return wrong + numbering(soup) + compare_page(folder) + accessibility([*folder.glob("*.html"), *runs[:1]])


def accessibility(pages: list[Path]) -> list[str]:
    """What axe finds in these pages, in a wide light window and on a small dark screen."""
    wrong = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(require_browser()), args=["--no-sandbox"])
        for path in pages:
            for width, scheme in ((1280, "light"), (390, "dark")):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.goto(path.as_uri())
                wrong += [f"{path.name}, {width} px: {found}" for found in axe_finds(page)]
                page.close()
        browser.close()
    return wrong


def axe_finds(page: Page) -> list[str]:
    """What axe-core finds in an open page, all its folds open: the rule and the first element that breaks it."""
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    found = Axe().run(page).response["violations"]
    return [f"{entry['id']}: {entry['nodes'][0]['html'][:200]}" for entry in found]


def fonts_left_out(pdf: PdfReader) -> set[str]:
    """Fonts that a reader's machine would have to have."""
    missing = set()
    for page in pdf.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            for drawn in font.get_object().get("/DescendantFonts", [font]):
                about = drawn.get_object().get("/FontDescriptor", {})
                if drawn.get_object()["/Subtype"] != "/Type3" and not {"/FontFile", "/FontFile2", "/FontFile3"} & {
                    *about
                }:
                    missing.add(str(drawn.get_object()["/BaseFont"]))
    return missing


def as_pictures(pdf: Path, dpi: int = 40) -> list[np.ndarray]:
    """Every page as grey values, 255 is paper; [] without poppler."""
    if not shutil.which("pdftoppm"):
        return []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["pdftoppm", "-r", str(dpi), "-gray", str(pdf), f"{folder}/page"], check=True)
        return [np.array(Image.open(path)) for path in sorted(Path(folder).glob("*.pgm"))]


def stranded(pdf: PdfReader, pages: list[np.ndarray], dpi: int = 40) -> list[str]:
    """Headings with nothing between them and the foot of their page."""
    entries, found = list(pdf.outline), []
    while entries and pages:
        entry = entries.pop()
        if isinstance(entry, list):
            entries += entry
            continue
        picture = pages[pdf.get_destination_page_number(entry)]
        top = len(picture) - round(float(entry["/Top"]) / 72 * dpi)
        inked = picture[top : -round(17 / 25.4 * dpi)].min(axis=1, initial=255) < 200
        lines = np.count_nonzero(np.diff(inked, prepend=False, append=False)) // 2  # the heading is the first
        if lines < 2:
            found.append(str(entry.title))
    return found


def over_the_edge(pages: list[np.ndarray], dpi: int = 40) -> list[int]:
    """Pages with something in the outer 14 mm at their left or right, where 16 are left free."""
    edge, body = round(14 / 25.4 * dpi), slice(round(19 / 25.4 * dpi), -round(17 / 25.4 * dpi))
    sides = [np.hstack([page[body, :edge], page[body, -edge:]]) for page in pages]
    return [number for number, side in enumerate(sides, start=1) if side.min() < 200]


def numbering(soup: BeautifulSoup) -> list[str]:
    """Figures and tables are numbered 1, 2, 3 … as they come, and every reference leads to one."""
    wrong = []
    captions = [caption.get_text() for caption in soup.select("figcaption, p.caption")]
    for word in ("Figure", "Table"):
        numbers = [int(found[1]) for text in captions if (found := re.match(rf"{word} (\d+)\.", text))]
        if numbers != list(range(1, len(numbers) + 1)):
            wrong.append(f"{word}s are numbered {numbers}")
    wrong += [f"{text[:40]!r} is not numbered" for text in captions if not re.match(r"(Figure|Table) \d+\. \S", text)]
    inner = [str(link["href"])[1:] for link in soup.select("a[href^='#']")]
    return wrong + [f"a link leads to #{name}, which is not there" for name in inner if not soup.find(id=unquote(name))]


def compare_page(folder: Path) -> list[str]:
    """A row a run and seed in compare.html and in runs.csv."""
    planned = read_json(folder / "report.json")["runs"]
    if not (folder / "compare.html").is_file() or not (folder / "runs.csv").is_file():
        return ["compare.html or runs.csv is not there"]
    page = (folder / "compare.html").read_text(encoding="utf-8")
    rows = {"compare.html": len(BeautifulSoup(page, "html.parser").select("table.runs tbody tr"))}
    rows["runs.csv"] = len(pd.read_csv(folder / "runs.csv"))
    wrong = [
        f"{name} has {count} rows for {len(planned)} runs" for name, count in rows.items() if count != len(planned)
    ]
    return wrong + [f"compare.html loads {address}" for address in external_references(page)]


if __name__ == "__main__":
    found = check(Path(sys.argv[1]).resolve())
    print(*(f"wrong: {line}" for line in found), sep="\n")
    print(f"{'0' if found else '1'} passed, {'1' if found else '0'} failed")
    sys.exit(bool(found))
