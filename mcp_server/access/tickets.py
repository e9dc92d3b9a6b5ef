"""Tickets: a signed word that lets a browser follow one task.

A page cannot send an `Authorization` header with an `EventSource`, and a key in an address
would end up in histories and logs. A ticket may: it reads one task of one owner, until it
expires, and does nothing else. It is a JWT under a secret of the server; the setting
`request_state_key`, which replicas share, makes it valid at each of them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence

from .principal import READ, Principal

__all__ = ["MAX_SECONDS", "Tickets"]

MAX_SECONDS = 3600.0
"""The longest life of a ticket."""
AUDIENCE = "longtasks:ticket"
MAX_CHARS = 4096


class Tickets:
    """Makes and reads tickets.

    Args:
        keys: secrets of 32 characters or more; the first signs, all verify. Without one,
            a secret is made up that no other process knows.
        clock: seconds since the epoch.
    """

    def __init__(self, keys: Sequence[str] = (), *, clock: Callable[[], float] = time.time) -> None:
        # Derived: the same secret also seals what MCP clients carry, and one must never pass for the other.
        self._keys = [
            hmac.new(key.encode(), AUDIENCE.encode(), hashlib.sha256).digest()
            for key in keys or [secrets.token_hex(32)]
        ]
        self._clock = clock

    def issue(
        self, principal: Principal, owner: str, task_id: str, *, seconds: float = MAX_SECONDS
    ) -> tuple[str, float]:
        """A ticket for a task, and when it expires (seconds since the epoch).

        Args:
            principal: who asks for it; it expires no later than their credential.
            owner: the task's.
            seconds: how long it is wanted for, at most `MAX_SECONDS`.
        """
        import jwt  # brings cryptography along: a thirtieth of a second, which most servers start without

        now = self._clock()
        expires_at = now + min(seconds, MAX_SECONDS)
        if principal.expires_at is not None:
            expires_at = min(expires_at, principal.expires_at)
        claims = {"aud": AUDIENCE, "sub": owner, "task": task_id, "iat": int(now), "exp": int(expires_at)}
        return jwt.encode(claims, self._keys[0], algorithm="HS256"), float(int(expires_at))

    def read(self, ticket: str) -> Principal | None:
        """The principal a ticket stands for; None if it is void, expired or not ours."""
        if len(ticket) > MAX_CHARS:
            return None
        import jwt

        for key in self._keys:
            try:
                claims = jwt.decode(
                    ticket,
                    key,
                    algorithms=["HS256"],
                    audience=AUDIENCE,
                    # By our clock, below.
                    options={"require": ["aud", "sub", "exp"], "verify_exp": False, "verify_iat": False},
                )
            except (jwt.InvalidTokenError, ValueError):
                continue
            task, expires_at = claims.get("task"), claims["exp"]
            if not isinstance(task, str) or not isinstance(expires_at, int) or self._clock() >= expires_at:
                return None
            return Principal(claims["sub"], frozenset((READ,)), "ticket", task, float(expires_at))
        return None
