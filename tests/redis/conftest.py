"""The tests of a fleet run when they are asked for: `LONGTASKS_FLEET_TESTS=1 python -m pytest tests/redis`.

They start dozens of processes and kill them, and have not yet been run often enough to
decide over every change. The contract suite and `tests/backends/test_redis.py` always run on Redis.
"""

from __future__ import annotations

import os

import pytest

FLEET = ("test_crashes.py", "test_fleet.py", "test_soak.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("LONGTASKS_FLEET_TESTS"):
        return
    for item in items:
        if item.path.parent.name == "redis" and item.path.name in FLEET:
            item.add_marker(pytest.mark.skip(reason="set LONGTASKS_FLEET_TESTS=1 to run the tests of a fleet"))
