"""The pace of progress notifications while a request is held.

By time, so that a caller whose clock is reset by them never runs out of it, and on news
sooner; never faster than a person reads.
"""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server.context import ServerRequestContext

__all__ = ["INTERVAL", "PAUSE", "Beat"]

INTERVAL = 10.0
"""Seconds after which the caller hears something in any case."""
PAUSE = 1.0
"""Seconds between two notifications, however fast the task reports."""

NUDGE = 0.001
"""What is added when the task has not moved: MCP wants each value above the one before."""


class Beat:
    """The notifications of one held request, whose caller gave a progress token."""

    def __init__(self, request: ServerRequestContext[Any, Any]) -> None:
        self._request = request
        self._told_at = anyio.current_time()
        self._told, self._version = -1.0, -1

    @property
    def rested(self) -> bool:
        """Whether news would be told at once."""
        return anyio.current_time() - self._told_at >= PAUSE

    def due(self) -> float:
        """Seconds until there is something to do: news may be told again, or silence has lasted long enough."""
        since = anyio.current_time() - self._told_at
        return max(0.01, (INTERVAL if self.rested else PAUSE) - since)

    async def tell(self, progress: float, version: int, line: str) -> None:
        """Notify if it is time to, with what may be news.

        Args:
            version: what changed since it was last told is news.
        """
        since = anyio.current_time() - self._told_at
        if since < PAUSE or (since < INTERVAL and version == self._version):
            return
        self._told = max(progress, self._told + NUDGE)
        self._told_at, self._version = anyio.current_time(), version
        await self._request.session.report_progress(self._told, 100.0, line)
