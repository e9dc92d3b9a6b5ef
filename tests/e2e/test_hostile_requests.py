"""Requests that no client of ours would send, by the byte, to a real server process.

Whatever they are, no answer is a 500, the server serves on, and its log has no traceback.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from tests.crash.processes import ServerProcess, serving
from tests.server.servers import Caller, calling

APP = "mcp_server.cli.demo:demo_server"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The stock server."""
    with serving(APP, tmp_path_factory.mktemp("hostile")) as (process,):
        yield process


@pytest.fixture
async def caller(process: ServerProcess) -> AsyncIterator[Caller]:
    """After each test the server is well and works, and has logged nothing that is not for operators."""
    async with calling(process.url or await process.start()) as caller:
        before = len(process.log)
        yield caller
        assert (await caller.http.get("/health")).json()["status"] == "healthy"
        operation_id = await caller.start("data_analysis", {"duration_seconds": 0, "steps": 1})
        assert (await caller.frames(operation_id))[-1].data == {"status": "completed"}
        log = process.log[before:]
        assert "Traceback" not in log, log
        assert " ERROR " not in log, log


async def raw(caller: Caller, request: bytes) -> bytes:
    """What the server says to these bytes until it hangs up or has given a whole answer; b"" if nothing."""
    host, _, port = caller.url.removeprefix("http://").partition(":")
    said = b""
    with anyio.fail_after(20):
        async with await anyio.connect_tcp(host, int(port)) as connection:
            try:
                await connection.send(request)
                await connection.send_eof()
                while True:
                    said += await connection.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return said


def post(body: bytes, *headers: bytes) -> bytes:
    head = [b"POST /mcp HTTP/1.1", b"Host: 127.0.0.1", b"Connection: close", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, *headers, b"", body])


CALL = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_task_types", "arguments": {}}}
).encode()
JSON = b"Content-Type: application/json"

REQUESTS = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "a line without an end": b"GET /health",
    "a header of a megabyte": post(CALL, JSON, b"X-Filler: " + b"a" * 1_000_000),
    "ten thousand headers": post(CALL, JSON, *(b"X-%d: y" % number for number in range(10_000))),
    "a header that is no text": post(CALL, JSON, b"X-Odd: \xff\xfe\x80"),
    "a session id that is no text": post(CALL, JSON, b"Mcp-Session-Id: \xff\xfe"),
    "an unknown session": post(CALL, JSON, b"Mcp-Session-Id: json-none"),
    "an unknown protocol version": post(CALL, JSON, b"Mcp-Protocol-Version: 1999-01-01"),
    "no content type": post(CALL),
    "a wrong content type": post(CALL, b"Content-Type: text/plain"),
    "a content type that is no text": post(CALL, b"Content-Type: \xff"),
    "fewer bytes than announced": post(CALL, JSON).replace(b"Content-Length: ", b"Content-Length: 9"),
    "a negative length": post(CALL, JSON).replace(b"Content-Length: ", b"Content-Length: -"),
    "broken chunks": post(b"zz\r\nxx", JSON, b"Transfer-Encoding: chunked"),
    "a foreign host": post(CALL, JSON).replace(b"Host: 127.0.0.1", b"Host: evil.example"),
    "a foreign origin": post(CALL, JSON, b"Origin: http://evil.example"),
    "an address that is no text": b"GET /progress/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "escapes that are no text": b"GET /progress/%ff%fe%00 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "a cursor that is no text": b"GET /progress/x/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: \xff\r\n\r\n",
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_bytes_that_are_no_request_do_no_harm(caller: Caller, name: str) -> None:
    """They are answered below 500, or the connection is closed."""
    said = await raw(caller, REQUESTS[name])
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", said)
    assert status is not None or not said
    if status is not None:
        assert 200 <= int(status[1]) < 500, said[:500]
    assert b"Traceback" not in said


async def test_connections_that_break_off_do_no_harm(caller: Caller) -> None:
    """Clients that hang up after any part of a request, or while a stream or an answer is on its way."""
    operation_id = await caller.start("data_analysis", {"duration_seconds": 600, "steps": 2})
    stream = f"GET /progress/{operation_id}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    host, _, port = caller.url.removeprefix("http://").partition(":")
    whole = post(CALL, JSON)
    for request in [stream, whole, *(whole[:cut] for cut in range(0, len(whole), 40))]:
        async with await anyio.connect_tcp(host, int(port)) as connection:
            if request:
                await connection.send(request)
    assert (await caller.call("cancel_task", operation_id=operation_id))["status"] == "success"


@pytest.mark.parametrize("suffix", ["", "/stream"])
@pytest.mark.parametrize(
    "operation_id",
    ["unknown", "a/b/c", "../../etc/passwd", "stream", "a" * 30_000, "%00", "ä" * 50, "a b", "%2e%2e%2f"],
)
async def test_an_address_of_no_task_is_not_found(caller: Caller, operation_id: str, suffix: str) -> None:
    """The tools' error object with 404, however the id is written."""
    response = await caller.http.get(f"/progress/{operation_id}{suffix}")
    assert response.status_code == 404
    if response.headers["content-type"] == "application/json":
        assert response.json()["error_code"] == "NOT_FOUND"
        assert len(response.content) < 2_000


async def test_an_address_of_a_megabyte_is_refused(caller: Caller) -> None:
    """As HTTP servers do, or as no task's."""
    said = await raw(
        caller, b"GET /progress/" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    assert not said or said.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("cursor", ["abc", "-1", "1.5", "1e3", "0x10", "١", "9" * 30, "0-1", "1 2", "null"])
@pytest.mark.parametrize("where", ["header", "last_event_id", "last_message_id"])
async def test_a_cursor_that_is_no_number_is_a_bad_request(caller: Caller, cursor: str, where: str) -> None:
    """400 with INVALID_ARGUMENT that shows what was given, in every place a cursor may stand."""
    operation_id = await caller.start("data_analysis", {"duration_seconds": 0, "steps": 1})
    path = f"/progress/{operation_id}/stream"
    if where == "header":
        response = await caller.http.get(path, headers={b"Last-Event-ID": cursor.encode()})
    else:
        response = await caller.http.get(path, params={where: cursor})
    assert response.status_code == 400
    reply = response.json()
    assert (reply["status"], reply["error_code"]) == ("error", "INVALID_ARGUMENT")
    assert reply["details"]["errors"][0]["path"] == "last_event_id"


async def test_arguments_of_five_megabytes_are_refused_with_their_size(caller: Caller) -> None:
    """INVALID_ARGUMENT that names the bound; nothing is started."""
    before = (await caller.call("list_operations"))["data"]["operations"]
    reply = await caller.call("start_long_task", task_type="data_analysis", metadata={"text": "x" * 5_000_000})
    assert reply["error_code"] == "INVALID_ARGUMENT"
    assert "1048576" in reply["error"]
    assert (await caller.call("list_operations"))["data"]["operations"] == before
