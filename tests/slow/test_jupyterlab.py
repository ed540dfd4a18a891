"""train.ipynb in JupyterLab itself, in a real browser: what is stopped, changed and run again there loses nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from made_study import Lab, same_results
from playwright.sync_api import Page, sync_playwright

from labkit.reporting.page.browser import INSTALL, find_browser, require_browser
from labkit.runs.folder import state

pytestmark = pytest.mark.skipif(find_browser() is None, reason=f"no browser; {INSTALL}")
SMALL = {"epochs": 6, "image_size": 32, "batch_size": 16, "threads": 1}
OWN = ("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--IdentityProvider.token=lab", "--no-browser", "--allow-root")
OWN += ("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None")
OWN += ("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",)
MINUTES = 5 * 60_000  # in ms: a kernel takes long to start on a machine that does other things, too


class Notebook:
    """The open notebook, through the commands of JupyterLab's menus; a cell is named by how it begins."""

    def __init__(self, page: Page, address: str) -> None:
        page.set_default_timeout(MINUTES)
        page.goto(f"{address}/tree/notebooks/train.ipynb?token=lab")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady")
        page.evaluate("() => { window.book = jupyterapp.shell.currentWidget }")
        page.evaluate("book.sessionContext.ready")
        self.page, self.cells = page, page.evaluate("book.content.widgets.map(cell => cell.model.sharedModel.source)")

    def change(self, **values: object) -> None:
        """Type other literals into the parameters cell."""
        place = next(number for number, source in enumerate(self.cells) if source.startswith("# Parameters"))
        for name, value in values.items():
            self.cells[place] = re.sub(rf"(?m)^{name} = \S+", f"{name} = {value!r}", self.cells[place])
        typed = "([place, text]) => book.content.widgets[place].model.sharedModel.setSource(text)"
        self.page.evaluate(typed, [place, self.cells[place]])

    def start(self, command: str, cell: str = "") -> None:
        """Select the cell and choose from the menu."""
        place = next(number for number, source in enumerate(self.cells) if source.startswith(cell))
        self.page.evaluate("place => { book.content.deselectAll(); book.content.activeCellIndex = place }", place)
        self.page.evaluate(f"void jupyterapp.commands.execute('notebook:{command}')")

    def until(self, words: str) -> None:
        """Wait for what a cell prints."""
        self.page.wait_for_function("words => book.content.node.innerText.includes(words)", arg=words)

    def run(self, command: str, cell: str = "") -> list[str]:
        """The same, to its end: the errors that are then below cells."""
        self.start(command, cell)
        return self.errors()

    def errors(self) -> list[str]:
        """Those below cells when all that was started has ended."""
        self.page.wait_for_timeout(1000)
        asked = "book.content.widgets.every(cell => cell.prompt !== '*' && cell.model.executionState !== 'running')"
        self.page.wait_for_function(f"book.sessionContext.session?.kernel?.status === 'idle' && {asked}")
        found = "book.content.widgets.flatMap(cell => cell.model.outputs?.toJSON() ?? [])"
        found += ".filter(one => one.output_type === 'error').map(one => one.evalue || one.ename)"
        return self.page.evaluate(found)


@pytest.fixture
def jupyterlab(tmp_path) -> Iterator[tuple[Lab, str]]:
    """A copy of the project and the address of a JupyterLab on it, which knows no settings but its own."""
    lab = Lab.made(tmp_path)
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name) for name in ("SETTINGS", "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", *OWN, f"--ServerApp.root_dir={lab.project}"]
    environment = lab.variables() | places
    with (tmp_path / "log.txt").open("w+") as log:
        server = subprocess.Popen(command, cwd=lab.project, env=environment, stdout=log, stderr=log)
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab", Path(log.name).read_text())):
                with pytest.raises(subprocess.TimeoutExpired):  # else it has ended
                    server.wait(0.2)
            yield lab, found[0]
        finally:
            for process in [*psutil.Process(server.pid).children(recursive=True), server]:  # its kernels, too
                process.kill()
            server.wait()


def test_stopped_changed_and_run_again_in_jupyterlab_a_run_ends_as_if_it_never_was(jupyterlab):
    lab, address = jupyterlab
    whole = Lab(lab.project, lab.reports.with_name("whole"), lab.cache)
    given = [word for name, value in SMALL.items() for word in ("-p", name, str(value))]
    whole.papermill("notebooks/train.ipynb", os.devnull, *given)
    (expected,) = (whole.reports / "adhoc" / "runs").iterdir()
    runs = lab.reports / "adhoc" / "runs"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(require_browser()), args=["--no-sandbox"])
        notebook = Notebook(browser.new_page(), address)
        notebook.change(**SMALL)
        notebook.start("run-all-cells")
        notebook.until("epoch 2/6")
        assert notebook.run("interrupt-kernel") == ["KeyboardInterrupt"] and state(runs / expected.name) != "finished"
        assert notebook.run("run-cell", "run = open_run") == []
        notebook.change(learning_rate=0.002)
        assert notebook.run("run-cell", "# Parameters") == notebook.run("run-cell", "from labkit.params") == []
        (refused,) = notebook.run("run-all-below", "run = open_run")
        assert refused.startswith("learning_rate: got 0.002, but `optimizer` was made with 0.001"), refused
        assert notebook.run("run-all-below", "# Parameters") == []
        (other,) = (folder for folder in runs.iterdir() if folder.name != expected.name)  # another run, beside it
        assert state(other) == "finished" and list(same_results(other, expected)) != []
        notebook.change(learning_rate=0.001)
        notebook.page.evaluate("book.sessionContext.restartKernel()")
        assert notebook.run("run-all-cells") == []
    assert list(same_results(runs / expected.name, expected)) == []
    assert sorted(folder.name for folder in runs.iterdir()) == sorted([expected.name, other.name])
