"""The log lines of a store that is away: one when it begins, one when it is over."""

from __future__ import annotations

import logging
import time

__all__ = ["Outage"]


class Outage:
    """Logs a trouble once when it begins and once when it has ended, however often it is met in between.

    Args:
        what: what cannot be done meanwhile, as the beginning of a sentence.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger, self._what, self._since = logger, what, 0.0

    def began(self, error: object) -> None:
        """It was met, now or again."""
        if not self._since:
            self._since = time.monotonic()
            self._logger.warning("%s: %s", self._what, error)

    def ended(self) -> None:
        """It is over: the store answered."""
        if self._since:
            self._logger.warning("%s for %.1f s; now it goes on", self._what, time.monotonic() - self._since)
            self._since = 0.0
