"""Tasks as HTTP resources: what a caller with nothing but an HTTP client can do, and what it is answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from client_sdk import wire
from tests.server.servers import Caller, serve
from tests.server.stock import open_gate, stock_server
from tests.web.rest_calls import ended, post, started


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


async def test_a_start_is_answered_with_the_task_and_its_address(caller: Caller) -> None:
    """202 while it goes on; the snapshot is the one of every other way to it."""
    operation_id = await started(caller, n=1, gate=uuid4().hex)
    async with caller.stream(operation_id) as stream:
        await stream.until("progress")
    shown = (await caller.http.get(f"/tasks/{operation_id}")).json()
    other = await caller.snapshot(operation_id)
    assert set(shown) == set(wire.Snapshot.model_fields)
    assert {**shown, "elapsed_seconds": 0} == {**other, "elapsed_seconds": 0}


async def test_a_start_that_prefers_to_wait_is_answered_when_the_task_has_ended(caller: Caller) -> None:
    """200, with the output in it; the header and the body say the same thing."""
    for body, headers in (({}, {"Prefer": "respond-async, wait=20"}), ({"wait_seconds": 20}, {})):
        response = await post(caller, "/tasks", {"task_type": "counts", "arguments": {"n": 2}, **body}, **headers)
        assert (response.status_code, response.json()["output"]) == (200, 2)
        assert response.headers.get("preference-applied") == ("wait=20" if headers else None)


async def test_the_same_key_starts_one_task(caller: Caller) -> None:
    """With other arguments it is a conflict, and two different keys in one request are refused."""
    key = uuid4().hex
    body = {"task_type": "counts", "arguments": {"n": 1}}
    ids = [(await post(caller, "/tasks", body, **{"Idempotency-Key": key})).json()["operation_id"] for _ in range(3)]
    assert len(set(ids)) == 1
    other = {**body, "arguments": {"n": 2}}
    conflict = await post(caller, "/tasks", other, **{"Idempotency-Key": key})
    assert (conflict.status_code, conflict.json()["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert conflict.json()["details"]["operation_id"] == ids[0]
    both = await post(caller, "/tasks", {**body, "idempotency_key": "another"}, **{"Idempotency-Key": key})
    assert both.status_code == 400


async def test_a_state_that_is_known_is_not_sent_again(caller: Caller) -> None:
    """304 for the tag of the newest event, at once or after a wait in which nothing happened."""
    gate = uuid4().hex
    operation_id = await started(caller, n=1, gate=gate)
    async with caller.stream(operation_id) as stream:
        await stream.until("progress")
    path = f"/tasks/{operation_id}"
    tag = (await caller.http.get(path)).headers["etag"]
    for query in ("", "?wait=0.1"):
        same = await caller.http.get(path + query, headers={"If-None-Match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    answers: list[Any] = []

    async def held() -> None:
        answers.append(await caller.http.get(f"{path}?wait=20", headers={"If-None-Match": f'"x", {tag}'}))

    async with anyio.create_task_group() as calls:
        calls.start_soon(held)
        open_gate(gate)
    assert answers[0].status_code == 200
    assert answers[0].json()["last_event_id"] > int(tag.strip('W/"'))


async def test_a_wait_since_a_number_ends_with_the_next_event(caller: Caller) -> None:
    """And at once for a number that is not the newest."""
    operation_id = await started(caller, n=1, gate=uuid4().hex)
    with anyio.fail_after(10):
        shown = (await caller.http.get(f"/tasks/{operation_id}?wait=60&since=0")).json()
        while shown["progress"] < 100:
            query = f"wait=60&since={shown['last_event_id']}"
            shown = (await caller.http.get(f"/tasks/{operation_id}?{query}")).json()
    assert shown["status"] == "running"


async def test_events_come_in_pages(caller: Caller) -> None:
    """Each goes on where the one before ended, and together they are the stream."""
    operation_id = await ended(caller, n=7)
    seen: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        page = (await caller.http.get(f"/tasks/{operation_id}/events?after={after}&limit=4")).json()
        seen += page["events"]
        after, more = page["last_event_id"], page["has_more"]
    frames = await caller.frames(operation_id)
    assert [(e["id"], e["event"], e["data"]) for e in seen] == [(f.id, f.event, f.data) for f in frames]
    ahead = (await caller.http.get(f"/tasks/{operation_id}/events?after={after}")).json()
    assert ahead == {"events": [], "last_event_id": after, "has_more": False}


async def test_the_stream_of_a_task_resumes(caller: Caller) -> None:
    """As the progress stream does, byte for byte."""
    operation_id = await ended(caller, n=3)
    for headers in ({}, {"Last-Event-ID": "3"}, {"Last-Event-ID": "6"}):
        one = await caller.http.get(f"/tasks/{operation_id}/stream", headers=headers)
        other = await caller.http.get(f"/progress/{operation_id}/stream", headers=headers)
        assert (one.status_code, one.content) == (other.status_code, other.content)


async def test_a_result_is_there_or_the_answer_says_why_not(caller: Caller) -> None:
    """409 with the code of the tools; a wait ends with the task."""
    operation_id = await started(caller, n=2)
    response = await caller.http.get(f"/tasks/{operation_id}/result?wait=20")
    assert response.status_code == 200
    assert (response.json()["result"], response.json()["status"]) == (2, "completed")
    running = await started(caller, n=1, gate=uuid4().hex)
    failed = await ended(caller, "fails", message="no luck")
    cancelled = await started(caller, n=1, gate=uuid4().hex)
    await post(caller, f"/tasks/{cancelled}/cancel", {"reason": "enough"})
    await caller.http.get(f"/tasks/{cancelled}?wait=20")
    for task, code in ((running, "NOT_READY"), (failed, "TASK_FAILED"), (cancelled, "TASK_CANCELLED")):
        response = await caller.http.get(f"/tasks/{task}/result")
        assert (response.status_code, response.json()["error_code"]) == (409, code)
    details = (await caller.http.get(f"/tasks/{failed}/result")).json()["details"]
    assert (details["error_code"], details["details"]) == ("NO_LUCK", {"page": 3})


async def test_a_task_is_cancelled_and_retried(caller: Caller) -> None:
    """Cancelling is harmless when repeated; the retry is a new task with an address of its own."""
    operation_id = await started(caller, n=1, gate=uuid4().hex)
    async with caller.stream(operation_id) as stream:
        await stream.until("progress")
    refused = await post(caller, f"/tasks/{operation_id}/retry")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "NOT_RETRYABLE")
    first = await post(caller, f"/tasks/{operation_id}/cancel", {"reason": "enough"})
    assert first.json()["outcome"] in ("cancelled", "cancel_requested")
    await caller.http.get(f"/tasks/{operation_id}?wait=20")
    again = await caller.http.post(f"/tasks/{operation_id}/cancel")
    assert (again.status_code, again.json()["outcome"]) == (200, "already_cancelled")
    retried = await post(caller, f"/tasks/{operation_id}/retry")
    assert (retried.status_code, retried.json()["retry_of"]) == (202, operation_id)
    assert retried.headers["location"] == f"/tasks/{retried.json()['operation_id']}"


async def test_a_question_is_answered(caller: Caller) -> None:
    """An answer that does not fit leaves the question open; one that does lets the task go on, once."""
    operation_id = await started(caller, "asks")
    shown = (await caller.http.get(f"/tasks/{operation_id}?wait=20")).json()
    assert list(shown["input_requests"]) == ["go"]
    path = f"/tasks/{operation_id}/answers"
    wrong = await post(caller, path, {"responses": {"go": {"action": "perhaps"}}})
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "INVALID_ARGUMENT")
    right = {"responses": {"go": {"action": "accept", "content": {"value": "yes"}}}}
    assert (await post(caller, path, right)).json()["answered"] is True
    assert (await post(caller, path, right)).json()["answered"] is False
    assert (await caller.http.get(f"/tasks/{operation_id}/result?wait=20")).status_code == 200


async def test_the_list_is_filtered_and_comes_in_pages(caller: Caller) -> None:
    """Newest first, as the tool lists them."""
    ids = [await ended(caller, n=1) for _ in range(5)]
    failed = await ended(caller, "fails", message="no")
    query, seen = "limit=2&status=completed", []
    while query:
        page = (await caller.http.get(f"/tasks?{query}")).json()
        seen += [task["operation_id"] for task in page["operations"]]
        query = f"limit=2&status=completed&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == ids[::-1]
    only = (await caller.http.get("/tasks?task_type=fails")).json()
    assert ([task["operation_id"] for task in only["operations"]], only["count"]) == ([failed], 1)


async def test_task_types_are_listed_with_their_arguments(caller: Caller) -> None:
    """The same as the tool lists."""
    types = (await caller.http.get("/task-types")).json()
    assert types == (await caller.call("list_task_types"))["data"]


BODY = {"task_type": "counts", "arguments": {"n": 1}}


@pytest.mark.parametrize(
    ("body", "headers", "status", "path"),
    [
        (b"{", {}, 400, "body"),
        (b'{"task_type": NaN}', {}, 400, "body"),
        (b"[]", {}, 400, ""),
        (b"\xff", {}, 400, "body"),
        (json.dumps({**BODY, "idempotencyKey": "x"}).encode(), {}, 400, "idempotencyKey"),
        (json.dumps({**BODY, "priority": 10}).encode(), {}, 400, "priority"),
        (json.dumps({**BODY, "priority": "1"}).encode(), {}, 400, "priority"),
        (json.dumps({**BODY, "arguments": {"n": "x"}}).encode(), {}, 400, "n"),
        (json.dumps(BODY).encode(), {"Content-Type": "text/plain"}, 415, "Content-Type"),
        (b'"' + b"x" * 17 * 1024 * 1024, {}, 413, "body"),
    ],
)
async def test_a_body_that_is_not_understood_is_refused(
    caller: Caller, body: bytes, headers: dict[str, str], status: int, path: str
) -> None:
    """With our error object, which names the place."""
    response = await caller.http.post("/tasks", content=body, headers={"Content-Type": "application/json", **headers})
    assert (response.status_code, response.json()["error_code"]) == (status, "INVALID_ARGUMENT")
    assert response.json()["details"]["errors"][0]["path"] == path
    assert set(response.json()) == set(wire.Reply.model_fields)
    assert len(response.content) < 2000


async def test_a_misspelled_field_is_named_with_the_nearest_one(caller: Caller) -> None:
    """So that a key that would have kept a second task away is not dropped in silence."""
    response = await post(caller, "/tasks", {**BODY, "idempotencyKey": "x"})
    assert "did you mean 'idempotency_key'?" in response.json()["error"]


QUERIES = ["/tasks?limit=0", "/tasks?limit=x", "/tasks?limit=1.5", "/tasks?cursor=x", "/tasks?status=x"]


@pytest.mark.parametrize("path", [*QUERIES, "/tasks/ID?wait=-1", "/tasks/ID?since=x", "/tasks/ID/events?limit=501"])
async def test_a_query_that_is_not_understood_is_refused(caller: Caller, path: str) -> None:
    """400, whatever the route."""
    operation_id = await started(caller, n=1)
    response = await caller.http.get(path.replace("ID", operation_id))
    assert (response.status_code, response.json()["status"]) == (400, "error")


@pytest.mark.parametrize("path", ["", "/events", "/stream", "/result", "/cancel", "/retry", "/answers"])
async def test_an_unknown_task_is_not_found_here_either(caller: Caller, path: str) -> None:
    """Whatever is asked of it; and another method is refused with the ones there are."""
    ask = caller.http.post if path in ("/cancel", "/retry", "/answers") else caller.http.get
    more: dict[str, Any] = {"json": {"responses": {"a": 1}}} if path == "/answers" else {}
    response = await ask(f"/tasks/nothing{path}", **more)
    assert (response.status_code, response.json()["error_code"]) == (404, "NOT_FOUND")
    other = await caller.http.put(f"/tasks/nothing{path}")
    assert (other.status_code, other.json()["status"]) == (405, "error")
    assert other.headers["allow"] in ("POST", "GET, HEAD")


async def test_a_full_queue_is_too_many_requests(tmp_path: Path) -> None:
    """429, with when to come back."""
    async with serve(stock_server(tmp_path, max_queued=0)) as caller:
        response = await post(caller, "/tasks", BODY)
    assert (response.status_code, response.json()["error_code"]) == (429, "LIMIT_EXCEEDED")
    assert response.headers["retry-after"] == "5"


async def test_a_slash_at_the_end_is_answered(caller: Caller) -> None:
    """Not redirected: clients repeat a redirected POST as GET, or without its credentials."""
    response = await post(caller, "/tasks/", BODY)
    assert response.status_code == 202
    operation_id = response.json()["operation_id"]
    for path in ("/tasks/", "/task-types/", "/health/", f"/tasks/{operation_id}/", f"/progress/{operation_id}/"):
        assert (await caller.http.get(path)).status_code == 200, path
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    listed = await caller.http.post("/mcp/", json=message, headers={"Accept": "application/json"})
    assert listed.status_code == 200


async def test_a_web_page_of_another_site_is_kept_out(caller: Caller) -> None:
    """A server on loopback answers to the names of this machine, and no page from elsewhere."""
    host = await caller.http.get("/tasks", headers={"Host": "evil.example"})
    page = await post(caller, "/tasks", BODY, Origin="https://evil.example")
    assert (host.status_code, page.status_code) == (421, 403)
    assert (await caller.http.get("/tasks")).json()["count"] == 0


async def test_an_address_has_the_prefix_of_the_mount(tmp_path: Path) -> None:
    """`Location` leads to the task where the application is mounted."""
    server = stock_server(tmp_path)
    app = Starlette(routes=[Mount("/inner", app=server.http_app())], lifespan=server.lifespan)
    async with serve(app) as caller:
        response = await post(caller, "/inner/tasks/", BODY)
        assert response.status_code == 202
        assert (await caller.http.get(response.headers["location"])).status_code == 200
