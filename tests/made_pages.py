"""A report and a compare page from made cells and made rows."""

from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.reporting import show
from labkit.reporting.exhibits.blocks import residual_blocks
from labkit.reporting.page.compare import render_compare
from labkit.reporting.page.exporter import render_report

WORDS = "a plain name"
CURVES = {"resnet18-seed0": [0.1, 0.5, 0.4], "resnet50-seed0": [0.2, 0.3, 0.3], "r01-seed0": [0.2, 0.2]}


def outputs_of(display: Any) -> list[Any]:
    """What a call puts out, as a notebook keeps it."""
    kept: list[Any] = []
    before = show.display
    show.display = lambda data, metadata=None, raw=True: kept.append(
        new_output("display_data", data, metadata=metadata or {})
    )
    try:
        display()
    finally:
        show.display = before
    return kept


def code(display: Any, source: str = "show(figure)", tags: tuple[str, ...] = ()) -> Any:
    return new_code_cell(source, outputs=outputs_of(display), execution_count=1, metadata={"tags": list(tags)})


def report_page(folder: Path, output: str = "") -> Path:
    """A report of two notebooks with a summary, two figures, two tables and code."""
    wide = pd.DataFrame([[0.123] * 20] * 3, columns=[f"{WORDS} {k}" for k in range(20)])
    small = pd.DataFrame({"image": [WORDS, "13_right.jpeg"], "n": [7026, 12]})
    html = [new_output("display_data", {"text/html": output})] if output else []
    cells = [
        new_markdown_cell("# A study\n\nWhat is best?"),
        new_markdown_cell("## Summary", metadata={"tags": ["summary"]}),
        code(lambda: (show.banner(f"Leak: {WORDS}"), show.note(f"Best is {WORDS}.")), "note()", tags=("summary",)),
        new_markdown_cell("## Set-up" + "\n\nWords." * 30),
        code(lambda: show.show_table(small, caption=f"Files of {WORDS}"), "x = 1  # a comment " + "long " * 40),
        new_markdown_cell("## Results\n\n### Scores" + "\n\nWords." * 30),
        code(lambda: show.show_table(wide, caption=f"Scores of {WORDS}")),
        new_code_cell(
            "print(name)", outputs=[new_output("stream", name="stdout", text=WORDS), *html], execution_count=1
        ),
        new_markdown_cell("### Curves" + "\n\nWords." * 30),
        code(lambda: show.show(residual_blocks(), alt=f"Blocks of {WORDS}", caption=f"Blocks, {WORDS}")),
    ]
    more = [new_markdown_cell("## Limits" + "\n\nWords." * 30)]
    paths = []
    for name, parts in (("analysis", cells), ("explore", more)):
        paths.append(folder / f"{name}.ipynb")
        language = {"name": "python", "pygments_lexer": "ipython3"}
        nbformat.write(new_notebook(cells=parts, metadata={"language_info": language}), paths[-1])
    facts = {"Study": WORDS, "Date": "1 May 2026"}
    links = {f"{WORDS} {k}": f"runs/{k}/train.html" for k in range(12)}
    beside = {"Compare all runs": "compare.html"}
    return render_report(
        paths, folder / "report.html", title=WORDS, subtitle=WORDS, facts=facts, links=links, beside=beside
    )


def compare_page(folder: Path) -> Path:
    """Five runs: two finished ones of two networks, one of another seed, a failed one, one that was never run."""
    table = pd.DataFrame([
        _row("resnet18", 0, 0.5), _row("resnet50", 0, 0.815), _row("r01", 0, 0.09),
        {"run": "resnet50", "seed": 1, "status": "failed", "error": f"OutOfMemoryError: {WORDS}", "arch": "resnet50"},
        {"run": WORDS, "seed": 0, "status": "not run", "error": ""},
    ])  # fmt: skip
    links = {"The report": "report.html", WORDS: "runs.csv"}
    return render_compare(table, folder / "compare.html", title=WORDS, curves=CURVES, links=links)


def _row(run: str, seed: int, accuracy: float) -> dict[str, Any]:
    row = {"run": run, "seed": seed, "status": "finished", "error": "", "test_accuracy": accuracy}
    row |= {"test_qwk": accuracy / 2, "val_qwk": 0.5, "best_epoch": 2, "seconds": 90.0, "arch": run, "rotation": 0.0}
    row |= {"test_set": 1, "test_images": 1353, "val_images": 900}
    notebook = f"runs/{run}-seed{seed}/train.html"
    return row | {"notebook": notebook, "data": WORDS, "class_weights": f"{WORDS} of {run}"}
