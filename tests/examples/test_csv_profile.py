"""A profile of a large file, as far as a test affords one: its result, a kill in its middle, a cancel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from client_sdk import LongTaskClient, OutputEvent, ProgressEvent, StatusEvent, TaskCancelled, TaskHandle
from client_sdk.wire import TaskStatus
from examples.csv_profile.generate import write_csv
from tests.examples.plain import plain_profile
from tests.examples.running import ExampleServer, serving

CHUNK = 256 * 1024
MEGABYTES = 8


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated file of a real one's layout."""
    path = tmp_path_factory.mktemp("csv") / "orders.csv"
    write_csv(path, MEGABYTES)
    return path


@pytest.fixture(scope="module")
def expected(orders: Path) -> dict[str, Any]:
    return plain_profile(orders)


async def begin(client: LongTaskClient, path: Path) -> TaskHandle:
    return await client.start("profile_csv", {"path": str(path), "chunk_bytes": CHUNK})


async def until_checkpoint(handle: TaskHandle) -> int:
    """Follow the task until its next checkpoint is stored; the bytes it had read then."""
    read = 0
    async with handle.events() as events:
        async for event in events:
            if isinstance(event, ProgressEvent):
                read = int(event.data.current or 0)
            elif isinstance(event, StatusEvent) and event.data.reason == "checkpoint":
                return read
    raise AssertionError("the task ended without another checkpoint")


def processes_of(server: ExampleServer) -> list[psutil.Process]:
    """The processes in which the server runs tasks: the forks of its warm process, which itself stays."""
    return [fork for warm in psutil.Process(server.pid).children() for fork in warm.children(recursive=True)]


async def test_a_profile_is_what_a_plain_computation_says(
    orders: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    """Types, gaps, ranges, means and examples are exact, the estimates within their error; progress is by bytes."""
    size = expected["bytes"]
    reports: list[ProgressEvent] = []
    partial: list[dict[str, Any]] = []
    with serving("csv_profile", tmp_path) as server:
        async with LongTaskClient(server.url) as client:
            handle = await begin(client, orders)
            async for event in handle.events():
                if isinstance(event, ProgressEvent):
                    reports.append(event)
                elif isinstance(event, OutputEvent):
                    partial.append(event.data.data)
            profile = await handle.result()
    assert profile == expected
    read = [event.data.current or 0 for event in reports]
    assert read == sorted(read)
    assert read[-1] == size
    assert {event.data.total for event in reports} == {size}
    assert len(partial) >= size // (2 * CHUNK)
    assert [some["rows"] for some in partial] == sorted({some["rows"] for some in partial})
    assert [column["type"] for column in partial[0]["columns"]] == [column["type"] for column in profile["columns"]]


async def test_a_profile_that_is_killed_goes_on_at_its_checkpoint_and_ends_the_same(
    orders: Path, tmp_path: Path
) -> None:
    """Two kills of the server with all its processes: to the last digit the result of a run without."""
    with serving("csv_profile", tmp_path) as server:
        async with LongTaskClient(server.url, max_delay=0.2) as client:
            undisturbed = await (await begin(client, orders)).result()
            handle = await begin(client, orders)
            for _ in range(2):
                read = await until_checkpoint(handle)
                server.kill()
                server.start()
                # Its own words of the next attempt: it begins behind the checkpoint, not at the first byte.
                assert await first_report_of_next_attempt(handle) > read
            assert await handle.result() == undisturbed
            assert (await handle.status()).attempt == 3


async def first_report_of_next_attempt(handle: TaskHandle) -> float:
    started = False
    async with handle.events() as events:
        async for event in events:
            if isinstance(event, StatusEvent) and event.data.reason == "started":
                started = True
            elif isinstance(event, ProgressEvent) and started:
                return event.data.current or 0
    raise AssertionError("the task ended without another attempt")


async def test_a_cancelled_profile_ends_its_process_and_a_retry_goes_on_where_it_stopped(
    orders: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    """When the task is over nothing of it runs any more, and what it had read is not read again."""
    with serving("csv_profile", tmp_path) as server:
        async with LongTaskClient(server.url) as client:
            handle = await begin(client, orders)
            read = await until_checkpoint(handle)
            assert processes_of(server) != []
            await handle.cancel("enough")
            snapshot = await handle.wait()
            assert snapshot.status is TaskStatus.CANCELLED
            assert processes_of(server) == []
            with pytest.raises(TaskCancelled):
                await handle.result()

            again = await handle.retry()
            assert await first_report_of_next_attempt(again) > read
            assert await again.result() == expected
