"""Running a study: its runs as jobs, then the report; what is up to date is skipped."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from threading import Lock
from typing import Any

from labkit.data.source import PHANTOMS, open_data
from labkit.params import PROJECT, ExploreParams, ParameterError, RunParams, parent_of
from labkit.runs import files as disk
from labkit.runs import fingerprint
from labkit.runs.folder import cache_root, notebook_complete, reports_root, resolve_weights, run_folder, why_run
from labkit.studies.file import Study, load_study, study_file
from labkit.studies.find import current_runs
from labkit.studies.local import STOPPED, Job, Machines, ThisMachine
from labkit.studies.notebook import NOTEBOOKS, Say, execute, stop_kernels

# Everything that decides what the report says; the rest of studies/ decides only when and where it is made.
REPORT_CODE = (
    "params.py",
    "format.py",
    "runs",
    "studies/file.py",
    "studies/find.py",
    "audit",
    "data",
    "models",
    "training",
    "evaluation",
    "reporting",
)


@dataclass
class StudyRunner:
    """Runs a study and makes its report.

    ``overrides`` replaces parameters of all runs but the sources; ``only`` names the runs to make (patterns such as
    ``resnet18*``), what they start from included. ``scheduler``: address of a Dask cluster to make them on. ``failed``:
    run -> error; ``planned``: run -> fingerprint, None if refused.
    """

    study: Study
    overrides: dict[str, Any] = field(default_factory=dict)
    only: Sequence[str] = ("*",)
    scheduler: str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    planned: dict[str, str | None] = field(default_factory=dict)
    _data_fingerprints: dict[tuple[str, str], str] = field(default_factory=dict)
    _stamping: Lock = field(default_factory=Lock)

    @property
    def folder(self) -> Path:
        """``reports/<study>``, where runs, executed notebooks and the report go."""
        return reports_root() / self.study.name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One call works on a study at a time; a second one is refused, and not after it has overwritten something."""
        busy = ParameterError(f"study {self.study.name} is being run by another process; wait for it")
        with disk.alone(self.folder / ".lock", busy):
            yield

    def run_all(self) -> None:
        """Make every run that is not up to date; one that fails stops only those that start from it.

        A run begins as soon as its parent is made and there is room for it. Interrupted, the runs save how far they
        are before this raises KeyboardInterrupt.
        """
        table, wanted = self.study.run_params(self.overrides), self.wanted()
        waiting = list(self._labelled(table, wanted))
        with self._machines(table) as machines:
            running: dict[Future[str | None], tuple[Job, str]] = {}
            try:
                while waiting or running:
                    unmade = {_name(params) for params, _ in waiting} | {job.name for job, _ in running.values()}
                    for params, label in list(waiting):
                        if _parent(params) in unmade or len(running) >= machines.room:
                            continue
                        waiting.remove((params, label))
                        if job := self._job(params, label, params.run in wanted):
                            running[machines.start(job, self._say(job, machines.room > 1))] = job, label
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job, label = running.pop(future)
                        if error := _error_of(future):
                            self._note_failure(job.name, error, label)
            except KeyboardInterrupt:
                print("stopping: the runs save how far they are …", file=sys.stderr, flush=True)
                machines.stop()
                raise
        self._stamp("runs", self.planned)

    def _labelled(self, table: list[RunParams], wanted: set[str]) -> Iterator[tuple[RunParams, str]]:
        """Every run with its place and name, as they stand before its lines."""
        count, number = sum(params.run in wanted for params in table), 0
        for params in table:
            number += params.run in wanted
            yield params, f"[{number}/{count}] {_name(params) if len(self.study.seeds) > 1 else params.run}"

    def _machines(self, table: list[RunParams]) -> Machines:
        if self.scheduler:
            from labkit.studies.dask import Cluster

            return Cluster(self.scheduler)
        return ThisMachine.of(self.study, table)

    def _job(self, params: RunParams, label: str, wanted: bool) -> Job | None:
        """The job of a run that is wanted and not up to date; what is planned of every run is written down."""
        name = _name(params)
        self.planned[name] = None
        try:
            job = self.plan(params)
        except ParameterError as error:
            if wanted:
                self._note_failure(name, str(error), label)
            return None
        self.planned[name] = fingerprint.fingerprint_of(job.inputs)
        if not wanted:
            return None
        print(f"{label}: {job.reason or 'up to date'}", flush=True)
        return job if job.reason else None

    def _say(self, job: Job, side_by_side: bool) -> Say:
        """Prints a line of a kernel under its run's own; with the run's name where lines of several may mix."""
        name = f"{job.name if len(self.study.seeds) > 1 else job.params.run}  " if side_by_side else ""
        return lambda line: print(f"    {name}{line}\n", end="", flush=True)  # in one piece: others print, too

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

    def plan(self, params: RunParams) -> Job:
        """What one run needs; raises ParameterError where its parent is not finished, DataError where data is amiss."""
        if (parent := _parent(params)) in self.failed:
            raise ParameterError(f"starts from {parent}, which failed")
        params = resolve_weights(params)
        inputs = fingerprint.run_inputs(params, self.data_fingerprint(params.dataset, params.data))
        folder = run_folder(params, fingerprint.fingerprint_of(inputs))
        return Job(params, inputs, folder, why_run(folder, inputs, params.find_learning_rate))

    def dry_run(self) -> Iterator[str]:
        """One line a run: what would be made and why. A child of a run that would be made is made too."""
        remade: set[str] = set()
        wanted = self.wanted()
        for params in self.study.run_params(self.overrides):
            if params.run not in wanted:
                continue
            name, parent = _name(params), _parent(params)
            reason = f"starts from {parent}, which is run again" if parent in remade else self.plan(params).reason
            if reason:
                remade.add(name)
            yield f"{name}: {'would run, ' + reason if reason else 'up to date'}"

    def data_fingerprint(self, dataset: str, data: str) -> str:
        """Fingerprint of the images that `dataset` and `data` name; they are read once a call."""
        if (dataset, data) not in self._data_fingerprints:
            images, hashes = open_data(dataset, data, cache_root())
            self._data_fingerprints[dataset, data] = fingerprint.data_fingerprint(images.table, hashes)
        return self._data_fingerprints[dataset, data]

    def _note_failure(self, name: str, error: str, label: str) -> None:
        self.failed[name] = error = error.removeprefix(STOPPED)
        print(f"{label}: FAILED: {error}", file=sys.stderr, flush=True)

    def report(self, pdf: bool = True, paper: str = "A4") -> tuple[Path, Path | None]:
        """Execute explore and analysis where they are stale and render them; returns the HTML's and the PDF's path.

        Raises RuntimeError with the cell's error if a notebook fails, BrowserMissing if there is none to print with.
        """
        from labkit.reporting.page.render import render_pdf, render_report

        html, pdf_path = self.folder / "report.html", self.folder / "report.pdf"
        code = fingerprint.code_fingerprint(*REPORT_CODE)
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
                self._compare(fingerprint.fingerprint_of([made_of, self.failed, pages]))
            except KeyboardInterrupt:
                stop_kernels()  # else the pool would wait for both notebooks
                raise
        explore, analysis = explored.result(), analysed.result()
        stamps = disk.read_json(self.folder / "report.json")
        made = fingerprint.fingerprint_of([stamps["explore"], stamps["analysis"], code, pages])
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
        printed = fingerprint.fingerprint_of([made, paper])
        if stamps.get("pdf") != printed or not pdf_path.is_file():
            render_pdf(html, pdf_path, paper)
            self._stamp("pdf", printed)
        return html, pdf_path

    @property
    def any_finished(self) -> bool:
        """Whether a compared run is there to report on."""
        current = current_runs(self.study.name)
        compared = ~current["run"].isin(list(self.study.sources))
        return bool((current.loc[compared, "state"] == "finished").any())

    def compare(self) -> Path:
        """compare.html and ``runs.csv`` alone: every run, and what became of it."""
        self._compare(fingerprint.fingerprint_of([self.planned, self.failed]))
        return self.folder / "compare.html"

    def _facts(self, folders: Sequence[Path]) -> dict[str, str]:
        from labkit.reporting.page.heading import title_facts

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
        from labkit.reporting.page.compare import render_compare
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
        from labkit.reporting.page.render import render_notebook

        notebook, page = folder / "train.ipynb", folder / "train.html"
        if not notebook_complete(notebook):
            return None
        made = fingerprint.fingerprint_of([code, disk.sha256(notebook)])
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
        made = fingerprint.fingerprint_of([params, inputs, source.read_text(encoding="utf-8")])
        if disk.read_json(self.folder / "report.json").get(name) != made or not notebook_complete(target):
            print(f"{name}.ipynb", flush=True)
            if error := execute(source, target, params):
                raise RuntimeError(f"{source.relative_to(PROJECT)} failed: {error}; see {target}")
            self._stamp(name, made)
        return target

    def _stamp(self, name: str, made: Any) -> None:
        path = self.folder / "report.json"
        with self._stamping:
            stamps = disk.read_json(path)
            if stamps.get(name) != made:
                disk.write_json(path, stamps | {name: made})


def _name(params: RunParams) -> str:
    """As the run's folder is called."""
    return f"{params.run}-seed{params.seed}"


def _parent(params: RunParams) -> str:
    """The run, as its folder is called, whose weights it starts from; else what is no run's name."""
    return (params.weights or "").removeprefix("run:")


def _error_of(future: "Future[str | None]") -> str | None:
    """A job's error in one line; also where its machines gave up on it."""
    if (error := future.exception()) is None:
        return future.result()
    said = " ".join(str(error).split())
    return said if isinstance(error, disk.NotWritten) else f"{type(error).__name__}: {said}"


def _contents(folder: Path) -> list[str | None]:
    """What the report reads of a run, as SHA-256: a run made again elsewhere may differ under the same fingerprint."""
    names = ("run.json", "history.csv", "predictions.csv")
    return [disk.sha256(folder / name) if (folder / name).is_file() else None for name in names]


def open_study(
    name: str,
    overrides: dict[str, Any] | None = None,
    only: Sequence[str] = ("*",),
    scheduler: str | None = None,
) -> StudyRunner:
    """A study by name; ``overrides``, ``only`` and ``scheduler`` as in StudyRunner.

    A study that has a small form is run in it on the built-in phantoms, which are made for that size.
    """
    study, overrides = load_study(name), overrides or {}
    if study.small and overrides.get("data") in PHANTOMS:
        study = study.shrunk()
    return StudyRunner(study, overrides, only, scheduler)
