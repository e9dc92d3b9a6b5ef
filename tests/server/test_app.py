"""`LongTaskServer` as an application: alone, mounted, with what else an MCP server has, with callers who log in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from mcp_server import ConfigurationError, LongTaskServer, Settings, open_backend
from mcp_server.access.principal import ANONYMOUS

from .servers import Caller, calling, make_server, serve
from .stock import open_gate, stock_server


async def works(caller: Caller) -> None:
    """A task runs through this address from start to end: MCP, stream, snapshot, health."""
    operation_id = await caller.start("counts", {"n": 3})
    assert (await caller.frames(operation_id))[-1].data == {"status": "completed"}
    assert (await caller.snapshot(operation_id))["output"] == 3
    assert (await caller.http.get("/health")).json()["status"] == "healthy"


@asynccontextmanager
async def below(caller: Caller, path: str) -> AsyncIterator[Caller]:
    async with calling(f"{caller.url}{path}") as mounted:
        yield mounted


async def test_it_is_an_application_of_its_own(tmp_path: Path) -> None:
    """Its own lifespan runs everything."""
    async with serve(stock_server(tmp_path).http_app()) as caller:
        await works(caller)


async def test_it_can_be_mounted_in_starlette(tmp_path: Path) -> None:
    """Under any path, beside routes of the other application, whose lifespan runs it."""
    server = stock_server(tmp_path)

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/hello", hello), Mount("/tasks", app=server.http_app())], lifespan=server.lifespan)
    async with serve(app) as caller, below(caller, "/tasks") as mounted:
        assert (await caller.http.get("/hello")).text == "hello"
        await works(mounted)


async def test_it_can_be_mounted_in_fastapi(tmp_path: Path) -> None:
    """In the same way; FastAPI's own routes go on working, and can use the engine themselves."""
    server = stock_server(tmp_path)
    app = FastAPI(lifespan=server.lifespan)

    @app.get("/count/{n}")
    async def count(n: int) -> dict[str, Any]:
        task = await server.engine.start("counts", {"n": n}, principal=ANONYMOUS)
        return {"output": (await server.engine.wait(task, 10)).output}

    app.mount("/", server.http_app())
    async with serve(app) as caller:
        assert (await caller.http.get("/count/4")).json() == {"output": 4}
        await works(caller)


async def test_two_servers_can_be_mounted_side_by_side(tmp_path: Path) -> None:
    """Each with its own tasks."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    a, b = stock_server(tmp_path / "a"), stock_server(tmp_path / "b")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with a.running(), b.running():
            yield

    app = Starlette(routes=[Mount("/a", app=a.http_app()), Mount("/b", app=b.http_app())], lifespan=lifespan)
    async with serve(app) as caller, below(caller, "/a") as first, below(caller, "/b") as second:
        await works(first)
        await works(second)
        operation_id = await first.start("counts", {"n": 1})
        assert (await second.http.get(f"/progress/{operation_id}")).status_code == 404


async def test_the_order_of_making_and_running_does_not_matter(tmp_path: Path) -> None:
    """The application may be made while the server is running already."""
    server = stock_server(tmp_path)
    async with server.running(), serve(server.http_app()) as caller:
        await works(caller)


async def test_it_can_run_again(tmp_path: Path) -> None:
    """The same object, the same application, the same tasks: what tests, notebooks and reloading do."""
    server = stock_server(tmp_path)
    app = server.http_app()
    for _ in range(2):
        async with serve(app) as caller:
            await works(caller)
    async with serve(server) as caller:
        await works(caller)
        assert (await caller.call("list_operations"))["data"]["count"] == 3


def test_it_can_run_in_one_event_loop_after_the_other(tmp_path: Path) -> None:
    """Nothing of the first is left in the second."""
    server = stock_server(tmp_path)

    async def once() -> None:
        async with serve(server) as caller:
            await works(caller)

    for _ in range(2):
        anyio.run(once)


async def test_with_a_backend_object_it_runs_once(tmp_path: Path) -> None:
    """A backend is opened once, and only its maker can make another."""
    settings = Settings(backend=f"sqlite:///{tmp_path / 'tasks.db'}")
    server = LongTaskServer("once", backend=open_backend(settings))
    async with server.running():
        pass
    with pytest.raises(ConfigurationError, match="runs once"):
        async with server.running():
            pass


async def test_mounted_without_its_lifespan_it_says_what_is_missing(tmp_path: Path) -> None:
    """In every answer, instead of failing on whatever is not open yet."""
    app = Starlette(routes=[Mount("/tasks", app=stock_server(tmp_path).http_app())])
    async with serve(app) as caller, below(caller, "/tasks") as mounted:
        for response in (await mounted.post(b"{}"), await mounted.http.get("/health")):
            assert response.status_code == 503
            assert "lifespan=server.lifespan" in response.json()["error"]


async def test_what_goes_wrong_in_a_block_comes_out_as_it_is(tmp_path: Path) -> None:
    """Not within an ExceptionGroup, which no `except` of the author's would find."""
    server = stock_server(tmp_path)
    server.http_app()
    with pytest.raises(ZeroDivisionError):
        async with server.running():
            raise ZeroDivisionError


async def test_the_sdks_name_for_the_application_is_the_same_application(tmp_path: Path) -> None:
    """With its options as far as they mean something here."""
    server = stock_server(tmp_path)
    async with serve(server.streamable_http_app(stateless_http=True, json_response=True, host="0.0.0.0")) as caller:
        await works(caller)
    for options in ({"streamable_http_path": "/x"}, {"nonsense": 1}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            server.streamable_http_app(**options)
    with pytest.raises(ConfigurationError, match="streamable-http"):
        server.sse_app()


async def test_running_can_be_nested(tmp_path: Path) -> None:
    """Everybody who needs it may enter it; the outermost ends it."""
    server = stock_server(tmp_path)
    async with server.running(), server.running():
        async with server.running(), server.lifespan(None):
            pass
        task = await server.engine.start("counts", {"n": 2}, principal=ANONYMOUS)
        assert (await server.engine.wait(task, 10)).output == 2


async def test_a_lifespan_of_the_authors_is_entered_once_before_the_first_task(tmp_path: Path) -> None:
    """And left after the last; what it gives is there for tools."""
    happened: list[str] = []

    @asynccontextmanager
    async def lifespan(server: LongTaskServer) -> AsyncIterator[dict[str, str]]:
        happened.append("opened")
        yield {"what": "state"}
        happened.append("closed")

    server = LongTaskServer("x", settings=Settings(backend=f"sqlite:///{tmp_path / 'tasks.db'}"), lifespan=lifespan)

    @server.task
    async def work() -> None:
        happened.append("worked")

    async with serve(server) as caller:
        await caller.frames(await caller.start("work"))
        await caller.frames(await caller.start("work"))
    assert happened == ["opened", "worked", "worked", "closed"]


async def test_it_serves_what_else_an_mcp_server_has(tmp_path: Path) -> None:
    """Plain tools, resources and prompts of the SDK, and its custom routes, beside the tasks."""
    server = stock_server(tmp_path)

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.resource("note://{name}")
    def note(name: str) -> str:
        """A note."""
        return f"note {name}"

    @server.prompt()
    def greet(name: str) -> str:
        """A greeting."""
        return f"Hello {name}"

    async def custom(request: Request) -> PlainTextResponse:
        return PlainTextResponse("custom")

    server.custom_route("/custom", methods=["GET"])(custom)

    async with serve(server) as caller:
        assert (await caller.call("add", a=2, b=3)) == {"result": 5}
        assert (await caller.http.get("/custom")).text == "custom"
        capabilities = (await caller.http.get("/health")).json()["capabilities"]
        assert capabilities["prompts"] == 1
        await works(caller)


async def test_settings_that_come_too_late_are_refused(tmp_path: Path) -> None:
    """While it runs any, and at any time those by which its tools were made: nothing is ignored in silence."""
    server = make_server(tmp_path)
    async with server.running():
        with pytest.raises(ConfigurationError, match="running"):
            server.configure(replace(server.engine.settings, heartbeat=3.0))
    settings = server.engine.settings
    for changed in (replace(settings, task_tools="off"), replace(settings, request_state_key="k" * 32)):
        with pytest.raises(ConfigurationError, match=r"LONGTASKS_(TASK_TOOLS|REQUEST_STATE_KEY)"):
            server.configure(changed)


async def test_a_slash_at_the_end_of_an_address_is_answered(tmp_path: Path) -> None:
    """At once, also a POST, whose body clients do not send again after a redirect."""
    async with serve(stock_server(tmp_path).http_app()) as caller:
        operation_id = await caller.start("counts", {"n": 1})
        message = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
        answer = await caller.http.post(
            "/mcp/", content=message, headers={"content-type": "application/json", "accept": "application/json"}
        )
        assert answer.status_code == 200
        for path in ("/health/", f"/progress/{operation_id}/", f"/progress/{operation_id}/stream/"):
            assert (await caller.http.get(path)).status_code == 200, path


async def test_settings_can_be_changed_until_it_runs(tmp_path: Path) -> None:
    """As the command line does, whose flags win over the code."""
    server = make_server(tmp_path)
    (tmp_path / "other").mkdir()
    server.configure(Settings(backend=f"sqlite:///{tmp_path / 'other' / 'tasks.db'}", heartbeat=3.0))
    async with server.running():
        pass
    assert (tmp_path / "other" / "tasks.db").exists()
    assert not (tmp_path / "tasks.db").exists()


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:1", None, True),
        ("localhost", None, True),
        ("evil.example", None, False),
        ("127.0.0.1", "http://evil.example", False),
        ("127.0.0.1", "http://localhost:3000", True),
    ],
)
async def test_a_page_of_the_web_does_not_reach_a_server_on_loopback(
    tmp_path: Path, host: str, origin: str | None, allowed: bool
) -> None:
    """A foreign Host or Origin header is refused at `/mcp`."""
    headers = {"Host": host, **({} if origin is None else {"Origin": origin})}
    async with serve(make_server(tmp_path)) as caller:
        response = await caller.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', **headers)
    assert (response.status_code == 200) is allowed


async def test_a_web_page_that_was_named_may_read(tmp_path: Path) -> None:
    """With `cors_origins`, the browser lets it read streams and call tools; no other page."""
    async with serve(make_server(tmp_path, cors_origins="https://app.example")) as caller:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            response = await caller.http.get("/health", headers={"Origin": origin})
            assert response.headers.get("access-control-allow-origin") == allowed


# Callers who log in.


class Tokens(TokenVerifier):
    """A token is the name of its bearer."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if token == "bad":
            return None
        return AccessToken(token=token, client_id="some client", subject=token, scopes=[])


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server that wants a token."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl("https://issuer.example"),
        resource_server_url=AnyHttpUrl("https://tasks.example"),
        validate_token_resource=False,
    )
    server = LongTaskServer(
        "guarded",
        settings=Settings(backend=f"sqlite:///{tmp_path / 'tasks.db'}", allowed_hosts="127.0.0.1:*"),
        auth=auth,
        token_verifier=Tokens(),
    )

    @server.task
    async def holds() -> None:
        await anyio.sleep_forever()

    async with serve(server) as caller:
        yield caller.url


async def test_without_a_token_nobody_gets_in(guarded: str) -> None:
    """Not to the tools, a stream or a snapshot; health is for probes, which have none."""
    for token in (None, "bad"):
        async with calling(guarded, token=token) as nobody:
            assert (await nobody.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')).status_code == 401
            for path in ("/progress/x", "/progress/x/stream"):
                assert (await nobody.http.get(path)).status_code == 401
            health = await nobody.http.get("/health")
            assert health.status_code == 200
            assert health.json()["fleet"]["stalled"] == {"count": 0, "operations": None}


async def test_a_task_is_seen_by_the_caller_who_started_it_only(guarded: str) -> None:
    """For another one it is as if it were not there, in every tool and route."""
    async with calling(guarded, token="ann") as ann, calling(guarded, token="bob") as bob:
        operation_id = await ann.start("holds", {}, idempotency_key="k")
        unknown = await bob.call("get_task_progress", operation_id="0" * len(operation_id))
        for tool in ("get_task_progress", "get_task_result", "cancel_task", "retry_task"):
            reply = await bob.call(tool, operation_id=operation_id)
            assert reply["error_code"] == "NOT_FOUND"
            assert reply["error"].replace(operation_id, "ID") == unknown["error"].replace("0" * len(operation_id), "ID")
        for path in (f"/progress/{operation_id}", f"/progress/{operation_id}/stream"):
            assert (await bob.http.get(path)).status_code == 404
        assert (await bob.call("list_operations"))["data"]["operations"] == []
        assert await bob.start("holds", {}, idempotency_key="k") != operation_id
        assert (await ann.snapshot(operation_id))["status"] in ("queued", "running")
        assert (await ann.call("cancel_task", operation_id=operation_id))["status"] == "success"


async def test_a_host_can_end_the_streams(tmp_path: Path) -> None:
    """At once, wherever it is mounted."""
    server = stock_server(tmp_path)
    outer = Starlette(routes=[Mount("/tasks", app=server.http_app())], lifespan=server.lifespan)
    ended = anyio.Event()

    async def read(mounted: Caller, operation_id: str, opened: anyio.Event) -> None:
        try:
            async with mounted.stream(operation_id) as stream:
                async for _ in stream:
                    opened.set()
        except httpx2.TransportError:
            pass
        ended.set()

    async with anyio.create_task_group() as readers, serve(outer) as caller, below(caller, "/tasks") as mounted:
        operation_id = await mounted.start("counts", {"n": 1, "gate": "host"})
        opened = anyio.Event()
        readers.start_soon(read, mounted, operation_id, opened)
        await opened.wait()
        server.close_streams()
        with anyio.fail_after(5):
            await ended.wait()
    open_gate("host")
