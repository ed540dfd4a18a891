"""``labkit prepare``: raw fundus photographs to square crops around the eyeball. Exit code 1 if a photograph failed."""

import argparse

from labkit.data.prepare.photographs import prepare

EXAMPLE = "labkit prepare ~/eyepacs/train ~/eyepacs/crops --size 512"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """From where to where, and how large."""
    parser.add_argument("source", metavar="SRC", help="folder of the photographs, sub-folders included")
    parser.add_argument("target", metavar="DST", help="folder to write to; crops that are there already are kept")
    parser.add_argument("--size", type=int, default=512, help="pixels per side (default: 512)")
    parser.add_argument("--labels", help="folder of trainLabels.csv or the course's lists (default: SRC or above)")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")


def main(arguments: argparse.Namespace) -> int:
    """Prints what was done and which photographs failed."""
    done = prepare(arguments.source, arguments.target, arguments.size, arguments.labels, arguments.workers)
    print(*done.said, sep="\n")
    return 1 if done.failed else 0
