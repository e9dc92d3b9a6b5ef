"""Servers of a test as real processes: started, killed, told to stop, and started again on their file.

They are forked from one process that has imported the program already, which saves each
of them the two seconds of `python -m mcp_server`; from there on they are the command.
Knows the command line and the log, nothing of tasks.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread
import psutil

__all__ = ["LEASE", "PATIENCE", "ServerProcess", "serving"]

LISTENING = re.compile(r"longtasks \S+ listening on (http://\S+)")
LEASE = 1.0
"""Seconds; short, so that a takeover can be waited for."""
PATIENCE = 120.0
"""Seconds after which something counts as never happening."""

FORKS = multiprocessing.get_context("forkserver")
# What a child needs of the test runner is imported with the rest: it looks for the parent's `__main__`.
FORKS.set_forkserver_preload(["pytest", "mcp_server.cli", "mcp_server.backends.sqlite"])


def live(arguments: Sequence[str], environment: Mapping[str, str], stderr: Connection) -> None:
    """What a server process does: `longtasks` with these arguments."""
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    for name in [name for name in os.environ if name.startswith("LONGTASKS_")]:
        del os.environ[name]
    os.environ.update(environment)
    sys.argv = ["longtasks", *arguments]
    from mcp_server.cli import main

    main()


class ServerProcess:
    """`longtasks serve` on a free port, in one life after another; each life has another port."""

    def __init__(self, app: str, folder: Path, settings: Mapping[str, object]) -> None:
        self._file = folder / "tasks.db"
        given = {"lease": LEASE, "backend": f"sqlite:///{self._file}", **settings}
        self._arguments = ["serve", "--app", app, "--port", "0"]
        self._environment = {
            **{f"LONGTASKS_{name.upper()}": str(value) for name, value in given.items()},
            "TEST_FOLDER": str(folder),
        }
        self._process: multiprocessing.context.ForkServerProcess | None = None
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
        assert self._process.pid is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start a life, without waiting for anything."""
        assert self._process is None, "it is running"
        source, sink = FORKS.Pipe(duplex=False)
        self._log, self._listens = [], threading.Event()
        self._process = FORKS.Process(target=live, args=(self._arguments, self._environment, sink))
        self._process.start()
        sink.close()
        self._reader = threading.Thread(target=self._read, args=(source, self._log, self._listens))
        self._reader.start()

    def _read(self, source: Connection, log: list[str], listens: threading.Event) -> None:
        with source, open(source.fileno(), errors="replace", closefd=False) as lines:
            for line in lines:
                log.append(line)
                if (found := LISTENING.search(line)) is not None:
                    self.url = found[1]
                    listens.set()
        listens.set()

    async def listening(self) -> str:
        """Wait until it listens; its base URL."""
        await anyio.to_thread.run_sync(self._listens.wait, PATIENCE)
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

    async def freeze(self) -> None:
        """`SIGSTOP`, at a moment when others can write: who stands still in a commit keeps the file locked."""
        with anyio.fail_after(PATIENCE):
            while True:
                self.signal(signal.SIGSTOP)
                while not self._stands_still():
                    await anyio.lowlevel.checkpoint()
                if await anyio.to_thread.run_sync(_is_unlocked, self._file):
                    return
                self.signal(signal.SIGCONT)

    def _stands_still(self) -> bool:
        threads = psutil.Process(self.pid).threads()
        return all(psutil.Process(thread.id).status() == psutil.STATUS_STOPPED for thread in threads)

    async def ended(self) -> int:
        """Wait until the process has ended; its exit code (negative: the signal that killed it)."""
        with anyio.fail_after(PATIENCE):
            return await anyio.to_thread.run_sync(self._over, abandon_on_cancel=True)

    def _over(self) -> int:
        assert self._process is not None
        process = self._process
        process.join()
        self._reader.join()
        self._process = None
        assert process.exitcode is not None
        return process.exitcode


def _is_unlocked(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=1.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


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
