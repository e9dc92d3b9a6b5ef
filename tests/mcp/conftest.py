"""A server with this folder's task types, and its address, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp_server import LongTaskServer
from tests.mcp.speaking import Modern
from tests.mcp.task_types import Gate, add_task_types
from tests.server.servers import Caller, make_server, serve


@dataclass
class Served:
    """A running server: bare and modern callers of it, and the gate its tasks wait at."""

    server: LongTaskServer
    gate: Gate
    bare: Caller
    modern: Modern

    @property
    def url(self) -> str:
        return f"{self.bare.url}/mcp"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    server = make_server(tmp_path)
    gate = add_task_types(server)
    async with serve(server.http_app()) as bare:
        yield Served(server, gate, bare, Modern(bare.http))
