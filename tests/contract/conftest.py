"""Fixtures of the contract suite: an empty store of each kind, and two backends on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_server.backend import Backend

from .stores import STORES, Store, open_store


@pytest.fixture(params=sorted(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path) as store:
        yield store


@pytest.fixture
async def backend(store: Store) -> AsyncIterator[Backend]:
    async with store.open() as backend:
        yield backend


@pytest.fixture
async def other(store: Store) -> AsyncIterator[Backend]:
    """A second instance on the store of `backend`: what another process sees and does."""
    async with store.open() as other:
        yield other
