"""One file per verb, with `add_arguments`, `EXAMPLE` and `main`; `train` is no verb: `training.launch` starts it."""

from pathlib import Path

from labkit.params import PROJECT


def short(path: Path) -> str:
    """A path of the project relative to it, so that it can be clicked or pasted."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)
