"""``labkit run``: train the runs of a study that are not up to date. Exit code 1 if a run failed."""

import argparse
import os
from typing import Any

from labkit.data.source import as_parameters
from labkit.studies.file import SMALL, value_of
from labkit.studies.runner import StudyRunner, open_study

EXAMPLE = "labkit run demo --runs 'resnet18*' --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which study and which of its runs, and with which parameters."""
    add_study_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="only print which runs would be trained, and why")


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `run` and `report` share."""
    parser.add_argument("study", help="a file in params/, without .yaml (see labkit studies), or a .yaml file's path")
    parser.add_argument("--data", help="folder of your images, or demo: replaces the data of all runs but the sources")
    parser.add_argument("--small", action="store_true", help="the study's small form: for a CPU, without a download")
    pair: Any = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    parser.add_argument("-p", **pair, help="set a parameter, as in papermill")
    parser.add_argument("--runs", nargs="+", default=["*"], metavar="RUN", help="only these, such as 'resnet18*'")
    cluster = "train on this Dask cluster, such as tcp://host:8786 (default: $SCHEDULER, else this machine)"
    parser.add_argument("--scheduler", metavar="ADDRESS", default=os.environ.get("SCHEDULER"), help=cluster)


def open_runner(arguments: argparse.Namespace) -> StudyRunner:
    """The study that the arguments name, ready to run."""
    overrides = {name: value_of(value) for name, value in arguments.p}
    if arguments.data:
        overrides["data"] = arguments.data
    if isinstance(overrides.get("data"), str):  # relative to the caller's folder, first of all
        overrides["data"] = as_parameters(overrides["data"], "custom")[0].data
    small = arguments.small and not arguments.study.endswith(SMALL)
    study = arguments.study + SMALL if small else arguments.study
    return open_study(study, overrides, arguments.runs, arguments.scheduler or None)


def main(arguments: argparse.Namespace) -> int:
    """1 if a run failed or, in a dry run, cannot run."""
    runner = open_runner(arguments)
    if arguments.dry_run:
        print(*runner.dry_run(), sep="\n")
    else:
        with runner.alone():
            runner.run_all()
    return 1 if runner.failed else 0
