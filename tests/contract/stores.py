"""The stores the contract suite runs on. A backend joins by one more entry in `STORES`.

A store is known by its address, so that a test can open it a second time, here or in
another process, as several servers would.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mcp_server.backend import Backend
from mcp_server.backends.redis import RedisBackend
from mcp_server.backends.sqlite import SQLiteBackend
from tests.redis.cluster import RedisCluster, redis_cluster
from tests.redis.server import redis_server

LEASE = 1.0
"""Seconds; short, so that a takeover can be waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKind:
    """How to make an empty store and how to open one.

    Args:
        fresh: gives the address of a store with nothing in it, for the length of the block;
            it may keep files in the (empty) directory it is given.
        connect: a backend that is not yet entered, on the store with this address.
    """

    fresh: Callable[[Path], AbstractAsyncContextManager[str]]
    connect: Callable[[str, float], Backend]


@dataclass(frozen=True, slots=True)
class Store:
    """A store that is there. `open` gives each caller a backend of its own on it."""

    kind: str
    address: str

    def open(self, *, lease: float = LEASE) -> Backend:
        return STORES[self.kind].connect(self.address, lease)


@asynccontextmanager
async def open_store(kind: str, directory: Path) -> AsyncIterator[Store]:
    async with STORES[kind].fresh(directory) as address:
        yield Store(kind, address)


@asynccontextmanager
async def _fresh_sqlite(directory: Path) -> AsyncIterator[str]:
    yield str(directory / "tasks.db")


@asynccontextmanager
async def _fresh_redis(directory: Path) -> AsyncIterator[str]:
    with redis_server(directory / "redis") as server:
        yield server.url


@asynccontextmanager
async def _fresh_cluster(directory: Path) -> AsyncIterator[str]:
    cluster = _cluster()
    cluster.flush()
    yield cluster.url


@cache
def _cluster() -> RedisCluster:
    """One for all tests: its nodes take seconds to find each other."""
    stack = ExitStack()
    atexit.register(stack.close)
    directory = stack.enter_context(tempfile.TemporaryDirectory())
    return stack.enter_context(redis_cluster(Path(directory)))


STORES: dict[str, StoreKind] = {
    "sqlite": StoreKind(fresh=_fresh_sqlite, connect=lambda address, lease: SQLiteBackend(address, lease=lease)),
    "redis": StoreKind(fresh=_fresh_redis, connect=lambda address, lease: RedisBackend(address, lease=lease)),
    "redis-cluster": StoreKind(fresh=_fresh_cluster, connect=lambda address, lease: RedisBackend(address, lease=lease)),
}
