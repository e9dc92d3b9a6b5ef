"""Keys of our own: a secret that names its owner and scopes.

A key is `ltk_`, its id, `_` and 256 random bits, shown once. The store keeps a SHA-256 of
it. Passwords need salt and a slow hash because people choose them from few; 256 random bits
cannot be guessed or listed beforehand, so a fast hash gives away nothing, and a check
costs microseconds.

`KeyRing` makes, lists, revokes and verifies. What it verified it believes for
`FRESH_SECONDS`; that is how soon a revocation counts in every process.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json, to_json

from ..backend import Documents
from ..errors import InvalidArgument
from .principal import SCOPES, Principal

__all__ = ["PREFIX", "Key", "KeyRing"]

PREFIX = "ltk_"
KIND = "keys"
FRESH_SECONDS = 3.0
"""Seconds a key that was looked up is believed without a look at the store."""
USED_GRAIN = 60.0
"""The grain of `last_used_at`, in seconds: one write per key and minute at most."""
REMEMBERED = 10_000
"""Key ids of which the last look-up is remembered, unknown ones included."""
_FORM = re.compile(r"ltk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The stored facts about a key; its secret is none of them. Times are seconds since the epoch."""

    id: str
    owner: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    digest: str = ""

    def is_valid(self, now: float) -> bool:
        return self.expires_at is None or now < self.expires_at

    @property
    def principal(self) -> Principal:
        return Principal.of(self.owner, self.scopes, credential=f"key:{self.id}", expires_at=self.expires_at)


class KeyRing:
    """The keys of one store.

    Args:
        documents: where they are kept.
        clock: seconds since the epoch.
    """

    def __init__(self, documents: Callable[[], Documents], *, clock: Callable[[], float] = time.time) -> None:
        self._documents, self._clock = documents, clock
        self._seen: OrderedDict[str, tuple[float, Key | None]] = OrderedDict()

    async def create(self, owner: str, scopes: Iterable[str], *, expires_in: float | None = None) -> tuple[Key, str]:
        """A new key, and the secret that stands for it, which nothing will tell again.

        Args:
            owner: 1 to 200 characters without control characters.
            scopes: one or more of `tasks:read`, `tasks:write`, `tasks:admin`.
            expires_in: seconds until it is void; None: never.

        Raises:
            InvalidArgument: a value is out of range.
            Unavailable: the store does not answer.
        """
        chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
        if not chosen or set(scopes) - SCOPES.keys():
            raise InvalidArgument(f"A key's scopes are one or more of {', '.join(SCOPES)}, got {sorted(scopes)!r}")
        if not 0 < len(owner) <= 200 or not owner.isprintable():
            raise InvalidArgument(f"An owner has 1 to 200 printable characters, got {owner[:80]!r}")
        if expires_in is not None and not expires_in > 0:
            raise InvalidArgument(f"A key expires after more than 0 seconds, got {expires_in}")
        identity, now = secrets.token_hex(6), self._clock()
        secret = f"{PREFIX}{identity}_{secrets.token_urlsafe(32)}"
        key = Key(
            id=identity,
            owner=owner,
            scopes=chosen,
            created_at=now,
            expires_at=None if expires_in is None else now + expires_in,
            digest=_digest(secret),
        )
        await self._documents().put(KIND, identity, _written(key))
        return key, secret

    async def all(self) -> list[Key]:
        """Every key, also expired ones, in the order of their ids. Raises Unavailable."""
        found: list[Key] = []
        while page := await self._documents().list(KIND, after=found[-1].id if found else "", limit=500):
            found += [_read(value) for _, value in page]
        return found

    async def revoke(self, identity: str) -> bool:
        """Delete a key; False if there is none with this id. Raises Unavailable."""
        self._seen.pop(identity, None)
        return await self._documents().delete(KIND, identity)

    async def verify(self, secret: str) -> Principal | None:
        """The principal a key stands for; None if it is unknown, revoked, expired or no key at all.

        Raises:
            Unavailable: the store does not answer, and the key was not verified just before.
        """
        if (form := _FORM.fullmatch(secret)) is None:
            return None
        key = await self._find(form[1])
        # Compared in constant time, also where the id is unknown.
        if not hmac.compare_digest(_digest(secret), key.digest if key else "0" * 64) or key is None:
            return None
        now = self._clock()
        if not key.is_valid(now):
            return None
        if key.last_used_at is None or now - key.last_used_at > USED_GRAIN:
            await self._note_use(replace(key, last_used_at=now))
        return key.principal

    async def _find(self, identity: str) -> Key | None:
        now = self._clock()
        seen = self._seen.get(identity)
        if seen is not None and 0 <= now - seen[0] < FRESH_SECONDS:
            return seen[1]
        value = await self._documents().get(KIND, identity)
        key = None if value is None else _read(value)
        self._remember(identity, now, key)
        return key

    async def _note_use(self, key: Key) -> None:
        # Only over a key that is still there: a revoked one must not come back by being used.
        await self._documents().put(KIND, key.id, _written(key), only_if_there=True)
        self._remember(key.id, self._seen.get(key.id, (self._clock(), None))[0], key)

    def _remember(self, identity: str, at: float, key: Key | None) -> None:
        self._seen[identity] = (at, key)
        self._seen.move_to_end(identity)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _written(key: Key) -> bytes:
    return to_json({name: getattr(key, name) for name in Key.__slots__})


def _read(value: bytes) -> Key:
    fields: dict[str, Any] = from_json(value)
    return Key(**{**fields, "scopes": tuple(fields["scopes"])})
