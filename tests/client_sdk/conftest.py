"""One server process for all tests that do it no harm, and a client for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from client_sdk import LongTaskClient
from tests.client_sdk.processes import ServerProcess, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[LongTaskClient]:
    async with LongTaskClient(server.url, heartbeat=5.0) as running:
        yield running
