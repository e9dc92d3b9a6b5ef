"""The waits between tries, and the limit of trying.

Exponential, capped, with full jitter: each wait is drawn from the whole range up to
the bound, so that the thousand readers of a server that restarts do not all come back
in one moment. Knows nothing of HTTP.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import anyio

__all__ = ["Backoff", "Patience"]

_MIN_BASE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The times for which a client keeps trying, in seconds.

    Args:
        total: how long the server may stay away, from the first failure on, before the caller
            gets an error (None: forever).
        longest: bound of a single wait.
    """

    total: float | None = 300.0
    longest: float = 30.0


class Backoff:
    """The waits between failed attempts at one thing."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._failing_since: float | None = None
        self.base = 1.0
        """Scale of the first wait; a stream sets it to what the server's `retry` says."""

    def succeeded(self) -> None:
        """Forget earlier failures: the server answered."""
        self._failures, self._failing_since = 0, None

    async def pause(self, at_least: float | None = None) -> bool:
        """Wait before the next attempt; False, at once, if patience has run out."""
        now, total = time.monotonic(), self._patience.total
        if self._failing_since is None:
            self._failing_since = now
        elif total is not None and now - self._failing_since >= total:
            return False
        bound = min(self._patience.longest, max(self.base, _MIN_BASE) * 2 ** min(self._failures, 16))
        self._failures += 1
        await anyio.sleep(max(random.uniform(0, bound), min(at_least or 0.0, self._patience.longest)))  # noqa: S311
        return True
