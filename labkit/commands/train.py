"""One process of a run in several: `fit` starts it with ``num_processes: 2`` or more; nobody calls it by hand.

``python -m torch.distributed.run --nproc_per_node 2 -m labkit.commands.train RUN_FOLDER`` trains the run whose notebook
has opened the folder and holds its lock. Only the first process writes there and prints.
"""

import os
import select
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from labkit.training.progress import Stopped, stop_requests


def main(folder: Path) -> None:
    """Train; if that fails, the reason is left in the launcher's error file. Ends the process."""
    threading.Thread(target=_end_with_the_others, daemon=True).start()
    from torch.distributed.elastic.multiprocessing.errors import record  # takes seconds

    if os.environ["RANK"] != "0":
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 -- until the process ends
    code = 1
    try:
        with stop_requests(), suppress(Stopped):  # no failure: all of them stop after the same step
            record(train)(folder)
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


def train(folder: Path) -> None:
    """What train.ipynb's cells tagged `training` do, from the parameters in the run folder."""
    from filelock import FileLock

    from labkit.data.loaders import make_loaders
    from labkit.data.source import open_data
    from labkit.data.splits import assign_splits
    from labkit.data.store import build_store
    from labkit.evaluation import metrics
    from labkit.models.build import network_of
    from labkit.params import ParameterError
    from labkit.runs.files import read_json
    from labkit.runs.fingerprint import data_fingerprint, fingerprint_of, resolved, run_inputs
    from labkit.runs.folder import Run, cache_root, read_params
    from labkit.training.device import set_up
    from labkit.training.loop import fit

    params, manifest = read_params(folder), read_json(folder / "run.json")
    accelerator = set_up(params, launched=True)
    if accelerator.num_processes != params.num_processes:
        started = accelerator.num_processes
        raise ParameterError(f"num_processes: got {params.num_processes}, but the launcher has started {started}")
    images, hashes = open_data(params, cache_root())
    inputs = resolved(run_inputs(params, data_fingerprint(images.table, hashes)), manifest["inputs"])
    if manifest["fingerprint"] != fingerprint_of(inputs):
        raise ParameterError(f"{folder}: its images or labkit's code have changed since; run the notebook again")
    store = build_store(images.table, hashes, params.image_size, cache_root())
    table = assign_splits(store.keep_readable(images.table), hashes=hashes, store=store, **params.split_rule)
    loaders = make_loaders(table, store, params, accelerator.device.type)
    n_classes = len(images.facts.classes)
    model, score = network_of(params, n_classes), metrics.EpochScore(table, n_classes, images.facts.score)
    lock = FileLock(folder / ".lock")  # held by the notebook
    run = Run(folder, params, manifest["fingerprint"], lock, manifest, manifest.get("seconds", 0.0))
    fit(model, loaders, params, accelerator, run, score)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
