"""Tokens of an issuer: which are believed, and how often its keys are fetched."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mcp_server.access.principal import READ, SCOPES, WRITE
from mcp_server.access.tokens import FRESH_SECONDS, RETRY_SECONDS, Issuer
from mcp_server.errors import ConfigurationError, Unavailable

from .issuer import AUDIENCE, issuing


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def test_a_token_gives_its_subject_and_scopes() -> None:
    """The owner names issuer and subject; scopes come from `scope` or `scp`, and foreign ones count for nothing."""
    async with issuing() as issuer:
        verifier = Issuer(issuer.url, AUDIENCE)
        found = await verifier.verify(issuer.token(scope="tasks:read openid", azp="web"))
        assert found is not None
        assert (found.owner, found.scopes, found.credential) == (f"{issuer.url}|ann", frozenset((READ,)), "client:web")
        for scp in ("tasks:read tasks:write", ["tasks:read", "tasks:write", 7]):
            found = await verifier.verify(issuer.token(scope=None, scp=scp))
            assert found is not None
            assert found.scopes == {READ, WRITE}
        found = await verifier.verify(issuer.token(scope="tasks:admin"))
        assert found is not None
        assert found.scopes == SCOPES.keys()
        found = await verifier.verify(issuer.token(scope=None))
        assert found is not None
        assert not found.scopes


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"sub": None},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
async def test_a_token_for_another_or_another_time_is_none(claims: dict[str, Any]) -> None:
    """Audience, issuer, expiry, subject and not-before each count, also by being absent."""
    async with issuing() as issuer:
        assert await Issuer(issuer.url, AUDIENCE).verify(issuer.token(**claims)) is None


async def test_a_signature_of_another_kind_or_key_is_none() -> None:
    """CVE class: algorithm confusion. Unsigned tokens, and the public key as a shared secret, open nothing."""
    async with issuing() as issuer:
        verifier = Issuer(issuer.url, AUDIENCE)
        good = issuer.token()
        assert await verifier.verify(good) is not None
        kid = next(iter(issuer.keys))
        assert await verifier.verify(issuer.token(kid=kid, algorithm="none", secret="")) is None
        assert await verifier.verify(issuer.token(kid=kid, algorithm="HS256", secret="x" * 64)) is None
        assert await verifier.verify(issuer.token(kid=kid, algorithm="PS256")) is None, "its key is for RS256"
        head, body, signature = good.split(".")
        assert await verifier.verify(f"{head}.{body}.{signature[:-8]}AAAAAAAA") is None
        for text in ("", "x", "a.b.c", "ltk_0_0", "." * 10_000, good + "x" * 20_000, "\ud800"):
            assert await verifier.verify(text) is None


async def test_rotated_keys_are_found_and_withdrawn_ones_forgotten() -> None:
    """A new key id is fetched at once; a key that is no longer published counts until the next refresh only."""
    clock = Clock()
    async with issuing() as issuer:
        verifier = Issuer(issuer.url, AUDIENCE, clock=clock)
        old = issuer.token(exp=int(clock.now + 10_000))
        assert await verifier.verify(old) is not None
        issuer.rotate(keep_old=True)
        clock.now += RETRY_SECONDS
        assert await verifier.verify(issuer.token()) is not None
        assert await verifier.verify(old) is not None
        issuer.rotate(keep_old=False)
        clock.now += FRESH_SECONDS
        assert await verifier.verify(old) is None


async def test_made_up_key_ids_do_not_make_the_server_call_the_issuer() -> None:
    """CVE class: request amplification. At most one fetch in ten seconds, whatever is sent."""
    async with issuing() as issuer:
        verifier = Issuer(issuer.url, AUDIENCE)
        assert await verifier.verify(issuer.token()) is not None
        for number in range(20):
            assert await verifier.verify(issuer.token(kid=f"made-up-{number}")) is None
        assert issuer.fetches == 1


async def test_an_issuer_that_is_away_keeps_its_keys_and_a_new_one_is_unavailable() -> None:
    """Known keys go on to count through an outage; without any, the answer is 503 and no refusal."""
    clock = Clock()
    async with issuing() as issuer:
        verifier = Issuer(issuer.url, AUDIENCE, clock=clock)
        assert await verifier.verify(issuer.token()) is not None
        issuer.is_away = True
        clock.now += FRESH_SECONDS + 1
        assert await verifier.verify(issuer.token()) is not None
        fresh = Issuer(issuer.url, AUDIENCE, clock=clock)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await fresh.verify(issuer.token())


async def test_an_issuer_that_calls_itself_otherwise_is_not_believed() -> None:
    """CVE class: mix-up. Metadata of another issuer at this address is no metadata of this one."""
    async with issuing() as issuer:
        issuer.called = "https://other.example"
        with pytest.raises(Unavailable, match="calls itself"):
            await Issuer(issuer.url, AUDIENCE).verify(issuer.token())


@pytest.mark.parametrize("url", ["http://issuer.example", "file:///etc", "", "https://", "https://a.example/#x"])
def test_an_issuer_is_reached_over_https(url: str) -> None:
    """Keys that came over plain HTTP prove nothing; loopback is for development."""
    with pytest.raises(ConfigurationError, match="https"):
        Issuer(url, AUDIENCE)
