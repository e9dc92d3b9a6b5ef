"""Host, Origin and token checks, from our settings."""

from __future__ import annotations

from mcp.server.auth.middleware.bearer_auth import RequireAuthMiddleware
from mcp.server.auth.routes import build_resource_metadata_url
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import RequestStateSecurity
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ConfigurationError
from ..settings import Settings, words

__all__ = ["KnownHosts", "hosts_and_origins", "shared_secret", "token_required"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOPBACK_HOSTS = ("127.0.0.1:*", "localhost:*", "[::1]:*", "127.0.0.1", "localhost", "[::1]")


def hosts_and_origins(settings: Settings) -> TransportSecuritySettings:
    """The Host and Origin headers that are let in (a page on the web must not reach a server on loopback)."""
    if settings.allowed_hosts is not None:
        hosts: tuple[str, ...] = tuple(words(settings.allowed_hosts))
    elif settings.host in LOOPBACK:
        hosts = LOOPBACK_HOSTS
    else:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=list(hosts),
        allowed_origins=[*origins, *words(settings.cors_origins)],
    )


class KnownHosts:
    """ASGI middleware that checks Host and Origin, for routes beside `/mcp`: the SDK checks those of its own."""

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings) -> None:
        self._app, self._check = app, TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._check.validate_request(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)


def token_required(app: ASGIApp, auth: AuthSettings) -> ASGIApp:
    """ASGI middleware that lets pass callers with a valid token only."""
    url = build_resource_metadata_url(auth.resource_server_url) if auth.resource_server_url else None
    return RequireAuthMiddleware(app, auth.required_scopes or [], url)


def shared_secret(keys: str) -> RequestStateSecurity:
    """The key that seals what a client carries from one request to the next, the same in every process."""
    try:
        return RequestStateSecurity(keys=words(keys))
    except ValueError as error:
        raise ConfigurationError(f"request_state_key: {error}") from None
