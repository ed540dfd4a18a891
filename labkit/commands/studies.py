"""``labkit studies``: the studies in params/, with their titles and number of runs."""

import argparse
import sys

from labkit.params import ParameterError
from labkit.studies.file import load_study, study_names

EXAMPLE = "labkit studies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def main(arguments: argparse.Namespace) -> int:
    """One line per study; a file that is no valid study is named on standard error, and the exit code is 1."""
    names, invalid = study_names(), 0
    width = max(map(len, names), default=0)
    for name in names:
        try:
            study = load_study(name)
            runs = len(study.run_params())
        except ParameterError as error:
            print(f"labkit: {error}", file=sys.stderr)
            invalid += 1
        else:
            print(f"{name:<{width}}  {runs:>3} {'run' if runs == 1 else 'runs':<4}  {study.title}")
    return 1 if invalid else 0
