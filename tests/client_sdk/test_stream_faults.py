"""Whatever happens to its connections, a reader gets every event once and in order."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import AsyncIterator, Sequence

import anyio
import httpx2
import pytest

from client_sdk import (
    DoneEvent,
    Event,
    GapEvent,
    InputRequiredEvent,
    LongTaskClient,
    NotFound,
    OtherEvent,
    OutputEvent,
    ProgressEvent,
    Refused,
    StatusEvent,
    StreamLost,
)
from client_sdk.wire import LAST_EVENT_ID
from tests.client_sdk.processes import ServerProcess
from tests.client_sdk.proxy import PASS, Fault, Plan, Proxy, answered, proxying

COUNT = 60
"""Reports of the task that is read; with its outputs and statuses it has 83 events."""


def to(proxy: Proxy, *, heartbeat: float = 5.0, patience: float = 60.0) -> LongTaskClient:
    return LongTaskClient(proxy.url, heartbeat=heartbeat, patience=patience, max_delay=0.01)


async def read(client: LongTaskClient, task_id: str) -> list[Event]:
    return [event async for event in client.task(task_id).events()]


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.number for event in events if event.number is not None]


def only(number: int, fault: Fault) -> Plan:
    """The fault for the stream of that number, counted from 0, and none for the rest."""
    return lambda request: fault if request.is_stream and request.count == number else PASS


@pytest.fixture
async def finished(client: LongTaskClient) -> str:
    """The id of a completed task with many events."""
    handle = await client.start("burst", {"count": COUNT})
    await handle.wait()
    return handle.id


@pytest.fixture
async def whole(client: LongTaskClient, finished: str) -> list[Event]:
    """Its events as an undisturbed reader gets them."""
    return await read(client, finished)


@pytest.fixture
async def proxy(server: ServerProcess) -> AsyncIterator[Proxy]:
    async with proxying(server.port) as running:
        yield running


async def test_an_undisturbed_reader_gets_the_whole_log(whole: list[Event]) -> None:
    """What the others are compared with: numbers from 1 on, one closing progress before the one end."""
    assert numbers(whole) == list(range(1, len(whole)))
    assert isinstance(whole[-1], DoneEvent)
    closing = whole[-2]
    assert isinstance(closing, ProgressEvent)
    assert closing.number is None
    assert closing.data.progress == 100
    assert sum(isinstance(event, OutputEvent) for event in whole) == COUNT // 3


@pytest.mark.parametrize("seed", range(3))
async def test_connections_cut_at_any_byte_lose_and_repeat_nothing(
    proxy: Proxy, finished: str, whole: list[Event], seed: int
) -> None:
    """Three times a hundred random cuts: within heads, frames, characters and between the last two frames."""
    chance = random.Random(seed)
    proxy.plan = lambda request: Fault(cut=chance.randrange(0, 2500))
    async with to(proxy) as client:
        while len(proxy.requests) < 100:
            assert await read(client, finished) == whole


async def test_cuts_at_every_byte_of_the_end_lose_and_repeat_nothing(
    proxy: Proxy, client: LongTaskClient, finished: str, whole: list[Event]
) -> None:
    """The closing progress has no number, so a cut next to it is where one could be lost or doubled."""
    after = len(whole) - 2
    async with httpx2.AsyncClient() as http:
        address = f"{proxy.url}/progress/{finished}/stream"
        answer = await http.get(address, headers={LAST_EVENT_ID: str(after)})
    # Heads are cut often enough by the other tests; theirs is about as long as its lines.
    head = sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)
    async with to(proxy) as disturbed:
        for cut in range(head, head + len(answer.content) + 40, 5):
            proxy.plan = only(proxy.streams, Fault(cut=cut))
            events = [event async for event in disturbed.task(finished).events(after=after)]
            assert events == whole[after:], f"cut after {cut} bytes"


async def test_single_bytes_add_up(proxy: Proxy, finished: str, whole: list[Event]) -> None:
    """Frames and characters that arrive byte by byte are put together."""
    proxy.plan = lambda request: Fault(trickle=True)
    async with to(proxy) as client:
        assert await read(client, finished) == whole
    assert proxy.streams == 1


async def test_repeats_are_dropped(proxy: Proxy, finished: str, whole: list[Event]) -> None:
    """A reconnect that is answered from the beginning, as by a cache, gives no event twice."""
    chance = random.Random(1)
    proxy.plan = lambda request: (
        Fault(cut=chance.randrange(500, 9000), forget=True) if request.count < 8 else Fault(forget=True)
    )
    async with to(proxy) as client:
        assert await read(client, finished) == whole
    assert proxy.streams > 1


async def test_a_stall_is_noticed_and_the_stream_reopened(proxy: Proxy, finished: str, whole: list[Event]) -> None:
    """A connection that stays open and says nothing for two heartbeats is given up."""
    chance = random.Random(2)
    proxy.plan = lambda request: Fault(stall=chance.randrange(400, 3000)) if request.count < 5 else PASS
    async with to(proxy, heartbeat=0.1) as client:
        assert await read(client, finished) == whole
    assert proxy.streams > 2


async def test_a_quiet_stream_is_left_alone(proxy: Proxy) -> None:
    """Heartbeats are signs of life: a task that says nothing for long is followed over one connection."""
    async with to(proxy, heartbeat=1.0) as client:
        handle = await client.start("idle", {"seconds": 3})
        events = [event async for event in handle.events()]
    assert isinstance(events[-1], DoneEvent)
    assert proxy.streams == 1


async def test_answers_of_a_gateway_without_a_server_are_waited_out(
    proxy: Proxy, finished: str, whole: list[Event]
) -> None:
    """502 to everything, tools included, is an outage; when it ends, the stream goes on."""
    proxy.plan = lambda request: Fault(status=502) if len(proxy.requests) < 12 else Fault(cut=3000)
    async with to(proxy) as client:
        assert await read(client, finished) == whole


GREETING = "retry: 10\n\n"


@pytest.mark.parametrize(
    "fault",
    [Fault(status=502), Fault(status=404), Fault(stall=0), Fault(cut=0), answered("text/event-stream", GREETING)],
)
async def test_where_no_stream_gets_through_long_polls_go_on(
    proxy: Proxy, finished: str, whole: list[Event], fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that refuses, swallows, drops or ends streams costs no event, and the log says what was done."""
    proxy.plan = lambda request: fault if request.is_stream else PASS
    with caplog.at_level(logging.WARNING, logger="client_sdk"):
        async with to(proxy, heartbeat=0.1) as client:
            assert await read(client, finished) == whole
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "long poll" in caplog.text


async def test_the_switch_to_long_polls_keeps_the_cursor(proxy: Proxy) -> None:
    """A stream that worked and then is refused goes on where it was, in the middle of a running task."""
    proxy.plan = lambda request: (
        PASS if not request.is_stream else Fault(cut=2000) if request.count == 0 else Fault(status=501)
    )
    async with to(proxy) as client:
        handle = await client.start("burst", {"count": 50, "pause": 0.01})
        events = [event async for event in handle.events()]
    assert numbers(events) == list(range(1, len(events)))
    assert isinstance(events[-1], DoneEvent)


async def test_a_live_task_is_read_through_cuts(proxy: Proxy) -> None:
    """Replay runs over into live: nothing is lost at the seams either."""
    chance = random.Random(3)
    proxy.plan = lambda request: Fault(cut=chance.randrange(700, 2500)) if request.is_stream else PASS
    async with to(proxy) as client:
        handle = await client.start("burst", {"count": 100, "pause": 0.005})
        events = [event async for event in handle.events()]
    assert numbers(events) == list(range(1, len(events)))
    assert proxy.streams > 10


async def test_a_reader_at_the_end_gets_nothing_more(client: LongTaskClient, finished: str, whole: list[Event]) -> None:
    """The server answers 204, and that is the end and no error."""
    assert [event async for event in client.task(finished).events(after=len(whole) - 1)] == []


async def test_an_unknown_task_is_not_found(client: LongTaskClient) -> None:
    """404 is final: no reconnect helps."""
    with pytest.raises(NotFound) as caught:
        await read(client, "nothing/like this")
    assert caught.value.operation_id == "nothing/like this"


async def test_an_address_without_a_server_of_ours_is_refused(proxy: Proxy, finished: str) -> None:
    """Something else answers there: the error says so instead of trying for minutes."""
    proxy.plan = lambda request: Fault(status=404)
    async with to(proxy) as client:
        with pytest.raises(Refused) as caught:
            await read(client, finished)
    assert caught.value.error_code == "HTTP_404"


async def test_patience_runs_out(proxy: Proxy, finished: str) -> None:
    """A server that stays away is reported, with the cursor to go on from."""
    proxy.plan = lambda request: Fault(cut=5000) if request.count == 0 else Fault(status=502)
    async with to(proxy, patience=0.2) as client:
        handle = client.task(finished)
        with pytest.raises(StreamLost) as caught:
            async for _ in handle.events():
                pass
    assert caught.value.cursor == handle.cursor > 0


async def test_a_slow_reader_is_not_taken_for_an_absent_server(proxy: Proxy, finished: str) -> None:
    """Patience counts from the first failure, not from when the reader last asked."""
    proxy.plan = lambda request: Fault(cut=700)
    async with to(proxy, patience=0.2) as client:
        stream = client.task(finished).events()
        for number in range(1, 6):
            event = await anext(stream)
            assert event.number == number
            await anyio.sleep(0.25)  # the reader's own work


async def test_a_cancelled_step_loses_nothing(proxy: Proxy) -> None:
    """Time-outs around single steps of the iteration neither end it nor swallow an event."""
    async with to(proxy) as client:
        handle = await client.start("burst", {"count": 20, "pause": 0.03})
        stream, events, cancelled = handle.events(), list[Event](), 0
        while not events or not isinstance(events[-1], DoneEvent):
            with anyio.move_on_after(0.01) as scope:
                events.append(await anext(stream))
            cancelled += scope.cancelled_caught
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert numbers(events) == list(range(1, len(events)))
    assert cancelled > 3


async def test_a_stream_is_read_by_one_task(client: LongTaskClient) -> None:
    """The second is told so, and the first is not disturbed."""
    async with client.start("idle", cancel_on_exit=True) as handle:
        stream = handle.events()
        assert [(await anext(stream)).number for _ in range(3)] == [1, 2, 3]
        last: list[Event] = []

        async def read() -> None:
            last.append(await anext(stream))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="Another task is reading this stream"):
                await anext(stream)
            await handle.cancel()
    assert last[0].number == 4


async def test_nobody_on_the_way_is_asked_to_compress_a_stream(proxy: Proxy, finished: str) -> None:
    """A compressing proxy would hold events back until there are enough of them."""
    async with to(proxy) as client:
        await read(client, finished)
    assert "accept-encoding: identity\r\n" in proxy.requests[0].head.lower()


async def test_a_cursor_past_the_end_is_told_the_end(
    client: LongTaskClient, finished: str, whole: list[Event], proxy: Proxy
) -> None:
    """As after a store was set back: a gap, and the end of the task that there is; by polls as well."""
    proxy.plan = lambda request: Fault(status=502) if request.is_stream else PASS
    async with to(proxy) as polling:
        for reader in (client, polling):
            handle = reader.task(finished, cursor=1000)
            gap, *rest = [event async for event in handle.events()]
            assert isinstance(gap, GapEvent)
            assert rest == whole[-2:]
            assert handle.cursor == whole[-1].number


def frame(name: str, data: object, number: int | None = None) -> str:
    return (f"id: {number}\n" if number else "") + f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def test_events_of_a_newer_server_are_given_out(proxy: Proxy) -> None:
    """Unknown names and shapes as they are, unknown fields left out; none is lost."""
    status = {"operation_id": "t", "status": "running", "attempt": 1, "reason": "moved", "planet": "Mars"}
    body = frame("status", status, 1) + frame("metric", {"v": 1}, 2) + frame("status", {"status": "asleep"}, 3)
    proxy.plan = lambda request: answered("text/event-stream", body + frame("done", {"status": "completed"}, 4))
    async with to(proxy) as client:
        known, *others, end = await read(client, "t")
    assert isinstance(known, StatusEvent)
    assert known.data.reason == "moved"
    assert others == [
        OtherEvent(number=2, name="metric", data={"v": 1}),
        OtherEvent(number=3, name="status", data={"status": "asleep"}),
    ]
    assert isinstance(end, DoneEvent)


@pytest.mark.parametrize("broken", [frame("progress", [1], 1), frame("gap", {"first_event_id": 1})])
async def test_an_event_that_cannot_be_read_is_an_error(proxy: Proxy, broken: str) -> None:
    """And no reason to ask for it again and again."""
    proxy.plan = lambda request: answered("text/event-stream", broken)
    async with to(proxy) as client:
        with pytest.raises(Refused) as caught:
            await read(client, "t")
    assert (caught.value.error_code, caught.value.operation_id) == ("UNREADABLE", "t")


async def test_breaking_off_closes_the_connection_and_not_the_task(server: ServerProcess, proxy: Proxy) -> None:
    """Who stops to iterate holds no connection, and the task runs to its end."""
    async with to(proxy) as client:
        handle = await client.start("burst", {"count": 10, "pause": 0.02})
        async for event in handle.events():
            if isinstance(event, ProgressEvent):
                break
        assert (await handle.wait()).status == "completed"
        rest = [event async for event in handle.events()]
    assert event.number is not None
    assert numbers(rest)[0] == event.number + 1


async def test_a_question_comes_through_the_poll_as_well(proxy: Proxy) -> None:
    """While it is open, the polls neither repeat it nor hammer the server."""
    proxy.plan = lambda request: Fault(status=502) if request.is_stream else PASS
    async with to(proxy) as client:
        handle = await client.start("asking")
        questions = 0
        async for event in handle.events():
            if isinstance(event, InputRequiredEvent):
                questions += 1
                before = len(proxy.requests)
                with anyio.move_on_after(0.6):
                    await handle.wait()
                assert len(proxy.requests) - before < 5
                await handle.answer("overwrite", {"confirm": True})
        assert questions == 1
        assert await handle.result() == {"confirm": True}
