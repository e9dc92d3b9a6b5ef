"""The HTTP client of a connection, and the variables of the environment that lead it astray.

Loopback addresses go past proxies: a proxy elsewhere would look for the server on its
own machine. All other addresses take the proxies and certificates that `HTTP_PROXY`,
`NO_PROXY`, `SSL_CERT_FILE` and the like name, and an error that comes from one of them
says which.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import httpx2

from .errors import Refused, cut

__all__ = ["bearer", "blamed", "is_loopback", "open_http"]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def open_http(base_url: str) -> httpx2.AsyncClient:
    """An HTTP client for a server at this address.

    Raises:
        Refused: `URL`, the address is none; `ENVIRONMENT`, a proxy or certificate variable cannot be used
            (the message names it).
    """
    _check(base_url)
    loopback = is_loopback(base_url)
    try:
        # Certificates take most of the time it takes to open a client, and plain HTTP to this machine needs none.
        plain = loopback and base_url.startswith("http://")
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx2.create_ssl_context()
    except OSError as error:
        raise _unusable(error, _CERTIFICATES) from error
    try:
        return httpx2.AsyncClient(
            verify=verify,
            trust_env=not loopback,
            # Every followed task holds a connection: a limit would be a deadlock.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
            follow_redirects=True,
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise _unusable(error, [name for each in _PROXIES for name in (each, each.upper())]) from error


def blamed(base_url: str, error: Exception) -> str:
    """The variables that a failed request went by, as the end of a sentence; empty if there are none."""
    if is_loopback(base_url):
        return ""
    names: list[str] = []
    parts = urlsplit(base_url)
    if not proxy_bypass_environment(parts.netloc.rpartition("@")[2]):
        for each in (f"{parts.scheme}_proxy", "all_proxy"):
            names += [name for name in (each, each.upper()) if os.environ.get(name)]
        names = names[:1]
    if "certificate" in str(error).lower():
        names += [name for name in _CERTIFICATES if os.environ.get(name)]
    return f"; by way of {_named(names)}" if names else ""


def bearer(token: str | None) -> dict[str, str]:
    """The headers that carry a token.

    Raises:
        Refused: `TOKEN`, it has characters that a header cannot carry.
    """
    if token is None:
        return {}
    if not token.isascii() or not token.isprintable():
        raise Refused("The token has characters that no HTTP header can carry", operation_id=None, error_code="TOKEN")
    return {"Authorization": f"Bearer {token}"}


def _check(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected http://HOST:PORT or https://HOST")
        _ = parts.port
    except ValueError as error:
        message = f"The base URL {cut(base_url, 200)} is no good: {error}"
        raise Refused(message, operation_id=None, error_code="URL") from error


def is_loopback(base_url: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _unusable(error: Exception, names: list[str] | tuple[str, ...]) -> Refused:
    there = [name for name in names if os.environ.get(name)]
    where = f" of {_named(there)}" if there else ""
    return Refused(f"The environment{where} cannot be used: {error}", operation_id=None, error_code="ENVIRONMENT")


def _named(names: list[str]) -> str:
    return ", ".join(f"{name}={_without_password(os.environ[name])}" for name in names)


def _without_password(value: str) -> str:
    return re.sub(r"^(\w+://)?[^/]*@", r"\1***@", value)
