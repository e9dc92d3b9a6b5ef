"""An issuer of tokens as tests need one: real keys, real HTTP on loopback, and a switch to rotate them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.server.servers import serve

__all__ = ["AUDIENCE", "TestIssuer", "issuing"]

AUDIENCE = "https://tasks.example"


class TestIssuer:
    """Signs tokens with the newest of its keys and publishes all that it has not withdrawn."""

    __test__ = False

    def __init__(self) -> None:
        self.url = ""
        self.called = ""
        """What its metadata says it is called; empty: its URL."""
        self.fetches = 0
        self.is_away = False
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate(keep_old=False)

    def rotate(self, *, keep_old: bool) -> None:
        name = f"key-{len(self.keys) + self.fetches + 1}"
        new = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048)}
        self.keys = {**self.keys, **new} if keep_old else new

    def token(self, *, kid: str | None = None, algorithm: str = "RS256", secret: Any = None, **claims: Any) -> str:
        """A token that is valid but for the claims given; None leaves one out."""
        name = kid or list(self.keys)[-1]
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 60, "scope": "tasks:read"}
        said = {name: value for name, value in {**said, **claims}.items() if value is not None}
        key = secret if secret is not None else self.keys.get(name) or next(iter(self.keys.values()))
        return jwt.encode(said, key, algorithm=algorithm, headers={"kid": name})

    def app(self) -> Starlette:
        async def metadata(request: Request) -> JSONResponse:
            self.fetches += 1
            if self.is_away:
                return JSONResponse({}, status_code=503)
            return JSONResponse({"issuer": self.called or self.url, "jwks_uri": f"{self.url}/jwks"})

        async def jwks(request: Request) -> JSONResponse:
            dump = jwt.algorithms.RSAAlgorithm.to_jwk
            keys = [
                {**dump(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256"}
                for kid, key in self.keys.items()
            ]
            return JSONResponse({"keys": [{"kty": "unheard-of", "kid": "x"}, *keys]})

        return Starlette(routes=[Route("/.well-known/openid-configuration", metadata), Route("/jwks", jwks)])


@asynccontextmanager
async def issuing() -> AsyncIterator[TestIssuer]:
    issuer = TestIssuer()
    async with serve(issuer.app()) as caller:
        issuer.url = caller.url
        yield issuer
