"""The fingerprint of a run: its parameters, data, parent, and the code that decides its numbers, without its words."""

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.params import PROJECT, DataParams, RunParams
from labkit.runs.files import read_json, sha256

# Code that decides a run's numbers, with the scores that choose its epoch; other evaluation only describes them.
CODE = ("params.py", "data", "models", "training")
# Of data/, what counts as data: facts (those of the run's own data set), and what made its images, which are hashed.
AS_DATA = {"catalog.py", "phantoms", "prepare"}
CODE += tuple(f"evaluation/{name}.py" for name in ("matrices", "decide", "ordinal"))
# Cells of train.ipynb that decide nothing. One without a tag counts: it may be a student's, and change the network.
NOT_COUNTED = {"parameters", "look"}
# Parameters that results do not depend on: names, places, speed.
NOT_FINGERPRINTED = {"study", "run", "data", "num_workers", "find_learning_rate"}
LEFT_OPEN = {"device": "auto", "precision": "auto", "threads": 0}  # values that leave the choice to the machine
SAYING = {"print", "show", "show_table", "note", "banner", "display", "add_note"}
MADE = re.compile(r"^(?:(class|def) |(\w+)[^=(\n]* = )", re.MULTILINE)
LOGS = {"logging", "logger", "log", "warnings"}


def data_fingerprint(images: Any, hashes: pd.Series) -> str:
    """SHA-256 of what `open_data` gives: the facts that reach numbers, and ids, labels, groups, splits and files
    (``hashes``) in the order of its table, as batches follow it."""
    columns = images.table.loc[:, ["image_id", "label", "group", "split"]].astype("string").fillna("")
    columns["sha256"] = images.table["image_id"].map(hashes.to_dict().get).astype("string").fillna("")
    known = [images.facts.title, images.facts.task, images.facts.score, *images.facts.classes]
    return hashlib.sha256((json.dumps(known) + columns.to_csv(index=False, lineterminator="\n")).encode()).hexdigest()


def code_fingerprint(*names: str, words: bool = True) -> str:
    """SHA-256 of the syntax trees of files and folders of labkit, with or without what they say (`_Code`)."""
    digest = hashlib.sha256()
    for name in names:
        path = PROJECT / "labkit" / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix == ".py" and (words or AS_DATA.isdisjoint(file.relative_to(PROJECT / "labkit").parts)):
                code = code_of(file.read_text(encoding="utf-8"), words)
                digest.update(f"{file.relative_to(PROJECT)}\n{code}\n".encode())
            elif file.is_file() and file.suffix in {".j2", ".css", ".js"}:
                digest.update(file.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1024)  # called for each run of a study, and files seldom change in between
def code_of(source: str, words: bool = False) -> str:
    """The code without comments, layout, docstrings and, but for ``words``, messages; as it is if it is no Python."""
    try:
        tree = _Code(words).visit(ast.parse(source))
    except SyntaxError:
        return source
    return ast.dump(tree) if words else ast.unparse(tree)  # the text is the same in every version of Python


class _Code(ast.NodeTransformer):
    """Removes what does nothing, such as docstrings, and without ``words`` what is only said: calls of SAYING and LOGS,
    texts of errors, descriptions of parameters, notes, and imports of reporting."""

    def __init__(self, words: bool) -> None:
        self.words = words

    def generic_visit(self, node: Any) -> Any:
        super().generic_visit(node)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and not self.words:
            node.exc = node.exc.func
        elif isinstance(node, ast.Assert) and not self.words:
            node.msg = None
        elif getattr(node, "body", None) == []:
            vars(node)["body"] = [ast.Pass()]
        return None if isinstance(node, ast.keyword) and node.arg == "description" and not self.words else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return node if self.words or not str(node.module).startswith("labkit.reporting") else None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        path = ast.unparse(node.value.func).split(".") if isinstance(node.value, ast.Call) else [""]
        noted = path[-1] in {"append", "extend"} and path[-2:-1] in (["notes"], ["attrs['notes']"])
        said = not self.words and (path[-1] in SAYING or path[0] in LOGS or noted)
        acts = {ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom} | (set() if said else {ast.Call})
        return self.generic_visit(node) if acts & {type(part) for part in ast.walk(node.value)} else None


def run_inputs(params: RunParams, data: str, executed: Sequence[str] = ()) -> dict[str, Any]:
    """What decides a run's numbers: its parameters (the parent's fingerprint among them), data and code."""
    unset = set(DataParams.model_fields) - {"dataset", *params.reading}  # as in runs made before there was one
    values = params.model_dump(exclude=NOT_FINGERPRINTED | unset)
    if params.parent is not None:
        values.pop("weights")  # a path; the parent's fingerprint says what it holds
    elif params.weights and Path(params.weights).is_file():
        values["weights"] = sha256(Path(params.weights))
    return values | {"data": data, "code": run_code(executed)}


def resolved(inputs: dict[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with what they leave open (LEFT_OPEN) as it was ``used``: by this machine, or in a run's inputs."""
    left = [name for name, is_open in LEFT_OPEN.items() if inputs.get(name) == is_open and name in used]
    return inputs | {name: used[name] for name in left}


def run_code(executed: Sequence[str] = ()) -> str:
    """Fingerprint of the code that decides a run's numbers; ``executed``: cells that may not be saved (``In``)."""
    notebook = read_json(PROJECT / "notebooks" / "train.ipynb", cure="take it from the repository again")
    counted = [cell for cell in notebook["cells"] if NOT_COUNTED.isdisjoint(cell["metadata"].get("tags", []))]
    sources = ["".join(cell["source"]) for cell in counted if cell["cell_type"] == "code"]
    cells, made = {source: code_of(source) for source in sources}, set().union(*map(made_by, sources))
    for source in executed:
        if made_by(source) & {*made, "class", "def"}:
            place = next((cell for cell in cells if made_by(cell) == made_by(source)), source)
            cells[place] = code_of(source)
    return fingerprint_of([code_fingerprint(*CODE, words=False), list(cells.values())])


def made_by(source: str) -> set[str]:
    """What a cell assigns (`model`, also by `model.fc = …`) but for parameters, and ``class`` or ``def``."""
    return {name or kind for kind, name in MADE.findall(source)} - RunParams.model_fields.keys()


def fingerprint_of(inputs: Any) -> str:
    """SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
