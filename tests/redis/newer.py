"""The next version of the fleet tests' application: it knows one more task type."""

from __future__ import annotations

from .app import server

__all__ = ["server"]


@server.task
async def later(number: int) -> int:
    """A type that old workers do not know."""
    return number + 1
