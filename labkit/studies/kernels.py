"""Kernels for the notebooks of a study, forked from a process that has imported torch and labkit already.

Only where forking is safe and worth it, on Linux; elsewhere a kernel starts as Jupyter starts it. Results do not depend
on it. Every kernel is a process of its own, and ends with the study's.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from labkit.params import PROJECT

SERVER = "from labkit.studies.kernel_server import main; main()"
LAUNCHER = ["-m", "ipykernel_launcher"]  # the one kernel that a fork can stand in for


class KernelServer:
    """The warm process, started at once; kernels are forked from it as soon as its imports are done."""

    def __init__(self) -> None:
        self.made_of = code_stamp()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=PROJECT,
                start_new_session=True,  # Ctrl-C is for us to answer
            )
        self._replies = self._channel.makefile("rb")
        self._turn = threading.Lock()  # a question and its answer go together, whichever thread asks

    def start(self, argv: list[str], env: dict[str, str], cwd: str) -> "ForkedKernel":
        """A kernel's process. Raises OSError where the server has died."""
        return ForkedKernel(self, self.ask(start={"argv": argv, "env": env, "cwd": cwd})["pid"])

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request; OSError where the server has died."""
        with self._turn:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            line = self._replies.readline()
        if not line:
            raise ConnectionResetError("the process that kernels are forked from has ended")
        return json.loads(line)

    @property
    def alive(self) -> bool:
        """False once its process has ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the server, and with it the kernels that still live."""
        self._channel.shutdown(socket.SHUT_RDWR)  # also where another thread waits for an answer
        self._process.wait()


class ForkedKernel:
    """What Jupyter asks of a kernel's `subprocess.Popen`, of a process that is the server's child."""

    stdin = stdout = stderr = None

    def __init__(self, server: KernelServer, pid: int) -> None:
        self.server, self.pid = server, pid

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        try:
            return self.server.ask(poll=self.pid)["code"]
        except OSError:
            return -signal.SIGKILL  # a kernel does not outlive the server

    def wait(self) -> int | None:
        """Jupyter calls this when `poll` has said that it is over."""
        return self.poll()

    def send_signal(self, number: int) -> None:
        """To the process; OSError where it is gone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """At once; OSError where it is gone."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """OSError where it is gone."""
        self.send_signal(signal.SIGTERM)


class ForkedProvisioner(LocalProvisioner):
    """Jupyter's own way to a local kernel, but forked where that gives the same kernel."""

    server: KernelServer

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """A command other than that of Python's own kernel is started as it is."""
        if cmd[:3] != [sys.executable, *LAUNCHER]:
            return await super().launch_kernel(cmd, **kwargs)
        environment, cwd = kwargs.get("env") or dict(os.environ), str(kwargs.get("cwd") or Path.cwd())
        try:
            process: Any = self.server.start(cmd, environment, cwd)
        except OSError:  # the server was killed, for its memory perhaps
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid, self.pgid, self.cwd = process, process.pid, process.pid, cwd
        return self.connection_info


class WarmKernelManager(AsyncKernelManager):
    """For `papermill.execute_notebook(…, kernel_manager_class=…)`: the kernel is forked where it can be."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _managers.add(self)
        if server := warm_up():
            forked = ForkedProvisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
            forked.server, self.provisioner = server, forked


_servers: list[KernelServer] = []
_managers: "weakref.WeakSet[WarmKernelManager]" = weakref.WeakSet()
_one_at_a_time = threading.Lock()


def warm_up() -> KernelServer | None:
    """Start importing now, in a process beside this one, for the kernels that will be wanted; None where none forks."""
    if sys.platform != "linux":  # macOS' own libraries must not be forked, Windows cannot
        return None
    with _one_at_a_time:
        if _servers and not (_servers[0].alive and _servers[0].made_of == code_stamp()):
            _servers.pop().stop()
        if not _servers:
            _servers.append(KernelServer())
        return _servers[0]


def cool_down() -> None:
    """End the warm process and every kernel that was forked from it; where one runs a notebook, this is its failure."""
    with _one_at_a_time:
        while _servers:
            _servers.pop().stop()


def stop_kernels(patience: float = 60.0) -> None:
    """Ask every kernel to save how far it is, and wait until it has ended; one that takes longer is killed.

    ``patience``: seconds, of which a step and a checkpoint take few.
    """
    kernels = [manager.provisioner for manager in list(_managers)]
    try:
        for process in filter(None, map(_living, kernels)):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + patience
        while any(map(_living, kernels)) and time.monotonic() < until:
            time.sleep(0.1)
    finally:  # also where a second Ctrl-C does not want to wait
        cool_down()
        for process in filter(None, map(_living, kernels)):  # one that was not forked
            with contextlib.suppress(OSError):
                process.kill()


def _living(kernel: Any) -> Any:
    """A kernel's process; None where it has ended, or never begun."""
    process = getattr(kernel, "process", None)
    return process if process is not None and process.poll() is None else None


def code_stamp() -> dict[str, tuple[int, int]]:
    """Size and time of change of every file of labkit: a warm process must not run what was edited since."""
    files = sorted((PROJECT / "labkit").rglob("*.py"))
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}
