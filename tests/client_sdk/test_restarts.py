"""The server is killed with `kill -9` and started again on its file; nobody who waits has to do anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from client_sdk import DoneEvent, Event, LongTaskClient, ProgressEvent, StatusEvent, Unavailable
from tests.client_sdk.processes import ServerProcess, serving


def client_of(server: ServerProcess) -> LongTaskClient:
    return LongTaskClient(server.url, heartbeat=1.0, max_delay=0.1)


async def test_the_same_iterator_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Two kills in mid-stream: every number once, in order, to the one end."""
    with serving(tmp_path) as server:
        async with client_of(server) as client:
            handle = await client.start("burst", {"count": 40, "pause": 0.02})
            events: list[Event] = []
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


@pytest.mark.parametrize("callback", [None, print])
async def test_a_poll_goes_on_after_a_kill(tmp_path: Path, callback: Callable[[Any], None] | None) -> None:
    """A request that is held back when the server dies is made again."""
    with serving(tmp_path) as server:
        async with client_of(server) as client:
            handle = await client.start("burst", {"count": 60, "pause": 0.05})

            async def restart_at_first_progress() -> None:
                async for event in client.task(handle.id).events():
                    if isinstance(event, ProgressEvent):
                        server.kill()
                        server.start()
                        return

            async with anyio.create_task_group() as group:
                group.start_soon(restart_at_first_progress)
                snapshot = await handle.poll(callback=callback)
    assert snapshot.status == "completed"
    assert snapshot.attempt == 2


async def test_a_server_that_is_not_there_is_reported_at_once(tmp_path: Path) -> None:
    """What nobody waits for fails fast: a wrong address shows at the first call."""
    server = ServerProcess(tmp_path)
    async with client_of(server) as client:
        for call in (client.health(), client.list(), client.task_types(), client.start("burst", {"count": 1})):
            with pytest.raises(Unavailable):
                await call
