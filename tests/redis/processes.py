"""Replicas and workers of one Redis as processes of a test, and a plain TCP relay before servers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc

from tests.crash.processes import Process

__all__ = ["LEASE", "Fleet", "Process", "balancer", "fleet"]

LEASE = 2.0
"""Seconds; short, so that a takeover can be waited for."""


class Fleet:
    """Processes on one Redis. They are killed at the end.

    Args:
        directory: where the application's tasks write what they did.
        settings: of all processes, over a short lease.
    """

    def __init__(self, redis_url: str, directory: Path, **settings: object) -> None:
        given = {"backend": redis_url, "lease": LEASE, **settings}
        self._environment = {
            **{f"LONGTASKS_{name.upper()}": str(value) for name, value in given.items()},
            "TEST_FOLDER": str(directory),
        }
        self.processes: list[Process] = []

    def replica(self, app: str = "app", *, works: bool = False, **settings: object) -> Process:
        """A server, which runs no tasks itself unless it `works`."""
        options = () if works else ("--no-worker",)
        return self.start("serve", *options, "--port", "0", "--app", f"tests.redis.{app}:server", **settings)

    def worker(self, app: str = "app", **settings: object) -> Process:
        return self.start("worker", "--app", f"tests.redis.{app}:server", **settings)

    def start(self, *command: str, **settings: object) -> Process:
        """Any `longtasks` command; with settings of its own. It starts beside the test."""
        own = {f"LONGTASKS_{name.upper()}": str(value) for name, value in settings.items()}
        process = Process(command, {**self._environment, **own})
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.kill()


@contextmanager
def fleet(redis_url: str, directory: Path, **settings: object) -> Iterator[Fleet]:
    """A fleet for as long as the block lasts; when it fails, what its processes said is shown with the failure."""
    members = Fleet(redis_url, directory, **settings)
    try:
        yield members
    except BaseException:
        for process in members.processes:
            print(f"--- {process.pid}\n{process.log}")
        raise
    finally:
        members.stop()


@asynccontextmanager
async def balancer(
    urls: Callable[[], Sequence[str]], sent: Callable[[bytes], None] = lambda chunk: None
) -> AsyncIterator[str]:
    """One address before several servers, a connection to each in turn; one that does not answer is passed over.

    Args:
        urls: the servers there are now.
        sent: called with what a client sends, before it is passed on.
    """
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
                    both.start_soon(_pump, client, server, both.cancel_scope, sent)
                    both.start_soon(_pump, server, client, both.cancel_scope)
                return

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as serving,
    ):
        serving.start_soon(listener.serve, forward)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        serving.cancel_scope.cancel()


async def _pump(
    source: anyio.abc.SocketStream,
    sink: anyio.abc.SocketStream,
    over: anyio.CancelScope,
    seen: Callable[[bytes], None] = lambda chunk: None,
) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in source:
            seen(chunk)
            await sink.send(chunk)
    over.cancel()
