"""The groups of rows by name. A new one is a module with a function from a Setting to rows, and its line here."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from importlib import import_module

from labkit.bench.rows import Row
from labkit.bench.setting import Setting

Group = Callable[[Setting], Iterable[Row]]

GROUPS: dict[str, str] = {  # name: module of labkit.bench, and function; imported where it is asked for
    "input": "input_rows:rows",
    "input-rotated": "input_rows:rotated_rows",
    "epoch": "training_rows:epoch_rows",
    "step": "training_rows:step_rows",
    "options": "option_rows:rows",
    "evaluation": "evaluation_rows:rows",
    "frozen": "training_rows:frozen_rows",
    "device": "device_rows:rows",
    "data": "data_rows:rows",
    "growth": "growth_rows:growth_rows",
    "report": "report_rows:report_rows",
}


def chosen(pattern: str = "*") -> dict[str, Group]:
    """Groups whose names match a pattern such as ``input*``; ValueError lists the names if there is none."""
    names = [name for name in GROUPS if fnmatchcase(name, pattern)]
    if not names:
        raise ValueError(f"--only: no group of rows is called {pattern!r}; there are {', '.join(GROUPS)}")
    return {name: _function(GROUPS[name]) for name in names}


def _function(place: str) -> Group:
    module, _, name = place.partition(":")
    return getattr(import_module(f"labkit.bench.{module}"), name)
