"""``labkit judge``: the report of predictions that were made elsewhere, without a training.

Exit code 1 if an exhibit failed, 3 if the report is there but its PDF could not be printed.
"""

import argparse
import sys
from pathlib import Path

from labkit.commands import add_options, options, short
from labkit.format import listing
from labkit.params import AnalysisParams, ParameterError
from labkit.runs.files import alone
from labkit.runs.folder import notebook_complete, reports_root
from labkit.studies.notebook import NOTEBOOKS, execute

EXAMPLE = "labkit judge resnet.csv vit.csv --labels test.csv --task grades --images photographs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An option for every parameter of the analysis but the study, and how to print."""
    parser.add_argument("predictions", nargs="+", help="CSV or Parquet: one file per model, one row per image")
    parser.add_argument("--name", help="folder of the report below reports/judged (default: the first file's name)")
    add_options(parser, AnalysisParams, "study", "predictions")
    parser.add_argument("--title", help="of the report")
    parser.add_argument("--no-pdf", action="store_true", help="HTML only")


def main(arguments: argparse.Namespace) -> int:
    """Raises ParameterError that names file, row and cure of an invalid table."""
    from labkit.reporting.judged import QUESTION, model_name  # these take seconds
    from labkit.reporting.page.browser import BrowserMissing
    from labkit.reporting.page.cells import failed
    from labkit.reporting.page.exporter import render_report
    from labkit.reporting.page.pdf import render_pdf

    given = options(arguments, AnalysisParams, "study", "predictions")
    given |= {key: _absolute(given[key]) for key in ("labels", "images") if key in given}
    given["predictions"] = files = list(map(_absolute, arguments.predictions))
    AnalysisParams.of(given)
    names = list(map(model_name, map(Path, files)))
    name = arguments.name or names[0]
    if Path(name).name != name:
        raise ParameterError(f"name: got {name!r}; it is a folder's name, without / in it")
    folder = reports_root() / "judged" / name
    notebook, html = folder / "analysis.ipynb", folder / "report.html"
    with alone(folder / ".lock", ParameterError(f"{folder} is being written by another process; wait for it")):
        error = execute(NOTEBOOKS / "analysis.ipynb", notebook, given)
        if error and not notebook_complete(notebook, with_errors=True):
            raise ParameterError(error.partition(": ")[2])
        words = {"title": arguments.title or f"Predictions of {listing(names)}", "subtitle": QUESTION}
        facts = {"Predictions": ", ".join(Path(file).name for file in files)}
        print(f"report: {short(render_report([notebook], html, **words, facts=facts))}")
        broken = list(failed(notebook))
        for heading, error in broken:
            print(f"labkit: “{heading}” failed: {error}", file=sys.stderr)
        if not arguments.no_pdf:
            try:
                print(f"        {short(render_pdf(html, folder / 'report.pdf', 'A4'))}")
            except BrowserMissing as error:
                print(f"labkit: no PDF: {error}", file=sys.stderr)
                return 3
    return int(bool(broken))


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
