"""The sender of one request: principal, client name, protocol, capabilities.

Read from one request each time, since in the modern protocol every request stands for
itself. Capabilities of the wrong shape count as none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.context import Context
from mcp.shared.exceptions import MCPError
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ..access.edge import principal_of
from ..access.principal import ANONYMOUS, Principal

__all__ = ["TASKS", "Caller", "is_bare", "missing_capability", "missing_extension", "request_of"]

TASKS = "io.modelcontextprotocol/tasks"
"""The identifier of the tasks extension."""

AnyContext = Context[Any, Any] | ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One request's sender.

    Args:
        principal: the authenticated sender, as the engine knows it.
        name: what the client calls itself (`clientInfo.name`); None for a bare request.
        modern: the request is of protocol 2026-07-28 or later.
        declares_tasks: it said that it understands a task as an answer.
        answers_forms: it can put a question with a form to its user.
        reachable: it can be sent a request while one of its own is open.
        has_token: it wants progress notifications.
        root: what goes before the paths of our HTTP application; None when it did not come over HTTP.
    """

    principal: Principal
    name: str | None
    modern: bool
    declares_tasks: bool
    answers_forms: bool
    reachable: bool
    has_token: bool
    root: str | None

    @classmethod
    def of(cls, ctx: AnyContext) -> Caller:
        request = request_of(ctx)
        session = request.session
        capabilities, params = session.client_capabilities, session.client_params
        modern = request.protocol_version in MODERN_PROTOCOL_VERSIONS
        extensions = (capabilities.extensions if capabilities else None) or {}
        elicitation = capabilities.elicitation if capabilities else None
        return cls(
            # Over MCP an administrator is one owner among others: a model shall not act on what is not its user's.
            principal=ANONYMOUS
            if request.request is None
            else principal_of(request.request.scope.get("user")).as_owner(),
            name=None if params is None else params.client_info.name,
            modern=modern,
            # A declaration in an `initialize` handshake is none: the extension belongs to the modern protocol.
            declares_tasks=modern and TASKS in extensions,
            answers_forms=elicitation is not None and (elicitation.form is not None or elicitation.url is None),
            reachable=not modern and session.can_send_request,
            has_token=(request.meta or {}).get("progress_token") is not None,
            root=None if request.request is None else request.request.scope.get("root_path", ""),
        )

    @property
    def is_bare(self) -> bool:
        """A program's own request, without a handshake and without saying who it is."""
        return self.name is None


def is_bare(ctx: AnyContext) -> bool:
    """`Caller.is_bare`, for who needs to know no more."""
    return request_of(ctx).session.client_params is None


def request_of(ctx: AnyContext) -> ServerRequestContext[Any, Any]:
    return ctx.request_context if isinstance(ctx, Context) else ctx


def missing_extension() -> MCPError:
    """The answer to a client that would have to understand tasks and did not say that it does."""
    return missing_capability("the tasks extension", {"extensions": {TASKS: {}}})


def missing_capability(what: str, capabilities: dict[str, Any]) -> MCPError:
    """The answer to a client that cannot be served without a capability it did not declare."""
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"Missing required client capability: {what}",
        {"requiredCapabilities": capabilities},
    )
