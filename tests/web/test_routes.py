"""The stream and the snapshot as HTTP: every name, code and header a caller may rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from client_sdk import wire
from tests.server.servers import Caller, Frame, serve
from tests.server.stock import open_gate, stock_server


@pytest.fixture(scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    """One server for the whole file: nothing here depends on what other tasks there are."""
    async with serve(stock_server(tmp_path_factory.mktemp("routes"))) as caller:
        yield caller


async def finished(caller: Caller, task_type: str, **arguments: Any) -> str:
    """Run a task to its end; its id."""
    operation_id = await caller.start(task_type, arguments)
    await caller.frames(operation_id)
    return operation_id


def shape(frames: list[Frame]) -> list[tuple[int | None, str]]:
    return [(frame.id, frame.event) for frame in frames]


# The stream.


async def test_a_stream_tells_the_whole_life_of_a_task(caller: Caller) -> None:
    """From event 1 to `done`, each with its number; the closing `progress` has none, so that a cut loses nothing."""
    operation_id = await caller.start("counts", {"n": 2})
    async with caller.stream(operation_id) as stream:
        frames = await stream.rest()
        head = stream.response.headers
    assert head["content-type"].startswith("text/event-stream")
    assert (head["cache-control"], head["x-accel-buffering"]) == ("no-cache", "no")
    assert stream.retry == 1000
    assert shape(frames) == [
        (1, "status"), (2, "status"), (3, "progress"), (4, "progress"), (None, "progress"), (5, "done"),
    ]  # fmt: skip
    queued, started, first, _, closing_frame, done = (frame.data for frame in frames)
    expected = {"operation_id": operation_id, "status": "queued", "attempt": 0, "reason": "queued", "message": None}
    assert queued == expected
    assert started == {**expected, "status": "running", "attempt": 1, "reason": "started"}
    assert set(first) == set(wire.Progress.model_fields)
    assert (first["progress"], first["message"], first["current"], first["total"]) == (50.0, "step 1", 1, 2)
    assert (first["operation_id"], first["task_type"], first["status"]) == (operation_id, "counts", "running")
    assert (closing_frame["progress"], closing_frame["status"]) == (100, "completed")
    assert closing_frame["message"] == "2 steps"
    assert done == {"status": "completed"}
    for stamp in (first["started_at"], first["updated_at"]):
        assert stamp.endswith("Z")


async def test_a_failed_task_ends_its_stream_with_an_error(caller: Caller) -> None:
    """With the author's message, code and details, and nothing after it."""
    frames = await caller.frames(await caller.start("fails", {"message": "no such page"}))
    assert frames[-1].event == "error"
    assert frames[-1].data == {
        "error": "no such page", "error_code": "NO_LUCK", "status": "failed", "details": {"page": 3},
    }  # fmt: skip
    assert shape(frames)[-2:] == [(3, "progress"), (4, "error")]


async def test_a_cancelled_task_ends_its_stream_with_the_reason(caller: Caller) -> None:
    """After a status that says it was asked to stop."""
    operation_id = await caller.start("counts", {"n": 1, "gate": "never"})
    async with caller.stream(operation_id) as stream:
        await stream.until("progress")
        await caller.call("cancel_task", operation_id=operation_id, reason="enough")
        frames = await stream.rest()
    assert [(f.event, f.data.get("reason")) for f in frames] == [("status", "cancel_requested"), ("done", "enough")]
    assert frames[-1].data == {"status": "cancelled", "reason": "enough"}


async def test_output_and_questions_are_frames_of_their_own(caller: Caller) -> None:
    """With the JSON and its topic; with all that is open and what an answer has to look like."""
    frames = await caller.frames(await caller.start("talks", {"n": 1}))
    (output,) = [frame for frame in frames if frame.event == "output"]
    assert (output.data["topic"], output.data["data"], output.id) == ("text", "0 xxxxxxxx", 3)
    operation_id = await caller.start("asks")
    async with caller.stream(operation_id) as stream:
        question = (await stream.until("input_required"))[-1]
        assert set(question.data) == {"operation_id", "status", "input_requests"}
        assert question.data["input_requests"]["go"]["params"]["message"] == "Go on?"
        await caller.call("cancel_task", operation_id=operation_id)


@pytest.mark.parametrize(
    ("cursor", "query"),
    [(3, ""), (None, "?last_event_id=3"), (None, "?last_message_id=3"), (3, "?last_event_id=1")],
)
async def test_a_stream_resumes_after_the_cursor(caller: Caller, cursor: int | str | None, query: str) -> None:
    """In the header, which every EventSource sends by itself, or in the query."""
    operation_id = await finished(caller, "counts", n=4)
    frames = await caller.frames(operation_id, cursor, query=query)
    assert [frame.id for frame in frames] == [4, 5, 6, None, 7]


@pytest.mark.parametrize(("cursor", "query"), [(0, ""), ("0-0", ""), (None, "?last_event_id=0-0"), (None, "?from=x")])
async def test_zero_means_all(caller: Caller, cursor: int | str | None, query: str) -> None:
    """Also as other servers' pollers write it."""
    operation_id = await finished(caller, "counts", n=1)
    assert [frame.id for frame in await caller.frames(operation_id, cursor, query=query)] == [1, 2, 3, None, 4]


@pytest.mark.parametrize("cursor", ["abc", "-1", "1.5", "1e3", "0x1", "1-0", "9" * 400, "1 2", "%00", "٣"])
async def test_a_cursor_that_is_no_number_is_refused(caller: Caller, cursor: str) -> None:
    """With what was expected and what came, in few words."""
    operation_id = await finished(caller, "counts", n=1)
    response = await caller.http.get(f"/progress/{operation_id}/stream", params={"last_event_id": cursor})
    assert response.status_code == 400
    body = response.json()
    assert (body["status"], body["error_code"]) == ("error", "INVALID_ARGUMENT")
    assert body["details"]["errors"][0]["path"] == "last_event_id"
    assert len(body["error"]) < 200


async def test_who_has_seen_the_end_gets_no_content(caller: Caller) -> None:
    """Which tells every EventSource to stop coming back."""
    operation_id = await finished(caller, "counts", n=1)
    response = await caller.http.get(f"/progress/{operation_id}/stream", headers={"Last-Event-ID": "4"})
    assert (response.status_code, response.content) == (204, b"")


async def test_a_cut_before_the_end_loses_nothing(caller: Caller) -> None:
    """Who was cut off between the closing `progress` and `done` gets both."""
    operation_id = await finished(caller, "counts", n=1)
    assert shape(await caller.frames(operation_id, 3)) == [(None, "progress"), (4, "done")]


async def test_from_now_begins_with_the_present(caller: Caller) -> None:
    """One `progress` of how things are, then only what is new."""
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 3, "gate": gate})
    async with caller.stream(operation_id) as stream:
        await stream.upto(5)
    async with caller.stream(operation_id, query="?from=now") as stream:
        frames = aiter(stream)
        present = await anext(frames)
        assert (present.id, present.event, set(present.data)) == (None, "progress", set(wire.Progress.model_fields))
        assert (present.data["message"], present.data["progress"]) == ("step 3", 100)
        open_gate(gate)
        assert shape([frame async for frame in frames]) == [(None, "progress"), (6, "done")]
    assert shape(await caller.frames(operation_id, query="?from=now"))[-1] == (6, "done")


async def test_a_cursor_ahead_of_the_log_is_told_so(caller: Caller) -> None:
    """The store was set back: the reader gets a gap with how things are, and the end all the same."""
    operation_id = await finished(caller, "counts", n=1)
    with anyio.fail_after(10):
        frames = await caller.frames(operation_id, 99)
    assert frames[0].event == "gap"
    assert frames[0].data["snapshot"]["status"] == "completed"
    assert shape(frames)[-1] == (4, "done")
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 1, "gate": gate})
    async with caller.stream(operation_id, 99) as stream:
        assert (await stream.until("gap"))[-1].data["snapshot"]["last_event_id"] < 99
        open_gate(gate)
        assert shape(await stream.rest())[-1] == (4, "done")


async def test_closing_a_stream_never_cancels_the_task(caller: Caller) -> None:
    """To stop watching is not to stop."""
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 1, "gate": gate})
    for _ in range(3):
        async with caller.stream(operation_id) as stream:
            await stream.until("progress")
    open_gate(gate)
    assert (await caller.frames(operation_id))[-1].data == {"status": "completed"}


async def test_the_head_of_a_stream_can_be_asked_for(caller: Caller) -> None:
    """At once, though the task goes on; other methods are refused."""
    operation_id = await caller.start("counts", {"n": 1, "gate": "never"})
    with anyio.fail_after(5):
        response = await caller.http.head(f"/progress/{operation_id}/stream")
    assert response.status_code == 200
    for path in (f"/progress/{operation_id}/stream", f"/progress/{operation_id}", "/health"):
        assert (await caller.http.post(path)).status_code == 405
    await caller.call("cancel_task", operation_id=operation_id)


IDS = ["x", "a/b/c", "%2e%2e%2fetc%2fpasswd", "ä", "%ff", "%00", "a" * 10_000, "{}", "' OR 1=1 --", "stream"]


@pytest.mark.parametrize("operation_id", IDS, ids=lambda name: name[:20])
@pytest.mark.parametrize("suffix", ["", "/stream"])
async def test_an_unknown_task_is_not_found(caller: Caller, operation_id: str, suffix: str) -> None:
    """Whatever the id looks like: the contract's error as JSON, in few words."""
    response = await caller.http.get(f"/progress/{operation_id}{suffix}")
    assert response.status_code == 404
    body = response.json()
    assert (body["status"], body["error_code"]) == ("error", "NOT_FOUND")
    assert set(body) == set(wire.Reply.model_fields)
    assert len(body["error"]) < 300


async def test_an_id_of_a_megabyte_does_no_harm(caller: Caller) -> None:
    """It is refused by whoever reads it first, and the server serves on."""
    host, port = caller.http.base_url.host, caller.http.base_url.port
    async with await anyio.connect_tcp(host, port or 0) as connection:
        await connection.send(f"GET /progress/{'a' * 1_000_000} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = await connection.receive(100)
    assert answer.startswith(b"HTTP/1.1 4")
    assert (await caller.http.get("/health")).status_code == 200


# The snapshot.


async def test_a_snapshot_has_every_field(caller: Caller) -> None:
    """At every time of the task's life, with null where there is nothing."""
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 2, "gate": gate}, metadata={"who": "me"})
    async with caller.stream(operation_id) as stream:
        await stream.upto(4)
        running = await caller.snapshot(operation_id)
        again = await caller.snapshot(operation_id)
        open_gate(gate)
        await stream.rest()
    done = await caller.snapshot(operation_id)
    assert set(running) == set(done) == set(wire.Snapshot.model_fields)
    assert (running["status"], running["progress"], running["message"]) == ("running", 100.0, "step 2")
    assert (running["output"], running["error"], running["completed_at"], running["expires_at"]) == (None,) * 4
    assert (running["attempt"], running["last_event_id"], running["metadata"]) == (1, 4, {"who": "me"})
    assert again["updated_at"] == running["updated_at"]
    assert again["elapsed_seconds"] >= running["elapsed_seconds"]
    assert (done["status"], done["output"], done["message"], done["last_event_id"]) == ("completed", 2, "2 steps", 5)
    assert done["completed_at"] == done["updated_at"]
    assert done["expires_at"] > done["completed_at"]


async def test_a_queued_snapshot_says_how_many_are_before_it(tmp_path: Path) -> None:
    """And has not started."""
    async with serve(stock_server(tmp_path, concurrency=1)) as caller:
        ids = [await caller.start("counts", {"n": 1, "gate": "never"}) for _ in range(3)]
        async with caller.stream(ids[0]) as stream:
            await stream.until("progress")
        shown = [await caller.snapshot(operation_id) for operation_id in ids]
    assert [s["queue_position"] for s in shown] == [None, 0, 1]
    assert [s["started_at"] is None for s in shown] == [False, True, True]


async def test_a_caller_says_how_urgent_a_task_is_and_when_it_may_begin(tmp_path: Path) -> None:
    """Higher priorities are taken first; what has to wait for its time is behind all that need not."""
    async with serve(stock_server(tmp_path, concurrency=1)) as caller:
        gate = uuid4().hex
        holder = await caller.start("counts", {"n": 1, "gate": gate})
        async with caller.stream(holder) as stream:
            await stream.upto(2)
            later = await caller.start("counts", {"n": 1}, priority=9, start_after=3600)
            usual = await caller.start("counts", {"n": 1})
            urgent = await caller.start("counts", {"n": 1}, priority=5)
            line = [urgent, usual, later]
            assert [(await caller.snapshot(name))["queue_position"] for name in line] == [0, 1, 2]
            open_gate(gate)
            await stream.rest()
        ends = [await caller.call("get_task_result", operation_id=name, wait_seconds=10) for name in (usual, urgent)]
        assert ends[1]["data"]["completed_at"] <= ends[0]["data"]["completed_at"]
        assert (await caller.snapshot(later))["status"] == "queued"


@pytest.mark.parametrize("wrong", [{"priority": 10}, {"priority": -1}, {"start_after": -1}, {"start_after": 1e9}])
async def test_an_order_that_there_is_not_is_refused(caller: Caller, wrong: dict[str, Any]) -> None:
    """With what is expected."""
    reply = await caller.call("start_long_task", task_type="counts", arguments={"n": 1}, **wrong)
    assert reply["error_code"] == "INVALID_ARGUMENT"
    assert reply["details"]["errors"][0]["path"] in wrong


# Bounds.


async def test_a_silent_stream_gets_a_comment(tmp_path: Path) -> None:
    """After the configured silence, again and again, and none while there are events."""
    async with serve(stock_server(tmp_path, heartbeat=0.05)) as caller:
        operation_id = await caller.start("counts", {"n": 3, "gate": "beat"})
        async with caller.stream(operation_id) as stream:
            frames = []
            async for frame in stream:
                frames.append(frame)
                if [f.event for f in frames[-2:]] == ["comment", "comment"]:
                    break
            open_gate("beat")
            rest = await stream.rest()
    assert {f.data for f in frames if f.event == "comment"} == {"heartbeat"}
    assert [f.id for f in frames + rest if f.event != "comment"] == [1, 2, 3, 4, 5, None, 6]


async def test_there_is_a_bound_on_open_streams(tmp_path: Path) -> None:
    """One more is told when to come back; a stream that was closed makes room."""
    async with serve(stock_server(tmp_path, max_streams=1)) as caller:
        operation_id = await caller.start("counts", {"n": 1, "gate": "bound"})
        async with caller.stream(operation_id) as stream:
            await stream.until("progress")
            refused = await caller.http.get(f"/progress/{operation_id}/stream")
            assert (refused.status_code, refused.json()["error_code"]) == (503, "LIMIT_EXCEEDED")
            assert refused.headers["retry-after"] == "5"
        open_gate("bound")
        with anyio.fail_after(10):
            while (response := await caller.http.get(f"/progress/{operation_id}/stream")).status_code == 503:
                continue
        assert response.status_code == 200


async def test_a_reader_behind_what_is_kept_gets_a_gap(tmp_path: Path) -> None:
    """With how things are and the first number that is still there; from there on nothing is missing."""
    async with serve(stock_server(tmp_path, max_events=20)) as caller:
        operation_id = await finished(caller, "counts", n=100)
        for cursor in (None, 3):
            gap, *rest = await caller.frames(operation_id, cursor)
            assert (gap.id, gap.event) == (None, "gap")
            assert set(gap.data) == {"operation_id", "first_event_id", "snapshot"}
            assert gap.data["snapshot"]["status"] == "completed"
            first = gap.data["first_event_id"]
            assert 81 <= first <= 84
            assert [f.id for f in rest if f.id] == list(range(first, 104))
        kept = await caller.frames(operation_id, gap.data["first_event_id"] - 1)
        assert kept == rest
