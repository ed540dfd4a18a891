"""``labkit report``: train the runs of a study, then write its report; exit code 3 if it is there but not its PDF."""

import argparse
import sys

from labkit.commands import short
from labkit.commands.run import add_study_arguments, open_runner

EXAMPLE = "labkit report demo --no-pdf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As `run`, and how to print."""
    add_study_arguments(parser)
    parser.add_argument("--no-train", action="store_true", help="only what is finished; what is out of date is stamped")
    parser.add_argument("--no-pdf", action="store_true", help="HTML only")
    parser.add_argument("--paper", choices=["A4", "Letter"], default="A4", help="of the PDF (default: A4)")


def main(arguments: argparse.Namespace) -> int:
    """Failed runs are named after the report's path."""
    runner = open_runner(arguments)
    with runner.alone():
        runner.plan_only() if arguments.no_train else runner.run_all()
        from labkit.reporting.page import report  # takes seconds: not before a mistake in the study is reported
        from labkit.reporting.page.browser import BrowserMissing

        if not report.any_finished(runner):
            page = short(report.write_compare(runner))
            print(f"labkit: no run is finished, so there is nothing to report; see {page}", file=sys.stderr)
            return 1
        print(f"report: {short(report.write_report(runner))}")
        for name, error in runner.failed.items():
            print(f"labkit: {name} failed: {error}", file=sys.stderr)
        if not arguments.no_pdf:
            try:
                print(f"        {short(report.write_pdf(runner, arguments.paper))}")
            except BrowserMissing as error:
                print(f"labkit: no PDF: {error}", file=sys.stderr)
                return 3
    return 1 if runner.failed else 0
