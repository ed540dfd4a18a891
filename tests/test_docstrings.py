"""Every public function says what it is, and none is there for nobody."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from labkit.params import PROJECT

FILES = sorted((PROJECT / "labkit").rglob("*.py"))
ROOMS = ("data", "models", "training", "evaluation", "audit", "reporting")
Definition = ast.FunctionDef | ast.ClassDef

# Public, and called by no notebook and no module: each with its reason.
FOR_OTHERS = {
    "missing_alt": "what a page must not have; tests and tests/check_report.py ask for it",
    "external_references": "what a page must not have; tests and tests/check_report.py ask for it",
}
EMPTY = re.compile(r"^(this|the) (function|method|class|property)\b", re.IGNORECASE)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def public(path: Path) -> Iterator[tuple[str, Definition]]:
    """Functions, classes and methods whose names, and whose classes' names, have no leading underscore."""

    def inside(body: list[ast.stmt], before: str) -> Iterator[tuple[str, Definition]]:
        for node in body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                yield before + node.name, node
                if isinstance(node, ast.ClassDef):
                    yield from inside(node.body, f"{before}{node.name}.")

    return inside(tree(path).body, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PROJECT / "labkit").as_posix())
def test_every_public_function_has_a_docstring_that_says_something(path):
    assert ast.get_docstring(tree(path)) or path.name == "__init__.py", f"{path.name}: the file says nothing"
    for name, node in public(path):
        said = ast.get_docstring(node) or ""
        assert said, f"{path.name}, line {node.lineno}: {name} has no docstring"
        first = said.partition("\n")[0]
        words = set(re.findall(r"[a-z]+", first.lower())) - set(re.findall(r"[a-z]+", name.lower()))
        tells = len(words) >= 2 or "->" in first  # an example says it, too
        assert tells and not EMPTY.match(first), f"{path.name}: {name} repeats its name: {first!r}"


def used_names(module: ast.Module) -> set[str]:
    """What a file reads or calls, imports and definitions apart."""
    names = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}


def test_every_public_function_is_used_in_a_notebook_or_by_the_package():
    cells = [
        "".join(cell["source"])
        for path in (PROJECT / "notebooks").glob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    used = {alias.asname or alias.name: alias.name for text in cells for alias in imported(ast.parse(text))}
    known = {used.get(name, name) for text in cells for name in used_names(ast.parse(text))}
    known |= {name for path in FILES for name in used_names(tree(path))}
    known |= {alias.name for path in FILES for alias in imported(tree(path)) if alias.asname}
    dead = [
        f"{path.relative_to(PROJECT)}: {node.name}"
        for path in FILES
        if path.relative_to(PROJECT / "labkit").parts[0] in ROOMS
        for node in tree(path).body
        if isinstance(node, Definition) and not node.name.startswith("_") and node.name not in known
    ]
    assert [line for line in dead if line.split(": ")[1] not in FOR_OTHERS] == []


def imported(module: ast.Module) -> Iterator[ast.alias]:
    """Every name that an import brings."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            yield from node.names
