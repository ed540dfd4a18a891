"""``labkit runs``: the run folders of each study, with those that are kept because others needed their name."""

import argparse

from labkit.format import fixed, plural
from labkit.runs.folder import read_manifest, written_by_labkit
from labkit.studies.find import current_runs, run_folders, studies_run

EXAMPLE = "labkit runs demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which study."""
    parser.add_argument("study", nargs="?", help="only the runs of this study (default: of all that have any)")


def main(arguments: argparse.Namespace) -> int:
    """One line per run: its folder, its state, minutes and MB."""
    for study in [arguments.study] if arguments.study else studies_run():
        states = current_runs(study).set_index("name")["state"].to_dict()
        table = run_folders(study, kept=True)
        print(f"{study}: {plural(len(table), 'run')}, {len(table) - len(states)} of them kept")
        for name, folder, state in table[["name", "folder", "state"]].itertuples(index=False):
            minutes = read_manifest(folder).get("seconds", 0) / 60
            size = sum(path.stat().st_size for path in written_by_labkit(folder)) / 1e6
            told = states.get(name, f"kept, {state}")
            print(f"  {name:<50} {told:<18} {fixed(minutes, 1):>8} min {fixed(size, 1):>8} MB")
    return 0
