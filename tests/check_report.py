"""Check a finished report as a reader would meet it: `python tests/check_report.py reports/demo`.

The HTML and the PDF hold what they must, load nothing from a network, and show no leftovers of the machinery.
"""

import re
import sys
from pathlib import Path

from bs4 import BeautifulSoup
from pypdf import PdfReader

from labkit.reporting.render import external_references, missing_alt
from labkit.runs import read_json
from labkit.studies import load_study

HEADINGS = (
    "Summary",
    "Introduction",
    "Experiment set-up",
    "Data",
    "Is the split sound?",
    "After augmentation",
    "Results",
    "Accuracy during training",
    "Confusion matrices",
    "Cost",
    "Discussion",
    "Limits",
    "Appendix",
)
LEFTOVERS = ("Traceback", "Warning:", "it/s]", "<Figure", "[Figure", "No description has been provided", "NaN", "<NA>")


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
    wrong += [f"{word!r} in the HTML's text" for word in LEFTOVERS if word in text]
    wrong += [f"{word!r} in the PDF" for word in LEFTOVERS if word in printed]
    if len(soup.find_all("img")) < 8 or len(soup.find_all("table")) < 8:
        wrong.append("fewer than 8 figures or 8 tables")
    if not soup.find("details"):
        wrong.append("the code cannot be unfolded")
    if not pdf.outline or not pdf.trailer["/Root"].get("/MarkInfo"):
        wrong.append("the PDF is not tagged or has no outline")
    if {round(float(page.mediabox.width)) for page in pdf.pages} != {595}:
        wrong.append("the PDF is not A4")
    return wrong


if __name__ == "__main__":
    found = check(Path(sys.argv[1]).resolve())
    print(*(f"wrong: {line}" for line in found), sep="\n")
    print(f"{'0' if found else '1'} passed, {'1' if found else '0'} failed")
    sys.exit(bool(found))
