"""What every test file shares: the event loop they run on."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    # The servers run on asyncio (uvicorn); no other loop is promised.
    return "asyncio"
