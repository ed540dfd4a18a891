"""One file per verb, with `add_arguments`, `EXAMPLE` and `main`."""

import argparse
from pathlib import Path
from typing import Any, get_args

from labkit.params import PROJECT, DataParams


def short(path: Path) -> str:
    """A path of the project relative to it, so that it can be clicked or pasted."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """An option for every parameter of DataParams but `data`: --dataset, and how the data is read."""
    for name, field in DataParams.model_fields.items():
        how: dict[str, Any] = {"nargs": "+"} if list[str] in get_args(field.annotation) else {}
        how = {"action": "store_true"} if field.annotation is bool else how
        if name != "data":
            text = "a data set of the catalog, or custom (default: guessed)" if name == "dataset" else field.description
            parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default=None, help=text, **how)


def data_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of `add_data_options` that were given, by the name of the parameter."""
    given = {name: getattr(arguments, name) for name in DataParams.model_fields if name != "data"}
    return {name: value for name, value in given.items() if value is not None}
