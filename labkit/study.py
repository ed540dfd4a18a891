"""Running a study: its runs through Papermill, one after another, then the report; skips what is up to date."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from threading import Lock
from typing import Any

from labkit import disk, fingerprints, runs
from labkit.data.source import PHANTOMS, open_data
from labkit.params import PROJECT, ExploreParams, ParameterError, RunParams, parent_of
from labkit.studies import Study, load_study, study_file

NOTEBOOKS = PROJECT / "notebooks"
# Everything that decides what the report says; study.py and cli.py decide only when it is made.
REPORT_CODE = (
    "disk.py",
    "params.py",
    "runs.py",
    "studies.py",
    "numbers.py",
    "audit",
    "data",
    "models",
    "training",
    "evaluation",
    "reporting",
)


@dataclass
class Plan:
    """One run of a study: its parameters, what decides its numbers, and why it has to be made (None: it has not)."""

    params: RunParams
    inputs: dict[str, Any]
    folder: Path
    reason: str | None


@dataclass
class StudyRunner:
    """Runs a study and makes its report.

    ``overrides`` replaces parameters of all runs but the sources; ``only`` names the runs to make (patterns such as
    ``resnet18*``), what they start from included. ``failed``: run -> error; ``planned``: run -> fingerprint, None if
    refused.
    """

    study: Study
    overrides: dict[str, Any] = field(default_factory=dict)
    only: Sequence[str] = ("*",)
    failed: dict[str, str] = field(default_factory=dict)
    planned: dict[str, str | None] = field(default_factory=dict)
    _data_fingerprints: dict[tuple[str, str], str] = field(default_factory=dict)
    _stamping: Lock = field(default_factory=Lock)

    @property
    def folder(self) -> Path:
        """``reports/<study>``, where runs, executed notebooks and the report go."""
        return runs.reports_root() / self.study.name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One call works on a study at a time; a second one is refused, and not after it has overwritten something."""
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = ParameterError(f"study {self.study.name} is being run by another process; wait for it")
        with disk.alone(self.folder / ".lock", busy):
            yield

    def run_all(self) -> None:
        """Make every run that is not up to date; one that fails stops only those that start from it."""
        table, wanted = self.study.run_params(self.overrides), self.wanted()
        if any(runs.state(self.folder / "runs" / f"{run.run}-seed{run.seed}") != "finished" for run in table):
            from labkit.kernels import warm_up

            warm_up()  # while the data is looked at
        count = sum(params.run in wanted for params in table)
        number = 0
        for params in table:
            name = f"{params.run}-seed{params.seed}"
            number += params.run in wanted
            label = f"[{number}/{count}] {name if len(self.study.seeds) > 1 else params.run}"
            self.planned[name] = None
            try:
                plan = self.plan(params)
            except ParameterError as error:
                if params.run in wanted:
                    self._note_failure(name, str(error), label)
                continue
            self.planned[name] = fingerprints.fingerprint_of(plan.inputs)
            if params.run not in wanted:
                continue
            if plan.reason is None:
                print(f"{label}: up to date")
                continue
            print(f"{label}: {plan.reason}", flush=True)
            if error := self.train(plan):
                self._note_failure(name, error, label)
        self._stamp("runs", self.planned)

    def wanted(self) -> set[str]:
        """Names of the runs to make: those that ``only`` selects, and what they start from."""
        table = self.study.table()
        names = {name for name in table if any(fnmatch(name, pattern) for pattern in self.only)}
        if not names:
            raise ParameterError(f"no run is called {' or '.join(self.only)}; there are {', '.join(table)}")
        todo = list(names)
        while todo:
            parent = parent_of(table[todo.pop()].get("weights"))
            if parent in table and parent not in names:
                names.add(parent)
                todo.append(parent)
        return names

    def plan(self, params: RunParams) -> Plan:
        """What one run needs; raises ParameterError where its parent is not finished, DataError where data is amiss."""
        parent = (params.weights or "").removeprefix("run:")
        if parent in self.failed:
            raise ParameterError(f"starts from {parent}, which failed")
        params = runs.resolve_weights(params)
        inputs = fingerprints.run_inputs(params, self.data_fingerprint(params.dataset, params.data))
        folder = runs.run_folder(params, fingerprints.fingerprint_of(inputs))
        return Plan(params, inputs, folder, runs.why_run(folder, inputs, params.find_learning_rate))

    def dry_run(self) -> Iterator[str]:
        """One line a run: what would be made and why. A child of a run that would be made is made too."""
        remade: set[str] = set()
        wanted = self.wanted()
        for params in self.study.run_params(self.overrides):
            if params.run not in wanted:
                continue
            name, parent = f"{params.run}-seed{params.seed}", (params.weights or "").removeprefix("run:")
            reason = f"starts from {parent}, which is run again" if parent in remade else self.plan(params).reason
            if reason:
                remade.add(name)
            yield f"{name}: {'would run, ' + reason if reason else 'up to date'}"

    def data_fingerprint(self, dataset: str, data: str) -> str:
        """Fingerprint of the images that `dataset` and `data` name; they are read once a call."""
        if (dataset, data) not in self._data_fingerprints:
            images, hashes = open_data(dataset, data, runs.cache_root())
            self._data_fingerprints[dataset, data] = fingerprints.data_fingerprint(images.table, hashes)
        return self._data_fingerprints[dataset, data]

    def train(self, plan: Plan) -> str | None:
        """Execute train.ipynb into the run folder; its error in one line, if any. The manifest has the last word."""
        if runs.state(plan.folder) == "running":
            return f"{plan.folder} is being worked in by another process"
        started = time.monotonic()
        error = execute(NOTEBOOKS / "train.ipynb", plan.folder / "train.ipynb", plan.params.model_dump())
        if error is None and disk.read_json(plan.folder / "run.json").get("status") != "finished":
            error = "the kernel ended before the run was finished"
        if error is not None:
            runs.mark_failed(plan.folder, plan.params, plan.inputs, error)
            return error
        print(f"    finished in {(time.monotonic() - started) / 60:.1f} min")
        return None

    def _note_failure(self, name: str, error: str, label: str) -> None:
        self.failed[name] = error
        print(f"{label}: FAILED: {error}", file=sys.stderr, flush=True)

    def report(self, pdf: bool = True, paper: str = "A4") -> tuple[Path, Path | None]:
        """Execute explore and analysis where they are stale and render them; returns the HTML's and the PDF's path.

        Raises RuntimeError with the cell's error if a notebook fails, BrowserMissing if there is none to print with.
        """
        from labkit.kernels import cool_down
        from labkit.reporting.render import render_pdf, render_report

        html, pdf_path = self.folder / "report.html", self.folder / "report.pdf"
        code = fingerprints.code_fingerprint(*REPORT_CODE)
        folders = [self.folder / "runs" / name for name in self.planned]
        explore_params = self._explore_params()
        data = self.data_fingerprint(explore_params["dataset"], explore_params["data"])
        study = study_file(self.study.name).read_text(encoding="utf-8")
        made_of = [code, study, self.planned, {folder.name: _contents(folder) for folder in folders}]
        with ThreadPoolExecutor(2) as pool:  # both notebooks beside our own work: each keeps one core busy, no more
            explored = pool.submit(self._notebook, "explore", explore_params, [code, data])
            analysed = pool.submit(self._notebook, "analysis", {"study": self.study.name}, made_of)
            try:
                pages = {folder.name: page for folder in folders if (page := self._page(folder, code))}
                self._compare(fingerprints.fingerprint_of([made_of, self.failed, pages]))
            except KeyboardInterrupt:
                cool_down()  # else the pool would wait for both notebooks
                raise
        explore, analysis = explored.result(), analysed.result()
        stamps = disk.read_json(self.folder / "report.json")
        made = fingerprints.fingerprint_of([stamps["explore"], stamps["analysis"], code, pages])
        if stamps.get("html") != made or not html.is_file():
            render_report(
                [analysis, explore],
                html,
                title=self.study.title,
                subtitle=self.study.question,
                facts=self._facts(folders),
                links=pages,
                compare="compare.html",
            )
            self._stamp("html", made)
        if not pdf:
            return html, None
        printed = fingerprints.fingerprint_of([made, paper])
        if stamps.get("pdf") != printed or not pdf_path.is_file():
            render_pdf(html, pdf_path, paper)
            self._stamp("pdf", printed)
        return html, pdf_path

    def _facts(self, folders: Sequence[Path]) -> dict[str, str]:
        from labkit.reporting.heading import title_facts

        compared = [params for params in self.study.run_params(self.overrides) if params.run in self.study.runs]
        manifests = [disk.read_json(folder / "run.json") for folder in folders]
        current = {folder.name: self.planned[folder.name] for folder in folders}
        done = [
            manifest
            for folder, manifest in zip(folders, manifests, strict=True)
            if manifest.get("status") == "finished" and manifest["fingerprint"] == current[folder.name]
        ]
        return title_facts(f"params/{self.study.file}", compared[0], done)

    def _compare(self, made: str) -> None:
        """``runs.csv`` and compare.html: every run of the study, whatever became of it."""
        from labkit.reporting.compare import render_compare
        from labkit.reporting.runs_table import runs_table, validation_curves

        page, rows = self.folder / "compare.html", self.folder / "runs.csv"
        if disk.read_json(self.folder / "report.json").get("compare") == made and page.is_file() and rows.is_file():
            return
        table, curves = runs_table(self.study.name, self.failed), validation_curves(self.study.name)
        disk.write_csv(rows, table)
        links = {"The report": "report.html", "These rows as CSV": "runs.csv"}
        render_compare(table, page, title=f"{self.study.title}: all runs", curves=curves, links=links)
        self._stamp("compare", made)

    def _page(self, folder: Path, code: str) -> str | None:
        """A run's notebook as a page beside it, relative to the report; None where the notebook is not complete."""
        from labkit.reporting.render import render_notebook

        notebook, page = folder / "train.ipynb", folder / "train.html"
        if not runs.notebook_complete(notebook):
            return None
        made = fingerprints.fingerprint_of([code, disk.sha256(notebook)])
        pages = disk.read_json(self.folder / "report.json").get("pages", {})
        if pages.get(folder.name) != made or not page.is_file():
            manifest = disk.read_json(folder / "run.json")
            render_notebook(notebook, page, title=f"{manifest['run']}, seed {manifest['seed']}")
            self._stamp("pages", pages | {folder.name: made})
        return f"runs/{folder.name}/train.html"

    def _explore_params(self) -> dict[str, Any]:
        """The data's part of the parameters, of the first compared run."""
        first = next(params for params in self.study.run_params(self.overrides) if params.run in self.study.runs)
        return {name: value for name, value in first.model_dump().items() if name in ExploreParams.model_fields}

    def _notebook(self, name: str, params: dict[str, Any], inputs: list[Any]) -> Path:
        """The executed notebook, executed again only if anything that it depends on has changed."""
        source, target = NOTEBOOKS / f"{name}.ipynb", self.folder / f"{name}.ipynb"
        made = fingerprints.fingerprint_of([params, inputs, source.read_text(encoding="utf-8")])
        if disk.read_json(self.folder / "report.json").get(name) != made or not runs.notebook_complete(target):
            print(f"{name}.ipynb", flush=True)
            if error := execute(source, target, params, echo=False):
                raise RuntimeError(f"{source.relative_to(PROJECT)} failed: {error}; see {target}")
            self._stamp(name, made)
        return target

    def _stamp(self, name: str, made: Any) -> None:
        path = self.folder / "report.json"
        with self._stamping:
            stamps = disk.read_json(path)
            if stamps.get(name) != made:
                disk.write_json(path, stamps | {name: made})


def _contents(folder: Path) -> list[str | None]:
    """What the report reads of a run, as SHA-256: a run made again elsewhere may differ under the same fingerprint."""
    names = ("run.json", "history.csv", "predictions.csv")
    return [disk.sha256(folder / name) if (folder / name).is_file() else None for name in names]


def open_study(name: str, overrides: dict[str, Any] | None = None, only: Sequence[str] = ("*",)) -> StudyRunner:
    """A study by name; ``overrides`` and ``only`` as in StudyRunner.

    A study that has a small form is run in it on the built-in phantoms, which are made for that size.
    """
    study, overrides = load_study(name), overrides or {}
    if study.small and overrides.get("data") in PHANTOMS:
        study = study.shrunk()
    return StudyRunner(study, overrides, only)


def execute(source: Path, target: Path, params: dict[str, Any], echo: bool = True) -> str | None:
    """Run a notebook through Papermill from the project's root; None, or its error in one line."""
    import papermill
    from jupyter_client.manager import KernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from labkit.kernels import WarmKernelManager

    target.parent.mkdir(parents=True, exist_ok=True)
    watched = os.environ.pop("JPY_SESSION_NAME", None)  # JupyterLab's, where this is called from: nobody looks here
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            params,
            resources={"metadata": {"path": str(PROJECT)}},  # its place; `cwd` would be that of all our threads
            progress_bar=False,
            config=Config({KernelManager.__name__: {"transport_encryption": "auto"}}),  # else every kernel warns
            kernel_manager_class=WarmKernelManager,
            stdout_file=_Indented() if echo else None,
        )
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except DeadKernelError:
        return "the kernel died; was it killed, or out of memory?"
    finally:
        if watched is not None:
            os.environ["JPY_SESSION_NAME"] = watched
    return None


class _Indented:
    """A text stream that shows a kernel's full lines under the run's own."""

    def __init__(self) -> None:
        self.unfinished = ""

    def write(self, text: str) -> None:
        *lines, self.unfinished = (self.unfinished + text).split("\n")
        for line in lines:
            print(f"    {line}", flush=True)

    def flush(self) -> None:
        sys.stdout.flush()
