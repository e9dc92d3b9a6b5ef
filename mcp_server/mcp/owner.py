"""Who is asking: the one place that turns an authenticated MCP caller into an owner string."""

from __future__ import annotations

from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import principal_components
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.context import Context

__all__ = ["owner_of", "owner_of_request"]


def owner_of_request(user: object) -> str:
    """The owner behind a request's `scope["user"]`; "" when nobody had to authenticate."""
    if not isinstance(user, AuthenticatedUser):
        return ""
    client, issuer, subject = principal_components(user.access_token)
    # With a subject, every client that person uses sees the same tasks.
    return f"{issuer or ''}|{subject}" if subject else f"client|{client}"


def owner_of(ctx: Context[Any, Any] | ServerRequestContext[Any, Any]) -> str:
    """The owner behind an MCP request; "" over stdio."""
    request = ctx.request_context.request if isinstance(ctx, Context) else ctx.request
    return "" if request is None else owner_of_request(request.scope.get("user"))
