"""The peers by name, and how one that cannot run here is found out before anything is timed."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from labkit.bench.timing import Pass

INPUT = {  # name in the table: module of labkit.bench, and function
    "plain loop": "plain_loop:load",
    "torchvision recipe": "torchvision_recipe:load",
    "timm": "timm_recipe:load",
    "fastai": "fastai_learner:load",
}
STEP = {
    "plain loop": "plain_loop:train",
    "torchvision recipe": "torchvision_recipe:train",
    "timm": "timm_recipe:train",
    "timm --channels-last": "timm_recipe:train_channels_last",
    "Lightning Trainer": "lightning_trainer:train",
    "fastai": "fastai_learner:train",
}
TEST = {
    "plain loop": "plain_loop:test",
    "torchvision recipe": "torchvision_recipe:test",
    "timm": "timm_recipe:test",
    "Lightning Trainer": "lightning_trainer:test",
    "fastai": "fastai_learner:test",
}


def ready(
    places: dict[str, str], task: object, refuse: Callable[[Any], str | None] = lambda _: None
) -> tuple[dict[str, Pass], dict[str, str]]:
    """Passes of the peers that can do this task, each of which has run once, and of the others the reason, in a line.

    ``refuse`` looks at what the first pass gave and may say why it is not the work that was asked for. Any error is a
    reason: what another's code stops with in another's versions is not ours to foresee.
    """
    passes, reasons = {}, {}
    for name, place in places.items():
        try:
            once = _builder(place)(task)
            refused = refuse(once())
        except ImportError as error:
            reasons[name] = f"{error.name or error} is not installed (pip install '.[bench]')"
        except Exception as error:
            reasons[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            if refused:
                reasons[name] = refused
            else:
                passes[name] = once
    return passes, reasons


def _builder(place: str) -> Callable[[object], Pass]:
    module, _, name = place.partition(":")
    return getattr(import_module(f"labkit.bench.{module}"), name)
