"""Training a study's runs on a Dask cluster, whose workers share a folder; equal numbers need equal processors."""

import logging
import os
import pickle
import sys
import uuid
from concurrent.futures import Future
from typing import Any, Self

from labkit.params import ParameterError
from labkit.runs.fingerprint import run_code
from labkit.runs.folder import cache_root, reports_root
from labkit.studies.local import STOPPED, Job, train
from labkit.studies.notebook import DIED, Say, stop_kernels

CALL = "(lambda work, *given: work(*given))(*__import__('pickle').loads(call))"  # `work`, on a worker
RETRIES = 2  # if a kernel dies, for example because its worker has too little memory
PATIENCE = 60.0  # seconds to wait for a lost worker's kernel to release its run's folder


class Cluster:
    """The workers of the scheduler at ``address``. Each process of a job takes one of their GPUs, if they offer any."""

    room = sys.maxsize  # the scheduler queues jobs

    def __init__(self, address: str) -> None:
        self.address = address
        self._says: dict[str, Say] = {}
        self._topic = f"labkit-{uuid.uuid4().hex}"  # of this call only: a cluster may serve several studies

    def start(self, job: Job, say: Say) -> "Future[str | None]":
        """Hand the job to the scheduler; what its kernel prints comes back line by line."""
        self._says[job.name] = say
        places = {"LABKIT_REPORTS": str(reports_root()), "LABKIT_CACHE": str(cache_root())}
        gpus = {"resources": {"GPU": job.params.num_processes}} if self._gpus else {}
        key = f"{self._topic}-{job.name}-{uuid.uuid4().hex}"  # Dask returns the old result for a key that it knows
        # Plain text and bytes: a worker without labkit would die of anything that it cannot unpickle, in silence.
        call = {"call": pickle.dumps((work, job, self._topic, places))}
        return self._executor.submit(eval, CALL, call, key=key, **gpus)

    def stop(self) -> None:
        """Running jobs save how far they are, waiting ones are cancelled; other jobs on the cluster are not touched."""
        processing: Any = self._client.processing()  # a coroutine only in asynchronous clients
        busy = [worker for worker, keys in processing.items() if any(str(key).startswith(self._topic) for key in keys)]
        self._executor.shutdown(wait=False)  # first, or a stopped job would be started elsewhere
        if busy:
            self._client.run(stop_kernels, workers=busy)

    def __enter__(self) -> Self:
        try:
            from distributed import Client
        except ImportError:
            told = f"SCHEDULER: got {self.address}, but Dask is not installed here; pip install 'labkit[cluster]'"
            raise ParameterError(told) from None
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told in one line
        try:
            self._client = Client(self.address, name="labkit", set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # a time-out; no certificates for tls://
            words = " ".join(str(error).split())
            told = f"SCHEDULER: got {self.address}, but nothing answers there ({words}); start one with dask scheduler"
            cure = "as params/README.md says; the certificates of tls:// are those of Dask's configuration"
            raise ParameterError(f"{told} {cure}") from None
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self._gpus = sum(worker["resources"].get("GPU", 0) for worker in workers.values())
        gpus = f", {self._gpus:.0f} GPUs" if self._gpus else ""
        print(f"Dask cluster {self.address}: {len(workers)} workers{gpus}", flush=True)
        if not workers:
            print(f"    the runs wait for a worker; start one with: dask worker {self.address}", flush=True)
        self._client.subscribe_topic(self._topic, lambda event: self._says[event[1]["job"]](event[1]["line"]))
        self._executor = self._client.get_executor(pure=False, retries=RETRIES)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()


def work(job: Job, topic: str, places: dict[str, str]) -> str | None:
    """`train` on a worker; RuntimeError if the kernel died, so that Dask retries, Reschedule to go on elsewhere."""
    from distributed import Reschedule, get_worker

    worker = get_worker()
    os.environ |= places  # as on the machine that started the study
    if not ((study := job.folder.parents[1]) / ".lock").exists():
        cure = "a folder that all machines share is needed; set LABKIT_REPORTS to one"
        return f"worker {worker.address} does not see {study}: {cure}"
    if run_code() != job.inputs["code"]:
        cure = "use one checkout in a shared folder"
        return f"worker {worker.address} has another version of labkit or of train.ipynb: {cure}"
    worker.log_event(topic, {"job": job.name, "line": f"on worker {worker.address}"})
    error = train(job, lambda line: worker.log_event(topic, {"job": job.name, "line": line}), PATIENCE)
    if error == DIED:
        raise RuntimeError(error)
    if error and error.startswith(STOPPED):  # by a time limit; `stop` cancels the job first
        raise Reschedule
    return error
