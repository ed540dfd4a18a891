"""The report of a study: executes explore and analysis, and renders HTML, the compare page and the PDF.

What is up to date is neither executed nor rendered again; ``report.json`` holds what each file was made from.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from labkit.data.source import PHANTOMS
from labkit.format import fixed, plural, whole
from labkit.params import PROJECT, ExploreParams, RunParams
from labkit.reporting.page.cells import failed
from labkit.reporting.page.compare import render_compare
from labkit.reporting.page.exporter import render_report
from labkit.reporting.page.pdf import render_pdf
from labkit.reporting.runs_table import runs_table, validation_curves
from labkit.runs.files import sha256, write_csv
from labkit.runs.fingerprint import code_fingerprint, fingerprint_of
from labkit.runs.folder import notebook_complete, read_manifest
from labkit.studies.file import study_file
from labkit.studies.find import current_runs, read_stamps
from labkit.studies.notebook import NOTEBOOKS, execute, print_line, stop_kernels
from labkit.studies.runner import StudyRunner, folder_name

# Everything that decides what the report says; the rest of studies/ decides only when and where it is made.
REPORT_CODE = ("params.py", "format.py", "runs", "studies/file.py", "studies/find.py", "studies/external.py")
OF_EXTERNAL = ("predictions-{}.csv", "external-{}.json")
REPORT_CODE += ("audit", "data", "models", "training", "evaluation", "reporting")


def any_finished(runner: StudyRunner) -> bool:
    """Whether the report has a run to show: one that is compared, finished and up to date."""
    current = current_runs(runner.study.name)
    compared = ~current["run"].isin(list(runner.study.sources))
    return bool((current.loc[compared, "state"] == "finished").any())


def write_report(runner: StudyRunner) -> Path:
    """``report.html`` after `run_all`, and ``report-<run>.html`` of each further set of test images; the first path."""
    finished = set(current_runs(runner.study.name).query("state == 'finished'")["run"])
    sets = [names for names in runner.study.test_sets(runner.overrides).values() if finished & {*names}]
    pages = {f"report-{names[0]}" if place else "report": names for place, names in enumerate(sets)}
    first, *_ = [_write_report(runner, page, pages) for page in pages]
    return first


def _write_report(runner: StudyRunner, page: str, pages: Mapping[str, list[str]]) -> Path:
    """One page of the report, and ``compare.html``.

    An exhibit that fails is a line of the report, and noted in ``runner.failed``. Raises RuntimeError with the cell's
    error if another cell of a notebook fails.
    """
    html, place = runner.folder / f"{page}.html", "" if page == "report" else f"{page}/"
    code = code_fingerprint(*REPORT_CODE)
    table = map(folder_name, runner.study.run_params(runner.overrides))  # `planned` has them as they were ready
    folders = [runner.folder / "runs" / name for name in table if name in runner.planned]
    explore = _explore_params(runner, pages[page])
    data = runner.data_fingerprint(ExploreParams.of(explore))
    study = study_file(runner.study.name).read_text(encoding="utf-8")
    # What is read of a run, too: re-run elsewhere, it may differ under the same fingerprint.
    of_others = [file.format(name) for name in runner.study.external for file in OF_EXTERNAL]
    read = [folder / file for folder in folders for file in ("run.json", "history.csv", "predictions.csv", *of_others)]
    inputs = [code, study, runner.planned, runner.stale, [sha256(file) if file.is_file() else None for file in read]]
    with ThreadPoolExecutor(2) as pool:  # both notebooks beside our own work: each keeps one core busy, no more
        try:
            which = {"study": runner.study.name} | ({"runs": pages[page]} if len(pages) > 1 else {})
            explored = pool.submit(_execute, runner, "explore", explore, [code, data], place)
            analysed = pool.submit(_execute, runner, "analysis", which, inputs, place)
            links = {folder.name: link for folder in folders if (link := _page(runner, folder, code))}
            write_compare(runner, [inputs, links])
            notebooks = [analysed.result(), explored.result()]
        except KeyboardInterrupt:
            stop_kernels()  # else the pool would wait for both notebooks
            raise
    for notebook in notebooks:
        for heading, error in failed(notebook):
            runner.failed.setdefault(f"{notebook.name}, “{heading}”,", error)
    stamps = read_stamps(runner.study.name)
    current = current_runs(runner.study.name).query("state == 'finished' and name in @runner.planned")
    finished = [read_manifest(folder) for folder in current["folder"]]
    others = {f"Tested on other images: {', '.join(pages[one])}": f"{one}.html" for one in pages if one != page}
    facts = title_facts(runner.study.file, _compared(runner)[0], finished)
    words: dict[str, Any] = {"title": runner.study.title, "subtitle": runner.study.question, "facts": facts}
    words |= {"links": links, "beside": {"Compare all runs": "compare.html"} | others}
    made_from = [stamps[f"{place}explore"], stamps[f"{place}analysis"], code, links, others]
    return _make(runner, f"{place}html", made_from, lambda: render_report(notebooks, html, **words), html)


def write_pdf(runner: StudyRunner, paper: str = "A4") -> Path:
    """``report.pdf``, printed from ``report.html``; returns its path. Raises BrowserMissing without a browser."""
    html, pdf = runner.folder / "report.html", runner.folder / "report.pdf"
    made_from = [read_stamps(runner.study.name)["html"], paper]
    return _make(runner, "pdf", made_from, lambda: render_pdf(html, pdf, paper), pdf)


def write_compare(runner: StudyRunner, inputs: Sequence[Any] = ()) -> Path:
    """``compare.html`` and ``runs.csv``: every run of the study and its state; ``inputs``: what else they depend on."""
    page, rows = runner.folder / "compare.html", runner.folder / "runs.csv"

    def write() -> None:
        table = runs_table(runner.study.name, runner.failed | runner.stale)
        write_csv(rows, table)
        curves = validation_curves(runner.study.name)
        links = {"The report": "report.html", "These rows as CSV": "runs.csv"}
        render_compare(table, page, title=f"{runner.study.title}: all runs", curves=curves, links=links)

    return _make(runner, "compare", [runner.planned, runner.failed, *inputs], write, page, rows)


def _page(runner: StudyRunner, folder: Path, code: str) -> str | None:
    """A run's notebook as a page beside it, relative to the report; None where the notebook is not complete."""
    notebook, page = folder / "train.ipynb", folder / "train.html"
    if not notebook_complete(notebook, with_errors=True):
        return None
    name, title = f"runs/{folder.name}/train.html", ", seed ".join(folder.name.rsplit("-seed", 1))
    up = {"The report": "../../report.html", "Compare all runs": "../../compare.html"}
    _make(runner, name, [code, sha256(notebook)], lambda: render_report([notebook], page, title=title, beside=up), page)
    return name


def _execute(runner: StudyRunner, name: str, params: dict[str, Any], inputs: list[Any], place: str) -> Path:
    """The executed notebook; executed again only if anything that it depends on has changed, or if a cell failed."""
    source, target = NOTEBOOKS / f"{name}.ipynb", runner.folder / place / f"{name}.ipynb"

    def run() -> str | None:
        print_line(target.name)
        error = execute(source, target, params)
        if error and not notebook_complete(target, with_errors=True):
            raise RuntimeError(f"{source.relative_to(PROJECT)} failed: {error}; see {target}")
        return error

    return _make(runner, place + name, [params, inputs, source.read_text(encoding="utf-8")], run, target)


def _make(runner: StudyRunner, name: str, made_from: Any, make: Callable[[], Any], *files: Path) -> Path:
    """The first of the files; they are made if their inputs have changed, or if their bytes are not those made then.

    If ``make`` returns an error, they are made again the next time.
    """

    def stamp(error: object = None) -> list[str]:
        of = fingerprint_of([made_from, error] if isinstance(error, str) else made_from)
        return [of, *(sha256(file) if file.is_file() else "missing" for file in files)]

    then, now = read_stamps(runner.study.name).get(name), stamp()
    if then != now:
        if isinstance(then, list) and then[:1] == now[:1]:
            changed = [str(file) for file, *sums in zip(files, then[1:], now[1:], strict=False) if sums[0] != sums[1]]
            print_line(f"{', '.join(changed)}: missing or not as labkit wrote it; it is made again")
        runner.stamp(name, stamp(make()))
    return files[0]


def _compared(runner: StudyRunner) -> list[RunParams]:
    return [params for params in runner.study.run_params(runner.overrides) if params.run in runner.study.runs]


def _explore_params(runner: StudyRunner, names: Sequence[str]) -> dict[str, Any]:
    """The part of the parameters that concerns the data, of the first of these runs whose data is there."""
    compared = [params for params in _compared(runner) if params.run in names]
    first = next((params for params in compared if runner.planned.get(folder_name(params))), compared[0])
    return first.model_dump(include=set(ExploreParams.model_fields))


def title_facts(study_file: str, params: RunParams, manifests: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What stands under the title; `params` are those of one compared run. The date is the last run's."""

    def listed(key: str) -> str:
        return ", ".join(dict.fromkeys(str(manifest[key]) for manifest in manifests if manifest.get(key)))

    found = {"Study": study_file}
    if dates := sorted(manifest["finished_at"][:10] for manifest in manifests if manifest.get("finished_at")):
        found["Date"] = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    if commits := listed("git_commit"):
        found["Commit"] = commits
    images = max((sum(manifest["n_images"].values()) for manifest in manifests if "n_images" in manifest), default=0)
    data = PHANTOMS.get(params.data, f"“{Path(params.data).name}”, {params.dataset}")
    found["Data"] = f"{data}, {plural(whole(images), 'labelled image')}" if images else data
    if devices := listed("device"):
        found["Device"] = devices
    minutes = sum(float(manifest.get("seconds", 0)) for manifest in manifests) / 60
    found["Runs"] = f"{whole(len(manifests))}, {plural(fixed(minutes, 1), 'minute')} added up"
    return found
