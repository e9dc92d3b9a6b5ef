"""A server in a process of its own, that can be killed and started again on its file."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"listening on (http://\S+)")
SETTINGS = {"LONGTASKS_LEASE": "0.5", "LONGTASKS_HEARTBEAT": "0.1", "LONGTASKS_CANCEL_GRACE": "0.3"}


class ServerProcess:
    """`longtasks serve` on 127.0.0.1, at one port for its whole life.

    The port is one that was free; nobody else is given it while connections to it are in memory.
    """

    def __init__(self, folder: Path, app: str = "tests.client_sdk.application:server", **settings: str) -> None:
        self._folder, self._app, self._settings = folder, app, settings
        self._process: subprocess.Popen[str] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it listens."""
        arguments = ["serve", "--port", str(self.port), "--app", self._app]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mcp_server", *arguments, "--backend", f"sqlite:///{self._folder / 'tasks.db'}"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **SETTINGS, **self._settings},
        )
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if LISTENING.search(line):
                threading.Thread(target=_drain, args=(self._process.stderr,), daemon=True).start()
                return
        self._process.stderr.close()
        self._process.wait()
        raise RuntimeError("the server did not start:\n" + "".join(lines))

    def kill(self) -> None:
        """As `kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _drain(pipe: IO[str]) -> None:
    # A full pipe would stop the server in the middle of a log line.
    with pipe:
        for _ in pipe:
            pass
