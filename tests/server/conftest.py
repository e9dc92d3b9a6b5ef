"""Fixtures of the server's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_server import Engine

from .following import make_engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine without task types, on a new file."""
    return make_engine(tmp_path)
