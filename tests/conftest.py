"""Fixtures that several folders of tests share: the event loop they run on, and an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_server import Engine
from tests.server.engines import make_engine


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    # The servers run on asyncio (uvicorn); no other loop is promised.
    return "asyncio"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine without task types, on a new file."""
    return make_engine(tmp_path)
