"""``labkit clean``: delete kept runs after a question, but only files that labkit wrote."""

import argparse
import re
import sys
from pathlib import Path

from labkit.format import fixed, plural
from labkit.runs.fingerprint import fingerprint_of
from labkit.runs.folder import read_manifest, reports_root, written_by_labkit
from labkit.studies.find import studies_run

EXAMPLE = "labkit clean demo --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which study, and whether to ask at all."""
    parser.add_argument("study", nargs="?", help="only the kept runs of this study (default: of all)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def main(arguments: argparse.Namespace) -> int:
    """1 if the answer is anything but yes."""
    files: list[Path] = []
    for study in [arguments.study] if arguments.study else studies_run():
        for folder in sorted(filter(Path.is_dir, (reports_root() / study / "runs").glob("*@*"))):
            of = read_manifest(folder)
            name = f"{of.get('run')}-seed{of.get('seed')}@{of.get('fingerprint', '')[:8]}"
            kept = re.fullmatch(rf"{re.escape(name)}(-\d+)?", folder.name) and not folder.is_symlink()
            kept = kept and of.get("fingerprint") == fingerprint_of(of.get("inputs"))  # by labkit: no person's copy
            mine = written_by_labkit(folder) if kept else []
            others = sorted({path.name for path in folder.iterdir()} - {path.name for path in mine})
            print(f"{folder}: {_amount(mine)}" + (f"; left there: {', '.join(others)}" if others else ""))
            files += mine
    print(f"in all {_amount(files)}")
    if arguments.dry_run or not files:
        return 0
    print("Delete them for good? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print("nothing was deleted")
        return 1
    for path in files:
        path.unlink()
    for folder in {path.parent for path in files}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return 0


def _amount(files: list[Path]) -> str:
    return f"{plural(len(files), 'file')}, {fixed(sum(path.lstat().st_size for path in files) / 1e6, 1)} MB"
