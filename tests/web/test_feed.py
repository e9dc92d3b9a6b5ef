"""One log, many readers: nothing lost, nothing twice, nobody held up, whatever the readers do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.abc
import psutil
import pytest

from tests.server.servers import Caller, Frame, Stream, serve
from tests.server.stock import open_gate, stock_server

EVENTS = 403
"""Of a task that reports 400 times: queued, started, the reports, the end."""


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


def numbers(frames: list[Frame]) -> list[int]:
    return [frame.id for frame in frames if frame.id is not None]


async def read_some(stream: Stream, most: int) -> tuple[list[Frame], bool]:
    """Up to so many frames, and whether that was the end of the stream."""
    frames: list[Frame] = []
    async for frame in stream:
        frames.append(frame)
        if len(frames) == most:
            return frames, False
    return frames, True


async def test_readers_that_come_and_go_see_every_event_once(caller: Caller) -> None:
    """Eight of them, each cut off dozens of times at random and back with its last id, while the task runs."""
    rng = random.Random(20260731)
    operation_id = await caller.start("paced", {"n": 400})
    seen: list[list[Frame]] = [[] for _ in range(8)]

    async def follow(frames: list[Frame]) -> None:
        while not frames or frames[-1].event != "done":
            async with caller.stream(operation_id, max(numbers(frames), default=0)) as stream:
                if stream.response.status_code == 204:
                    return
                some, _ = await read_some(stream, rng.randint(1, 40))
                frames += some

    with anyio.fail_after(30):
        async with anyio.create_task_group() as readers:
            for frames in seen:
                readers.start_soon(follow, frames)
    for frames in seen:
        assert numbers(frames) == list(range(1, EVENTS + 1))
        assert [f.data["current"] for f in frames if f.id and f.event == "progress"] == list(range(400))
        assert frames[-1].event == "done"


async def test_many_readers_get_the_same_bytes(caller: Caller) -> None:
    """Whether they were there from the start or came late: live and replay cannot differ."""
    operation_id = await caller.start("counts", {"n": 200, "gate": "many"})
    bodies: list[bytes] = []

    async def read() -> None:
        bodies.append((await caller.http.get(f"/progress/{operation_id}/stream")).content)

    async with anyio.create_task_group() as readers:
        for _ in range(50):
            readers.start_soon(read)
        async with caller.stream(operation_id) as stream:
            await stream.upto(202)
        open_gate("many")
    await read()
    assert len(bodies) == 51
    assert len(set(bodies)) == 1


class Stalled:
    """A reader that stops reading after the first event until it is told to go on."""

    def __init__(self, connection: anyio.abc.SocketStream, read: bytes) -> None:
        self.connection, self._read = connection, read

    @classmethod
    async def open(cls, caller: Caller, operation_id: str) -> Stalled:
        connection = await anyio.connect_tcp(caller.http.base_url.host, caller.http.base_url.port or 0)
        await connection.send(f"GET /progress/{operation_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        read = b""
        while b"id: 1\n" not in read:
            read += await connection.receive()
        return cls(connection, read)

    async def lines(self) -> list[bytes]:
        """All lines to the end of the stream."""
        parts = [self._read]
        while b"event: done" not in b"".join(parts[-2:]):
            parts.append(await self.connection.receive(1_000_000))
        return b"".join(parts).split(b"\n")


def ids(lines: list[bytes]) -> list[int]:
    return [int(line[4:]) for line in lines if line.startswith(b"id: ")]


async def test_a_reader_that_does_not_read_costs_next_to_nothing(caller: Caller) -> None:
    """Neither the task nor other readers wait for it, its backlog is not kept for it in memory, and it gets it all."""
    operation_id = await caller.start("talks", {"n": 250, "size": 100_000, "gate": "slow"})
    slow = [await Stalled.open(caller, operation_id) for _ in range(10)]
    before = psutil.Process().memory_info().rss
    open_gate("slow")
    with anyio.fail_after(30):
        assert (await caller.frames(operation_id, 200))[-1].event == "done"
    # Twenty-five megabytes for each of ten, if anything kept them.
    assert psutil.Process().memory_info().rss - before < 125_000_000
    with anyio.fail_after(30):
        assert ids(await slow[0].lines()) == list(range(1, 254))
    for reader in slow:
        await reader.connection.aclose()


async def test_a_reader_that_falls_behind_what_is_kept_gets_a_gap_and_goes_on(tmp_path: Path) -> None:
    """In the middle of its stream; what it gets afterwards is whole."""
    async with serve(stock_server(tmp_path, max_events=50)) as caller:
        operation_id = await caller.start("talks", {"n": 200, "size": 100_000, "gate": "behind"})
        reader = await Stalled.open(caller, operation_id)
        open_gate("behind")
        with anyio.fail_after(30):
            await caller.frames(operation_id, query="?from=now")
            lines = await reader.lines()
        await reader.connection.aclose()
    jumps = [(a, b) for a, b in pairwise(ids(lines)) if b != a + 1]
    assert all(a < b for a, b in jumps)
    assert len(jumps) == lines.count(b"event: gap") >= 1
    assert (ids(lines)[0], ids(lines)[-1]) == (1, 203)


async def test_a_log_longer_than_a_page_is_read_to_its_end(caller: Caller) -> None:
    """Thousands of events, from any point."""
    operation_id = await caller.start("counts", {"n": 3000})
    with anyio.fail_after(30):
        assert numbers(await caller.frames(operation_id)) == list(range(1, 3004))
        assert numbers(await caller.frames(operation_id, 1234)) == list(range(1235, 3004))


async def test_what_another_process_does_is_streamed(tmp_path: Path) -> None:
    """A server that runs nothing itself streams what one on the same file does."""
    front, worker = stock_server(tmp_path), stock_server(tmp_path)
    app = front.http_app()
    async with worker.running(), front.running(work=False), serve(app) as caller:
        operation_id = await caller.start("counts", {"n": 300})
        with anyio.fail_after(10):
            assert numbers(await caller.frames(operation_id)) == list(range(1, 304))
