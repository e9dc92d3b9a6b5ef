"""What the fleet costs, as ratios measured in one run: `python -m tests.redis.benchmark`.

- progress: from the report in a worker to the frame at a reader of another process;
- deltas: as many pieces of text, worker to reader, against a bare XADD and XREAD of the same;
- idle: the processor time of a replica and of a worker with nothing to do.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import psutil
import redis.asyncio

from client_sdk import LongTaskClient, OutputEvent

from .processes import Process, fleet
from .server import redis_server

DELTAS = 5000
REPORTS = 300
IDLE = 10.0


async def main() -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        redis_server(Path(name) / "redis", "appendonly yes") as server,
        fleet(server.url, Path(name)) as members,
    ):
        replica, worker = members.replica(), members.worker()
        async with LongTaskClient(replica.url) as client:
            await _progress(client)
            await _deltas(client, server.url)
        _idle(replica, "replica")
        _idle(worker.ready(), "worker")


async def _progress(client: LongTaskClient) -> None:
    handle = await client.start("stamp", {"times": REPORTS, "pause": 0.01})
    late = sorted([time.time() - e.data.data async for e in handle.events(after=0) if isinstance(e, OutputEvent)])
    print(f"progress, worker to stream: p50 {late[len(late) // 2] * 1000:.1f} ms, p99 {late[-4] * 1000:.1f} ms")


async def _deltas(client: LongTaskClient, url: str) -> None:
    handle = await client.start("stamp", {"times": DELTAS, "pause": 0.0})
    stamps = [e.data.data async for e in handle.events(after=0) if isinstance(e, OutputEvent)]
    ours = time.time() - stamps[0]
    assert stamps == sorted(stamps)
    assert len(stamps) == DELTAS
    bare = await _bare(url)
    print(f"{DELTAS} deltas: {ours:.2f} s, bare XADD and XREAD {bare:.2f} s, ratio {ours / bare:.2f}")


async def _bare(url: str) -> float:
    began = time.perf_counter()
    async with redis.asyncio.from_url(url) as writer, redis.asyncio.from_url(url) as reader:

        async def write() -> None:
            for _ in range(DELTAS):
                await writer.xadd("bare", {"e": str(time.time())})

        async with anyio.create_task_group() as both:
            both.start_soon(write)
            seen, last = 0, b"0"
            while seen < DELTAS:
                answer: Any = await reader.xread({"bare": last}, block=1000)
                for _, entries in answer:
                    seen, last = seen + len(entries), entries[-1][0]
    return time.perf_counter() - began


def _idle(process: Process, what: str) -> None:
    time.sleep(2)
    seen = psutil.Process(process.pid)
    before = sum(seen.cpu_times()[:2])
    time.sleep(IDLE)
    print(f"idle {what}: {(sum(seen.cpu_times()[:2]) - before) / IDLE:.2%} of a core")


if __name__ == "__main__":
    anyio.run(main)
