"""What became of a study's runs that are not finished: state, error, and the end of what their notebooks printed."""

import re
from pathlib import Path

import nbformat
import pandas as pd

from labkit.params import parent_of
from labkit.reporting.page.cells import RenderError, collapse, read_executed
from labkit.runs.files import read_json
from labkit.studies.file import Study

LINES = 20
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def unfinished(study: Study, folders: pd.DataFrame) -> pd.DataFrame:
    """Columns run, state, error, log: of the compared runs and of those they start from, in the study's order.

    ``folders``: as `lookup.current_runs`. A run that was not begun because of what it starts from says so; ``log`` is
    empty where nothing was printed.
    """
    states = folders.set_index("run")["state"].groupby(level=0).agg(list).to_dict()
    rows = []
    for name, keys in study.table().items():
        parent = parent_of(keys.get("weights"))
        waits = f"starts from {parent}, which is not finished" if parent in study.table() else ""
        waits = waits if "finished" not in states.get(parent, []) else ""
        mine = folders.loc[folders["run"] == name, ["folder", "name", "state"]]
        if mine.empty:
            rows.append({"run": name, "state": "not run", "error": waits, "log": ""})
        for folder, folder_name, state in mine.loc[mine["state"] != "finished"].itertuples(index=False):
            error = read_json(folder / "run.json").get("error") or waits
            log = log_end(folder / "train.ipynb") if state in ("failed", "interrupted") else ""
            rows.append({"run": folder_name, "state": state, "error": error, "log": log})
    return pd.DataFrame(rows, columns=["run", "state", "error", "log"])


def log_end(notebook: Path, lines: int = LINES) -> str:
    """The last lines that an executed notebook printed, as a terminal shows them; '' where it says nothing."""
    try:
        cells = read_executed(notebook, allow_errors=True).cells
    except RenderError:  # it is not there, or the disk was full when it was saved
        return ""
    printed = "".join(map(_printed, cells))
    said = [line.rstrip() for line in collapse(_ANSI.sub("", printed)).splitlines() if line.strip()]
    return "\n".join(said[-lines:])


def _printed(cell: nbformat.NotebookNode) -> str:
    streams = [output.text for output in cell.get("outputs", []) if output.output_type == "stream"]
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in streams)
