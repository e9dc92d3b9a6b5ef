"""The examples as a reader runs them: the server and the client each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["ROOT", "ExampleServer", "run_client", "serving"]

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"listening on (http://\S+)")
PATIENCE = 60
"""Seconds a client of an example may take; they take two or three."""


class ExampleServer:
    """`longtasks serve --app examples.NAME.server:server`, on a free port and a file that outlives it."""

    def __init__(self, example: str, folder: Path) -> None:
        self._app, self._folder = f"examples.{example}.server:server", folder
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it listens; the second time on the same port."""
        command = [sys.executable, "-m", "mcp_server", "serve", "--app", self._app, "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*command, "--backend", f"sqlite:///{self._folder / 'tasks.db'}"],
            cwd=ROOT,
            env={**os.environ, "LONGTASKS_LEASE": "0.5"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            if found := LISTENING.search(line):
                self.url = found[1]
                self._port = int(self.url.rpartition(":")[2])
                # A full pipe would stop the server in the middle of a log line.
                threading.Thread(target=self._keep, args=(self._process.stderr,), daemon=True).start()
                return
        raise RuntimeError("the server did not start:\n" + "".join(self._log))

    def _keep(self, log: IO[str]) -> None:
        with log:
            self._log.extend(log)

    def kill(self) -> None:
        """As `kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it end by itself, so that it ends what it started and writes its coverage."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        print("".join(self._log))  # pytest shows it when the test failed


@contextmanager
def serving(example: str, folder: Path) -> Iterator[ExampleServer]:
    server = ExampleServer(example, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def run_client(example: str, url: str) -> subprocess.CompletedProcess[str]:
    """The example's client, with the server's address as its only argument."""
    command = [sys.executable, f"examples/{example}/client.py", url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
