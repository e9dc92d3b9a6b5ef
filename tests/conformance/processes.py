"""Fixture servers as real processes: started on a free port, known to answer, killed without notice.

A server process is told a port and prints one line when it listens.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["FixtureServer", "listening"]

SERVER = Path(__file__).with_name("server.py")


def listening(port: int = 0) -> tuple[socket.socket, str]:
    """A listening socket on loopback and its base URL."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


class FixtureServer:
    """One `server.py`; it can be killed and comes back on the same port and store.

    Args:
        spare: keep a process at hand that has done its imports and waits, so that coming back takes no
            seconds in which a client's patience could end. It opens port and store after the kill, not before.
    """

    def __init__(self, backend: str, *, spare: bool = False) -> None:
        self._backend, self._keeps_spare = backend, spare
        self._process: subprocess.Popen[str] | None = None
        self._spare: subprocess.Popen[str] | None = None
        self._port = 0
        self.url = ""

    def start(self) -> None:
        """Returns when it listens."""
        process = self._spare or self._made()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        self.url = process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the fixture server ended with {process.wait()}")
        self._process, self._port = process, int(self.url.rpartition(":")[2])
        self._spare = self._made() if self._keeps_spare else None

    def kill(self) -> None:
        """`kill -9`."""
        _end(self._process)
        self._process = None

    def close(self) -> None:
        self.kill()
        _end(self._spare)
        self._spare = None

    def _made(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(SERVER), "--port", str(self._port), "--backend", self._backend, "--wait"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str] | None) -> None:
    if process is not None:
        process.kill()
        process.communicate()


@contextmanager
def fixture_server(backend: str, *, spare: bool = False) -> Iterator[FixtureServer]:
    server = FixtureServer(backend, spare=spare)
    try:
        server.start()
        yield server
    finally:
        server.close()
