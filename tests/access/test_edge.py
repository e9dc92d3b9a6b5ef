"""The edge: which requests come in, with which credential, and what each may do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from starlette.routing import Route

from mcp_server import LongTaskServer, Settings
from mcp_server.access.keys import KeyRing
from mcp_server.access.principal import ADMIN, NEEDS, READ, WRITE
from mcp_server.errors import ConfigurationError
from tests.server.servers import Caller, calling, make_server, serve

from .issuer import AUDIENCE, issuing


@asynccontextmanager
async def serving(directory: Path, **settings: Any) -> AsyncIterator[tuple[LongTaskServer, Caller]]:
    server = make_server(directory, **{"auth": "keys", **settings})

    @server.task
    async def work(a: int = 0) -> int:
        return a

    async with serve(server) as caller:
        yield server, caller


async def key_for(server: LongTaskServer, owner: str, *scopes: str) -> str:
    ring = KeyRing(lambda: server.engine.backend.documents)
    return (await ring.create(owner, scopes or (READ, WRITE)))[1]


# Addresses.


CHANGES = (("POST", "/mcp"), ("POST", "/progress/x/ticket"), ("POST", "/tasks"))
ROUTES = (("GET", "/health"), ("GET", "/progress/x"), ("GET", "/progress/x/stream"), ("GET", "/progress/x/ui-messages"))


@pytest.mark.parametrize(("method", "path"), [*ROUTES, *CHANGES])
async def test_a_foreign_host_or_origin_is_refused_on_every_route(tmp_path: Path, method: str, path: str) -> None:
    """CVE class: DNS rebinding. A name of an attacker's that leads to loopback reads nothing there."""
    async with serve(make_server(tmp_path)) as caller:
        for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)):
            response = await caller.http.request(method, path, headers=headers)
            assert response.status_code == status, (path, headers)
        for host in ("localhost:1", "127.0.0.1:1", "[::1]:1"):
            response = await caller.http.request(method, path, headers={"Host": host})
            assert response.status_code not in (403, 421)


async def test_pages_may_read_where_all_are_named_and_change_where_they_are_named(tmp_path: Path) -> None:
    """`cors_origins=*` opens GET; a POST from a page needs its origin by name."""
    async with serve(make_server(tmp_path, cors_origins="*")) as caller:
        head = {"Origin": "https://any.example"}
        assert (await caller.http.get("/health", headers=head)).status_code == 200
        assert (await caller.http.post("/mcp", headers=head)).status_code == 403
    async with serve(make_server(tmp_path, cors_origins="https://app.example")) as caller:
        assert (await caller.http.post("/mcp", headers={"Origin": "https://app.example"})).status_code != 403


async def test_a_probe_that_knows_no_host_is_answered(tmp_path: Path) -> None:
    """HTTP/1.0 without `Host`, as balancers ask; no browser does."""
    async with (
        serve(make_server(tmp_path)) as caller,
        await anyio.connect_tcp("127.0.0.1", httpx2.URL(caller.url).port or 0) as stream,
    ):
        await stream.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 200 " in await stream.receive()


async def test_named_hosts_are_let_in(tmp_path: Path) -> None:
    """`allowed_hosts` replaces the names of this machine."""
    async with serve(make_server(tmp_path, allowed_hosts="tasks.example")) as caller:
        assert (await caller.http.get("/health", headers={"Host": "tasks.example"})).status_code == 200
        assert (await caller.http.get("/health")).status_code == 421


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_a_public_address_needs_authentication_or_a_word(host: str) -> None:
    """CVE class: insecure defaults. One line names both ways out."""
    with pytest.raises(ConfigurationError, match=r"--auth .*--insecure"):
        LongTaskServer("t", settings=Settings(host=host)).check_exposure()
    LongTaskServer("t", settings=Settings(host=host, insecure=True)).check_exposure()
    LongTaskServer("t", settings=Settings(host=host, auth="keys")).check_exposure()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"auth": "password"}, "keys, oidc"),
        ({"auth": "oidc"}, "--issuer"),
        ({"auth": "oidc", "issuer": "http://a.example", "audience": "https://b.example"}, "https"),
        ({"auth": "oidc", "issuer": "https://a.example", "audience": "b"}, "audience"),
        ({"auth": "keys", "issuer": "https://a.example"}, "oidc"),
    ],
)
def test_settings_that_do_not_fit_stop_the_start(settings: dict[str, Any], word: str) -> None:
    """A half-configured lock is no lock."""
    with pytest.raises(ConfigurationError, match=word):
        LongTaskServer("t", settings=Settings(**settings)).http_app()


async def test_health_says_neither_ids_nor_owners_nor_types(tmp_path: Path) -> None:
    """Anybody may ask it, with or without authentication."""
    async with serving(tmp_path, auth=None) as (_, caller):
        operation_id = await caller.start("work")
        text = (await caller.http.get("/health")).text
        assert operation_id not in text
        assert '"work"' not in text


# Keys.


async def test_a_key_opens_what_its_scopes_allow_and_nothing_else(tmp_path: Path) -> None:
    """Another owner's tasks are not there, and without a key, or with a wrong one, nothing is."""
    async with serving(tmp_path) as (server, nobody):
        secret = await key_for(server, "ann")
        async with calling(nobody.url, token=secret) as ann:
            operation_id = await ann.start("work", {"a": 7})
            assert (await ann.frames(operation_id))[-1].event == "done"
            assert (await ann.snapshot(operation_id))["output"] == 7
        async with calling(nobody.url, token=await key_for(server, "bob")) as bob:
            assert (await bob.http.get(f"/progress/{operation_id}")).status_code == 404
        for token in (None, secret[:-1], "x", "ltk_", "a.b.c"):
            async with calling(nobody.url, token=token) as stranger:
                response = await stranger.http.get(f"/progress/{operation_id}")
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Bearer ")


async def test_a_missing_scope_is_a_403_that_names_it(tmp_path: Path) -> None:
    """Over MCP and HTTP alike, with `insufficient_scope`, before anything is done."""
    async with serving(tmp_path) as (server, nobody):
        async with calling(nobody.url, token=await key_for(server, "ann")) as ann:
            operation_id = await ann.start("work")
        async with calling(nobody.url, token=await key_for(server, "ann", READ)) as reader:
            response = await call(reader, "start_long_task", task_type="work")
            assert response.status_code == 403
            assert response.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{WRITE}"'
            assert response.json()["error_code"] == "INSUFFICIENT_SCOPE"
            assert (await call(reader, "work", a=1)).status_code == 403
            assert len((await reader.call("list_operations"))["data"]["operations"]) == 1
        async with calling(nobody.url, token=await key_for(server, "ann", WRITE)) as writer:
            for path in (f"/progress/{operation_id}", f"/progress/{operation_id}/stream"):
                response = await writer.http.get(path)
                assert response.status_code == 403
                assert READ in response.headers["www-authenticate"]


async def test_an_administrator_reads_every_stream_and_lists_their_own_tools(tmp_path: Path) -> None:
    """CVE class: confused deputy. `tasks:admin` counts over HTTP; tools, which models call, stay with their owner."""
    async with serving(tmp_path) as (server, nobody):
        async with calling(nobody.url, token=await key_for(server, "ann")) as ann:
            operation_id = await ann.start("work")
        async with calling(nobody.url, token=await key_for(server, "root", ADMIN)) as admin:
            assert (await admin.http.get(f"/progress/{operation_id}")).status_code == 200
            assert (await admin.call("list_operations"))["data"]["operations"] == []
            assert (await admin.call("get_task_progress", operation_id=operation_id))["error_code"] == "NOT_FOUND"


async def test_a_session_belongs_to_the_key_that_opened_it(tmp_path: Path) -> None:
    """CVE class: session fixation. Its id is no credential."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    async with serving(tmp_path) as (server, nobody):
        async with calling(nobody.url, token=await key_for(server, "ann")) as ann:
            opened = await ann.post(message("initialize", hello))
            session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        async with calling(nobody.url, token=await key_for(server, "bob")) as bob:
            assert (await bob.post(message("tools/list", {}), **session)).status_code == 404
        assert (await nobody.post(message("tools/list", {}), **session)).status_code == 401


# Tokens of an issuer.


async def test_tokens_and_keys_are_served_side_by_side(tmp_path: Path) -> None:
    """`--auth keys,oidc`; refusals name where the resource is described, which names the issuer and the scopes."""
    async with (
        issuing() as issuer,
        serving(tmp_path, auth="keys,oidc", issuer=issuer.url, audience=AUDIENCE) as (server, nobody),
    ):
        async with calling(nobody.url, token=issuer.token(scope=f"{READ} {WRITE}")) as ann:
            operation_id = await ann.start("work")
        async with calling(nobody.url, token=await key_for(server, "ann")) as other:
            assert (await other.http.get(f"/progress/{operation_id}")).status_code == 404, "another owner, same name"
        async with calling(nobody.url, token=issuer.token(scope=READ)) as reader:
            response = await call(reader, "start_long_task", task_type="work")
            assert response.status_code == 403
            challenge = response.headers["www-authenticate"]
            assert f'scope="{WRITE}"' in challenge
            assert "resource_metadata=" in challenge
        async with calling(nobody.url, token=issuer.token(aud="https://other.example")) as stranger:
            response = await stranger.post(message("tools/list", {}))
            assert response.status_code == 401
            assert f'{AUDIENCE}/.well-known/oauth-protected-resource"' in response.headers["www-authenticate"]
        described = (await nobody.http.get("/.well-known/oauth-protected-resource")).json()
        assert described["authorization_servers"] == [issuer.url]
        assert set(described["scopes_supported"]) == {READ, WRITE, ADMIN}


async def test_an_issuer_that_does_not_answer_is_no_refusal(tmp_path: Path) -> None:
    """503 with Retry-After: a client keeps its token and comes again."""
    async with issuing() as issuer:
        issuer.is_away = True
        async with serving(tmp_path, auth="oidc", issuer=issuer.url, audience=AUDIENCE) as (_, nobody):
            async with calling(nobody.url, token=issuer.token()) as ann:
                response = await ann.http.get("/progress/x")
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"


# Tickets.


async def test_a_ticket_follows_one_task_without_a_header(tmp_path: Path) -> None:
    """Stream and snapshot of that task; nothing else, on no other route, and not to make another ticket."""
    async with serving(tmp_path) as (server, nobody):
        async with calling(nobody.url, token=await key_for(server, "ann")) as ann:
            first, second = [await ann.start("work") for _ in range(2)]
            response = await ann.http.post(f"/progress/{first}/ticket")
            assert response.status_code == 200
            assert response.headers["cache-control"] == "no-store"
            given = response.json()
            assert (await ann.http.post("/progress/nothing/ticket")).status_code == 404
        ticket = given["ticket"]
        async with nobody.http.stream("GET", given["stream_url"]) as stream:
            assert stream.status_code == 200
            assert "event: done" in (await stream.aread()).decode()
        assert (await nobody.http.get(f"/progress/{first}?ticket={ticket}")).status_code == 200
        assert (await nobody.http.get(f"/progress/{second}?ticket={ticket}")).status_code == 404
        assert (await nobody.http.post(f"/progress/{first}/ticket?ticket={ticket}")).status_code == 401
        assert (await nobody.http.post(f"/mcp?ticket={ticket}", json={})).status_code == 401
        assert (await nobody.http.get(f"/progress/{first}?ticket={ticket[:-4]}AAAA")).status_code == 401


# The matrix.


def message(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


async def call(caller: Caller, tool: str, **arguments: Any) -> httpx2.Response:
    return await caller.post(message("tools/call", {"name": tool, "arguments": arguments}))


TOOLS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "start_long_task": ("start", {"task_type": "work"}),
    "work": ("start", {}),
    "get_task_progress": ("get", {"operation_id": "x"}),
    "get_task_result": ("get", {"operation_id": "x"}),
    "wait_for_tasks": ("get", {"operation_ids": ["x"]}),
    "list_operations": ("list", {}),
    "cancel_task": ("cancel", {"operation_id": "x"}),
    "retry_task": ("retry", {"operation_id": "x"}),
    "respond_to_task": ("answer", {"operation_id": "x", "key": "k", "response": True}),
    "list_task_types": (None, {}),
}
"""Every tool, the operation it is (None: none on tasks), and arguments that are well formed."""

HTTP: dict[tuple[str, str], tuple[str | None, dict[str, Any] | None]] = {
    ("GET", "/"): ("open", None),
    ("GET", "/ui"): ("open", None),
    ("GET", "/ui/tasks/{operation_id}"): ("open", None),
    ("GET", "/ui/{name}"): ("open", None),
    ("GET", "/health"): ("open", None),
    ("GET", "/livez"): ("open", None),
    ("GET", "/readyz"): ("open", None),
    ("POST", "/mcp"): (None, {}),
    ("GET", "/progress/{operation_id:path}"): ("get", None),
    ("GET", "/progress/{operation_id:path}/stream"): ("read", None),
    ("GET", "/progress/{operation_id:path}/ui-messages"): ("read", None),
    ("POST", "/progress/{operation_id:path}/ticket"): ("get", None),
    ("GET", "/tasks"): ("list", None),
    ("POST", "/tasks"): ("start", {"task_type": "work"}),
    ("GET", "/tasks/{operation_id}"): ("get", None),
    ("GET", "/tasks/{operation_id}/events"): ("read", None),
    ("GET", "/tasks/{operation_id}/stream"): ("read", None),
    ("GET", "/tasks/{operation_id}/result"): ("get", None),
    ("POST", "/tasks/{operation_id}/cancel"): ("cancel", {}),
    ("POST", "/tasks/{operation_id}/retry"): ("retry", {}),
    ("POST", "/tasks/{operation_id}/answers"): ("answer", {"responses": {"k": True}}),
    ("GET", "/tasks/stream"): ("list", None),
    ("GET", "/task-types"): (None, None),
    ("GET", "/openapi.json"): (None, None),
}
"""Every route and method, the operation it is (`open`: anybody may; None: none, or each message is), and a fit body."""

CALLERS: dict[str, frozenset[str] | None] = {
    "nobody": None,
    "reader": frozenset({READ}),
    "writer": frozenset({WRITE}),
    "owner": frozenset({READ, WRITE}),
    "admin": frozenset({READ, WRITE, ADMIN}),
    "expired": None,
    "revoked": None,
}


def expected(operation: str | None, scopes: frozenset[str] | None) -> Iterable[int]:
    """The statuses a caller with these scopes may get; what is not refused fails for its made-up id or succeeds."""
    if operation == "open":
        return (200,)
    if scopes is None:
        return (401,)
    if operation is not None and NEEDS[operation] not in scopes:
        return (403,)
    return (200, 201, 202, 204, 400, 404, 406)


async def test_every_route_and_tool_answers_every_kind_of_caller_as_the_table_says(tmp_path: Path) -> None:
    """A route, method or tool without a row in this file fails the test, so none can be added unguarded."""
    async with serving(tmp_path) as (server, nobody):
        routes = {
            (method, route.path)
            for route in server.http_app().routes
            for method in (getattr(route, "methods", None) or {"POST"}) - {"HEAD"}
            # A route for TRACE answers all methods that the path does not have, with 405.
            # Sockets have tests of their own.
            if isinstance(route, Route) and "TRACE" not in (getattr(route, "methods", None) or ())
        }
        assert routes == HTTP.keys()
        assert {tool.name for tool in await server.list_tools()} == TOOLS.keys()
        tokens = await tokens_of(server)
        assert tokens.keys() == CALLERS.keys()
        for kind, token in tokens.items():
            async with calling(nobody.url, token=token) as caller:
                for (method, path), (operation, body) in HTTP.items():
                    address = path.replace("{operation_id:path}", "x").replace("{operation_id}", "x")
                    address = address.replace("{name}", "page.js")
                    # The head is enough: some answers have no end.
                    async with caller.http.stream(method, address, json=body) as response:
                        pass
                    assert response.status_code in expected(operation, CALLERS[kind]), (kind, method, path)
                for tool, (operation, arguments) in TOOLS.items():
                    response = await call(caller, tool, **arguments)
                    assert response.status_code in expected(operation, CALLERS[kind]), (kind, tool)


async def tokens_of(server: LongTaskServer) -> dict[str, str | None]:
    """A credential for each kind of caller."""
    now = 0.0
    past = KeyRing(lambda: server.engine.backend.documents, clock=lambda: now)
    ring = KeyRing(lambda: server.engine.backend.documents)
    _, expired = await past.create("ann", [READ, WRITE], expires_in=60)
    key, revoked = await ring.create("ann", [READ, WRITE])
    await ring.revoke(key.id)
    tokens: dict[str, str | None] = {"nobody": None, "expired": expired, "revoked": revoked}
    for kind, scopes in CALLERS.items():
        if scopes is not None:
            tokens[kind] = await key_for(server, "ann", *scopes)
    return tokens
