"""A clean process that has imported the applications' modules once, and forks itself for each task.

Run as `python -m mcp_server.work.fork_server FD`, where the descriptor is a socket from
the server (`forking.py`). Each message on it names a function and brings two sockets for
one child: one on which the child speaks (`process_child.run`), and one on which this
process says the child's number, and later its exit code. It runs no function itself and
has one thread, so a child begins with nothing of any task before it.

When the server dies, the socket ends and so does this process; its children notice by themselves.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .process_child import load, prepare_signals, run

__all__ = ["main"]

MAX_MESSAGE = 64 * 1024


class _ForkServer:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}
        """By process id: where the end of a child is reported to."""
        self._ended: set[int] = set()
        """The children among them whose end is reported."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._fork)
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._report)
        # Written to by a signal, and read by the loop; a handler has to be set for that.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _fork(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 2)
        if not message:
            os._exit(0)
        talk, status = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        order = json.loads(message)
        # An exception here is the task's to report: its child meets the same one.
        with suppress(BaseException):
            load(**order)
        if threading.active_count() > 1:
            # Locks that another thread holds would stay locked in a child.
            names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
            self._say(status, {"refused": f"importing {order['module']} starts threads ({names})"})
            talk.close()
            status.close()
            return
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()
        child = os.fork()
        if child == 0:
            self._become_child(talk, status)
        talk.close()
        self._children[child] = status
        self._say(status, {"pid": child})

    def _become_child(self, talk: socket.socket, status: socket.socket) -> None:
        """Give up everything of this process, and run what the server says on the socket. Does not return."""
        try:
            # A session of its own: the server ends it with all that it started.
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for descriptor in (self._control, status, *self._children.values()):
                descriptor.close()
            gc.unfreeze()
            _reseed()
            source, target = talk.makefile("rb"), talk.makefile("wb")
            run(source, target)
        finally:
            os._exit(1)

    def _report(self) -> None:
        """Say which children have ended. They stay zombies until the server is done with their numbers."""
        os.read(self._woken, 4096)
        for child, status in list(self._children.items()):
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None and child not in self._ended:
                self._ended.add(child)
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                self._say(status, {"exit": code})
                self._selector.register(status, selectors.EVENT_READ, lambda child=child: self._reap(child))

    def _reap(self, child: int) -> None:
        status = self._children.pop(child)
        self._ended.remove(child)
        self._selector.unregister(status)
        status.close()
        os.waitpid(child, 0)

    @staticmethod
    def _say(status: socket.socket, message: Mapping[str, Any]) -> None:
        with suppress(OSError):  # the server has given the child up
            status.sendall(json.dumps(message).encode() + b"\n")


def _reseed() -> None:
    """Give the child random numbers of its own, as a fresh interpreter has; `random` does so by itself."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()


def main() -> None:
    prepare_signals()
    # Between a terminal and its server; what the server's children print goes to standard error.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    _ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
