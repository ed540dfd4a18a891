"""What a process beside the kernel does: meet the others, compute what the kernel computes, and end with it.

It never writes. It is started by labkit.training.processes, which is the other end of its pipes.
"""

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

from labkit.training.processes import Failure, obey


def main() -> None:
    """Serve until the kernel has gone, whose process id is the argument."""
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # what is printed, the kernel prints; warnings and crashes go where the kernel's go
    try:
        sys.path[:] = pickle.load(orders)  # as multiprocessing does: what the kernel can import can be imported here
        serve(orders, replies)
    except EOFError:
        return  # the kernel has gone
    except BaseException as error:
        _reply(replies, Failure(type(error).__name__, str(error), traceback.format_exc()))
    finally:
        sys.stderr.flush()
        os._exit(0)  # at once: the kernel waits for the others to be missed, and nothing here is worth keeping


def serve(orders: BinaryIO, replies: BinaryIO) -> None:
    """One piece of work after another; what goes wrong in one is the end of this process."""
    from labkit.training.device import join, touch_device  # the imports are what takes so long

    params, group = pickle.load(orders)
    touch_device(params, int(group["LOCAL_RANK"]))
    _reply(replies, "ready")
    accelerator = join(params, group)
    obey(orders)
    while True:
        function, arguments = pickle.load(orders)
        # While it works, the kernel decides when all of them stop; between, a kernel that shuts down ends it so.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        function(accelerator, *arguments)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _reply(replies, "done")


def end_with(kernel: int) -> None:
    """End where the kernel has gone, be it by SIGKILL, and whatever is computed or waited for here.

    The end of its pipe would not do: workers that the kernel has forked hold it, too.
    """
    while os.getppid() == kernel:
        time.sleep(0.5)
    os._exit(1)


def _reply(replies: BinaryIO, content: Any) -> None:
    replies.write(pickle.dumps(content))
    replies.flush()
