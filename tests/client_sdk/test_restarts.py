"""The server is killed with `kill -9` and started again on its file; nobody who waits has to do anything."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from client_sdk import DoneEvent, Event, LongTaskClient, ProgressEvent, StatusEvent, Unavailable
from client_sdk.wire import Snapshot
from tests.client_sdk.processes import ServerProcess, serving


def client_of(server: ServerProcess) -> LongTaskClient:
    return LongTaskClient(server.url, heartbeat=1.0, max_delay=0.1)


async def test_whoever_waits_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Two kills in mid-task: the iterator gives every number once, in order, to the one end; polls see it too."""
    events: list[Event] = []
    ends: list[Snapshot] = []

    async def poll(**how: object) -> None:
        ends.append(await client.task(handle.id).poll(**how))  # type: ignore[arg-type]

    with serving(tmp_path) as server:
        async with client_of(server) as client:
            handle = await client.start("burst", {"count": 40, "pause": 0.02})
            async with anyio.create_task_group() as group:
                group.start_soon(poll)
                group.start_soon(lambda: poll(callback=print))
                kills = 0
                async for event in handle.events():
                    events.append(event)
                    # Every attempt begins anew; the third is the last a task gets, and runs through.
                    if kills < 2 and isinstance(event, ProgressEvent) and event.data.current == 5:
                        kills += 1
                        server.kill()
                        server.start()
    numbers = [event.number for event in events if event.number is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    assert isinstance(events[-1], DoneEvent)
    attempts = [e.data.attempt for e in events if isinstance(e, StatusEvent) and e.data.reason == "started"]
    assert attempts == [1, 2, 3]
    assert [(end.status, end.attempt) for end in ends] == [("completed", 3)] * 2


async def test_a_server_that_is_not_there_is_reported_at_once(tmp_path: Path) -> None:
    """What nobody waits for fails fast: a wrong address shows at the first call."""
    server = ServerProcess(tmp_path)
    async with client_of(server) as client:
        for call in (client.health(), client.list(), client.task_types(), client.start("burst", {"count": 1})):
            with pytest.raises(Unavailable):
                await call
