"""Starting, finding, asking and ending tasks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid

import anyio
import httpx2
import pytest

from client_sdk import (
    DoneEvent,
    ErrorEvent,
    InputRequiredEvent,
    LongTaskClient,
    NotFound,
    NotReady,
    Refused,
    TaskCancelled,
    TaskFailed,
    Unavailable,
)
from client_sdk.wire import CancelOutcome, Progress, Snapshot, TaskStatus
from tests.client_sdk.processes import ROOT, ServerProcess
from tests.client_sdk.proxy import PASS, Fault, answered, proxying


async def test_a_started_task_gives_its_result(client: LongTaskClient) -> None:
    """The shortest use there is."""
    handle = await client.start("data_analysis", {"duration_seconds": 0, "steps": 2}, metadata={"project": "x"})
    assert handle.task_type == "data_analysis"
    assert await handle.result() == {"task_type": "data_analysis", "steps": 2, "duration_seconds": 0}
    assert (await handle.status()).metadata == {"project": "x"}


@pytest.mark.parametrize("value", [0, "", [], {}, False, None, "x" * 100_000])
async def test_every_value_is_a_result(client: LongTaskClient, value: object) -> None:
    """Falsy ones, and ones that the tools would cut into pages."""
    handle = await client.start("returning", {"value": value})
    assert await handle.result() == value


async def test_an_id_is_all_that_has_to_be_kept(client: LongTaskClient, server: ServerProcess) -> None:
    """Another client takes the task up by its id alone."""
    started = await client.start("burst", {"count": 2})
    async with LongTaskClient(server.url) as other:
        handle = other.task(started.id)
        assert await handle.result() == {"count": 2}
        events = handle.events()
        last = [event async for event in events][-1]
        assert type(last) is DoneEvent
        assert events.cursor == last.number
        assert [state.last_event_id async for state in handle.states()] == [last.number]


async def test_one_key_makes_one_task(client: LongTaskClient) -> None:
    """The same key and arguments give the same task; with other arguments it is refused."""
    first = await client.start("burst", {"count": 1}, idempotency_key="k1")
    again = await client.start("burst", {"count": 1}, idempotency_key="k1")
    assert first.id == again.id
    with pytest.raises(Refused) as caught:
        await client.start("burst", {"count": 2}, idempotency_key="k1")
    assert caught.value.error_code == "IDEMPOTENCY_CONFLICT"


async def test_a_start_whose_answer_is_lost_makes_one_task(server: ServerProcess, client: LongTaskClient) -> None:
    """It is sent again under the same key."""
    async with (
        proxying(server.port, lambda request: Fault(cut=0) if request.count == 0 else PASS) as proxy,
        LongTaskClient(proxy.url) as cut_off,
    ):
        mark = {"mark": uuid.uuid4().hex}
        handle = await cut_off.start("returning", metadata=mark)
        assert len(proxy.requests) == 2
    tasks = (await client.list(task_type="returning", limit=100)).operations
    assert [task.operation_id for task in tasks if task.metadata == mark] == [handle.id]


async def test_stream_calls_back_with_every_report(client: LongTaskClient) -> None:
    """Plain functions and coroutine functions alike; the last call is the completion."""
    handle = await client.start("data_analysis", {"duration_seconds": 0, "steps": 3})
    seen: list[Progress] = []
    snapshot = await handle.stream(seen.append)
    assert [progress.message for progress in seen] == [
        *(f"Processing step {k}/3 - data_analysis" for k in (1, 2, 3)),
        "Completed 3 steps successfully",
    ]
    assert snapshot.status is TaskStatus.COMPLETED

    async def note(progress: Progress) -> None:
        seen.append(progress)

    again = client.task(handle.id)
    await again.stream(note)
    assert len(seen) == 8


async def test_poll_calls_back_when_something_changed(client: LongTaskClient) -> None:
    """The first state, and no state twice; the last one is the end."""
    handle = await client.start("burst", {"count": 4, "pause": 0.3})
    seen: list[Snapshot] = []
    await handle.poll(callback=seen.append)
    cursors = [snapshot.last_event_id for snapshot in seen]
    assert cursors == sorted(set(cursors))
    assert seen[-1].status is TaskStatus.COMPLETED


async def test_a_long_wait_costs_few_requests(server: ServerProcess) -> None:
    """The server holds the answers back: one request for the wait and one for the last state."""
    async with proxying(server.port) as proxy, LongTaskClient(proxy.url) as client:
        handle = await client.start("burst", {"count": 20, "pause": 0.03})
        before = len(proxy.requests)
        await handle.wait()
        assert len(proxy.requests) - before == 2
        chatty = await client.start("burst", {"count": 200, "pause": 0.005})
        before = len(proxy.requests)
        await chatty.poll(callback=lambda snapshot: None)
        assert len(proxy.requests) - before < 12


async def test_a_fixed_interval_is_kept(server: ServerProcess) -> None:
    """For those who want it: a request is answered at once, and the next comes after the interval."""
    async with proxying(server.port) as proxy, LongTaskClient(proxy.url) as client:
        handle = await client.start("idle")
        before = len(proxy.requests)
        with pytest.raises(NotReady):
            await handle.poll(interval=0.2, timeout=1.1)
        assert 2 <= len(proxy.requests) - before <= 6
        await handle.cancel()


async def test_the_end_of_a_wait_is_no_end_of_the_task(client: LongTaskClient) -> None:
    """NotReady carries the state, and the task goes on."""
    handle = await client.start("idle")
    for wait in (handle.wait, handle.result):
        with pytest.raises(NotReady) as caught:
            await wait(timeout=0.3)
        assert caught.value.operation_id == handle.id
    assert (await handle.cancel()).outcome in (CancelOutcome.CANCELLED, CancelOutcome.CANCEL_REQUESTED)


async def test_a_failed_task_says_why_and_can_be_tried_again(client: LongTaskClient) -> None:
    """Its author's message, code and details; a retry is a new task that names the old one."""
    handle = await client.start("failing")
    with pytest.raises(TaskFailed) as caught:
        await handle.result()
    error = caught.value
    assert (error.message, error.error_code, error.details) == ("no such file", "NO_FILE", {"path": "a.csv"})
    assert error.operation_id == handle.id
    assert handle.id in str(error)
    assert (await handle.wait()).status is TaskStatus.FAILED
    events = [event async for event in handle.events()]
    assert isinstance(events[-1], ErrorEvent)
    assert events[-1].data.error_code == "NO_FILE"
    again = await handle.retry()
    assert (await again.status()).retry_of == handle.id
    with pytest.raises(TaskFailed):
        await again.result()


async def test_a_cancelled_task_says_so(client: LongTaskClient) -> None:
    """The reason travels; a second cancel is harmless and says that there was nothing to do."""
    handle = await client.start("idle")
    assert (await handle.cancel("no longer needed")).outcome in set(CancelOutcome) - {CancelOutcome.ALREADY_ENDED}
    with pytest.raises(TaskCancelled) as caught:
        await handle.result()
    assert caught.value.reason == "no longer needed"
    assert (await handle.cancel()).outcome is CancelOutcome.ALREADY_CANCELLED


async def test_a_question_is_answered_with_its_fields(client: LongTaskClient) -> None:
    """A mapping of fields is an acceptance, a bare value the one field, a whole elicitation result what it says."""
    for value, expected in (({"confirm": True}, True), (True, True), ({"action": "decline"}, None)):
        handle = await client.start("asking")
        async for event in handle.events():
            if isinstance(event, InputRequiredEvent):
                assert event.data.input_requests["overwrite"]["params"]["message"] == "Overwrite the index?"
                assert (await handle.answer("overwrite", value)).answered
                assert not (await handle.answer("overwrite", {"confirm": False})).answered
        assert await handle.result() == {"confirm": expected}


async def test_an_answer_that_does_not_fit_is_refused(client: LongTaskClient) -> None:
    """And so is one to a question nobody asked; the question stays open."""
    async with client.start("asking", cancel_on_exit=True) as handle:
        await anext(event async for event in handle.events() if isinstance(event, InputRequiredEvent))
        for key, value in (("overwrite", {"confirm": "perhaps"}), ("nothing", {"confirm": True})):
            with pytest.raises(Refused) as caught:
                await handle.answer(key, value)
            assert caught.value.error_code == "INVALID_ARGUMENT"
        assert (await handle.status()).input_requests.keys() == {"overwrite"}
    await handle.cancel()


@pytest.mark.parametrize(
    ("error", "cancel_on_exit", "cancelled"),
    [(ValueError("mine"), True, True), (ValueError("mine"), False, False), (None, True, False)],
)
async def test_leaving_by_an_exception_cancels_if_asked_to(
    client: LongTaskClient, error: Exception | None, cancel_on_exit: bool, cancelled: bool
) -> None:
    """Only with cancel_on_exit, and only when it was an exception; that exception goes on its way."""
    raised = None
    try:
        async with client.start("idle", cancel_on_exit=cancel_on_exit) as handle:
            if error is not None:
                raise error
    except ValueError as caught:
        raised = caught
    assert raised is error
    if cancelled:
        assert (await handle.wait(timeout=10)).status is TaskStatus.CANCELLED
    else:
        assert (await handle.cancel()).outcome in (CancelOutcome.CANCELLED, CancelOutcome.CANCEL_REQUESTED)


async def test_a_cancelled_caller_cancels_if_asked_to(client: LongTaskClient) -> None:
    """A time-out around the block is an exception too, and the cancel still goes out."""
    with anyio.CancelScope() as scope:
        async with client.start("idle", cancel_on_exit=True) as handle:
            scope.cancel()
            await handle.wait()
    assert (await handle.wait(timeout=10)).status is TaskStatus.CANCELLED


async def test_lists_types_and_health_are_models(client: LongTaskClient) -> None:
    """What the server says about itself."""
    handles = [await client.start("returning", {"value": i}) for i in range(3)]
    page = await client.list(task_type="returning", limit=2)
    assert [task.operation_id for task in page.operations] == [handles[2].id, handles[1].id]
    rest = await client.list(task_type="returning", limit=1, cursor=page.next_cursor)
    assert rest.operations[0].operation_id == handles[0].id
    for handle in handles:
        await handle.wait()
    assert (await client.list(status=TaskStatus.COMPLETED)).count > 0
    types = {info.name: info for info in await client.task_types()}
    assert types["burst"].input_schema["required"] == ["count"]
    health = await client.health()
    assert health.status == "healthy"
    assert health.task_types == len(types)


@pytest.mark.parametrize(
    ("task_type", "arguments", "code"),
    [("nothing", {}, "UNKNOWN_TASK_TYPE"), ("burst", {"count": "many"}, "INVALID_ARGUMENT")],
)
async def test_a_wrong_start_is_refused(
    client: LongTaskClient, task_type: str, arguments: dict[str, object], code: str
) -> None:
    """With the server's code and details, to act on."""
    with pytest.raises(Refused) as caught:
        await client.start(task_type, arguments)
    assert caught.value.error_code == code
    assert caught.value.details


async def test_unknown_tasks_are_not_found_whatever_is_asked(client: LongTaskClient) -> None:
    """One answer for all."""
    handle = client.task("no-such-task")
    for call in (handle.status(), handle.wait(), handle.result(), handle.cancel(), handle.retry(), handle.stream()):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.operation_id == "no-such-task"


async def test_a_gateway_that_answers_for_the_server_means_later(server: ServerProcess) -> None:
    """Its 503 is no refusal."""
    async with proxying(server.port, lambda request: Fault(status=503)) as proxy, LongTaskClient(proxy.url) as client:
        with pytest.raises(Unavailable):
            await client.task("x").status()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_missing_token_is_named(server: ServerProcess, status: int) -> None:
    """What to do about it is in the message, also when a stream is asked for."""
    async with (
        proxying(server.port, lambda request: Fault(status=status)) as proxy,
        LongTaskClient(proxy.url, max_delay=0.01) as client,
    ):
        handle = client.task("x")
        for call in (client.start("burst"), client.health(), handle.status(), handle.wait(), handle.stream()):
            with pytest.raises(Refused, match="token") as caught:
                await call
            assert caught.value.error_code == f"HTTP_{status}"


@pytest.mark.parametrize(
    "body", ["<html>", "[]", "null", *(f'{{"jsonrpc": "2.0", {rest}}}' for rest in ('"result": null', '"error": "x"'))]
)
async def test_answers_of_something_else_are_refused(server: ServerProcess, body: str) -> None:
    """Whatever stands there in the server's place, it is no traceback of ours."""
    async with (
        proxying(server.port, lambda request: answered("application/json", body)) as proxy,
        LongTaskClient(proxy.url) as client,
    ):
        handle = client.task("x")
        for call in (client.start("burst"), client.health(), handle.status(), handle.wait()):
            with pytest.raises(Refused):
                await call


def test_a_client_belongs_to_one_event_loop(server: ServerProcess) -> None:
    """Where its connections are; in another one it says so instead of failing at random."""
    client = LongTaskClient(server.url)

    async def use() -> None:
        async with client:
            await client.health()

    asyncio.run(use())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(use())


UNTIDY = """
import asyncio, sys
from client_sdk import LongTaskClient

async def main():
    handle = await LongTaskClient(sys.argv[1]).start("idle")
    async for event in handle.events():
        break
    kept.append(handle.events())
    await anext(kept[0])
    await handle.cancel()

kept = []
asyncio.run(main())
"""


def test_a_program_that_just_ends_says_nothing(server: ServerProcess) -> None:
    """Streams that are open when the loop ends, of a client nobody closed, leave no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", UNTIDY, server.url], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_a_server_under_a_path_is_reached_with_a_token(server: ServerProcess) -> None:
    """Every request goes there and carries it."""
    async with proxying(server.port) as proxy:
        proxy.prefix = "/tools"
        async with LongTaskClient(f"{proxy.url}/", token="secret") as client:
            handle = await client.start("burst", {"count": 1})
            assert len([event async for event in handle.events()]) > 0
            assert await handle.result() == {"count": 1}
            await client.health()
    assert len(proxy.requests) >= 4
    for request in proxy.requests:
        assert request.head.split(" ")[1].startswith("/tools/")
        assert "authorization: bearer secret" in request.head.lower()


async def test_an_http_client_of_the_callers_own_is_used_and_left_open(server: ServerProcess) -> None:
    """For TLS settings, proxies and headers the client knows nothing of."""
    async with httpx2.AsyncClient(headers={"X-Mine": "yes"}) as http, proxying(server.port) as proxy:
        async with LongTaskClient(proxy.url, http=http) as client:
            await client.health()
        assert not http.is_closed
        assert "x-mine: yes" in proxy.requests[0].head.lower()


async def test_objects_are_short_where_they_are_printed(client: LongTaskClient, server: ServerProcess) -> None:
    """Id, type, status, message; no sentence for a model, and no token."""
    handle = await client.start("burst", {"count": 1})
    await handle.wait()
    snapshot = await handle.status()
    for printed in (repr(snapshot), str(snapshot)):
        assert printed.startswith(f"<Snapshot {handle.id} burst completed 100%")
        assert len(printed) < 200
    assert repr(handle) == f"<TaskHandle {handle.id} burst cursor=0>"
    assert repr(client.task("x")) == "<TaskHandle x cursor=0>"
    secret = LongTaskClient(server.url, "secret")
    assert repr(secret) == f"<LongTaskClient {server.url}>"
    await secret.aclose()


async def test_a_server_that_is_not_there_is_named(server: ServerProcess) -> None:
    """With its address, and the command that starts one."""
    async with LongTaskClient("http://127.0.0.1:9") as nobody:
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9.*`longtasks serve`"):
            await nobody.health()
