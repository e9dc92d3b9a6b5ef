"""The edge of the server: requests come in as strangers and go on as principals, or not at all.

The only file of this room that knows HTTP and the MCP SDK, whose parts check addresses
(`TransportSecurityMiddleware`), read bearer tokens (`BearerAuthBackend`) and refuse
(`RequireAuthMiddleware`). Ours are the credentials: keys, an issuer's tokens, tickets.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken, TokenVerifier, principal_components
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from pydantic import AnyHttpUrl, ValidationError
from pydantic_core import from_json
from starlette._utils import get_route_path
from starlette.authentication import AuthCredentials, AuthenticationError
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..backend import Documents
from ..errors import ConfigurationError, InsufficientScope, Unavailable
from ..settings import Settings, words
from .hosts import Hosts
from .keys import PREFIX, KeyRing
from .principal import ANONYMOUS, NEEDS, READ, SCOPES, WRITE, Principal
from .tickets import Tickets

if TYPE_CHECKING:
    from .tokens import Issuer

__all__ = ["Access", "checked_addresses", "is_loopback", "missing_scope", "principal_of"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOPBACK_HOSTS = ("127.0.0.1:*", "localhost:*", "[::1]:*", "127.0.0.1", "localhost", "[::1]")
TICKET_PATHS = "/progress/"
WAYS = ("keys", "oidc")

TOOL_NEEDS: Mapping[str, str] = {
    "start_long_task": "start",
    "get_task_progress": "get",
    "get_task_result": "get",
    "wait_for_tasks": "get",
    "list_operations": "list",
    "cancel_task": "cancel",
    "retry_task": "retry",
    "respond_to_task": "answer",
}
METHOD_NEEDS: Mapping[str, str] = {
    "tasks/get": "get",
    "tasks/result": "get",
    "tasks/list": "list",
    "tasks/cancel": "cancel",
    "tasks/update": "answer",
    "resources/read": "get",
    "subscriptions/listen": "read",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return host in LOOPBACK


# Addresses.


def checked_addresses(settings: Settings) -> Middleware:
    """The check of every request's `Host` and `Origin`: a page on the web must not reach a server on loopback."""
    return Middleware(_CheckedAddresses, settings=settings)


class _CheckedAddresses:
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        pages = words(settings.cors_origins)
        hosts = _hosts(settings)
        origins = [f"{scheme}://{host}" for host in hosts or () for scheme in ("http", "https")]
        self._check = TransportSecurityMiddleware(
            TransportSecuritySettings(
                enable_dns_rebinding_protection=hosts is not None,
                allowed_hosts=list(hosts or ()),
                allowed_origins=[*origins, *pages],
            )
        )
        self._hosts = None if hosts is None else Hosts(hosts)
        # Any page may read where all are named; to change something, a page has to be named itself.
        self._any_reads = "*" in pages
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> ASGIApp | None:
        if scope["type"] not in ("http", "websocket"):
            return None
        headers = scope["headers"]
        if scope.get("http_version") == "1.0" and not any(name == b"host" for name, _ in headers):
            # A balancer's probe. Browsers, which can be misled by a name, always send it.
            return None
        host = Headers(scope=scope).get("host", "")
        if self._hosts is not None and scope["type"] == "http" and (said := self._hosts.refusal(host)) is not None:
            return PlainTextResponse(said, 421)
        if self._any_reads and scope.get("method") in ("GET", "HEAD", "OPTIONS"):
            headers = [(name, value) for name, value in headers if name != b"origin"]
        looked_at = {**scope, "type": "http", "method": scope.get("method", "GET"), "headers": headers}
        return await self._check.validate_request(Request(looked_at))


def _hosts(settings: Settings) -> tuple[str, ...] | None:
    """The `Host` headers that are let in; None: any."""
    if settings.allowed_hosts is not None:
        return tuple(words(settings.allowed_hosts))
    return LOOPBACK_HOSTS if is_loopback(settings.host) else None


# Credentials.


class _Admitted(AccessToken):
    """A credential of ours that was verified. The SDK compares its parts to keep sessions apart."""

    principal: Principal

    @classmethod
    def of(cls, principal: Principal) -> _Admitted:
        # The credential itself goes no further than the edge.
        return cls(
            token="",
            client_id=principal.credential,
            scopes=sorted(principal.scopes),
            expires_at=None if principal.expires_at is None else int(principal.expires_at),
            subject=principal.owner,
            principal=principal,
        )


def principal_of(user: object) -> Principal:
    """The principal behind a request's `scope["user"]`; anonymous where no authentication is asked for.

    Tokens that a verifier of the application's own accepted may do all that an owner may,
    unless they name scopes of ours.
    """
    if not isinstance(user, AuthenticatedUser):
        return ANONYMOUS
    token = user.access_token
    if isinstance(token, _Admitted):
        return token.principal
    client, issuer, subject = principal_components(token)
    # With a subject, every client that person uses sees the same tasks.
    owner = f"{issuer or ''}|{subject}" if subject else f"client|{client}"
    scopes = token.scopes if SCOPES.keys() & set(token.scopes) else (READ, WRITE)
    return Principal.of(owner, scopes, credential=f"client:{client}", expires_at=token.expires_at)


class Access:
    """The guard of one HTTP application, as its settings and its author want it.

    Args:
        settings: `auth`, `issuer`, `audience`, `request_state_key`.
        documents: gives the store of keys, once it is open.
        auth, token_verifier: what the author passed to the server; they win over the settings.

    Raises:
        ConfigurationError: the settings do not fit together.
    """

    def __init__(
        self,
        settings: Settings,
        documents: Callable[[], Documents],
        *,
        auth: AuthSettings | None = None,
        token_verifier: TokenVerifier | None = None,
    ) -> None:
        self.tickets = Tickets(words(settings.request_state_key))
        self.resource_routes: list[BaseRoute] = []
        """Protected resource metadata (RFC 9728), where the SDK does not serve it."""
        self._resource: AnyHttpUrl | None = None
        self._bound_to: AnyHttpUrl | None = None
        self._required: list[str] = []
        self._verifier: TokenVerifier | None = token_verifier
        if auth is not None:
            self._resource = auth.resource_server_url
            self._bound_to = auth.resource_server_url if auth.validate_token_resource else None
            self._required = auth.required_scopes or []
        elif ways := _ways(settings):
            issuer = _issuer(settings) if "oidc" in ways else None
            self._verifier = _Credentials(KeyRing(documents) if "keys" in ways else None, issuer)
            if issuer is not None:
                self._resource, issuer_url = _as_urls(issuer.audience, issuer.url)
                self.resource_routes += create_protected_resource_routes(self._resource, [issuer_url], list(SCOPES))
        self.is_required = self._verifier is not None
        """Whether a request without a valid credential is refused."""

    @property
    def middleware(self) -> list[Middleware]:
        """The middleware that makes a principal of each request's credential, valid or none."""
        if self._verifier is None:
            return []
        backend = _Bearer(self._verifier, self._bound_to, self.tickets)
        return [
            Middleware(AuthenticationMiddleware, backend=backend, on_error=_not_now),
            Middleware(AuthContextMiddleware),
        ]

    @property
    def guard(self) -> list[Middleware]:
        """The middleware of a route for callers with a valid credential only; a refusal says where to get one."""
        if not self.is_required:
            return []
        url = None if self._resource is None else build_resource_metadata_url(self._resource)
        return [
            Middleware(_Challenging, metadata_url=url),
            Middleware(RequireAuthMiddleware, required_scopes=self._required, resource_metadata_url=url),
        ]


def _ways(settings: Settings) -> list[str]:
    ways = words(settings.auth)
    if unknown := set(ways) - set(WAYS):
        raise ConfigurationError(f"auth must be keys, oidc or keys,oidc, got {', '.join(sorted(unknown))!r}")
    if "oidc" not in ways and (settings.issuer or settings.audience):
        raise ConfigurationError("issuer and audience belong to --auth oidc")
    return ways


def _issuer(settings: Settings) -> Issuer:
    if not settings.issuer or not settings.audience:
        raise ConfigurationError("--auth oidc needs --issuer URL and --audience URL")
    from .tokens import Issuer

    return Issuer(settings.issuer, settings.audience)


def _as_urls(audience: str, issuer: str) -> tuple[AnyHttpUrl, AnyHttpUrl]:
    try:
        # The SDK's model keeps them as they are written; issuers are compared letter by letter.
        auth = AuthSettings.model_validate(
            {"issuer_url": issuer, "resource_server_url": audience, "validate_token_resource": False}
        )
    except ValidationError:
        raise ConfigurationError(f"audience must be the URL of this server, got {audience[:200]!r}") from None
    assert auth.resource_server_url is not None
    return auth.resource_server_url, auth.issuer_url


class _Credentials(TokenVerifier):
    """Keys of ours, and tokens of an issuer: the form tells which one it is."""

    def __init__(self, keys: KeyRing | None, issuer: Issuer | None) -> None:
        self._keys, self._issuer = keys, issuer

    async def verify_token(self, token: str) -> AccessToken | None:
        found: Principal | None = None
        if token.startswith(PREFIX):
            found = None if self._keys is None else await self._keys.verify(token)
        elif self._issuer is not None:
            found = await self._issuer.verify(token)
        return None if found is None else _Admitted.of(found)


class _Bearer(BearerAuthBackend):
    """Bearer tokens in the header, and tickets in the address of what a ticket may read."""

    def __init__(self, verifier: TokenVerifier, bound_to: AnyHttpUrl | None, tickets: Tickets) -> None:
        super().__init__(verifier, resource_server_url=bound_to)
        self._tickets = tickets

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, AuthenticatedUser] | None:
        if "authorization" not in conn.headers and (ticket := _ticket(conn)) is not None:
            principal = self._tickets.read(ticket)
            if principal is None:
                return None
            token = _Admitted.of(principal)
            return AuthCredentials(token.scopes), AuthenticatedUser(token)
        try:
            found: tuple[AuthCredentials, AuthenticatedUser] | None = await super().authenticate(conn)
            return found
        except Unavailable as error:
            raise AuthenticationError(error.message) from error


def _ticket(conn: HTTPConnection) -> str | None:
    is_reading = conn.scope.get("method") == "GET" or conn.scope["type"] == "websocket"
    if not is_reading or not get_route_path(conn.scope).startswith(TICKET_PATHS):
        return None
    return conn.query_params.get("ticket")


def _not_now(_: HTTPConnection, error: AuthenticationError) -> Response:
    body = {"error": "temporarily_unavailable", "error_description": str(error)}
    return JSONResponse(body, status_code=503, headers={"Retry-After": "1"})


class _Challenging:
    """Adds to a refusal for want of a scope where the resource is described."""

    def __init__(self, app: ASGIApp, metadata_url: AnyHttpUrl | None) -> None:
        self._app, self._url = app, metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def challenge(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 403 and self._url is not None:
                message["headers"] = [
                    (name, value + f', resource_metadata="{self._url}"'.encode())
                    if name == b"www-authenticate" and b"resource_metadata" not in value
                    else (name, value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._app(scope, receive, challenge if self._url is not None else send)


# Scopes of MCP requests.


def missing_scope(principal: Principal, body: bytes, task_types: Container[str]) -> InsufficientScope | None:
    """The refusal of an MCP request for want of a scope, before it is read by anything else.

    The engine would refuse it as well, but only this early can HTTP say so with a status of its own.
    """
    if principal.scopes >= {READ, WRITE}:
        return None
    try:
        message = from_json(body)
    except ValueError:
        return None  # the SDK says what is wrong with it
    for one in message if isinstance(message, list) else [message]:
        operation = _operation(one, task_types)
        if operation is not None and NEEDS[operation] not in principal.scopes:
            return InsufficientScope(NEEDS[operation])
    return None


def _operation(message: Any, task_types: Container[str]) -> str | None:
    """The operation on tasks that an MCP message is; None if it is none."""
    if not isinstance(message, dict) or not isinstance(method := message.get("method"), str):
        return None
    if method != "tools/call":
        return METHOD_NEEDS.get(method)
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    if not isinstance(name, str):
        return None
    return TOOL_NEEDS.get(name) or ("start" if name in task_types else None)
