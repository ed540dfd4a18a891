"""Rows of what a report costs beside its training: the analysis of many runs, and the demo as a whole."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from unittest import mock

from made_runs import drawn_photographs, drawn_run
from measuring import Bench, Row, row

from labkit.params import PROJECT
from labkit.runs.files import read_json, write_json
from labkit.runs.folder import reports_root, resolve_weights
from labkit.studies.file import load_study
from labkit.studies.notebook import NOTEBOOKS, execute

STUDY = "course/class-weights"  # eight runs, and four of them again with patients kept apart
SMALL = {"image_size": 64, "crop_size": 56}  # the report is what is timed, and it reads few pixels


def reports_in(root: Path):
    """Runs and caches under ``root`` instead of the project's own; for kernels that are started meanwhile, too."""
    return mock.patch.dict("os.environ", LABKIT_REPORTS=str(root / "reports"), LABKIT_CACHE=str(root / "cache"))


def analysis_rows(bench: Bench) -> Iterator[Row]:
    """analysis.ipynb over twelve finished runs of 7,026 test images; its pictures are decoded before."""
    test = bench.size(7_026, 300)
    root = bench.folder / f"made-{test}"
    data = drawn_photographs(root / "data", bench.size(10_000, 600), test)
    with reports_in(root):
        table = load_study(STUDY).run_params({"data": str(data)} | SMALL)
        drawn = {f"{one.run}-seed{one.seed}": drawn_run(one, n) for n, one in enumerate(map(resolve_weights, table))}
        write_json(reports_root() / STUDY / "report.json", {"runs": drawn})
        source, errors = NOTEBOOKS / "analysis.ipynb", list[str | None]()
        once = {"": lambda: errors.append(execute(source, reports_root() / STUDY / source.name, {"study": STUDY}))}
        seconds = bench.times(f"analysis of {len(table)} runs", once)[""]
    if any(errors):
        raise RuntimeError(f"analysis.ipynb: {errors}")
    setting = f"{len(table)} runs, {test:,} test images × 5 classes, 64 px"
    told = {"goal": "≤ 60 s", "rounds": bench.rounds, "note": "metrics, bootstrap, figures"}
    yield row("analysis notebook", setting, "s", median(seconds), **told)


def demo_rows(bench: Bench) -> Iterator[Row]:
    """`labkit report demo` into an empty folder, once, and again; `--quick` takes the study tiny."""
    study, root, seconds = ("tiny" if bench.quick else "demo"), bench.folder / "demo", []
    shutil.rmtree(root, ignore_errors=True)
    for call in ("first", "second"):
        bench.tell(f"the {call} labkit report {study} …")
        with reports_in(root):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "labkit.cli", "report", study], cwd=PROJECT, check=True)
            seconds.append(time.perf_counter() - start)
    manifests = (root / "reports" / study / "runs").glob("*/run.json")
    training = sum(sum(read_json(path)["epoch_seconds"]) for path in manifests)
    note = f"of which {training:.0f} s in the epochs of its runs; drawing the images included"
    yield row("report, first call", study, "s", seconds[0], goal="≤ 240 s", note=note)
    yield row("report, second call", study, "s", seconds[1], goal="≤ 8 s")
