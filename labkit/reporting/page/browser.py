"""Find (or fetch) the Chromium-like browser that prints the PDF.

nbconvert's webpdf exporter looks only for the browser that Playwright downloads; most machines already have one.
`python -m labkit.reporting.page.browser [--optional]` is the step of `make setup` that makes sure of it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMANDS = "chromium chromium-browser google-chrome google-chrome-stable chrome microsoft-edge msedge".split()  # noqa: SIM905
MAC = ["Google Chrome", "Chromium", "Microsoft Edge"]
WINDOWS = ["Google/Chrome", "Chromium", "Microsoft/Edge"]
INSTALL = "run: python -m playwright install --with-deps chromium (or install Google Chrome, or set LABKIT_CHROME)"
MINUTES = 10.0  # that an installation may take
FONTS = ("fonts-droid-fallback",)  # 4 MB: names of files and classes may be Chinese; a bare Debian draws boxes
# In a process of its own: Playwright's sync API refuses to run inside a kernel's event loop.
ASK_PLAYWRIGHT = """
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright: print(playwright.chromium.executable_path)"""


class BrowserMissing(RuntimeError):
    """No browser to print with; the message is one line that says what to install on this system."""


def find_browser() -> Path | None:
    """The browser to print with, or None: `LABKIT_CHROME`, then the system's, then Playwright's own.

    BrowserMissing when `LABKIT_CHROME` names nothing that exists: a choice is never replaced silently.
    """
    if chosen := os.environ.get("LABKIT_CHROME"):
        path = Path(shutil.which(chosen) or chosen)
        if not path.is_file():
            raise BrowserMissing(f"LABKIT_CHROME is {chosen!r}, which does not exist; correct it or unset it")
        return path
    everywhere = os.pathsep.join([os.environ.get("PATH", os.defpath), *_folders_of_programs()])
    for command in COMMANDS + MAC:
        path = shutil.which(command, path=everywhere)
        if path and not _is_snap_stub(Path(path)):
            return Path(path)
    asked = subprocess.run([sys.executable, "-c", ASK_PLAYWRIGHT], capture_output=True, text=True)
    path = Path(asked.stdout.strip())
    return path if path.is_file() else None


def _folders_of_programs() -> list[str]:
    """Where macOS and Windows keep browsers, which is not in PATH; no such folder exists elsewhere."""
    roots = [os.environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
    folders = [f"{root}/{name}/Application" for root in roots for name in WINDOWS]
    return folders + [f"{root}/Applications/{name}.app/Contents/MacOS" for root in ("", Path.home()) for name in MAC]


def require_browser() -> Path:
    """find_browser, or BrowserMissing with the cure."""
    if browser := find_browser():
        return browser
    raise BrowserMissing(f"no browser found to print the PDF with; {INSTALL}")


def ensure_browser() -> Path | None:
    """Find a browser, else try to get one: Playwright's download, then, as root, Debian's package."""
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    # A stale index may still serve, so a failing update does not stop the installation. Ubuntu's package is empty.
    if shutil.which("apt-get") and os.geteuid() == 0 and "ID=ubuntu" not in Path("/etc/os-release").read_text("utf-8"):
        commands.append(["apt-get", "update", "-qq"])
        commands.append(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", *FONTS])
    for command in commands:
        if found := find_browser():
            return found
        print(f"trying: {' '.join(command)}", file=sys.stderr, flush=True)
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=MINUTES * 60, check=True)
        except subprocess.CalledProcessError as error:
            said = [line.strip() for line in (error.stderr + error.stdout).splitlines() if "error" in line.lower()]
            print(f"failed: exit code {error.returncode}: {(said or ['no message'])[0][:200]}", file=sys.stderr)
        except (subprocess.TimeoutExpired, OSError) as error:
            print(f"failed: {error}", file=sys.stderr)
    return find_browser()


def main(arguments: list[str]) -> int:
    """Exit code 0 when a browser is there (or `--optional`: the HTML needs none), else 1 and one line of what to do."""
    optional = "--optional" in arguments
    try:
        print(f"browser for the PDF: {ensure_browser() or require_browser()}")
        return 0
    except BrowserMissing as error:
        print(f"warning: {error} (reports will be HTML only)" if optional else f"error: {error}", file=sys.stderr)
        return 0 if optional else 1


def _is_snap_stub(path: Path) -> bool:
    """Ubuntu's /usr/bin/chromium-browser is a script that only says to install the snap."""
    small = path.stat().st_size < 20_000
    return small and b"/snap/bin/chromium" in path.read_bytes() and not Path("/snap/bin/chromium").exists()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
