"""Replicas and workers of a test as real processes, and a plain TCP balancer before the replicas."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Self

import anyio
import anyio.abc

__all__ = ["LONGTASKS", "Fleet", "Process", "balancer", "fleet"]

ROOT = Path(__file__).parents[2]
LONGTASKS = [sys.executable, "-m", "mcp_server"]
LEASE = 2.0
"""Seconds; short, so that a takeover can be waited for."""


class Process:
    """One replica or worker. It starts beside the test, which waits for it where it asks for `url` or `ready`."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen([*LONGTASKS, *command], cwd=ROOT, env=environment, stderr=out, stdout=out)
        self.pid = self._process.pid

    @cached_property
    def url(self) -> str:
        return self.said(r"longtasks \S+ listening on (\S+)")[1]

    def ready(self) -> Self:
        """Wait until it takes tasks."""
        self.said(r"longtasks \S+ working on")
        return self

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until its log says so."""
        while not (found := re.search(pattern, self.log())):
            assert self._process.poll() is None, f"it ended with {self._process.returncode}:\n{self.log()}"
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
        return found

    def log(self) -> str:
        return self._log.read_text()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`."""
        if self.is_alive:
            self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM; its exit code when it is gone."""
        self.signal(signal.SIGTERM)
        return self._process.wait(60)


class Fleet:
    """Processes on one Redis. They are killed at the end."""

    def __init__(self, redis_url: str, directory: Path, **settings: object) -> None:
        self._directory, self._numbers = directory, itertools.count(1)
        given = {"backend": redis_url, "port": 0, "lease": LEASE, **settings}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LONGTASKS_")},
            **{f"LONGTASKS_{name.upper()}": str(value) for name, value in given.items()},
        }
        self.processes: list[Process] = []

    def replica(self, app: str = "server") -> Process:
        """A server that runs no tasks itself."""
        return self.start("serve", "--no-worker", "--app", f"tests.redis.app:{app}")

    def worker(self, app: str = "server") -> Process:
        return self.start("worker", "--app", f"tests.redis.app:{app}")

    def start(self, *command: str) -> Process:
        """Any `longtasks` command."""
        log = self._directory / f"{command[0]}-{next(self._numbers)}.log"
        process = Process(command, self._environment, log)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.kill()


@contextmanager
def fleet(redis_url: str, directory: Path, **settings: object) -> Iterator[Fleet]:
    members = Fleet(redis_url, directory, **settings)
    try:
        yield members
    finally:
        members.stop()


@asynccontextmanager
async def balancer(urls: Callable[[], Sequence[str]]) -> AsyncIterator[str]:
    """One address before several servers, a connection to each in turn; one that does not answer is passed over."""
    turns = itertools.count()

    async def forward(client: anyio.abc.SocketStream) -> None:
        async with client:
            for _ in range(len(urls())):
                servers = urls()
                port = int(servers[next(turns) % len(servers)].rpartition(":")[2])
                try:
                    server = await anyio.connect_tcp("127.0.0.1", port)
                except OSError:
                    continue
                async with server, anyio.create_task_group() as both:
                    both.start_soon(_pump, client, server, both.cancel_scope)
                    both.start_soon(_pump, server, client, both.cancel_scope)
                return

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as serving,
    ):
        serving.start_soon(listener.serve, forward)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        serving.cancel_scope.cancel()


async def _pump(source: anyio.abc.SocketStream, sink: anyio.abc.SocketStream, over: anyio.CancelScope) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in source:
            await sink.send(chunk)
    over.cancel()
