"""Find (or fetch) the Chromium-like browser that prints the PDF.

nbconvert's webpdf exporter looks only for the browser that Playwright downloads; most machines already have one.
`python -m labkit.reporting.page.browser [--optional]` is the step of `make setup` that makes sure of it.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

COMMANDS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "microsoft-edge-stable",
    "msedge",
)
FONTS = ("fonts-droid-fallback",)  # 4 MB: names of files and classes may be Chinese; a bare Debian draws boxes
MAC_BUNDLES = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
WINDOWS_PROGRAMS = (
    "Google/Chrome/Application/chrome.exe",
    "Chromium/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
)
# Where `playwright install` puts the executable inside its versioned folders, by system and release.
PLAYWRIGHT_GLOBS = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
    "chromium-*/chrome-win*/chrome.exe",
    "chromium_headless_shell-*/chrome-*/headless_shell*",
    "chromium_headless_shell-*/chrome-headless-shell-*/chrome-headless-shell*",
)


class BrowserMissing(RuntimeError):
    """No browser to print with; the message is one line that says what to install on this system."""


def find_browser() -> Path | None:
    """The browser to print with, or None: `LABKIT_CHROME`, then the system's, then Playwright's own.

    Raises BrowserMissing when `LABKIT_CHROME` is set to something that is not there: a choice that
    cannot be followed must not be replaced silently.
    """
    chosen = os.environ.get("LABKIT_CHROME")
    if chosen:
        path = shutil.which(chosen) or chosen
        if not Path(path).is_file():
            raise BrowserMissing(f"LABKIT_CHROME is {chosen!r}, which does not exist; correct it or unset it")
        return Path(path)
    return next(_candidates(), None)


def require_browser() -> Path:
    """find_browser, or BrowserMissing with the cure."""
    browser = find_browser()
    if browser is None:
        raise BrowserMissing(f"no browser found to print the PDF with; {install_hint()}")
    return browser


def install_hint() -> str:
    """What to type on this system to get a browser; one line."""
    system = platform.system()
    if system == "Darwin":
        return "install Google Chrome, or: brew install --cask chromium"
    if system == "Windows":
        return "install Microsoft Edge or Google Chrome, or: python -m playwright install chromium"
    sudo = "" if _is_root() else "sudo "
    if shutil.which("apt-get") and not _is_ubuntu():
        return f"run: {sudo}apt-get install -y chromium"
    for manager, command in (("dnf", "dnf install -y chromium"), ("pacman", "pacman -S --noconfirm chromium")):
        if shutil.which(manager):
            return f"run: {sudo}{command}"
    return "run: python -m playwright install --with-deps chromium (or set LABKIT_CHROME to a Chrome)"


def ensure_browser(timeout: float = 600) -> Path | None:
    """Find a browser, else try to get one: Playwright's download, then Debian's package as root.

    Each attempt ends after `timeout` seconds and reports its failure in one line on stderr.
    Returns None when none of this brought one.
    """
    if found := find_browser():
        return found
    _attempt([sys.executable, "-m", "playwright", "install", "chromium"], timeout)
    if found := find_browser():
        return found
    # On Ubuntu the package is a stub for the snap, which cannot be installed in a container.
    if shutil.which("apt-get") and _is_root() and not _is_ubuntu():
        # A stale index may still serve, so a failing update does not stop the installation.
        _attempt(["apt-get", "update", "-qq"], timeout)
        _attempt(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", *FONTS], timeout)
    return find_browser()


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when a browser is there (or `--optional`), else 1 and one line that says what to do."""
    parser = argparse.ArgumentParser(description="Find or fetch the browser that prints the PDF.")
    parser.add_argument("--optional", action="store_true", help="without a browser only warn (the HTML needs none)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each attempt (default 600)")
    options = parser.parse_args(argv)
    try:
        browser = ensure_browser(options.timeout)
        problem = f"no browser found to print the PDF with; {install_hint()}" if browser is None else ""
    except BrowserMissing as error:
        browser, problem = None, str(error)
    if browser is not None:
        print(f"browser for the PDF: {browser}")
        return 0
    if options.optional:
        print(f"warning: {problem} (reports will be HTML only)", file=sys.stderr)
        return 0
    print(f"error: {problem}", file=sys.stderr)
    return 1


def _candidates() -> Iterator[Path]:
    for command in COMMANDS:
        path = shutil.which(command)
        if path and not _is_snap_stub(Path(path)):
            yield Path(path)
    if platform.system() == "Darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            yield from (folder / bundle for bundle in MAC_BUNDLES if (folder / bundle).is_file())
    if platform.system() == "Windows":
        roots = (os.environ.get(name) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"))
        for root in (Path(r) for r in roots if r):
            yield from (root / program for program in WINDOWS_PROGRAMS if (root / program).is_file())
    yield from _playwright_browsers()


def _playwright_browsers() -> Iterator[Path]:
    """Executables that `playwright install` left, newest revision first.

    Looked up on disk: asking Playwright itself starts its Node.js driver, and its sync API refuses to
    run inside a kernel's event loop.
    """
    root = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    package = find_spec("playwright")
    if root == "0" and package and package.origin:  # 0 means: inside the installed package
        root = str(Path(package.origin).parent / "driver/package/.local-browsers")
    folders = {
        "Darwin": Path.home() / "Library/Caches/ms-playwright",
        "Windows": Path.home() / "AppData/Local/ms-playwright",
    }
    folder = Path(root) if root else folders.get(platform.system(), Path.home() / ".cache/ms-playwright")
    for pattern in PLAYWRIGHT_GLOBS:
        found = [path for path in folder.glob(pattern) if path.is_file() and os.access(path, os.X_OK)]
        yield from sorted(found, key=_revision, reverse=True)


def _revision(path: Path) -> int:
    """Playwright's revision number, from a folder such as chromium-1187."""
    numbers = re.findall(r"chromium[a-z_]*-(\d+)", path.as_posix())
    return int(numbers[-1]) if numbers else 0


def _is_snap_stub(path: Path) -> bool:
    """Ubuntu's /usr/bin/chromium-browser is a script that only says to install the snap."""
    if path.stat().st_size > 20_000:
        return False
    return b"/snap/bin/chromium" in path.read_bytes() and not Path("/snap/bin/chromium").exists()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _is_ubuntu() -> bool:
    release = Path("/etc/os-release")
    return release.is_file() and bool(re.search(r"^ID=\"?ubuntu", release.read_text("utf-8"), re.MULTILINE))


def _attempt(command: list[str], timeout: float) -> bool:
    """Run one installer quietly; a failure becomes one line on stderr."""
    shown = " ".join(["python", *command[1:]] if command[0] == sys.executable else command)
    print(f"trying: {shown}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        print(f"failed: {shown}: no end after {timeout:.0f} s", file=sys.stderr)
        return False
    except OSError as error:
        print(f"failed: {shown}: {error}", file=sys.stderr)
        return False
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
        print(f"failed: {shown}: exit code {done.returncode}: {reason[:200]}", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
