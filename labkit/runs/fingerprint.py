"""The fingerprint of a run: its parameters, data, parent, and code (params, data, models, training, train.ipynb)."""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.params import PROJECT, RunParams
from labkit.runs.files import sha256

# Code that decides a run's numbers; evaluation and reporting only describe them.
CODE = ("params.py", "data", "models", "training")
# Parameters that results do not depend on: names, places, speed.
NOT_FINGERPRINTED = {"study", "run", "data", "num_workers", "find_learning_rate"}


def data_fingerprint(table: pd.DataFrame, hashes: pd.Series) -> str:
    """SHA-256 of an image table's ids, labels, groups and splits with its files' SHA-256 (``hashes`` by image_id)."""
    columns = table.loc[:, ["image_id", "label", "group", "split"]].astype("string").fillna("")
    columns["sha256"] = table["image_id"].map(hashes.to_dict().get).astype("string").fillna("")
    text = columns.sort_values("image_id").to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def code_fingerprint(*names: str, notebook: Path | None = None) -> str:
    """SHA-256 of the syntax trees of files and folders of labkit, and of a notebook's code cells."""
    digest = hashlib.sha256()
    for name in names:
        path = PROJECT / "labkit" / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix == ".py":
                digest.update(f"{file.relative_to(PROJECT)}\n{_code(file.read_text(encoding='utf-8'))}\n".encode())
            elif file.is_file() and file.suffix in {".j2", ".css", ".js"}:
                digest.update(file.read_bytes())
    if notebook is not None:
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
                digest.update("".join(cell["source"]).encode())
    return digest.hexdigest()


@lru_cache(maxsize=1024)  # called for each run of a study, and files seldom change in between
def _code(source: str) -> str:
    """The syntax tree as text, without comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def run_inputs(params: RunParams, data: str) -> dict[str, Any]:
    """What decides a run's numbers: its parameters (the parent's fingerprint among them), data and code."""
    values = {key: value for key, value in params.model_dump().items() if key not in NOT_FINGERPRINTED}
    if params.parent is not None:
        values.pop("weights")  # a path; the parent's fingerprint says what it holds
    elif params.weights and Path(params.weights).is_file():
        values["weights"] = sha256(Path(params.weights))
    return values | {"data": data, "code": run_code()}


def run_code() -> str:
    """Fingerprint of the code that decides a run's numbers."""
    return code_fingerprint(*CODE, notebook=PROJECT / "notebooks" / "train.ipynb")


def fingerprint_of(inputs: Any) -> str:
    """SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
