"""What the tests of a fleet share: a Redis of the test's own, and processes on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Fleet, fleet
from .server import RedisServer, redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    # With `everysec` Redis may answer before it has written: while an older write is still on its way to the disk.
    with redis_server(tmp_path / "redis", "appendonly yes", "appendfsync always") as server:
        yield server


@pytest.fixture
def members(redis: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(redis.url, tmp_path) as members:
        yield members
