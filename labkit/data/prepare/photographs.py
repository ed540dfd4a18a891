"""``labkit prepare``: crops raw fundus photographs, thousands of pixels wide, to squares around the eyeball.

Each photograph gives a whole file or a line in the list of failures. After a stop the same command goes on.
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
from math import ceil
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from PIL import Image
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from labkit.data.images import find_images, load_image, printable, stem
from labkit.data.prepare.course_lists import find_labels, write_lists
from labkit.data.prepare.eyeball import NoEyeball, crop_square, find_eyeball
from labkit.data.readers import COURSE_FILES
from labkit.params import refuse_url
from labkit.runs.files import alone, write_csv, write_text

QUALITY = 92  # of the JPEGs
MARGIN = 1.1  # a disc decoded at so many times the crop's side looks as the full photograph does: SSIM 0.986 and more
TOO_SMALL = 0.5  # of the crop's side: a smaller eyeball would be blown up to more than twice its size
MADE, KEPT = "made", "kept"
FAILURES, LEDGER, LOCK = "failures.csv", "prepared.txt", ".prepare.lock"  # the last marks a folder of ours

Task = tuple[str, str]  # photograph, crop


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

    Labels (`trainLabels.csv` or the course's lists) are looked for in `labels`, by default in `source` and the folder
    above it; without any the crops alone are made. Whole crops in `target` are kept. `workers`: processes, by default
    one a core. Raises ValueError (DataError) on folders and labels that cannot be read, OSError on a full disk.
    """
    for place in filter(None, (source, target, labels)):
        refuse_url(str(place), "photographs and crops")
    source, target = Path(source).expanduser().resolve(), Path(target).expanduser().resolve()
    if not source.is_dir():
        raise ValueError(f"{source}: there is no such folder; give the folder of the raw photographs")
    if source.is_relative_to(target):
        raise ValueError(f"{target}: the photographs lie there themselves; give another folder to write the crops to")
    there = [path for name in (*COURSE_FILES, FAILURES, LEDGER, "images/*.jpeg") for path in target.glob(name)]
    if there and not (target / LOCK).is_file():
        own = there[0].relative_to(target).as_posix()
        raise ValueError(f"{target}: {own} lies there and would be overwritten; give another folder to write to")
    if not 16 <= size <= 2048:
        raise ValueError(f"--size is {size}; it can be 16 to 2048 pixels")
    if workers is not None and workers < 1:
        raise ValueError(f"--workers is {workers}; at least one process is needed")
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
        first: dict[str, Path] = {}
        for path in photographs:
            if (other := first.setdefault(printable(stem(path.name)), path)) != path:  # the lists know names alone
                kept = other.relative_to(source).as_posix()
                done.failed[path.relative_to(source).as_posix()] = f"the same name as {kept}, which was taken"
        tasks = [(str(path), str(target / "images" / f"{name}.jpeg")) for name, path in first.items()]
        outcomes = tqdm(_outcomes(tasks, size, workers), "cropping", len(tasks), unit="img", disable=None)
        for (photograph, _), outcome in zip(tasks, outcomes, strict=True):
            if outcome not in (MADE, KEPT):
                done.failed[printable(Path(photograph).relative_to(source).as_posix())] = outcome
            done.made += outcome == MADE
            done.kept += outcome == KEPT
        (target / FAILURES).unlink(missing_ok=True)
        if done.failed:
            write_csv(target / FAILURES, pd.DataFrame(sorted(done.failed.items()), columns=["file", "reason"]))
        crops = {path.stem for path in (target / "images").glob("*.jpeg")}  # those of earlier calls, too
        said = f"{done.made + done.kept:,} crops of {size} px in {target / 'images'} ({done.kept:,} were there)"
        if done.failed:
            file, reason = min(done.failed.items())
            said += f"; {len(done.failed):,} photographs failed, listed in {FAILURES} (the first: {file}: {reason})"
        done.said = [said, *write_lists(target, known, crops)]
        write_text(target / LEDGER, "\n".join(done.said) + "\n")
    return done


def _outcomes(tasks: list[Task], size: int, workers: int | None) -> Iterator[str]:
    """As they are done, in order. One worker works in this process."""
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # of a SLURM job
    count = min(workers or ours, max(1, len(tasks)))
    if count == 1:
        yield from map(partial(_prepare_one, size=size), tasks)
        return
    # spawn: the same on every system, and no copy of what this process has loaded; one thread each
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=threadpool_limits, initargs=(1,))
    try:
        with _deaf_to_interrupts():
            results = pool.map(partial(_prepare_one, size=size), tasks, chunksize=4)
        yield from results
    except BrokenProcessPool:
        told = "a worker was killed (too little memory?); the same command goes on where it stopped"
        raise RuntimeError(f"{told}, with --workers 1 in the least memory") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_one(task: Task, size: int) -> str:
    """One photograph to one crop: MADE, KEPT, or why it failed. OSError only where the crop cannot be written."""
    photograph, crop = task
    path = Path(crop)
    if is_whole(path, size):
        return KEPT
    path.unlink(missing_ok=True)  # of another size, or broken: it must not stand for a photograph that now fails
    try:
        square = crop_photograph(photograph, size)
    except (NoEyeball, OSError) as error:
        return str(error).removeprefix(f"{photograph}: ")
    beside = path.with_name(f".{path.name}.part")
    square.save(beside, "JPEG", quality=QUALITY)
    beside.replace(path)  # no fsync, which would cost more than the crop: after a power cut is_whole finds the broken
    return MADE


def crop_photograph(path: str, size: int) -> Image.Image:
    """The square around the eyeball, (size, size) RGB; NoEyeball, or OSError where the file cannot be decoded."""
    wanted = ceil(MARGIN * size)
    image = load_image(path, at_least=wanted)
    disc = find_eyeball(image)
    if 2 * disc.radius < wanted:  # a wide border
        image = load_image(path, at_least=ceil(wanted * min(image.size) / (2 * disc.radius)))
        disc = find_eyeball(image)
    if 2 * disc.radius < TOO_SMALL * size:
        raise NoEyeball(f"the eyeball is {2 * disc.radius:.0f} px wide, too small for a crop of {size} px")
    return crop_square(image, disc, size)


def is_whole(path: Path, size: int) -> bool:
    """Whether a crop of this size is there, from its first byte to its last; its pixels are not decoded."""
    try:
        with Image.open(path) as image, path.open("rb") as file:
            file.seek(-2, os.SEEK_END)
            return image.format == "JPEG" and image.size == (size, size) and file.read() == b"\xff\xd9"
    except OSError:
        return False


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
