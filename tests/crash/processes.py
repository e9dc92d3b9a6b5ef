"""Servers of a test as real processes: started, killed, told to stop, and started again on their file.

Knows the command line and the log, nothing of tasks.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread

__all__ = ["LEASE", "ServerProcess", "serving"]

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"longtasks \S+ listening on (http://\S+)")
LEASE = 1.0
"""Seconds; short, so that a takeover can be waited for."""


class ServerProcess:
    """`longtasks serve` on a free port, in one life after another; each life has another port."""

    def __init__(self, app: str, folder: Path, settings: dict[str, object]) -> None:
        given = {"lease": LEASE, "backend": f"sqlite:///{folder / 'tasks.db'}", **settings}
        self._command = [sys.executable, "-m", "mcp_server", "serve", "--app", app, "--port", "0"]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LONGTASKS_")},
            **{f"LONGTASKS_{name.upper()}": str(value) for name, value in given.items()},
            "TEST_FOLDER": str(folder),
        }
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread
        self._log: list[str] = []
        self._listens = threading.Event()
        self.url = ""

    @property
    def log(self) -> str:
        """What this life has written to standard error so far; all of it once the process has ended."""
        return "".join(self._log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start a life, without waiting for anything."""
        assert self._process is None, "it is running"
        self._log, self._listens = [], threading.Event()
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self._reader = threading.Thread(target=self._read, args=(self._process, self._log, self._listens))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str], log: list[str], listens: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                log.append(line)
                if (found := LISTENING.search(line)) is not None:
                    self.url = found[1]
                    listens.set()
        listens.set()

    async def listening(self) -> str:
        """Wait until it listens; its base URL."""
        await anyio.to_thread.run_sync(self._listens.wait)
        assert LISTENING.search(self.log), f"the server did not start:\n{self.log}"
        return self.url

    async def start(self) -> str:
        self.spawn()
        return await self.listening()

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._over()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait until the process has ended; its exit code (negative: the signal that killed it)."""
        assert self._process is not None
        code = await anyio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        self._over()
        return code

    def _over(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._reader.join()
        self._process = None


@contextmanager
def serving(app: str, folder: Path, count: int = 1, **settings: object) -> Iterator[Sequence[ServerProcess]]:
    """So many servers over one file, not started yet; all that runs at the end is killed.

    Args:
        app: module and attribute, as `--app` takes it.
        folder: where the file is; the application finds it as `TEST_FOLDER` in its environment.
        settings: by name, over a short lease.
    """
    servers = [ServerProcess(app, folder, settings) for _ in range(count)]
    try:
        yield servers
    finally:
        for server in servers:
            server.kill()
