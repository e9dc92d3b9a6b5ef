"""Access tokens of an issuer: JWTs, checked against the keys the issuer publishes.

PyJWT checks signature and claims; here are the rules around it: only asymmetric algorithms,
the issuer's metadata must name the issuer that was configured, its keys are believed for
`FRESH_SECONDS`, and a key id that is not among them is looked for at most once per
`RETRY_SECONDS`, so that made-up ids cannot make this server call the issuer.

A token is only verified, never passed on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import httpx2
import jwt

from ..errors import ConfigurationError, Unavailable
from .principal import Principal

__all__ = ["ALGORITHMS", "Issuer"]

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Never a symmetric one: with those, a public key could be used as the secret."""
FRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
LEEWAY = 30.0
"""Seconds the clocks of issuer and server may differ."""
ANSWER_SECONDS = 5.0
MAX_CHARS = 16_384
MAX_ANSWER_BYTES = 1024 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Issuer:
    """Verifies the tokens of one issuer.

    Args:
        url: the issuer, exactly as its tokens name it (`iss`); https, or http on loopback.
        audience: what the tokens must be for (`aud`).
        algorithms: which signatures are accepted.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: the URL is not one an issuer can have.
    """

    def __init__(
        self,
        url: str,
        audience: str,
        *,
        algorithms: Sequence[str] = ALGORITHMS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url, self.audience = url, audience
        self._algorithms, self._clock = list(algorithms), clock
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._lock = anyio.Lock()
        _check_address(url, "issuer")

    async def verify(self, token: str) -> Principal | None:
        """The principal a token stands for; None if it is not a valid token of this issuer for this audience.

        The owner is issuer and subject, so that no two issuers share one. Scopes come from the
        claim `scope` (a string) or `scp` (a string or list).

        Raises:
            Unavailable: the issuer's keys are not known and it does not answer.
        """
        if len(token) > MAX_CHARS:
            return None
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError):
            return None
        if header.get("alg") not in self._algorithms:
            return None
        key = await self._key(header.get("kid"))
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key.key,
                # Where the issuer says what a key is for, it is for nothing else.
                algorithms=[key.algorithm_name] if key.algorithm_name in self._algorithms else [],
                audience=self.audience,
                issuer=self.url,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None
        client = claims.get("client_id") or claims.get("azp") or claims["sub"]
        return Principal.of(
            f"{self.url}|{claims['sub']}",
            _scopes(claims),
            credential=f"client:{client}",
            expires_at=float(claims["exp"]),
        )

    async def _key(self, kid: object) -> jwt.PyJWK | None:
        if kid is not None and not isinstance(kid, str):
            return None
        if self._clock() - self._fetched_at < FRESH_SECONDS and (key := self._known(kid)) is not None:
            return key
        async with self._lock:
            now = self._clock()
            is_old = now - self._fetched_at >= FRESH_SECONDS
            if (is_old or self._known(kid) is None) and now - self._asked_at >= RETRY_SECONDS:
                self._asked_at = now
                try:
                    self._keys = await self._fetch()
                    self._fetched_at = now
                except Unavailable as error:
                    if not self._keys:
                        raise
                    # An issuer that is away for a while has not taken its keys back.
                    logger.warning("%s; its keys of before go on to count", error.message)
            elif not self._keys:
                raise Unavailable(f"The issuer {self.url} does not answer")
        return self._known(kid)

    def _known(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _fetch(self) -> Mapping[str | None, jwt.PyJWK]:
        limits = httpx2.Timeout(ANSWER_SECONDS)
        try:
            # Redirects are not followed: the address that was configured is the one that is asked.
            async with httpx2.AsyncClient(timeout=limits, follow_redirects=False) as http:
                base = self.url.rstrip("/")
                metadata = await _json(http, f"{base}/.well-known/openid-configuration")
                if metadata.get("issuer") != self.url:
                    raise Unavailable(f"The issuer {self.url} calls itself {str(metadata.get('issuer'))[:200]!r}")
                address = str(metadata.get("jwks_uri"))
                _check_address(address, "jwks_uri")
                found = (await _json(http, address)).get("keys")
        except (httpx2.HTTPError, httpx2.InvalidURL, ConfigurationError, ValueError, OSError) as error:
            raise Unavailable(f"The issuer {self.url} does not answer: {error}") from None
        keys: dict[str | None, jwt.PyJWK] = {}
        for entry in found if isinstance(found, list) else ():
            try:
                if entry.get("use", "sig") == "sig":
                    keys[entry.get("kid")] = jwt.PyJWK(entry)
            except (jwt.PyJWTError, AttributeError, ValueError, TypeError):
                continue  # of a kind this program does not know; others may be usable
        if not keys:
            raise Unavailable(f"The issuer {self.url} publishes no key that can be used")
        return keys


async def _json(http: httpx2.AsyncClient, address: str) -> dict[str, Any]:
    async with http.stream("GET", address) as response:
        if response.status_code != 200:
            raise ValueError(f"{address} answers {response.status_code}")
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(f"{address} answers with more than {MAX_ANSWER_BYTES} bytes")
    found = httpx2.Response(200, content=body).json()
    if not isinstance(found, dict):
        raise ValueError(f"{address} answers with no JSON object")
    return found


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split() if isinstance(given, str) else given
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []


def _check_address(url: str, what: str) -> None:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        parsed = httpx2.URL("")
    is_local = parsed.scheme == "http" and parsed.host in LOOPBACK
    if not parsed.host or not (parsed.scheme == "https" or is_local) or parsed.fragment or parsed.query:
        raise ConfigurationError(f"{what} must be an https address (http on loopback only), got {url[:200]!r}")
