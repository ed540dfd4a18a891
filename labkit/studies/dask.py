"""A study's runs as jobs on the workers of a running Dask cluster, which share a folder with us.

A job that loses its worker is given to another, where the run goes on from its checkpoint. Results are those of one
machine, as long as `threads` is set and the processors are of one kind.
"""

import os
import sys
import uuid
from concurrent.futures import Future
from typing import Any, Self

from labkit.params import ParameterError
from labkit.runs.fingerprint import run_code
from labkit.runs.folder import cache_root, reports_root
from labkit.studies.local import STOPPED, Job, train
from labkit.studies.notebook import DIED, Say, stop_kernels

RETRIES = 2  # of a kernel that died: of one that wanted more memory than its worker has, for example
PATIENCE = 60.0  # seconds for a lost worker's kernel to let go of its run's folder
PLACES = ("LABKIT_REPORTS", "LABKIT_CACHE")


class Cluster:
    """The workers of the scheduler at ``address``, such as ``tcp://host:8786``.

    Where workers offer the resource GPU, each process of a job takes one of it; else a worker makes as many jobs at a
    time as it has threads.
    """

    room = sys.maxsize  # the scheduler keeps what must wait

    def __init__(self, address: str) -> None:
        self.address = address
        self._says: dict[str, Say] = {}
        self._topic = f"labkit-{uuid.uuid4().hex}"  # ours alone: a cluster may serve several studies

    def start(self, job: Job, say: Say) -> "Future[str | None]":
        """Hand the job to the scheduler; what its kernel prints comes back line by line."""
        self._says[job.name] = say
        places = dict(zip(PLACES, (str(reports_root()), str(cache_root())), strict=True))
        gpus = {"resources": {"GPU": job.params.num_processes}} if self._gpus else {}
        key = f"{self._topic}-{job.name}-{uuid.uuid4().hex}"  # a key that was there before brings its old answer
        return self._executor.submit(work, job, self._topic, places, key=key, **gpus)

    def stop(self) -> None:
        """Jobs that have begun save how far they are, the others are forgotten; workers without a job of ours go on."""
        processing: Any = self._client.processing()  # a coroutine in clients of another kind alone
        busy = [worker for worker, keys in processing.items() if any(str(key).startswith(self._topic) for key in keys)]
        self._executor.shutdown(wait=False)  # first, else a job that has stopped would be started elsewhere
        if busy:
            self._client.run(stop_kernels, workers=busy)

    def __enter__(self) -> Self:
        try:
            from distributed import Client
        except ImportError:
            raise ParameterError(
                f"SCHEDULER: got {self.address}, but Dask is not installed here; pip install 'labkit[cluster]'"
            ) from None
        try:
            self._client = Client(self.address, name="labkit", set_as_default=False)
        except (OSError, ValueError) as error:  # a time-out is an OSError
            words = " ".join(str(error).split())
            raise ParameterError(
                f"SCHEDULER: got {self.address}, where no Dask scheduler answers ({words}); start one with: "
                "dask scheduler"
            ) from None
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self._gpus = sum(worker["resources"].get("GPU", 0) for worker in workers.values())
        print(f"Dask cluster {self.address}: {len(workers)} workers", end="")
        print(f", {self._gpus:.0f} GPUs" if self._gpus else "", flush=True)
        if not workers:
            print("    the runs wait until a worker is there: dask worker " + self.address, flush=True)
        self._client.subscribe_topic(self._topic, self._hear)
        self._executor = self._client.get_executor(pure=False, retries=RETRIES)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def _hear(self, event: tuple[float, dict[str, str]]) -> None:
        _, said = event
        self._says[said["job"]](said["line"])


def work(job: Job, topic: str, places: dict[str, str]) -> str | None:
    """On a worker: `jobs.train`, whose lines are sent home.

    Raises RuntimeError where the kernel died and another try may help, Reschedule where the run is to go on elsewhere.
    """
    from distributed import Reschedule, get_worker

    worker = get_worker()
    os.environ |= places  # of the one who asked, as the folder of the job is
    if refused := _unfit(job):
        return f"worker {worker.address} {refused}"
    worker.log_event(topic, {"job": job.name, "line": f"on worker {worker.address}"})
    error = train(job, lambda line: worker.log_event(topic, {"job": job.name, "line": line}), PATIENCE)
    if error == DIED:
        raise RuntimeError(error)
    if error and error.startswith(STOPPED):  # not by us, who would have forgotten the job: its worker's time is over
        raise Reschedule
    return error


def _unfit(job: Job) -> str | None:
    """Why this worker cannot make the job."""
    study = job.folder.parents[1]
    if not (study / ".lock").exists():
        return f"does not see {study}: a folder that all machines share is needed; set LABKIT_REPORTS to one"
    if run_code() != job.inputs["code"]:
        return "has another version of labkit or of train.ipynb: use one checkout in a shared folder"
    return None
