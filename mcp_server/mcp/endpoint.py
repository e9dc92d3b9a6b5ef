"""`/mcp` for every kind of client at once.

The SDK's session managers each speak one dialect: with sessions or without, answers as
SSE or as JSON. This ASGI application owns one of each over the same server and gives a
request to the one its headers ask for. A body is looked at for two things only: whether
it is a handshake (`initialize`), and whether its answer can be preceded by anything.
Everything else about MCP over HTTP is the SDK's.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskStatus
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp.shared.inbound import MCP_NAME_HEADER, MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic_core import from_json, to_json

from ..background import background_tasks

__all__ = ["MCPEndpoint", "may_be_held"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_SESSION = MCP_SESSION_ID_HEADER.encode()
_JSON_SESSION = "json-"
"""Prefix of the ids of sessions that were opened by a client that accepts JSON only."""


class MCPEndpoint:
    """An ASGI application for one MCP server.

    Args:
        quick_tools: names of tools that answer at once, and in one piece, unless they are asked to wait or to
            report progress.
        refuse: gives the refusal of a request by its scope and body, or None.
    """

    def __init__(
        self,
        server: Server[Any],
        *,
        max_body_bytes: int,
        quick_tools: Collection[str] = (),
        refuse: Callable[[Scope, bytes], ASGIApp | None] = lambda scope, body: None,
        event_store: EventStore | None = None,
        retry_interval: int | None = None,
    ) -> None:
        def manager(*, stateless: bool, json: bool) -> StreamableHTTPSessionManager:
            has_streams = not stateless and not json
            return StreamableHTTPSessionManager(
                server,
                event_store=event_store if has_streams else None,
                retry_interval=retry_interval if has_streams else None,
                stateless=stateless,
                json_response=json,
                max_request_body_size=max_body_bytes,
            )

        self._manager = manager
        self._managers: dict[tuple[bool, bool], StreamableHTTPSessionManager] = {}
        """By (stateless, json); there while it runs."""
        self._limited = RequestBodyLimitMiddleware(self._dispatch, max_body_bytes)
        self._quick_tools, self._refuse = frozenset(quick_tools), refuse
        if server.get_tool_input_schema is not None:
            server.get_tool_input_schema = _AnnotatedSchemas(server.get_tool_input_schema)

    @property
    def is_open(self) -> bool:
        return bool(self._managers)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Answer requests while the block lasts; it may run again afterwards."""
        try:
            async with background_tasks() as tasks:
                await tasks.start(self._hold_open)
                yield
        finally:
            self._managers = {}

    async def _hold_open(self, *, task_status: TaskStatus[None]) -> None:
        # A manager of the SDK's runs once. And it would wrap what the block raises into an ExceptionGroup.
        both = (True, False)
        self._managers = {(bare, json): self._manager(stateless=bare, json=json) for bare in both for json in both}
        async with AsyncExitStack() as stack:
            for manager in self._managers.values():
                await stack.enter_async_context(manager.run())
            task_status.started()
            await anyio.sleep_forever()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        replay = _replayed(first, receive)
        # A body in one piece, as nearly every one is, is measured by the session manager itself.
        whole = first["type"] == "http.request" and not first.get("more_body", False)
        await (self._dispatch if whole else self._limited)(scope, replay, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, replay = await _peek(receive)
        if body is None:
            return  # the client hung up in the middle of its request; the SDK would log that as a failure
        if (refusal := self._refuse(scope, body)) is not None:
            await refusal(scope, replay, send)
            return
        # httptools keeps trailing blanks in header values, which the SDK compares exactly.
        scope = {**scope, "headers": [(name, value.strip()) for name, value in scope["headers"]]}
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        wants_json, is_quick = _wants_json(headers.get("accept", "")), False
        session = headers.get(MCP_SESSION_ID_HEADER)
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
        if wants_json or "accept" not in headers:
            # The SDK insists that JSON is named.
            _set(scope, b"accept", b"application/json")
        if session is not None or scope["method"] != "POST":
            json = (session or "").startswith(_JSON_SESSION)
            if json:
                _set(scope, _SESSION, (session or "").removeprefix(_JSON_SESSION).encode("latin-1"))
                send = _tagged(send)
            manager = self._managers[False, json]
        elif version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            # Nothing can come before the answer, nor does it take long: without what a stream needs, a
            # third of the request's cost is saved.
            is_quick = headers.get(MCP_NAME_HEADER.lower()) in self._quick_tools and not may_be_held(body)
            manager = self._managers[True, wants_json or is_quick]
        else:
            opens_session = _is_initialize(body)
            if opens_session and wants_json:
                send = _tagged(send)
            manager = self._managers[not opens_session, wants_json]
        handle = partial(manager.handle_request, scope, replay, send)
        # The SDK notices a client that hangs up only where it streams. (In a session it may come back for the answer.)
        is_watched = manager.stateless and wants_json and not is_quick
        await (_while_connected(handle, receive) if is_watched else handle())


async def _while_connected(handle: Callable[[], Awaitable[None]], receive: Receive) -> None:
    """Handle a request whose body was read already, until it is answered or the client hangs up."""
    async with anyio.create_task_group() as connected:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            connected.cancel_scope.cancel()

        connected.start_soon(watch)
        await handle()
        connected.cancel_scope.cancel()


def _wants_json(accept: str) -> bool:
    """Whether the client cannot read an SSE answer, or did not say that it can."""
    return "text/event-stream" not in accept and "text/*" not in accept


def _set(scope: Scope, name: bytes, value: bytes) -> None:
    scope["headers"] = [(n, v) for n, v in scope["headers"] if n != name] + [(name, value)]


async def _peek(receive: Receive) -> tuple[bytes | None, Receive]:
    """The whole body (it has been limited and collected already; None: there is no whole), and a `receive` to match."""
    first = await receive()
    is_whole = first["type"] == "http.request" and not first.get("more_body", False)
    return first.get("body", b"") if is_whole else None, _replayed(first, receive)


def _replayed(first: Message, receive: Receive) -> Receive:
    """`receive` as it was before its first message was taken."""
    pending = [first]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


_WAITS = re.compile(rb'"wait_seconds"\s*+:\s*+(?!0\s*[,}])')
"""An argument `wait_seconds` that is not 0."""


def may_be_held(body: bytes) -> bool:
    """Whether a call asks for progress notifications or to wait. A mention elsewhere in it costs nothing but speed.

    `wait_seconds` of 0 asks for neither.
    """
    return b'"progressToken"' in body or _WAITS.search(body) is not None


class _AnnotatedSchemas:
    """The SDK's look-up of a tool's input schema for the check of `Mcp-Param-*` headers.

    Schemas that name no such header are left out: the SDK walks the whole schema on each call otherwise.
    """

    def __init__(self, lookup: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._lookup = lookup
        self._seen: dict[str, tuple[Mapping[str, Any], bool]] = {}

    def __call__(self, name: str) -> Mapping[str, Any] | None:
        if (schema := self._lookup(name)) is None:
            return None
        known = self._seen.get(name)
        if known is None or known[0] is not schema:
            known = self._seen[name] = (schema, b'"x-mcp-header"' in to_json(schema))
        return schema if known[1] else None


def _is_initialize(body: bytes) -> bool:
    if b'"initialize"' not in body:
        return False
    try:
        message = from_json(body)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("method") == "initialize"


def _tagged(send: Send) -> Send:
    """Mark the session id in the answer, so that later requests find the JSON manager."""

    async def tag(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (n, _JSON_SESSION.encode() + v if n.lower() == _SESSION else v) for n, v in message["headers"]
            ]
        await send(message)

    return tag
