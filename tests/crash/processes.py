"""`longtasks` as real processes of a test: started, killed, frozen, told to stop, and started again.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import anyio.lowlevel
import anyio.to_thread
import psutil

__all__ = ["FORKS", "LEASE", "PATIENCE", "Process", "ServerProcess", "serving"]

LISTENING = r"longtasks \S+ listening on (http://\S+)"
LEASE = 1.0
"""Seconds; short, so that a takeover can be waited for."""
PATIENCE = 120.0
"""Seconds after which something counts as never happening."""

FORKS = multiprocessing.get_context("forkserver")
# What a child needs of the test runner is imported with the rest: it looks for the parent's `__main__`.
FORKS.set_forkserver_preload(["pytest", "mcp_server.cli", "mcp_server.backends.sqlite", "mcp_server.backends.redis"])


def live(arguments: Sequence[str], environment: Mapping[str, str], stderr: Connection) -> None:
    """What a process does: `longtasks` with these arguments."""
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    for name in [name for name in os.environ if name.startswith("LONGTASKS_")]:
        del os.environ[name]
    os.environ.update(environment)
    sys.argv = ["longtasks", *arguments]
    # A shell without job control starts what is in its background deaf to Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from mcp_server.cli.main import main

    main()


Life = Callable[[Sequence[str], Mapping[str, str], Connection], None]


class Process:
    """One `longtasks` command, from its start to its end. Who asks for something that is yet to come waits for it.

    `life` makes another program of it; it is called with the same three arguments.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], life: Life = live) -> None:
        source, sink = FORKS.Pipe(duplex=False)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._process = FORKS.Process(target=life, args=(arguments, environment, sink))
        self._process.start()
        sink.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._reader = threading.Thread(target=self._read, args=(source,))
        self._reader.start()

    def _read(self, source: Connection) -> None:
        with source, open(source.fileno(), errors="replace", closefd=False) as lines:
            for line in lines:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def log(self) -> str:
        """What it has written to standard error so far; all of it once it has ended."""
        return "".join(self._lines)

    @property
    def is_alive(self) -> bool:
        return self._process.exitcode is None

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until its log says so."""
        with self._news:
            self._news.wait_for(lambda: re.search(pattern, self.log) or not self._reader.is_alive(), PATIENCE)
        found = re.search(pattern, self.log)
        assert found, f"it never said {pattern!r}:\n{self.log}"
        return found

    @property
    def url(self) -> str:
        """Wait until it listens; its base URL."""
        return self.said(LISTENING)[1]

    def ready(self) -> Self:
        """Wait until it takes tasks, as a worker says."""
        self.said(r"longtasks \S+ working on")
        return self

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> int:
        """SIGTERM; its exit code when it is gone."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self.ended()

    def ended(self) -> int:
        """Wait until it has ended; its exit code (negative: the signal that killed it)."""
        self._process.join()
        self._reader.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


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
        self._life: Process | None = None
        self._log = ""
        self.url = ""

    @property
    def log(self) -> str:
        """What this life has written to standard error so far; all of it once the process has ended."""
        return self._life.log if self._life is not None else self._log

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> Process:
        assert self._life is not None, "it does not run"
        return self._life

    def spawn(self) -> None:
        """Start a life, without waiting for anything."""
        assert self._life is None, "it is running"
        self._life = Process(self._arguments, self._environment)

    async def listening(self) -> str:
        """Wait until it listens; its base URL."""
        life = self._running
        self.url = await anyio.to_thread.run_sync(lambda: life.url)
        return self.url

    async def start(self) -> str:
        self.spawn()
        return await self.listening()

    def kill(self) -> None:
        """`kill -9`."""
        if self._life is not None:
            self._life.kill()
            self._over()

    def signal(self, number: signal.Signals) -> None:
        self._running.signal(number)

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
        life = self._running
        code = life.ended()
        self._life, self._log = None, life.log
        return code


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
