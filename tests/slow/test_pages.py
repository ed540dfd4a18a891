"""The pages as a reader has them, in a real browser with no network: they open, sort, filter, unfold, and can be used
by keyboard, on a phone, in the dark and by a screen reader; nothing in a study's names is run."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from check_report import axe_finds
from made_pages import compare_page, report_page
from made_study import Lab
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from labkit.reporting.page.browser import INSTALL, find_browser, require_browser
from labkit.reporting.page.exporter import render_report
from labkit.runs.files import read_csv

SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if find_browser() is None:
        pytest.skip(f"no browser; {INSTALL}")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(require_browser()), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {"report": report_page(folder), "compare": compare_page(folder)}


class Visit:
    """A page with the network off, and what it asked for, complained of and popped up."""

    def __init__(self, chromium: Browser, path: Path, width: int = 1280, scheme="light") -> None:
        self.seen: list[str] = []
        self.complaints: list[str] = []
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.seen.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("networkidle")

    def _dialog(self, dialog) -> None:
        self.complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def asked_for(self) -> list[str]:
        return [url for url in self.seen[1:] if not url.startswith("data:")]

    def cells(self, head: str) -> Locator:
        heads = [text.strip() for text in self.page.locator("table.runs thead th .dt-column-title").all_inner_texts()]
        return self.page.locator(f"table.runs tbody tr > :nth-child({heads.index(head) + 1})")

    def column(self, head: str) -> list[str]:
        return [text.strip().replace("\xa0", " ") for text in self.cells(head).all_inner_texts()]


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_a_page_opens_offline_without_a_complaint_fits_the_screen_and_passes_axe(chromium, pages, name, width, scheme):
    visit = Visit(chromium, pages[name], width, scheme)
    assert visit.asked_for() == [] and visit.complaints == []
    assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    if name == "compare":
        visit.page.locator(".runs thead .dtcc-button_dropdown, .runs thead .dtcc-button_searchDropdown").first.click()
        assert visit.page.locator(".dtcc-dropdown").is_visible()
    assert axe_finds(visit.page) == []


def test_axe_would_find_a_picture_without_words(chromium, pages):
    page = Visit(chromium, pages["report"]).page
    page.evaluate("document.querySelector('img').removeAttribute('alt')")
    assert [found.partition(":")[0] for found in axe_finds(page)] == ["image-alt"]


def test_contents_lead_to_their_sections_and_say_where_one_is(chromium, pages):
    page = Visit(chromium, pages["report"]).page
    links = page.locator("#toc a")
    assert links.all_inner_texts() == ["Summary", "Set-up", "Results", "Scores", "Curves", "Limits"]
    for number in range(1, links.count()):
        links.nth(number).click()
        page.wait_for_function(
            "name => document.querySelector('#toc a[aria-current=location]')?.textContent === name",
            arg=links.nth(number).inner_text(),
        )
        target = page.evaluate("document.getElementById(decodeURIComponent(location.hash.slice(1))).textContent")
        assert target == links.nth(number).inner_text()


def test_on_a_phone_the_contents_stay_in_reach_and_give_way(chromium, pages):
    page = Visit(chromium, pages["report"], 390).page
    fold = page.locator("#toc details")
    assert fold.get_attribute("open") is None
    page.evaluate("scrollTo(0, 1500)")
    assert page.locator("#toc summary").bounding_box()["y"] < 20
    page.locator("#toc summary").click()
    page.locator("#toc a", has_text="Results").click()
    assert fold.get_attribute("open") is None and page.url.endswith("#Results")
    page.locator("#toc summary").click()
    page.keyboard.press("Escape")
    assert fold.get_attribute("open") is None


def test_keyboard_reaches_the_text_the_contents_and_the_code(chromium, pages):
    page = Visit(chromium, pages["report"]).page
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        words = "document.activeElement.closest('#toc') && document.activeElement.tagName === 'A' ? 'contents' : "
        reached.append(page.evaluate(words + "document.activeElement.textContent.trim()"))
    assert reached[0] == "Skip to the report"
    assert "contents" in reached and "Show code" in reached
    fold = page.locator("details.code").first
    assert not fold.locator("pre").is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator("pre").is_visible()


def test_all_code_unfolds_at_once_and_folds_again(chromium, pages):
    page = Visit(chromium, pages["report"]).page
    page.get_by_role("button", name="Show all code").click()
    assert all(fold.is_visible() for fold in page.locator("details.code pre").all())
    page.get_by_role("button", name="Hide all code").click()
    assert not any(fold.is_visible() for fold in page.locator("details.code pre").all())


def test_a_wide_table_scrolls_in_its_frame_by_keyboard(chromium, pages):
    page = Visit(chromium, pages["report"], 390).page
    box = page.get_by_role("group", name=re.compile("^Table 2"))
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())


def test_runs_sort_by_a_score_up_and_down(chromium, pages):
    """The table is drawn anew some time after a click: expect waits for it, and fails where it never comes."""
    visit = Visit(chromium, pages["compare"])
    head = visit.page.get_by_role("columnheader", name=re.compile("^Accuracy, test"))
    scores = visit.cells("Accuracy, test").filter(has_text="%")
    rising = ["9.0 %", "50.0 %", "81.5 %"]  # as text 9 would come last
    for direction, wanted in (("ascending", rising), ("descending", rising[::-1])):
        head.locator(".dt-column-title").click()
        expect(head).to_have_attribute("aria-sort", direction)
        expect(scores).to_have_text(wanted)


def test_names_that_look_like_money_stay_words(chromium, pages):
    """DataTables takes R 01 for rand, and would sort r10 by its number and set it right."""
    page = Visit(chromium, pages["compare"]).page
    assert page.locator("table.runs tbody th.dt-type-numeric").count() == 0
    assert page.locator("table.runs tbody tr:first-child td.dt-type-numeric").count() >= 6


def test_the_runs_scroll_in_their_frame_by_keyboard(chromium, pages):
    page = Visit(chromium, pages["compare"], 390).page
    box = page.get_by_role("group", name="Runs")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())


def test_runs_are_filtered_by_words_and_by_a_column(chromium, pages):
    visit = Visit(chromium, pages["compare"])
    visit.page.get_by_role("searchbox", name="Search").fill("resnet50")
    expect(visit.cells("Run")).to_have_text(["resnet50", "resnet50"])
    visit.page.get_by_role("searchbox", name="Search").fill("")
    head = visit.page.get_by_role("columnheader", name=re.compile("^Accuracy, test"))
    head.locator("button[class*=searchDropdown], button[class*=dropdown]").click()
    dropdown = visit.page.locator(".dtcc-dropdown")
    dropdown.locator("select").select_option("greater")
    dropdown.locator("input").fill("45")
    visit.page.wait_for_function("document.querySelectorAll('table.runs tbody tr').length === 2")
    assert visit.column("Accuracy, test") == ["81.5 %", "50.0 %"]


def test_runs_are_all_there_without_a_script_and_failed_ones_say_why(chromium, pages):
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(pages["compare"].as_uri())
    rows = [text.replace("\t", " ") for text in page.locator("table.runs tbody tr").all_inner_texts()]
    assert len(rows) == 5 and any("failed: OutOfMemoryError" in row for row in rows)
    assert page.locator("table.runs svg[aria-label*='0.500 in the chosen epoch 2']").count() == 1
    assert page.get_by_role("link", name="resnet50").first.get_attribute("href") == "runs/resnet50-seed0/train.html"


def test_a_script_that_a_cell_puts_out_is_not_run(chromium, tmp_path):
    page = report_page(tmp_path, output="<script>window.harmed = 1</script><img src='data:,' onerror='harmed = 2'>")
    visit = Visit(chromium, page)
    assert visit.page.evaluate("window.harmed") is None
    assert any("Content Security Policy" in text for text in visit.complaints)


TAG = "<img src=x onerror=window.pwned=1>"
SCRIPT = "<script>window.pwned=2</script>"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Lab:
    """A study reported and predicted from where every word that somebody else may choose is HTML; one run fails."""
    root = tmp_path_factory.mktemp("hostile")
    data = root / f"{TAG} eyes"
    (data / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(0), ["path,label,patient,side"]
    for number in range(60):
        grade, file = number % 2, f"images/{TAG}_{'<svg onload=window.pwned=3>' * (number % 2)}{number}.png"
        pixels = rng.integers(0, 60, (32, 32, 3)) + 150 * grade
        Image.fromarray(pixels.astype(np.uint8)).save(data / file)
        rows.append(f"{file},{['<b>well</b>', TAG][grade]},{SCRIPT.replace('/', '_')}{number // 2},{TAG}")
    rows.append(f"images/{SCRIPT.replace('/', '_')}.png,{TAG},p,left")  # a file that is not there: in the notes
    (data / "labels.csv").write_text("\n".join(rows) + "\n")
    made = Lab.made(root)
    runs = {"good": {}, "broken": {"weights": f"{TAG}.pt"}, "waits": {"weights": "run:broken"}}
    words = {"title": f"A study {TAG}", "question": f"Who? {SCRIPT}"}
    made.study("hostile", runs, defaults={"dataset": "custom", "data": str(data)}, **words)
    done = made.call("report", "hostile", "--no-pdf")
    assert done.returncode == 1 and "report.html" in done.stdout, done.stderr  # 1: the run that fails
    assert "[3/3] waits: FAILED: starts from broken-seed0, which failed" in done.stderr
    assert "labkit: broken-seed0 failed: WeightsError" in done.stderr
    notebook = made.reports / "predict.ipynb"
    given = ["-p", "study", "hostile", "-p", "run", "good-seed0", "-p", "images", str(data / "images")]
    made.papermill("notebooks/predict.ipynb", str(notebook), *given)
    render_report([notebook], made.reports / "hostile" / "predict.html", title=TAG)
    return made


@pytest.mark.parametrize("name", ["report.html", "compare.html", "runs/good-seed0/train.html", "predict.html"])
def test_no_word_of_a_strangers_data_files_or_errors_is_run(chromium, hostile, name):
    visit = Visit(chromium, hostile.reports / "hostile" / name)
    assert visit.complaints == [] and visit.asked_for() == []
    assert visit.page.evaluate("window.pwned") is None
    assert visit.page.locator("[onerror], [onload], img[src=x], body script:not(:last-of-type)").count() == 0
    assert visit.page.locator("body", has_text=TAG).count() == 1  # it is read
    assert axe_finds(visit.page) == []


def test_a_failed_runs_error_and_last_lines_are_read_in_the_report(chromium, hostile):
    page = Visit(chromium, hostile.reports / "hostile" / "report.html").page
    page.locator("details.appendix > summary").click()
    text = page.locator("main").inner_text()
    assert page.get_by_role("heading", name="Runs that failed").count() == 1
    assert re.search(r"broken-seed0, failed: WeightsError: weights: .*" + re.escape(TAG), text)
    assert "61 images" in text or "60 images" in text
    head = page.locator("header").inner_text()
    assert f"A study {TAG}" in head and f"Who? {SCRIPT}" in head


def test_a_failed_run_stops_only_its_children_and_the_report_says_why_with_its_last_lines(hostile):
    folder = hostile.reports / "hostile"
    page = BeautifulSoup((folder / "report.html").read_text("utf-8"), "html.parser")
    text = " ".join(page.get_text(" ").split())
    assert "broken-seed0 failed WeightsError" in text
    assert "waits not run starts from broken, which is not finished" in text
    log = next(pre for pre in page.select("pre.stdout") if "- Layout: " in pre.get_text())
    assert ": 60 images" in log.get_text() and TAG in log.get_text()
    rows = read_csv(folder / "runs.csv")
    assert list(rows["run"]) == ["good", "broken", "waits"]  # in its place
    assert list(rows["status"]) == ["finished", "failed", "not run"] and TAG in rows["error"][1]
    study = hostile.project / "params" / "hostile.yaml"
    study.write_text(study.read_text().replace(f"weights: {TAG}.pt", "epochs: 1"))
    done = hostile.call("run", "hostile")
    assert done.returncode == 0 and "[1/3] good: up to date" in done.stdout, done.stderr
