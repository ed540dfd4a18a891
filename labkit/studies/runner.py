"""Running a study: its runs as jobs, parents first; what is up to date is skipped."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from labkit.data.source import PHANTOMS, open_data
from labkit.format import fixed, plural
from labkit.params import PROJECT, DataParams, ParameterError, RunParams, parent_of
from labkit.runs import files, fingerprint
from labkit.runs import folder as runs
from labkit.studies.dask import Cluster
from labkit.studies.external import predict_external
from labkit.studies.file import Study, load_study
from labkit.studies.find import read_stamps
from labkit.studies.local import STOPPED, Job, ThisMachine
from labkit.studies.notebook import Say, print_line

UP_TO_DATE, STARTS_FROM = "up to date", "starts from"


@dataclass
class StudyRunner:
    """Trains the runs of a study."""

    study: Study
    overrides: dict[str, Any] = field(default_factory=dict)  # parameters of all runs but the sources
    only: Sequence[str] = ("*",)  # the runs to train (patterns such as resnet18*); those that they start from follow
    scheduler: str | None = None  # address of a Dask cluster to train them on
    failed: dict[str, str] = field(default_factory=dict)  # run -> error
    planned: dict[str, str | None] = field(default_factory=dict)  # run -> fingerprint, None if it cannot be planned
    stale: dict[str, str] = field(default_factory=dict)  # finished run that is shown -> why it is out of date
    _data_fingerprints: dict[str, str] = field(default_factory=dict)
    _stamping: Lock = field(default_factory=Lock)

    @property
    def folder(self) -> Path:
        """``reports/<study>``, where runs, executed notebooks and the report go."""
        return runs.reports_root() / self.study.name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the study; ParameterError if another process has, or if its folder is that of another study file."""
        name, file = self.study.name, PROJECT / self.study.file
        busy = ParameterError(f"study {name} is being run by another process; wait for it")
        with files.alone(self.folder / ".lock", busy):
            other = PROJECT / read_stamps(name).get("file", file)
            if other.is_file() and other.resolve() != file.resolve():
                cure = "rename one of the files, or set LABKIT_REPORTS to another folder"
                raise ParameterError(f"{file}: {self.folder} already has the runs and the report of {other}; {cure}")
            self.stamp("file", self.study.file)
            yield

    def run_all(self) -> None:
        """Train every run that is not up to date; one that fails stops only the runs that start from it."""
        wanted, running = self.wanted(), dict[Future[str | None], tuple[Job, str]]()
        for sentence in self._beforehand(self._foreseen()):
            print_line(sentence)
        waiting = {folder_name(params): (params, label) for params, label in self._labelled(wanted)}
        table = [params for params, _ in waiting.values()]
        with Cluster(self.scheduler) if self.scheduler else ThisMachine(self.study, table) as machines:
            try:
                while waiting or running:
                    open_runs = {*waiting, *(job.name for job, _ in running.values())}
                    for name, (params, label) in list(waiting.items()):
                        if _parent(params) in open_runs or len(running) >= machines.room:
                            continue
                        del waiting[name]
                        if job := self._job(params, label, params.run in wanted):
                            running[machines.start(job, self._say(job, machines.room > 1))] = job, label
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job, label = running.pop(future)
                        self.planned[job.name] = _planned(job)  # now with the device that it was trained on
                        if error := _error_of(future):
                            self._note_failure(job.name, error, label)
            except KeyboardInterrupt:
                print_line("stopping: the runs save how far they are …", sys.stderr)
                machines.stop()
                raise
        self.predict_others()
        self._stamp_plan()

    def predict_others(self) -> None:
        """Every finished run of the comparison predicts the study's external test sets; a failure is noted.

        Where the study's data was replaced by real images no synthetic ones are predicted, and the other way round.
        """
        data = self.overrides.get("data")
        for name, external in self.study.external_sets().items():
            if data and (data in PHANTOMS) != (external.data in PHANTOMS):
                continue
            try:
                opened = open_data(external, runs.cache_root())
            except (ValueError, OSError) as error:
                self._note_failure(f"external set {name}", str(error), f"external set {name}")
                continue
            for run, planned in self.planned.items():
                folder, made = self.folder / "runs" / run, self._manifest(run)
                ready = made.get("status") == "finished" and made.get("fingerprint") == planned
                if not ready or made["run"] not in self.study.runs:
                    continue
                try:
                    if predict_external(folder, name, external, opened):
                        print_line(f"{run}: predicted the external set {name}")
                except (ValueError, OSError, RuntimeError) as error:
                    self._note_failure(f"{run} on {name}", str(error), f"{run} on {name}")

    def plan_only(self) -> None:
        """In place of `run_all`: train nothing; finished runs that are out of date are shown, and noted in `stale`."""
        wanted = self.wanted()
        for params, label in self._labelled(wanted):
            job, name = self._job(params, label, params.run in wanted), folder_name(params)
            made = self._manifest(name)
            if params.run in wanted and made.get("status") == "finished" and made["fingerprint"] != self.planned[name]:
                self.stale[name] = str(job.reason if job else self.failed.pop(name))
                self.planned[name] = made["fingerprint"]
        self._stamp_plan()

    def _stamp_plan(self) -> None:
        self.stamp("runs", self.planned)
        self.stamp("stale", self.stale or None)

    def _manifest(self, name: str) -> dict[str, Any]:
        return runs.read_manifest(self.folder / "runs" / name)

    def _labelled(self, wanted: set[str]) -> Iterator[tuple[RunParams, str]]:
        """Every run with the label that is printed before its lines: ``[2/5] resnet18``."""
        table = self.study.run_params(self.overrides)
        numbers = list(accumulate(int(params.run in wanted) for params in table))
        for params, number in zip(table, numbers, strict=True):
            yield params, f"[{number}/{numbers[-1]}] {self._short(params)}"

    def _short(self, params: RunParams) -> str:
        return folder_name(params) if len(self.study.seeds) > 1 else str(params.run)

    def _job(self, params: RunParams, label: str, wanted: bool) -> Job | None:
        """The job of a run that is wanted and not up to date; every run's fingerprint is noted in `planned`."""
        name = folder_name(params)
        self.planned[name] = None
        try:
            job = self.plan(params)
            if job.kept and not job.reason:
                runs.make_way(job.folder, job.inputs)
        except (ValueError, OSError) as error:  # its parent, weights, data or folder: the other runs go on
            if wanted:
                self._note_failure(name, str(error), label)
            elif runs.state(self.folder / "runs" / name) == "finished":
                print_line(f"{name}: not in the report: {error}", sys.stderr)
            return None
        self.planned[name] = _planned(job)
        if not wanted:
            return None
        print_line(f"{label}: {_in_words(job)}")
        return job if job.reason else None

    def _say(self, job: Job, side_by_side: bool) -> Say:
        """Prints a line of a kernel, indented; with the run's name if several runs print at the same time."""
        name = f"{self._short(job.params)}  " if side_by_side else ""
        return lambda line: print_line(f"    {name}{line}")

    def wanted(self) -> set[str]:
        """Names of the runs to train: those that ``only`` selects, and the runs that they start from."""
        table = self.study.table()
        names = {name for name in table if any(fnmatch(name, pattern) for pattern in self.only)}
        if not names:
            raise ParameterError(f"no run is called {' or '.join(self.only)}; there are {', '.join(table)}")
        for name in list(names):
            while (name := parent_of(table[name].get("weights"))) in table and name not in names:
                names.add(name)
        return names

    def plan(self, params: RunParams, taken: Mapping[str, Path] | None = None) -> Job:
        """One run's job. Raises ParameterError if its parent is not finished, DataError if its data cannot be read."""
        if (parent := _parent(params)) in self.failed:
            made = self._manifest(parent)  # finished as planned: then no more than an exhibit of its notebook failed
            if (made.get("status"), made.get("fingerprint")) != ("finished", self.planned.get(parent)):
                raise ParameterError(f"starts from {parent}, which failed")
        params = runs.resolve_weights(params, taken)
        inputs = fingerprint.run_inputs(params, self.data_fingerprint(params))
        folder = runs.run_folder(params, fingerprint.fingerprint_of(inputs))
        kept = None if runs.is_of(folder, inputs) else runs.kept_run(folder, inputs)
        return Job(params, inputs, folder, runs.why_run(kept or folder, inputs, params.find_learning_rate), kept)

    def dry_run(self) -> Iterator[str]:
        """One line per run: whether it would run, and why; runs that cannot be planned are added to `failed`."""
        foreseen = list(self._foreseen())
        self.failed |= {name: error for name, _, error in foreseen if error}
        for name, reason, error in foreseen:
            would = "cannot run, " if error else "" if reason.startswith(UP_TO_DATE) else "would run, "
            yield f"{name}: {would}{error or reason}"
        yield from self._beforehand(foreseen)

    def _beforehand(self, foreseen: Iterable[tuple[str, str, str]]) -> Iterator[str]:
        """Whether runs are tested on other images; how many finished ones are trained again, and how long they took."""
        if others := list(self.study.test_sets(self.overrides))[1:]:
            pages = ", ".join(f"report-{name}.html" for name in others)
            yield f"the runs have several splits, so other test images; each set has a report of its own: also {pages}"
        again = runs.CHANGED, runs.DAMAGED, STARTS_FROM
        made = [self._manifest(name) for name, reason, _ in foreseen if reason.startswith(again)]
        if seconds := [run.get("seconds", 0.0) for run in made if run.get("status") == "finished"]:
            which, took = plural(len(seconds), "finished run"), plural(fixed(sum(seconds) / 60, 1), "minute")
            yield f"{which} to train again, {took} the first time; they are kept: labkit runs {self.study.name}"

    def _foreseen(self) -> Iterator[tuple[str, str, str]]:
        """Of each wanted run its name, why it or one that it starts from is run (or not), and why it cannot be."""
        rerun, taken, wanted = set[str](), dict[str, Path](), self.wanted()
        for params in [params for params in self.study.run_params(self.overrides) if params.run in wanted]:
            name, reason, error = folder_name(params), f"{STARTS_FROM} {_parent(params)}, which is re-run", ""
            if _parent(params) not in rerun:
                try:
                    job = self.plan(params, taken)
                    reason = _in_words(job)
                    taken |= {name: job.kept} if job.kept else {}
                except (ValueError, OSError) as failure:
                    reason, error = "", str(failure)
            if reason and not reason.startswith((UP_TO_DATE, runs.TRAINED)):
                rerun.add(name)
            yield name, reason, error

    def data_fingerprint(self, params: DataParams) -> str:
        """Fingerprint of the images that the parameters name; each data set is read once per call."""
        if (named := params.of_data.model_dump_json()) not in self._data_fingerprints:
            images, hashes = open_data(params, runs.cache_root())
            self._data_fingerprints[named] = fingerprint.data_fingerprint(images, hashes)
        return self._data_fingerprints[named]

    def _note_failure(self, name: str, error: str, label: str) -> None:
        self.failed[name] = error = error.removeprefix(STOPPED)
        print_line(f"{label}: FAILED: {error}", sys.stderr)

    def stamp(self, name: str, made: Any) -> None:
        """Change one entry of ``report.json``; several threads do so."""
        with self._stamping:
            stamps = read_stamps(self.study.name)
            if stamps.get(name) != made:
                files.write_json(self.folder / "report.json", stamps | {name: made})


def folder_name(params: RunParams) -> str:
    """The name of a run's folder: ``<run>-seed<k>``."""
    return f"{params.run}-seed{params.seed}"


def _in_words(job: Job) -> str:
    return job.reason or UP_TO_DATE + (f", taken back from {job.kept.name}" if job.kept else "")


def _planned(job: Job) -> str:
    """The fingerprint that the job's run has, or would have where what it leaves open is used as before."""
    before = runs.read_manifest(job.folder).get("inputs", {})
    return fingerprint.fingerprint_of(fingerprint.resolved(job.inputs, before))


def _parent(params: RunParams) -> str:
    """The folder name of the run whose weights it starts from; for other weights, what is no run's name."""
    return (params.weights or "").removeprefix("run:")


def _error_of(future: "Future[str | None]") -> str | None:
    """A job's error in one line; None if there was none. Raises ConnectionError where a cluster has dropped the job."""
    if future.cancelled():
        raise ConnectionError(
            "the Dask scheduler has gone, or has dropped the runs; start it: the same command goes on"
        )
    if (error := future.exception()) is None:
        return future.result()
    message = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        message += "; install labkit on every worker of the cluster, or stop those without it"
    return message if isinstance(error, files.NotWritten) else f"{type(error).__name__}: {message}"


def open_study(name: str, overrides: dict[str, Any], *options: Any) -> StudyRunner:
    """A study by name, ``options`` as StudyRunner's; its small form on phantoms, which are drawn for that size."""
    study = load_study(name)
    small = study.small and overrides.get("data") in PHANTOMS
    return StudyRunner(study.shrunk() if small else study, overrides, *options)
