"""`LongTaskServer`: the one place that knows all parts and puts them together.

An MCP server (the SDK's own, so tools, resources and prompts are added as usual) with
task types, an engine that runs them, and one ASGI application for everything.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, Unpack, overload

from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http import EventStore
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from ._version import package_version
from .access.edge import Access, checked_addresses, is_loopback, missing_scope, principal_of
from .access.principal import ADMIN, Principal
from .backend import Backend
from .backends import open_backend
from .engine import Engine
from .errors import ConfigurationError
from .mcp.auth import shared_secret
from .mcp.endpoint import MCPEndpoint
from .mcp.extension import TasksExtension
from .mcp.reply import RESULT_URI, STREAM_URL, TaskReplies, result_reader
from .mcp.tools import LongTaskTools
from .mcp.wait import Waiter
from .registry import Registry, TaskOptions, TaskType
from .settings import Settings
from .web.cors import cors
from .web.failures import error_response
from .web.feed import Feeds
from .web.health import health_routes
from .web.middleware import NoTrailingSlash, OnlyWhileOpen
from .web.pages import page_routes
from .web.rest import rest_routes
from .web.routes import progress_routes
from .web.sockets import socket_route
from .web.tasks import Tasks
from .web.tickets import ticket_routes
from .web.watch import Watches

__all__ = ["LongTaskServer"]

Function = TypeVar("Function", bound=Callable[..., Any])
Lifespan = Callable[["LongTaskServer"], AbstractAsyncContextManager[Any]]

UNCHECKED = TransportSecuritySettings(enable_dns_rebinding_protection=False)
"""The SDK's own check covers its one route only; ours stands before all of them."""


class LongTaskServer(MCPServer[Any]):
    """An MCP server whose tasks outlive calls, connections and the process.

    Args:
        name: shown to MCP clients.
        settings: how it behaves; by default read from `LONGTASKS_…` variables.
        backend: where tasks are kept; by default what `settings.backend` names.
        lifespan: entered once, before the first task runs; as in the SDK.
        mcp: everything else goes to the SDK's `MCPServer` (`instructions`, `auth`,
            `token_verifier`, `extensions`, …). With a token verifier, tasks belong to
            the authenticated caller, and no other sees them.

    Raises:
        ConfigurationError: a setting has a value it cannot have.
    """

    def __init__(
        self,
        name: str = "longtasks",
        *,
        settings: Settings | None = None,
        backend: Backend | None = None,
        lifespan: Lifespan | None = None,
        **mcp: Any,
    ) -> None:
        chosen = settings or Settings.load()
        self.registry = Registry()
        self.engine = Engine(self.registry, backend or open_backend(chosen), chosen)
        self._given_backend = backend
        self._user_lifespan = lifespan
        self._state: Any = {}
        self._is_running = False
        self._has_run = False
        self._is_draining = False
        self._endpoint: MCPEndpoint | None = None
        self._feeds = Feeds()
        self.tasks = Tasks(self.engine, self._feeds, Watches(self.engine), sender=_sender)
        """The tasks, for the code of an application and its own routes."""
        mcp.setdefault("version", package_version())
        self._offers_task_tools = chosen.task_tools == "on"
        replies = TaskReplies(self.engine, Waiter(self.engine))
        tasks = TasksExtension(self.engine, tools=self._offers_task_tools, replies=replies, stream_url=STREAM_URL)
        self._tasks = tasks
        own_tools = LongTaskTools(replies).tools()
        self._own_tools = frozenset(tool.name for tool in own_tools)
        mcp["tools"] = [*own_tools, *mcp.get("tools", ())]
        self._plain_tools = {tool.name for tool in mcp["tools"]}
        mcp["extensions"] = [tasks, *mcp.get("extensions", ())]
        mcp["middleware"] = [tasks.listen, *mcp.get("middleware", ())]
        if chosen.request_state_key is not None:
            mcp.setdefault("request_state_security", shared_secret(chosen.request_state_key))
        super().__init__(name, lifespan=self._connection_lifespan, **mcp)

        self.resource(RESULT_URI, name="result", description="The whole result of a completed task")(
            result_reader(self.engine)
        )

    def configure(self, settings: Settings) -> None:
        """Use other settings from the next start on (command-line flags win over code).

        Raises:
            ConfigurationError: the server is running, or a setting differs that its tools were made by.
        """
        if self._is_running:
            raise ConfigurationError("other settings cannot be given to a server that is running")
        for name in ("task_tools", "request_state_key"):
            if getattr(settings, name) != getattr(self.engine.settings, name):
                raise ConfigurationError(
                    f"{name} cannot be changed once the server was made; give it to LongTaskServer(settings=…) "
                    f"or set LONGTASKS_{name.upper()}"
                )
        self.engine.use(settings, self._given_backend or open_backend(settings))

    # Task types.

    @overload
    def task(self, function: Function, /) -> Function: ...

    @overload
    def task(self, function: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Function], Function]: ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Register a function as a task type; see `Registry.task`.

        Raises:
            TypeError: the signature cannot be offered to callers.
            ValueError: the name is taken, also by a tool, or a policy value is out of range.
        """
        if function is None:
            return partial(self.task, **options)
        self._add_task_type(TaskType.from_function(function, **options))
        return function

    def include(self, registry: Registry, *, prefix: str = "") -> None:
        """Add the task types that a registry has now, such as those of another file of the application.

        Args:
            prefix: put before each name.

        Raises:
            ValueError: a name is taken.
        """
        for task_type in registry:
            self._add_task_type(replace(task_type, name=prefix + task_type.name))

    def _add_task_type(self, task_type: TaskType) -> None:
        if task_type.name in (self._plain_tools if self._offers_task_tools else self._own_tools):
            whose = "the server's own" if task_type.name in self._own_tools else "yours"
            raise ValueError(f"{task_type.name!r} is a tool of {whose} already; give the task type another name")
        self.registry.add(task_type)
        if self._offers_task_tools:
            tool = self._tasks.binding(task_type)
            super().add_tool(tool.fn, meta=tool.meta, **tool.kwargs)

    def add_tool(self, fn: Callable[..., Any], name: str | None = None, *args: Any, **more: Any) -> None:
        """As the SDK's (`@server.tool()` comes here too); a name that answers to something of ours is refused.

        Raises:
            ValueError: the name is a task type's, or one of the server's own tools has it.
        """
        given = name or fn.__name__
        if given in self._own_tools or (self._offers_task_tools and given in self.registry):
            what = "a tool of the server's own" if given in self._own_tools else "a task type"
            raise ValueError(f"{given!r} is {what} already; give the tool another name")
        super().add_tool(fn, name, *args, **more)
        self._plain_tools.add(given)

    # Running.

    @asynccontextmanager
    async def running(self, *, work: bool = True) -> AsyncIterator[LongTaskServer]:
        """Everything that has to be open while requests are served.

        Nested uses are free, so an application that is mounted, served or connected
        to in memory may each enter it. When the outermost has ended the server may run again.

        Args:
            work: also execute tasks; False only answers for them.

        Raises:
            ConfigurationError: the backend cannot be opened.
        """
        if self._is_running:
            yield self
            return
        if self._has_run:
            # A backend is opened once.
            if self._given_backend is not None:
                raise ConfigurationError("a server with a backend of your own (backend=…) runs once; make another")
            self.configure(self.engine.settings)
        self._is_running, self._has_run, self._is_draining = True, True, False
        try:
            async with self._entered_state(), self.engine.run(work=work), self._feeds.run(), self._open_http():
                yield self
        finally:
            self._is_running = False

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """`running` in the form ASGI frameworks want it: `FastAPI(lifespan=server.lifespan)`."""
        async with self.running(), self._open_http():
            yield

    @asynccontextmanager
    async def _open_http(self) -> AsyncIterator[None]:
        # The HTTP application may be made before or after the server began to run.
        if self._endpoint is None or self._endpoint.is_open:
            yield
            return
        async with self._endpoint.run():
            yield

    @asynccontextmanager
    async def _entered_state(self) -> AsyncIterator[None]:
        if self._user_lifespan is None:
            yield
            return
        async with self._user_lifespan(self) as self._state:
            yield

    @asynccontextmanager
    async def _connection_lifespan(self, _: MCPServer[Any]) -> AsyncIterator[Any]:
        # The SDK enters this once per session manager or connection; the server runs once.
        async with self.running():
            yield self._state

    async def run_stdio_async(self) -> None:
        """Serve one MCP client over standard input and output."""
        async with self.running():
            await super().run_stdio_async()

    # HTTP.

    def http_app(self, *, event_store: EventStore | None = None, retry_interval: int | None = None) -> Starlette:
        """One ASGI application: `/mcp`, `/tasks`, `/progress/…`, `/health`, and the SDK's custom and auth routes.

        It runs the server in its own lifespan. Mounted into another application, whose
        framework does not run the lifespans of what it mounts, the outer one has to:
        `FastAPI(lifespan=server.lifespan)`.

        Args:
            event_store: keeps what was sent on the MCP streams of sessions, so that a client of a
                handshake-era revision can reconnect to an open call. Tasks need none: their log is the store.
            retry_interval: milliseconds after which such a client should reconnect.
        """
        settings, access = self.engine.settings, self._access()
        sdk = super().streamable_http_app(transport_security=UNCHECKED)
        max_body_bytes = max(4 * 1024 * 1024, 16 * settings.max_argument_bytes)
        self._endpoint = endpoint = MCPEndpoint(
            self.session_manager.app,
            max_body_bytes=max_body_bytes,
            quick_tools=self._own_tools,
            refuse=self._missing_scope,
            event_store=event_store,
            retry_interval=retry_interval,
        )
        return Starlette(
            routes=[
                Route("/mcp", endpoint=endpoint, middleware=access.guard),
                *ticket_routes(self.engine, access.tickets, principal=_sender, middleware=access.guard),
                *progress_routes(self.tasks, middleware=access.guard),
                *health_routes(
                    self.engine,
                    version=package_version(),
                    capabilities=self._capabilities,
                    ids=_is_admin,
                    is_draining=lambda: self._is_draining,
                    may_measure=lambda request: not access.is_required or _is_admin(request),
                    streams=lambda: self._feeds.readers,
                ),
                *access.resource_routes,
                # Its own `/mcp` is never reached: ours comes first.
                *sdk.routes,
                socket_route(
                    self.tasks, is_let_in=lambda opening: not access.is_required or opening.user.is_authenticated
                ),
                *rest_routes(
                    self.tasks,
                    title=self.name,
                    version=package_version(),
                    max_body_bytes=max_body_bytes,
                    middleware=access.guard,
                ),
                # Last, so that an application's own `/` wins.
                *(page_routes() if settings.ui == "on" else ()),
            ],
            middleware=[
                Middleware(OnlyWhileOpen, lambda: endpoint.is_open),
                Middleware(NoTrailingSlash),
                checked_addresses(settings),
                *cors(settings),
                *access.middleware,
            ],
            lifespan=self.lifespan,
        )

    def streamable_http_app(self, **options: Any) -> Starlette:
        """`http_app`, by the SDK's name for it.

        Args:
            options: the SDK's. Whether an answer is JSON and belongs to a session is for each request to say here,
                and the rest of them are settings: `event_store` and `retry_interval` are all that one may choose.

        Raises:
            ConfigurationError: another one was given.
        """
        chosen = {name: options.pop(name) for name in ("event_store", "retry_interval") if name in options}
        known = inspect.signature(MCPServer.streamable_http_app).parameters
        for name in options.keys() - {"host", "json_response", "stateless_http"}:
            if name not in known or options[name] != known[name].default:
                raise ConfigurationError(f"{name} cannot be chosen here; see docs/configuration.md for what can")
        return self.http_app(**chosen)

    async def run_streamable_http_async(
        self, *, host: str | None = None, port: int | None = None, **options: Any
    ) -> None:
        """The work of `server.run("streamable-http")`: serve `http_app`, by default where the settings say."""
        given = self.engine.settings
        settings = replace(given, host=host or given.host, port=given.port if port is None else port)
        if settings != given:
            self.configure(settings)
        await super().run_streamable_http_async(host=settings.host, port=settings.port, **options)

    def sse_app(self, **options: Any) -> Starlette:
        """Not served: in MCP's HTTP transport of 2024 the server would run only while a client is connected."""
        raise ConfigurationError("the transport 'sse' of 2024 is not served; use 'streamable-http'")

    def drain(self) -> None:
        """Answer `/readyz` with 503 from now on; all else goes on. For a host that is about to stop."""
        self._is_draining = True

    def close_streams(self) -> None:
        """End open progress streams, and those still to come, now.

        For a host that stops: under uvicorn that is noticed within half a second without it.
        """
        self._feeds.close()

    def check_exposure(self) -> bool:
        """Whether all users of this machine, and no others, are let in.

        Raises:
            ConfigurationError: other machines could reach the address, and no authentication is asked for.
        """
        settings, is_open = self.engine.settings, not self._access().is_required
        if is_open and not (is_loopback(settings.host) or settings.insecure):
            raise ConfigurationError(
                f"not listening on {settings.host} without authentication: choose --auth keys or --auth oidc, "
                "or say --insecure if something before this server lets in only whom it should"
            )
        return is_open and is_loopback(settings.host)

    def _access(self) -> Access:
        return Access(
            self.engine.settings,
            lambda: self.engine.backend.documents,
            auth=self.settings.auth,
            token_verifier=self._token_verifier,
        )

    def _missing_scope(self, scope: Scope, body: bytes) -> ASGIApp | None:
        error = missing_scope(principal_of(scope.get("user")), body, self.registry)
        return None if error is None else error_response(error, "mcp")

    async def _capabilities(self) -> dict[str, int]:
        resources = len(await self.list_resources()) + len(await self.list_resource_templates())
        return {
            "tools": len(await self.list_tools()),
            "prompts": len(await self.list_prompts()),
            "resources": resources,
        }


def _sender(request: HTTPConnection) -> Principal:
    return principal_of(request.scope.get("user"))


def _is_admin(request: HTTPConnection) -> bool:
    return ADMIN in _sender(request).scopes
