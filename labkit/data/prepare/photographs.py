"""``labkit prepare``: raw fundus photographs, thousands of pixels wide, to square crops around the eyeball.

One photograph is one task of a pool of processes; what comes of it is a whole file or a line in the list of failures.
A call that was stopped is gone on with by the same call.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from labkit.data.images import find_images, stem
from labkit.data.prepare.course_lists import LISTS, Labels, find_labels, write_lists
from labkit.data.prepare.crops import Outcome, Task, prepare_one
from labkit.params import refuse_url
from labkit.runs.files import alone, write_csv, write_text

FAILURES, LEDGER, LOCK = "failures.csv", "prepared.txt", ".prepare.lock"  # the last marks a folder of ours


@dataclass
class Prepared:
    """What `prepare` did: photographs by state, why some failed (by file, relative to the source), and in words."""

    made: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def prepare(
    source: Path | str,
    target: Path | str,
    size: int = 512,
    labels: Path | str | None = None,
    workers: int | None = None,
) -> Prepared:
    """Crops of `size` pixels a side in `target/images`, and beside them the course's lists and `failures.csv`.

    `source` is searched with its sub-folders. Labels are looked for in `labels`, by default in `source` and the folder
    above it: `trainLabels.csv` or the course's four lists; without any the crops alone are made. What lies in `target`
    and is whole is kept. `workers`: processes, by default one a core. Raises ValueError (DataError) on folders that
    cannot be and labels that cannot be read, OSError where nothing can be written.
    """
    for place in filter(None, (source, target, labels)):
        refuse_url(str(place), "photographs and crops")
    source, target = Path(source).expanduser().resolve(), Path(target).expanduser().resolve()
    _refuse_impossible(source, target, size, workers)
    places = [Path(labels).expanduser().resolve()] if labels else [source, source.parent]
    known = find_labels(places)
    if labels and known is None:
        raise ValueError(f"{places[0]}: neither trainLabels.csv nor the course's lists are in this folder")
    photographs = [path for path in map(Path, find_images([str(source)]).values()) if not path.is_relative_to(target)]
    if not photographs:
        raise ValueError(f"{source}: no image below this folder")
    done = Prepared()
    (target / "images").mkdir(parents=True, exist_ok=True)
    busy = RuntimeError(f"{target}: another labkit prepare is at work there; wait for it")  # on the same files
    with alone(target / LOCK, busy):
        tasks = _tasks(photographs, source, target / "images", done)
        for outcome in tqdm(_outcomes(tasks, size, workers), "cropping", len(tasks), unit="img", disable=None):
            if outcome.reason:
                done.failed[Path(outcome.file).relative_to(source).as_posix()] = outcome.reason
            done.made += outcome.state == "made"
            done.kept += outcome.state == "kept"
        _write_failures(target / FAILURES, done.failed)
        done.said = [_in_words(done, size, target), *_write_lists(target, known)]
        write_text(target / LEDGER, "\n".join(done.said) + "\n")
    return done


def _refuse_impossible(source: Path, target: Path, size: int, workers: int | None) -> None:
    if not source.is_dir():
        raise ValueError(f"{source}: there is no such folder; give the folder of the raw photographs")
    if source.is_relative_to(target):
        raise ValueError(f"{target}: the photographs lie there themselves; give another folder to write the crops to")
    if not (target / LOCK).is_file() and (own := [name for name in LISTS if (target / name).exists()]):
        raise ValueError(f"{target}: {own[0]} lies there and would be overwritten; give another folder to write to")
    if not 16 <= size <= 2048:
        raise ValueError(f"--size is {size}; it can be 16 to 2048 pixels")
    if workers is not None and workers < 1:
        raise ValueError(f"--workers is {workers}; at least one process is needed")


def _tasks(photographs: list[Path], source: Path, folder: Path, done: Prepared) -> list[Task]:
    """A crop for each name; a second photograph of the same name is a failure, since the lists know names alone."""
    first: dict[str, Path] = {}
    for path in photographs:
        other = first.setdefault(stem(path.name), path)
        if other != path:
            kept = other.relative_to(source).as_posix()
            done.failed[path.relative_to(source).as_posix()] = f"the same name as {kept}, which was taken"
    return [(str(path), str(folder / f"{name}.jpeg")) for name, path in first.items()]


def _outcomes(tasks: list[Task], size: int, workers: int | None) -> Iterator[Outcome]:
    """As they are done, in order. One worker works in this process."""
    count = min(workers or _cores(), max(1, len(tasks)))
    if count == 1:
        yield from map(partial(prepare_one, size=size), tasks)
        return
    # spawn: the same on every system, and no copy of what this process has loaded
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_one_thread)
    try:
        with _deaf_to_interrupts():
            results = pool.map(partial(prepare_one, size=size), tasks, chunksize=4)
        yield from results
    except BrokenProcessPool:
        raise RuntimeError(
            "a worker was killed (too little memory?); the same command goes on where it stopped, "
            "with --workers 1 in the least memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_thread() -> None:
    """There is one process a core."""
    threadpool_limits(1)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, which is this one's to answer; else each would print where it was."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nothing can be set from here
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _write_failures(path: Path, failed: dict[str, str]) -> None:
    """`file,reason`; no file where there is nothing to list."""
    if not failed:
        path.unlink(missing_ok=True)
        return
    write_csv(path, pd.DataFrame(sorted(failed.items()), columns=["file", "reason"]))


def _in_words(done: Prepared, size: int, target: Path) -> str:
    said = f"{done.made + done.kept:,} crops of {size} px in {target / 'images'} ({done.kept:,} were there)"
    if done.failed:
        file, reason = min(done.failed.items())
        said += f"; {len(done.failed):,} photographs failed, listed in {FAILURES} (the first: {file}: {reason})"
    return said


def _write_lists(target: Path, known: Labels | None) -> list[str]:
    """The lists of all crops there are, those of earlier calls too, and what is to be said of them."""
    if known is None:
        return ["no labels were found, so there are no lists; --labels names the folder of trainLabels.csv"]
    crops = {path.stem for path in (target / "images").glob("*.jpeg")}
    labelled = set(known.table["image_id"])
    rows = write_lists(target, known, crops)
    said = [f"train_img.csv has {rows['train']:,} rows, test_img.csv {rows['test']:,}: {known.how}"]
    if extra := len(crops - labelled):
        said.append(f"{extra:,} crops have no label and stand in no list")
    if absent := len(labelled - crops):
        said.append(f"{absent:,} of {len(labelled):,} labelled images have no crop and stand in no list")
    return said
