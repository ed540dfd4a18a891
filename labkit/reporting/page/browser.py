"""Find (or fetch) the Chromium-like browser that prints the PDF.

nbconvert's webpdf exporter looks only for the browser that Playwright downloads; most machines already have one.
`python -m labkit.reporting.page.browser [--optional]` is the step of `make setup` that makes sure of it.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

COMMANDS = "chromium chromium-browser google-chrome google-chrome-stable chrome microsoft-edge msedge".split()  # noqa: SIM905
MAC = ["Google Chrome", "Chromium", "Microsoft Edge"]
WINDOWS = ["Google/Chrome", "Chromium", "Microsoft/Edge"]
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
    raise BrowserMissing(f"no browser found to print the PDF with; {install_hint()}")


def install_hint() -> str:
    """What to type on this system to get a browser; one line."""
    if platform.system() in ("Darwin", "Windows"):
        return "install Google Chrome, or: python -m playwright install chromium"
    for manager, command in (("apt-get", "install -y"), ("dnf", "install -y"), ("pacman", "-S --noconfirm")):
        if shutil.which(manager) and not _is_ubuntu():
            return f"run: {'' if os.geteuid() == 0 else 'sudo '}{manager} {command} chromium"
    return "run: python -m playwright install --with-deps chromium (or set LABKIT_CHROME to a Chrome)"


def ensure_browser() -> Path | None:
    """Find a browser, else try to get one: Playwright's download, then Debian's package as root."""
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0 and not _is_ubuntu():
        # A stale index may still serve, so a failing update does not stop the installation.
        commands.append(["apt-get", "update", "-qq"])
        commands.append(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", *FONTS])
    for command in commands:
        if found := find_browser():
            return found
        _attempt(command)
    return find_browser()


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when a browser is there (or `--optional`), else 1 and one line that says what to do."""
    parser = argparse.ArgumentParser(description="Find or fetch the browser that prints the PDF.")
    parser.add_argument("--optional", action="store_true", help="without a browser only warn (the HTML needs none)")
    optional = parser.parse_args(argv).optional
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


def _is_ubuntu() -> bool:
    """On Ubuntu the package chromium only leads to the snap, which cannot be installed in a container."""
    release = Path("/etc/os-release")
    return release.is_file() and "ID=ubuntu" in release.read_text("utf-8").splitlines()


def _attempt(command: list[str], timeout: float = 600) -> None:
    """Run one installer quietly; a failure becomes one line on stderr."""
    shown = " ".join(["python", *command[1:]] if command[0] == sys.executable else command)
    print(f"trying: {shown}", file=sys.stderr, flush=True)
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr + error.stdout).split("\n")
        reason = next((line.strip() for line in lines if "error" in line.lower()), "no message")
        print(f"failed: {shown}: exit code {error.returncode}: {reason[:200]}", file=sys.stderr)
    except (subprocess.TimeoutExpired, OSError) as error:
        print(f"failed: {shown}: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
