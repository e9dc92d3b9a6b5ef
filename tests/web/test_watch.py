"""All tasks of a caller in one stream: nothing missed, whoever watches and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from mcp_server.web.watch import WINDOW
from tests.server.servers import Caller, Frame, Stream, serve
from tests.server.stock import open_gate, stock_server
from tests.web.rest_calls import ended, started


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


@asynccontextmanager
async def watching(caller: Caller, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    async with caller.http.stream("GET", f"/tasks/stream{query}", headers=headers) as response:
        assert response.status_code == 200
        yield Stream(response)


async def newest(stream: Stream, wanted: set[str], status: str = "completed") -> dict[str, Frame]:
    """The last frame of each task, once all that are wanted have the status."""
    seen: dict[str, Frame] = {}
    async for frame in stream:
        if frame.event == "task":
            seen[frame.data["operation_id"]] = frame
            if wanted <= {key for key, value in seen.items() if value.data["status"] == status}:
                break
    return seen


async def test_all_tasks_are_watched_in_one_stream(caller: Caller) -> None:
    """Those there are, those that come, and every end; by any number of watchers, each with the same snapshots."""
    before = await ended(caller, n=1)
    gate = uuid4().hex
    ids: set[str] = set()
    ends: list[dict[str, Frame]] = []

    async def watch(ready: anyio.Event) -> None:
        async with watching(caller) as stream:
            assert set(await newest(stream, {before})) >= {before}
            ready.set()
            await open_now.wait()
            ends.append(await newest(stream, ids))

    open_now = anyio.Event()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as watchers:
            ready = [anyio.Event() for _ in range(5)]
            for event in ready:
                watchers.start_soon(watch, event)
            for event in ready:
                await event.wait()
            ids |= {await started(caller, n=3, gate=gate) for _ in range(10)}
            open_gate(gate)
            open_now.set()
    for end in ends:
        for operation_id in ids:
            shown = {**await caller.snapshot(operation_id), "queue_position": None}
            assert end[operation_id].data == shown


async def test_a_watcher_that_comes_back_gets_what_changed(caller: Caller) -> None:
    """From its last id on; `from=now` begins with nothing."""
    first = await ended(caller, n=1)
    async with watching(caller) as stream:
        seen = await newest(stream, {first})
    # Its clock may be behind by two seconds, so what has just happened comes again.
    cursor = str((seen[first].id or 0) + 2001)
    with anyio.fail_after(30):
        async with watching(caller, **{"Last-Event-ID": cursor}) as late, watching(caller, "?from=now") as now:
            second = await ended(caller, n=1)
            assert second in await newest(now, {second})
            frames = await newest(late, {second})
            assert (second in frames, first in frames) == (True, False)


async def test_an_old_task_that_is_at_work_is_watched(tmp_path: Path) -> None:
    """Also when it has fallen out of the newest, to its end."""
    async with serve(stock_server(tmp_path, concurrency=300)) as caller:
        gate = uuid4().hex
        old = await started(caller, n=1, gate=gate)
        async with anyio.create_task_group() as starts:
            for _ in range(WINDOW + 5):
                starts.start_soon(partial(ended, caller, n=1))
        with anyio.fail_after(30):
            async with watching(caller) as stream:
                await newest(stream, {old}, "running")
                open_gate(gate)
                await newest(stream, {old})


async def test_a_watch_ends_with_the_server(tmp_path: Path) -> None:
    """And not by an error."""
    server = stock_server(tmp_path)
    async with serve(server) as caller:
        operation_id = await ended(caller, n=1)
        with anyio.fail_after(10):
            async with watching(caller) as stream:
                await newest(stream, {operation_id})
                server.close_streams()
                await stream.rest()
