"""The refusal of a Host header that is not let in: it names the setting and the value that would let it in."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..errors import cut

__all__ = ["Hosts"]

logger = logging.getLogger(__name__)

MAX_LOGGED = 100
"""Unknown hosts that get a line in the log, each of them once."""


class Hosts:
    """The hosts that requests may name.

    Args:
        known: `name`, `name:port`, or `name:*` for any port.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._logged: set[str] = set()

    def refusal(self, host: str) -> str | None:
        """The text of a 421 for this Host header; None where it is known."""
        name, _, port = host.rpartition(":")
        if host in self._known or (port.isdigit() and f"{name}:*" in self._known):
            return None
        host = cut(host, 200)
        advice = (
            f"The host {host!r} is not one of this server's allowed_hosts. If it is a name of this server, such as "
            f"that of a proxy in front of it, start the server with LONGTASKS_ALLOWED_HOSTS={host}"
        )
        if host not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(host)
            logger.warning("a request was answered 421: %s", advice)
        return advice
