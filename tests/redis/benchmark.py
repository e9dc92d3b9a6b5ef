"""What a fleet costs, each figure beside its goal: `python -m tests.redis.benchmark [NAME ...] [--fastmcp PYTHON]`.

- progress: from a report in a worker to its frame at a reader of a replica, all processes of their own;
- deltas: 5 000 pieces of text, worker to reader, against a bare XADD and XREAD of the same;
- starts: starts of an empty task per second, against FastMCP 4 on the same Redis. PYTHON is that
  of an environment of its own, made with `pip install 'fastmcp[tasks]'`;
- idle: the processor time of a replica and of a worker with nothing to do.

Ratios are taken within one run and shown as the median of three: machines differ and are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import psutil
import redis.asyncio

from client_sdk import LongTaskClient, OutputEvent, ProgressEvent
from mcp_server import Settings
from tests.benchmarks.load import connect, post, rate

from .processes import Fleet, Process, fleet
from .server import RedisServer, free_port, redis_server

ROUNDS = 3
DELTAS = 5000
REPORTS = 500
IDLE = 10.0
SECONDS = 4.0
CONNECTIONS = 16
CONCURRENCY = 16

CALL: Mapping[str, Any] = {
    "name": "noop",
    "arguments": {},
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    },
}
START = post(
    "/mcp",
    json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}).encode(),
    "accept: application/json, text/event-stream",
    "mcp-protocol-version: 2026-07-28",
    "mcp-method: tools/call",
    "mcp-name: noop",
)
"""One call that becomes a task, as both servers understand it."""


def show(what: str, measured: str, goal: str, met: bool) -> None:
    print(f"{what:52} {measured:24} {goal:22} {'met' if met else 'MISSED'}", flush=True)


async def progress(server: RedisServer, members: Fleet, python: str | None) -> None:
    replica, late = members.replica(), []
    members.worker()
    async with LongTaskClient(replica.url) as client:
        for _ in range(ROUNDS):
            handle = await client.start("stamp", {"times": REPORTS, "pause": 0.01, "report": True})
            events = [(time.time(), e) async for e in handle.events(after=0) if isinstance(e, ProgressEvent)]
            waits = sorted(seen - float(event.data.message) for seen, event in events if event.number)
            assert len(waits) == REPORTS
            late.append(waits)
    p50 = 1000 * statistics.median(waits[len(waits) // 2] for waits in late)
    p99 = 1000 * statistics.median(waits[len(waits) * 99 // 100] for waits in late)
    show("progress, worker to stream of another process, p50", f"{p50:.1f} ms", "<= 5 ms", p50 <= 5)
    show("progress, worker to stream of another process, p99", f"{p99:.1f} ms", "<= 25 ms", p99 <= 25)


async def deltas(server: RedisServer, members: Fleet, python: str | None) -> None:
    replica, ratios = members.replica(), []
    members.worker()
    async with LongTaskClient(replica.url) as client:
        for _ in range(ROUNDS):
            handle = await client.start("stamp", {"times": DELTAS, "pause": 0.0})
            stamps = [e.data.data async for e in handle.events(after=0) if isinstance(e, OutputEvent)]
            ours = time.time() - stamps[0]
            assert stamps == sorted(stamps)
            assert len(stamps) == DELTAS
            ratios.append(ours / await _bare(server.url))
    ratio = statistics.median(ratios)
    show(f"{DELTAS} text deltas, against bare XADD and XREAD", f"{ratio:.2f} x", "<= 2 x", ratio <= 2)


async def _bare(url: str) -> float:
    began = time.perf_counter()
    async with redis.asyncio.from_url(url) as writer, redis.asyncio.from_url(url) as reader:
        await writer.delete("bare")

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


async def starts(server: RedisServer, members: Fleet, python: str | None) -> None:
    """FastMCP's server always runs tasks too; ours is measured without doing so, and with."""
    if python is None:
        print("starts: --fastmcp wants the Python of an environment with fastmcp[tasks]")
        return
    apart, together = [], []
    for _ in range(ROUNDS):
        with fastmcp(python, server.url) as port:
            theirs = await _starts(port)
        server.command("FLUSHALL")
        both = members.replica(works=True, concurrency=CONCURRENCY)
        together.append(await _starts(_port(both)) / theirs)
        both.terminate()
        server.command("FLUSHALL")
        replica = members.replica()
        mine = await _starts(_port(replica))
        apart.append(mine / theirs)
        async with LongTaskClient(replica.url) as client:
            await _all_run(client, members.worker(concurrency=CONCURRENCY))
        replica.terminate()
        server.command("FLUSHALL")
        print(f"starts: {mine:.0f} per second, FastMCP 4 {theirs:.0f}")
    ratio = statistics.median(apart)
    show("starts per second of a replica, against FastMCP 4", f"{ratio:.1f} x", ">= 2 x", ratio >= 2)
    ratio = statistics.median(together)
    show("starts per second of a server that also runs them", f"{ratio:.1f} x", "none", True)


async def _all_run(client: LongTaskClient, worker: Process) -> None:
    """Wait until everything that was started has been run: a start that nobody runs would be cheap."""
    while (tasks := (await client.health()).tasks)["queued"] or tasks["running"]:
        pass
    assert tasks["completed"] == sum(tasks.values())
    worker.terminate()


async def _starts(port: int) -> float:
    async with connect(port) as connection:
        answer = json.loads(await connection.send(START))
        assert answer["result"]["resultType"] == "task", answer
    await rate(port, START, connections=CONNECTIONS, seconds=1)
    return await rate(port, START, connections=CONNECTIONS, seconds=SECONDS)


def _port(server: Process) -> int:
    return int(server.url.rpartition(":")[2])


@contextmanager
def fastmcp(python: str, redis_url: str) -> Iterator[int]:
    """A FastMCP server; its port."""
    port, program = free_port(), Path(__file__).with_name("fastmcp4.py")
    process = subprocess.Popen([python, str(program), redis_url, str(port), str(CONCURRENCY)], stderr=subprocess.PIPE)
    try:
        while True:
            assert process.poll() is None, "FastMCP did not start"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.communicate()


async def idle(server: RedisServer, members: Fleet, python: str | None) -> None:
    replica, worker = members.replica(), members.worker()
    assert replica.url
    for name, process in [("replica", replica), ("worker", worker.ready())]:
        share = _share(process)
        show(f"idle {name}", f"{share:.2%} of a core", "< 1 %", share < 0.01)


def _share(process: Process) -> float:
    time.sleep(2)
    seen = psutil.Process(process.pid)
    before = sum(seen.cpu_times()[:2])
    time.sleep(IDLE)
    return float(sum(seen.cpu_times()[:2]) - before) / IDLE


FIGURES: dict[str, Callable[[RedisServer, Fleet, str | None], Awaitable[None]]] = {
    "progress": progress,
    "deltas": deltas,
    "starts": starts,
    "idle": idle,
}


async def main(names: list[str], python: str | None) -> None:
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    for name in names:
        with (
            tempfile.TemporaryDirectory() as folder,
            redis_server(Path(folder) / "redis", "appendonly yes") as server,
            fleet(server.url, Path(folder), lease=Settings().lease) as members,
        ):
            await FIGURES[name](server, members, python)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--fastmcp", metavar="PYTHON")
    given = parser.parse_args()
    if unknown := set(given.names) - FIGURES.keys():
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    anyio.run(main, given.names or list(FIGURES), given.fastmcp)
