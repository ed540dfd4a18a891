"""One file per verb, with `add_arguments`, `EXAMPLE` and `main`."""

import argparse
from pathlib import Path
from typing import Any, get_args

from labkit.params import PROJECT, Parameters


def short(path: Path) -> str:
    """A path of the project relative to it, so that it can be clicked or pasted."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def add_options(parser: argparse.ArgumentParser, kind: type[Parameters], *without: str) -> None:
    """An option for every parameter of ``kind`` but these."""
    for name, field in kind.model_fields.items():
        how: dict[str, Any] = {"nargs": "+"} if list[str] in get_args(field.annotation) else {}
        how = {"action": "store_true"} if field.annotation is bool else how
        if name not in without:
            text = "a data set of the catalog, or custom (default: guessed)" if name == "dataset" else field.description
            parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default=None, help=text, **how)


def options(arguments: argparse.Namespace, kind: type[Parameters], *without: str) -> dict[str, Any]:
    """Those of `add_options` that were given, by the name of the parameter."""
    given = {name: getattr(arguments, name) for name in kind.model_fields if name not in without}
    return {name: value for name, value in given.items() if value is not None}
