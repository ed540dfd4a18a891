"""One process of a run in several: `fit` starts it with ``num_processes: 2`` or more; nobody calls it by hand.

``python -m torch.distributed.run --nproc_per_node 2 -m labkit.commands.train RUN_FOLDER FILE`` trains the run whose
notebook has opened the folder, holds its lock and has left in the file what it has made. Only the first process writes
there and prints.
"""

import os
import select
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from labkit.training.progress import Stopped, stop_requests


def main(folder: Path, handed: Path) -> None:
    """Train; if that fails, the reason is left in the launcher's error file. Ends the process."""
    threading.Thread(target=_end_with_the_others, daemon=True).start()
    from torch.distributed.elastic.multiprocessing.errors import record  # takes seconds

    if os.environ["RANK"] != "0":
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 -- until the process ends
    code = 1
    try:
        with stop_requests(), suppress(Stopped):  # no failure: all of them stop after the same step
            record(train)(folder, handed)
        code = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # at once: the others must notice, and nothing is left to be done


def _end_with_the_others() -> None:
    """End this process if its launcher has ended, or if the notebook has closed the pipe or was killed."""
    launcher = os.getppid()
    while os.getppid() == launcher and not select.select([0], [], [], 0.5)[0]:
        pass
    os._exit(1)


def train(folder: Path, handed: Path) -> None:
    """`fit` with the parameters in the run folder and what the notebook has made: network, loaders, score …"""
    import torch

    from labkit.params import ParameterError
    from labkit.runs.fingerprint import run_code
    from labkit.runs.folder import Run, read_manifest, read_params
    from labkit.training.device import set_up
    from labkit.training.loop import fit

    params, manifest = read_params(folder), read_manifest(folder)
    accelerator = set_up(params, launched=True)
    if accelerator.num_processes != params.num_processes:
        started = accelerator.num_processes
        raise ParameterError(f"num_processes: got {params.num_processes}, but the launcher has started {started}")
    if manifest["inputs"].get("code") != run_code():
        raise ParameterError(f"{folder}: labkit's code has changed since; restart the notebook and run it again")
    handed_over = torch.load(handed, map_location="cpu", weights_only=False)  # by this user, just before
    model, loaders, score, made = handed_over
    fit(
        model, loaders, params, accelerator, Run(folder, params, manifest), score, **made
    )  # the notebook holds its lock
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
