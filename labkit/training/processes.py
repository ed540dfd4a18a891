"""One run in several processes: the kernel, which is the first of them and alone writes, and helpers beside it.

A helper does nothing of its own: it waits at a pipe, so that a person may look at the notebook for hours, and computes
what the kernel computes, at the same time, on its own share of the images (`together`). It has nothing to lose and is
killed where it is not needed any more; where the kernel ends, in whatever way, so does it (labkit.training.helper).
"""

import atexit
import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import torch.distributed as dist
from accelerate import Accelerator
from torch import nn

from labkit.params import PROJECT, ParameterError, RunParams

Value = TypeVar("Value")
HELPER = "from labkit.training.helper import main; main()"
PATIENCE = 2.0  # s for a helper's last words, which it has said before the kernel can miss it


class HelperFailed(RuntimeError):
    """What went wrong in another process than the kernel's."""


@dataclass
class Failure:
    """A helper's last words; without a ``kind`` it has ended without any."""

    kind: str = ""
    message: str = ""
    traceback: str = ""


class Helper:
    """A process beside the kernel, as the kernel sees it."""

    def __init__(self, rank: int):
        self.rank, self.replies = rank, queue.Queue[Any]()
        self._process = subprocess.Popen(
            [sys.executable, "-c", HELPER, str(os.getpid())],  # spawned: a kernel with threads must not be forked
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
            start_new_session=True,  # an interrupt is for the kernel to answer
        )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def tell(self, message: bytes) -> None:
        """Raises OSError where it is gone."""
        stream = self._process.stdin
        assert stream is not None
        stream.write(message)
        stream.flush()

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            while True:
                reply = pickle.load(stream)
                self.replies.put(reply)
                if isinstance(reply, Failure):
                    break
        except (EOFError, OSError, pickle.UnpicklingError):  # it has ended
            self.replies.put(Failure())
        if self in _helpers:  # nobody has ended it
            _abort()

    def answer(self, patience: float | None = None) -> Any:
        """Its next reply; a Failure where it has ended, None where nothing has come in time."""
        try:
            return self.replies.get(timeout=patience)
        except queue.Empty:
            return None if self._process.poll() is None else Failure()

    def end(self) -> int:
        """Its exit code; killed if it has not ended by itself."""
        self._process.kill()
        return self._process.wait()


_helpers: list[Helper] = []  # of the kernel
_kernel: list[BinaryIO] = []  # of a helper: what the kernel tells it


def start_helpers(params: RunParams, threads: int) -> dict[str, str]:
    """Start the processes that ``params.num_processes`` asks for beside this one, up to where all of them meet.

    Returns the environment from which Accelerate learns of the group; to be entered at once, since the helpers wait
    there. Raises HelperFailed where one cannot start.
    """
    _helpers.extend(Helper(rank) for rank in range(1, params.num_processes))
    group = _group(params.num_processes, threads)
    for helper in _helpers:
        helper.tell(pickle.dumps(sys.path))
        helper.tell(pickle.dumps((params, group | {"RANK": str(helper.rank), "LOCAL_RANK": str(helper.rank)})))
    _hear_from_all()  # that they have imported what they need and have their devices, which takes seconds
    return group | {"RANK": "0", "LOCAL_RANK": "0"}


def _group(count: int, threads: int) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    # Accelerate would set threads by itself where this is not said, and warn.
    group |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": str(threads)}
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)  # a machine's own name may lead nowhere
    return group | ({"GLOO_SOCKET_IFNAME": loopback} if loopback else {})


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """These variables of the environment, for as long as this lasts."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def stop_helpers() -> list[int]:
    """End the other processes, if there are any, and leave their group; gives their exit codes."""
    ending = list(_helpers)
    _helpers.clear()
    codes = [helper.end() for helper in ending]
    _abort()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    return codes


def _abort() -> None:
    """NCCL waits for ever for a process that has gone; gloo notices by itself."""
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()


atexit.register(stop_helpers)


def together(
    accelerator: Accelerator, function: Callable[..., Value], *arguments: Any, here: Sequence[Any] = ()
) -> Value:
    """``function(accelerator, *arguments, *here)`` of this process, while the helpers compute theirs without ``here``.

    In one process it is just called. Function and arguments are pickled; a network goes as it was before Accelerate
    prepared it, on the CPU. Raises what the function raises here, or HelperFailed, which ends all helpers: their place
    in the computation is lost. Then `set_up` has to be called again.
    """
    if accelerator.num_processes == 1:
        return function(accelerator, *arguments, *here)
    if not _helpers:
        raise ParameterError(
            f"num_processes: the other processes of {accelerator.num_processes} have ended; "
            "run the cell with set_up(params) again"
        )
    try:
        say(pickle.dumps((function, [_portable(argument) for argument in arguments])))
        result = function(accelerator, *arguments, *here)
        _hear_from_all()
    except BaseException as error:
        # A helper that fails leaves its group, which is an error here, too, but not the one to read.
        follows = isinstance(error, RuntimeError | OSError) and not isinstance(error, HelperFailed)
        found = _last_words() if follows else None
        stop_helpers()
        if found is not None:
            raise found from error
        raise
    return result


def agree(accelerator: Accelerator, value: Value) -> Value:
    """The kernel's value, in every process. Through the pipes: the kernel waits for nobody, and nobody for a GPU."""
    if accelerator.num_processes == 1:
        return value
    if _kernel:
        return pickle.load(_kernel[0])
    say(pickle.dumps(value))
    return value


def say(message: bytes) -> None:
    """To all helpers; raises OSError where one is gone."""
    for helper in _helpers:
        helper.tell(message)


def obey(orders: BinaryIO) -> None:
    """Make this process a helper, which hears ``orders`` from the kernel."""
    _kernel[:] = [orders]


def _hear_from_all() -> None:
    for helper in _helpers:
        if isinstance(reply := helper.answer(), Failure):
            raise _in_words(helper, reply)


def _last_words() -> Exception | None:
    """Of the first helper that has failed; None where all of them are well."""
    for helper in _helpers:
        while (reply := helper.answer(PATIENCE)) is not None:
            if isinstance(reply, Failure):
                return _in_words(helper, reply)
    return None


def _in_words(helper: Helper, failure: Failure) -> Exception:
    name = f"process {helper.rank + 1} of {len(_helpers) + 1}"
    if not failure.kind:
        return HelperFailed(f"{name} has ended (exit code {helper.end()}); was it killed, or out of memory?")
    if failure.kind == ParameterError.__name__:
        return ParameterError(failure.message)
    error = HelperFailed(f"{name} failed: {failure.kind}: {failure.message}")
    error.add_note(f"There:\n{failure.traceback}")
    return error


def _portable(argument: Any) -> Any:
    """A network without what Accelerate has wrapped around it, which cannot be pickled, on the CPU; else as it is."""
    if not isinstance(argument, nn.Module):
        return argument
    plain = copy(argument)
    plain.__dict__ = {
        name: value
        for name, value in argument.__dict__.items()
        if name not in ("forward", "_original_forward", "_is_accelerate_prepared")
    }
    return deepcopy(plain).cpu()
