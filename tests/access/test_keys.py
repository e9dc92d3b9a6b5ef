"""Keys of our own: made, verified, listed, revoked, on a store that several processes share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from mcp_server.access.keys import FRESH_SECONDS, KeyRing
from mcp_server.access.principal import ADMIN, READ, SCOPES, WRITE
from mcp_server.backend import Backend
from mcp_server.backends.sqlite import SQLiteBackend
from mcp_server.errors import InvalidArgument


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    async with SQLiteBackend(tmp_path / "tasks.db") as backend:
        yield backend


@pytest.fixture
def ring(backend: Backend, clock: Clock) -> KeyRing:
    return KeyRing(lambda: backend.documents, clock=clock)


@pytest.fixture
def replica(backend: Backend, clock: Clock) -> KeyRing:
    return KeyRing(lambda: backend.documents, clock=clock)


async def test_a_key_stands_for_its_owner_and_scopes(ring: KeyRing, replica: KeyRing) -> None:
    """Every process knows it at once; `tasks:admin` includes the other scopes."""
    key, secret = await ring.create("ann", [WRITE])
    assert secret.startswith(f"ltk_{key.id}_")
    found = await replica.verify(secret)
    assert found is not None
    assert (found.owner, found.scopes, found.credential) == ("ann", frozenset((WRITE,)), f"key:{key.id}")
    _, admin = await ring.create("root", [ADMIN])
    found = await ring.verify(admin)
    assert found is not None
    assert found.scopes == SCOPES.keys()


async def test_the_store_does_not_hold_the_secret(ring: KeyRing, tmp_path: Path) -> None:
    """A copy of the database opens nothing."""
    _, secret = await ring.create("ann", [READ])
    await ring.verify(secret)
    random_part = secret.split("_", 2)[2].encode()
    async for file in anyio.Path(tmp_path).iterdir():
        assert random_part not in await file.read_bytes(), file


async def test_other_words_are_no_keys(ring: KeyRing) -> None:
    """A secret with one character changed, another id, or no form of a key at all."""
    key, secret = await ring.create("ann", [READ])
    other, _ = await ring.create("bob", [READ])
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for text in (
        changed,
        secret.replace(key.id, other.id),
        secret + "A",
        f" {secret}",
        "ltk_",
        "",
        "ltk_\ud800",
        key.id,
    ):
        assert await ring.verify(text) is None


async def test_a_revoked_key_counts_no_longer_in_any_process(ring: KeyRing, replica: KeyRing, clock: Clock) -> None:
    """At once where it was revoked, elsewhere within five seconds; using it does not bring it back."""
    assert FRESH_SECONDS < 5
    key, secret = await ring.create("ann", [READ])
    assert await replica.verify(secret) is not None
    assert await ring.revoke(key.id)
    assert await ring.verify(secret) is None
    clock.now += FRESH_SECONDS
    assert await replica.verify(secret) is None
    assert await ring.all() == []
    assert not await ring.revoke(key.id)


async def test_a_used_key_that_was_revoked_meanwhile_stays_revoked(
    ring: KeyRing, replica: KeyRing, clock: Clock
) -> None:
    """The note of its last use is an update and no insertion."""
    key, secret = await ring.create("ann", [READ])
    assert await replica.verify(secret) is not None
    clock.now += 61
    assert await replica.verify(secret) is not None
    assert await ring.revoke(key.id)
    clock.now += 1
    await replica.verify(secret)
    assert await ring.all() == []


async def test_an_expired_key_is_listed_and_opens_nothing(ring: KeyRing, clock: Clock) -> None:
    """Its time counts by the second, not by what was remembered of it."""
    key, secret = await ring.create("ann", [READ], expires_in=60)
    found = await ring.verify(secret)
    assert found is not None
    assert found.expires_at == key.expires_at == clock.now + 60
    clock.now += 60
    assert await ring.verify(secret) is None
    assert [each.id for each in await ring.all()] == [key.id]


async def test_the_list_says_when_a_key_was_last_used(ring: KeyRing, clock: Clock) -> None:
    """By the minute, so that a poll does not cost a write."""
    _, secret = await ring.create("ann", [READ])
    assert (await ring.all())[0].last_used_at is None
    first = clock.now
    await ring.verify(secret)
    clock.now += 30
    await ring.verify(secret)
    assert (await ring.all())[0].last_used_at == first
    clock.now += 31
    await ring.verify(secret)
    assert (await ring.all())[0].last_used_at == clock.now


@pytest.mark.parametrize(
    ("owner", "scopes", "expires_in"),
    [
        ("", [READ], None),
        ("a\nb", [READ], None),
        ("a" * 201, [READ], None),
        ("ann", [], None),
        ("ann", ["read"], None),
        ("ann", [READ, "x"], None),
        ("ann", [READ], 0.0),
    ],
)
async def test_a_key_that_means_nothing_is_not_made(
    ring: KeyRing, owner: str, scopes: list[str], expires_in: float | None
) -> None:
    """Owner, scopes and lifetime are checked before anything is stored."""
    with pytest.raises(InvalidArgument):
        await ring.create(owner, scopes, expires_in=expires_in)
    assert await ring.all() == []
