"""The browser that prints the PDF: which one is taken, how one is fetched, and the one line of cure without any."""

import subprocess
import sys
from pathlib import Path

import pytest

from labkit.reporting.page import browser


@pytest.fixture
def bare(monkeypatch, tmp_path) -> Path:
    """A machine without a browser: the folder that is all of its PATH."""
    monkeypatch.delenv("LABKIT_CHROME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    monkeypatch.setattr(browser, "_folders_of_programs", lambda: [])
    return tmp_path


def executable(path: Path, text: str = "#!/bin/sh\nexit 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_chosen_browser_that_is_not_there_is_an_error_not_a_fallback(monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_CHROME", str(tmp_path / "chrome"))
    with pytest.raises(browser.BrowserMissing, match="LABKIT_CHROME"):
        browser.find_browser()


@pytest.mark.parametrize("command", ["chromium", "google-chrome", "msedge"])
def test_a_browser_of_the_system_is_found_and_a_chosen_one_comes_first(bare, monkeypatch, command):
    assert browser.find_browser() is None
    found, chosen = executable(bare / command), executable(bare / "mine")
    assert browser.find_browser() == found
    monkeypatch.setenv("LABKIT_CHROME", str(chosen))
    assert browser.find_browser() == chosen


def test_a_browser_of_macos_or_windows_is_found_outside_of_path(bare, monkeypatch):
    windows = executable(bare / "Programs/Google/Chrome/Application/chrome")
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(bare))
    monkeypatch.setenv("PROGRAMFILES", str(bare / "Programs"))
    assert browser.find_browser() == windows
    mac = executable(bare / "home/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    monkeypatch.delenv("PROGRAMFILES")
    monkeypatch.setenv("HOME", str(bare / "home"))
    assert browser.find_browser() == mac


def test_a_script_that_only_names_the_snap_is_no_browser(bare):
    executable(bare / "chromium-browser", "#!/bin/sh\nexec /snap/bin/chromium\n")
    assert browser.find_browser() is None


def test_playwrights_own_browser_is_found_where_playwright_says(bare):
    command = [sys.executable, "-c", browser.ASK_PLAYWRIGHT]
    where = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    assert where.is_relative_to(bare / "playwright") and browser.find_browser() is None
    executable(where)
    assert browser.find_browser() == where


@pytest.mark.parametrize(("flags", "expected"), [([], 1), (["--optional"], 0)])
def test_setup_reports_a_failed_download_in_one_line_each(bare, monkeypatch, capsys, flags, expected):
    def no_network(command, check=False, **_):
        if check and flags:
            raise subprocess.TimeoutExpired(command, 600)
        if check:
            message = "Traceback\n  File x\nError: getaddrinfo ENOTFOUND\n"
            raise subprocess.CalledProcessError(1, command, "", message)
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(browser.subprocess, "run", no_network)
    assert browser.main(flags) == expected
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("trying: ") and lines[0].endswith(" -m playwright install chromium")
    assert lines[1].startswith("failed: ") and lines[1].endswith(
        "timed out after 600 seconds" if flags else "ENOTFOUND"
    )
    assert "no browser found" in lines[2] and "playwright install" in lines[2] and len(lines) == 3
