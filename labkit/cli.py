"""The shell's door: `labkit run`, `report`, `test`, `verify`, `predict`, `check`, `prepare`, `new` and `bench`.
Errors are one line; exit codes: 1 a run, a photograph or a part of the benchmark failed, a checkpoint answers otherwise
or the data leaks, 2 wrong use, 3 the report is there but its PDF is not."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from labkit.params import PROJECT, ParameterError

if TYPE_CHECKING:
    from labkit.commands.predict import Predictor
    from labkit.studies.runner import StudyRunner

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
TRAINS = "; the same command goes on where its runs stopped"
GOES_ON = {"run": TRAINS, "report": TRAINS, "prepare": "; the same command goes on where it stopped"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="labkit", description="Reproducible lab reports for image classifiers in medicine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _study_commands(commands)
    _photograph_commands(commands)
    _bench_command(commands)
    arguments = parser.parse_args(argv)
    try:
        with _terminable():
            return arguments.answer(arguments)
    except (ParameterError, ValueError, OSError, RuntimeError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(f"\nlabkit: stopped{GOES_ON.get(arguments.command, '')}", file=sys.stderr)
        return 143 if isinstance(stopped, _Terminated) else 130


class _Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler's time limit, or `kill`; to be answered as Ctrl-C is."""


@contextmanager
def _terminable() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _study_commands(commands: Commands) -> None:
    """What is asked of a study: run, report, test, verify, new."""
    study = argparse.ArgumentParser(add_help=False)
    study.add_argument("study", help="a file in params/, without .yaml")
    study.add_argument("--data", help="folder of your images, or demo: replaces the data of all runs but the sources")
    study.add_argument("--small", action="store_true", help="the study's small form, for a CPU and without a download")
    study.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter, as in papermill"
    )
    study.add_argument("--runs", nargs="+", default=["*"], metavar="RUN", help="only these, such as 'resnet18*'")
    study.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        default=os.environ.get("SCHEDULER"),
        help="make the runs on this Dask cluster, such as tcp://host:8786 (default: $SCHEDULER, else this machine)",
    )
    run = commands.add_parser("run", parents=[study], help="make the runs of a study that are not up to date")
    run.add_argument("--dry-run", action="store_true", help="say what would be run and why, and stop")
    report = commands.add_parser("report", parents=[study], help="make the runs, then the report")
    report.add_argument("--no-pdf", action="store_true", help="HTML only")
    report.add_argument("--paper", choices=["A4", "Letter"], default="A4", help="of the PDF (default: A4)")
    test = commands.add_parser("test", help="load every saved checkpoint of a study and test it again")
    test.add_argument("study", help="a study whose runs are finished")
    test.add_argument("--data", help="where the images lie now, if they were moved")
    test.add_argument("--split", choices=["test", "val"], default="test", help="the images to predict (default: test)")
    test.add_argument("--runs", nargs="+", default=["*"], metavar="RUN", help="only these, such as 'resnet18*'")
    verify = commands.add_parser("verify", help="run a finished run again elsewhere: are its files the same bytes?")
    verify.add_argument("run", help="a run's name or folder")
    verify.add_argument("--study", help="study of the run (default: the one run last that has it)")
    new = commands.add_parser("new", help="write a commented study file for a folder of images, after looking at it")
    new.add_argument("study", help="the file to write: params/STUDY.yaml")
    new.add_argument("--data", required=True, help="folder of your images, or a built-in set (demo, tiny)")
    new.add_argument("--dataset", help="retinopathy, leukemia, …, custom (default: by the names of the files)")
    for command, answer in ((run, _run), (report, _report), (test, _test), (verify, _verify), (new, _new)):
        command.set_defaults(answer=answer)


def _photograph_commands(commands: Commands) -> None:
    """What is asked of photographs: predict, check, prepare."""
    predict = commands.add_parser("predict", help="what a finished run says of new photographs; no medical device")
    predict.add_argument("images", nargs="*", metavar="IMAGE", help="image files, or folders of them")
    predict.add_argument("--study", help="study of the run (default: the one run last)")
    predict.add_argument("--run", help="a run's name or folder (default: the study's best on validation)")
    predict.add_argument("--csv", metavar="FILE", help="write the answers to this .csv, too: one row an image")
    predict.add_argument("--cam", metavar="FOLDER", help="write a picture of each image and its Grad-CAM here")
    predict.add_argument(
        "--submission", metavar="FOLDER", help="instead: write a file to hand in for each unlabelled test list here"
    )
    predict.add_argument("--data", help="with --submission: folder that holds the lists (default: the run's own data)")
    check = commands.add_parser("check", help="is a folder of images sound? leaks, duplicates, odd files, baselines")
    check.add_argument("data", help="folder of your images, or a built-in set (demo, tiny)")
    check.add_argument("--dataset", help="retinopathy, leukemia, …, custom (default: by the names of the files)")
    check.add_argument(
        "--split", choices=["given", "group", "image"], help="how train and test are had (default: given, if they are)"
    )
    check.add_argument("--json", action="store_true", help="everything that was found, for a machine")
    prepare = commands.add_parser("prepare", help="raw fundus photographs to square crops around the eyeball")
    prepare.add_argument("source", metavar="SRC", help="folder of the photographs, sub-folders included")
    prepare.add_argument("target", metavar="DST", help="folder to write to; what is there already is kept")
    prepare.add_argument("--size", type=int, default=512, help="pixels a side (default: 512)")
    prepare.add_argument("--labels", help="folder of trainLabels.csv or the course's lists (default: SRC or above)")
    prepare.add_argument("--workers", type=int, help="processes (default: one a core)")
    for command, answer in ((predict, _predict), (check, _check), (prepare, _prepare)):
        command.set_defaults(answer=answer)


def _bench_command(commands: Commands) -> None:
    bench = commands.add_parser("bench", help="this project's speed beside what people would use instead")
    bench.add_argument("--only", default="*", metavar="PATTERN", help="groups of rows, such as 'input*' (default: all)")
    bench.add_argument("--rounds", type=int, default=5, help="of which the median is taken (default: 5)")
    bench.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where networks run (default: cpu)")
    bench.add_argument("--quick", action="store_true", help="the smallest sizes: does it run? its figures mean nothing")
    bench.set_defaults(answer=_bench)


def _open(arguments: argparse.Namespace) -> "StudyRunner":
    from labkit.studies.file import SMALL, value_of
    from labkit.studies.runner import open_study

    overrides = {name: value_of(value) for name, value in arguments.p}
    if arguments.data:
        overrides["data"] = arguments.data
    small = arguments.small and not arguments.study.endswith(SMALL)
    return open_study(
        arguments.study + SMALL if small else arguments.study, overrides, arguments.runs, arguments.scheduler or None
    )


def _run(arguments: argparse.Namespace) -> int:
    runner = _open(arguments)
    if arguments.dry_run:
        print(*runner.dry_run(), sep="\n")
        return 0
    with runner.alone():
        runner.run_all()
    return 1 if runner.failed else 0


def _report(arguments: argparse.Namespace) -> int:
    from labkit.reporting.page.browser import BrowserMissing

    runner = _open(arguments)
    with runner.alone():
        runner.run_all()
        if not runner.any_finished:
            print(f"labkit: no run is finished, and none to report on; see {_shown(runner.compare())}", file=sys.stderr)
            return 1
        html, _ = runner.report(pdf=False)
        print(f"report: {_shown(html)}")
        for name, error in runner.failed.items():
            print(f"labkit: {name} failed: {error}", file=sys.stderr)
        if not arguments.no_pdf:
            try:
                _, pdf = runner.report(paper=arguments.paper)
            except BrowserMissing as error:
                print(f"labkit: no PDF: {error}", file=sys.stderr)
                return 3
            print(f"        {_shown(pdf)}")
    return 1 if runner.failed else 0


def _test(arguments: argparse.Namespace) -> int:
    """1 where a checkpoint answers otherwise than its run did."""
    from labkit.commands.test import retest

    same = True
    for result in retest(arguments.study, arguments.runs, arguments.split, arguments.data):
        print(result, flush=True)
        same &= result.same
    return 0 if same else 1


def _verify(arguments: argparse.Namespace) -> int:
    """1 where a file differs."""
    from labkit.commands.verify import verify
    from labkit.studies.find import find_run

    found = verify(find_run(arguments.study, arguments.run))
    print(found, file=sys.stdout if found.same else sys.stderr)
    return 0 if found.same else 1


def _predict(arguments: argparse.Namespace) -> int:
    """1 where an image cannot be read."""
    if arguments.submission:
        return _hand_in(arguments)
    if arguments.data or not arguments.images:
        raise ParameterError("predict: got no IMAGE; name files or folders (--data goes with --submission alone)")
    from tqdm import tqdm

    from labkit.commands.predict import as_csv_path, as_table, for_people, write_pictures
    from labkit.data.images import find_images
    from labkit.reporting.sentences_predict import NOT_A_DEVICE, answer_line, count_sentence
    from labkit.runs.files import write_csv

    csv = as_csv_path(arguments.csv)
    images = find_images(arguments.images, besides=arguments.cam)
    predictor = _predictor(arguments)
    rows = []
    with tqdm(total=len(images), unit="image", leave=False, disable=None) as bar:  # None: only where a person watches
        for answers in predictor.answers(images):
            new = for_people(predictor, answers)
            for row in new:
                bar.write(_plain(answer_line(row)), file=sys.stderr if row["unreadable"] else sys.stdout)
            if arguments.cam:
                write_pictures(predictor, answers, Path(arguments.cam).expanduser())
            bar.update(len(new))
            rows += new
    print(_plain(f"\n{count_sentence(rows)}"))
    if csv:
        write_csv(csv, as_table(rows, images))
        print(f"As a table: {csv}")
    if arguments.cam:
        print(f"Where the network looked: {arguments.cam}")
    print(NOT_A_DEVICE)
    return 1 if any(row["unreadable"] for row in rows) else 0


def _hand_in(arguments: argparse.Namespace) -> int:
    from labkit.commands.predict import hand_in
    from labkit.reporting.sentences_predict import NOT_A_DEVICE
    from labkit.runs.files import write_csv

    if arguments.images or arguments.csv or arguments.cam:
        raise ParameterError("--submission: the lists say which images are predicted; leave out IMAGE, --csv and --cam")
    folder = Path(arguments.submission).expanduser()
    for name, rows in hand_in(_predictor(arguments), arguments.data).items():
        file = folder / f"submission-{name}"
        write_csv(file, rows)
        print(f"{file}: {len(rows):,} images in the order of {name}", *rows.attrs["notes"], sep="; ")
    print(NOT_A_DEVICE)
    return 0


def _predictor(arguments: argparse.Namespace) -> "Predictor":
    """The run that is meant, opened; what is to be known of it is said first."""
    from labkit.commands.predict import open_predictor
    from labkit.reporting.sentences_predict import point_sentence, run_sentence
    from labkit.studies.find import find_run

    predictor = open_predictor(find_run(arguments.study, arguments.run))
    print(_plain(run_sentence(predictor.folder.name, predictor.params, predictor.manifest)))
    for stamp in predictor.manifest["stamps"]:
        print(f"WARNING: {_plain(stamp)}")
    if not arguments.submission:
        print(_plain(point_sentence(predictor.point, predictor.cuts is not None)))
    print(flush=True)
    return predictor


def _plain(text: str) -> str:
    """A shell's tools look for a space where a page has one that does not break."""
    return text.replace("\xa0", " ")


def _check(arguments: argparse.Namespace) -> int:
    """1 where test and what is learnt from are not apart."""
    from labkit.commands.check import check, in_json, in_words

    tell = partial(print, file=sys.stderr, flush=True)
    report = check(arguments.data, arguments.dataset, arguments.split, lambda step: tell(f"labkit: {step} …"))
    print(in_json(report) if arguments.json else in_words(report))
    return 1 if report["leak"] else 0


def _prepare(arguments: argparse.Namespace) -> int:
    """1 where a photograph failed."""
    from labkit.data.prepare import prepare

    done = prepare(arguments.source, arguments.target, arguments.size, arguments.labels, arguments.workers)
    print(*done.said, sep="\n")
    return 1 if done.failed else 0


def _new(arguments: argparse.Namespace) -> int:
    from labkit.commands.new import new_study

    name = arguments.study
    path = new_study(name, arguments.data, arguments.dataset)
    print(f"{_shown(path)} is written; next: labkit run {name} --dry-run, then make report STUDY={name}")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    """1 where a group of rows stopped with an error."""
    from labkit.bench.measure import measure, write
    from labkit.bench.rows import in_words
    from labkit.bench.setting import open_setting

    setting = open_setting(arguments.rounds, arguments.device, arguments.quick)
    table, stopped = measure(setting, arguments.only)
    print(in_words(table))
    print(f"\nAs a table: {_shown(write(table, setting))}")
    return 1 if stopped else 0


def _shown(path: Path | None) -> str:
    """As short as it can be clicked or pasted."""
    return str(path.relative_to(PROJECT) if path and path.is_relative_to(PROJECT) else path)


if __name__ == "__main__":
    sys.exit(main())
