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
    """One `server.py`; it can be killed and comes back on the same port and store."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self.url = ""

    def start(self) -> None:
        """Returns when it listens."""
        command = [sys.executable, str(SERVER), "--port", str(self._port), "--backend", self._backend]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the fixture server ended with {self._process.wait()}")
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@contextmanager
def fixture_server(backend: str) -> Iterator[FixtureServer]:
    server = FixtureServer(backend)
    server.start()
    try:
        yield server
    finally:
        server.kill()
