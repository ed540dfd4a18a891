"""train.ipynb by hand: cells stopped, run again, and run in another order than they stand in."""

import json
import re
import signal

import pytest
from IPython.core.interactiveshell import InteractiveShell
from torch.optim.optimizer import register_optimizer_step_pre_hook

from labkit.params import PROJECT, ParameterError

CELLS = json.loads((PROJECT / "notebooks" / "train.ipynb").read_text())["cells"]
CELLS = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
TRAINING = next(place for place, cell in enumerate(CELLS) if cell.startswith("run = open_run"))
TRY = next(place for place, cell in enumerate(CELLS) if cell.startswith("criterion = criterion"))
LAST = next(place for place, cell in enumerate(CELLS) if "run.finish(" in cell)
TINY = {"epochs": 2, "image_size": 32, "threads": 1, "batch_size": 16}


def execute(shell, cells, again=False, **values):
    """Run cells as a person does, with other literals in the parameters cell; one that is stopped may be run again."""
    values = TINY | values
    for cell in cells:
        if cell.startswith("# Parameters"):
            cell = re.sub(rf"(?m)^({'|'.join(values)}) = .*", lambda m: f"{m[1]} = {values[m[1]]!r}", cell)
        error = shell.run_cell(cell, store_history=True).error_in_exec
        if again and isinstance(error, KeyboardInterrupt):
            error = shell.run_cell(cell, store_history=True).error_in_exec
        if error:
            raise error
    folder = shell.user_ns["run"].folder
    return {name: (folder / name).read_bytes() for name in ("history.csv", "model.safetensors", "predictions.csv")}


def test_cells_stopped_or_in_another_order_give_the_same_bytes_or_are_refused():
    """A stop arrives after backward(); then parameters are changed and everything below Training is run."""
    steps = iter(range(99))
    stop = register_optimizer_step_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT) if next(steps) == 2 else None)
    shell = InteractiveShell()
    stopped = execute(shell, CELLS[: LAST + 1], again=True, run="stopped")
    stop.remove()
    assert execute(InteractiveShell(), CELLS[: LAST + 1], run="whole") == stopped
    below = [*CELLS[:2], *CELLS[TRAINING : LAST + 1]]
    for changes, words in (
        ({"select_by": "loss"}, "model: it has been trained since it was made"),
        ({"learning_rate": 0.002}, "learning_rate: got 0.002, but `optimizer` was made with 0.001"),
        ({"arch": "resnet34"}, "arch: got 'resnet34', but `model` was made with 'resnet18'"),
        ({"batch_size": 8}, "batch_size: got 8, but `loaders` was made with 16"),
        ({"data": "demo"}, "data: got 'demo', but `loaders` was made with 'tiny'"),
        ({"precision": "bf16"}, "precision: got 'bf16', but `accelerator` was made with 'auto'"),
    ):
        with pytest.raises(ParameterError, match=f"^{re.escape(words)}.* run the notebook's cells again, from the"):
            execute(shell, below, **changes)
    assert execute(shell, below, run="stopped") == stopped  # replayed


def test_a_changed_cell_makes_another_run_as_try_this_promises():
    shell, cells = InteractiveShell(), CELLS[: LAST + 1]
    first, folder = execute(shell, cells), shell.user_ns["run"].folder
    other = [*cells[:TRY], re.sub("opt = .*# ", "opt = ", cells[TRY]), *cells[TRY + 1 :]]
    assert execute(shell, other)["history.csv"] != first["history.csv"]
    assert shell.user_ns["run"].folder.parent == folder.parent and shell.user_ns["run"].folder != folder
    assert execute(shell, cells) == first and shell.user_ns["run"].folder == folder  # replayed
