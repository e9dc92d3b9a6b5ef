"""Measures what docs/benchmarks.md reports. Ratios are taken within one run, because machines differ and are noisy.

Every round is printed as it ends, and at the end a table: each figure beside its goal.

Usage: python -m tests.benchmarks.run [wire starts latency events readers idle replay poll]
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from .load import Connection, connect, get, post, rate, server, timed_rate

ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    what: str
    measured: float
    unit: str
    goal: str
    is_met: bool

    def __str__(self) -> str:
        measured = f"{self.measured:,.3g}" if self.measured < 100 else f"{self.measured:,.0f}"
        return f"{'met   ' if self.is_met else 'MISSED'}  {self.what:<66} {measured:>9} {self.unit:<9} goal {self.goal}"


def at_least(goal: float, what: str, measured: float, unit: str) -> Figure:
    return Figure(what=what, measured=measured, unit=unit, goal=f">= {goal:,g}", is_met=measured >= goal)


def at_most(goal: float, what: str, measured: float, unit: str) -> Figure:
    return Figure(what=what, measured=measured, unit=unit, goal=f"<= {goal:,g}", is_met=measured <= goal)


def call(tool: str, **arguments: Any) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    return post("/mcp", json.dumps(body).encode(), "accept: application/json")


def modern(tool: str, **arguments: Any) -> bytes:
    """A call as hosts of protocol 2026-07-28 make it: routing headers, and the client's name and capabilities."""
    prefix = "io.modelcontextprotocol"
    meta = {
        f"{prefix}/protocolVersion": "2026-07-28",
        f"{prefix}/clientCapabilities": {},
        f"{prefix}/clientInfo": {"name": "bench", "version": "1"},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = ("mcp-protocol-version: 2026-07-28", "mcp-method: tools/call", f"mcp-name: {tool}")
    return post("/mcp", json.dumps(body).encode(), "accept: application/json, text/event-stream", *headers)


async def data(connection: Connection, tool: str, **arguments: Any) -> dict[str, Any]:
    reply = json.loads(await connection.send(call(tool, **arguments)))["result"]["structuredContent"]
    assert reply["status"] == "success", reply
    found: dict[str, Any] = reply["data"]
    return found


@asynccontextmanager
async def ours(folder: Path, *more: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    backend = f"sqlite:///{folder / 'bench.db'}"
    with server(
        "-m", "mcp_server", "serve", "--app", "servers:server", "--port", "0", "--backend", backend, *more
    ) as s:
        yield s


async def wire(folder: Path) -> Iterable[Figure]:
    """Polls and durable starts on the wire of 2026-07-28, against the SDK's empty tool in the same round."""
    ratios: dict[str, list[float]] = {"poll": [], "start, by a server that only answers": [], "start, and run": []}
    answering = folder / "answering"
    answering.mkdir()
    with server("servers.py", "bare") as (bare_port, _bare):
        async with (
            ours(folder) as (port, _p),
            ours(answering, "--no-worker") as (only, _o),
            connect(port) as connection,
        ):
            task = await data(connection, "start_long_task", task_type="noop", wait_seconds=10)
            start = modern("start_long_task", task_type="noop", wait_seconds=0)
            measured = {
                "poll": (port, modern("get_task_progress", operation_id=task["operation_id"])),
                "start, by a server that only answers": (only, start),
                "start, and run": (port, start),
            }
            for _ in range(ROUNDS):
                empty = await timed_rate(bare_port, modern("empty"))
                print(f"wire: the SDK's empty tool {empty}")
                for what, (ours_port, request) in measured.items():
                    rated = await timed_rate(ours_port, request)
                    ratios[what].append(rated.per_second / empty.per_second)
                    print(f"wire: {what} {rated}, ratio {ratios[what][-1]:.2f}")
    goals = {"poll": 0.75, "start, by a server that only answers": 0.6, "start, and run": 0.4}
    return [
        at_least(goals[what], f"{what}, 2026-07-28, against the SDK's empty tool", median(found), "x")
        for what, found in ratios.items()
    ]


async def starts(folder: Path) -> Iterable[Figure]:
    """Starts of a no-op task (durability=full; the tasks run as well) against empty tool calls of a bare MCPServer."""
    ratios = []
    for _ in range(ROUNDS):
        with server("servers.py", "bare") as (port, _process):
            await rate(port, call("empty"), connections=16, seconds=1)
            bare = await rate(port, call("empty"), connections=16, seconds=4)
        async with ours(folder) as (port, _process):
            request = call("start_long_task", task_type="noop")
            await rate(port, request, connections=16, seconds=1)
            started = await rate(port, request, connections=16, seconds=4)
        ratios.append(started / bare)
        print(f"starts: {started:.0f}/s, bare empty calls: {bare:.0f}/s, ratio {started / bare:.2f}")
    return [at_least(0.5, "starts over /mcp, durable, against empty calls of a bare MCPServer", median(ratios), "x")]


async def latency(folder: Path) -> Iterable[Figure]:
    """From the answer of a start to the first event on its stream, on an idle server."""
    async with ours(folder) as (port, _process), connect(port) as connection:
        waits = []
        for _ in range(200):
            task = await data(connection, "start_long_task", task_type="noop")
            began = time.perf_counter()
            async with connect(port) as stream:
                async for chunk in stream.stream(get(task["stream_url"])):
                    if b"id: 1\n" in chunk:
                        break
            waits.append(1000 * (time.perf_counter() - began))
    cuts = quantiles(waits, n=100)
    print(f"first event: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms after the answer")
    return [at_most(5, "start answered to first event readable, p50", cuts[49], "ms")]


async def short(folder: Path) -> Iterable[Figure]:
    """From sending a start to reading the terminal event on the task's stream, of functions that do nothing."""
    figures = []
    async with ours(folder) as (port, _process), connect(port) as connection:
        for task_type, most in (("noop", 4), ("noop_process", 60)):
            waits = []
            for _ in range(101):
                began = time.perf_counter()
                task = await data(connection, "start_long_task", task_type=task_type)
                async with connect(port) as stream:
                    async for chunk in stream.stream(get(task["stream_url"])):
                        if b"event: done\n" in chunk:
                            break
                waits.append(1000 * (time.perf_counter() - began))
            first, cuts = waits[0], quantiles(waits[1:], n=100)
            print(f"{task_type}: first {first:.1f} ms, then p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms")
            figures.append(at_most(most, f"start to terminal event of {task_type}, p50", cuts[49], "ms"))
    return figures


async def events(folder: Path) -> Iterable[Figure]:
    """Progress reports of one task, appended to its log, per second of its run."""
    rates = []
    async with ours(folder) as (port, _process), connect(port) as connection:
        for _ in range(ROUNDS):
            task = await data(connection, "start_long_task", task_type="burst", arguments={"events": 50_000})
            while task["status"] not in ("completed", "failed"):
                task = await data(connection, "get_task_result", operation_id=task["operation_id"], wait_seconds=60)
                task = await data(connection, "get_task_progress", operation_id=task["operation_id"])
            rates.append(50_000 / task["elapsed_seconds"])
            print(f"events: {rates[-1]:.0f}/s appended by one task")
    return [at_least(20_000, "progress events appended in one process", median(rates), "/s")]


async def readers(folder: Path, count: int = 100, reports: int = 10_000) -> Iterable[Figure]:
    """So many readers of one task, against a bare Starlette stream of as many bytes; events per second in all."""

    async def read_all(port: int, path: str, end: bytes) -> int:
        async with connect(port) as stream:
            tail, frames = b"", 0
            async for chunk in stream.stream(get(path)):
                frames += chunk.count(b"\nevent: ")
                tail = (tail + chunk)[-200:]
                if end in tail:
                    break
            return frames

    async def fan_out(port: int, path: str, end: bytes) -> float:
        began = time.perf_counter()
        frames = sum(await asyncio.gather(*(read_all(port, path, end) for _ in range(count))))
        return frames / (time.perf_counter() - began)

    ratios = []
    for _ in range(ROUNDS):
        with server("servers.py", "plain") as (port, _process):
            plain = await fan_out(port, f"/stream?events={reports}", b"\r\n0\r\n\r\n")
        async with ours(folder) as (port, _process), connect(port) as connection:
            task = await data(
                connection, "start_long_task", task_type="burst", arguments={"events": reports, "pause": 0.2}
            )
            streamed = await fan_out(port, task["stream_url"], b"event: done")
        ratios.append(streamed / plain)
        print(f"readers: {streamed:.0f} events/s to {count} readers, plain {plain:.0f}/s, ratio {streamed / plain:.2f}")
    return [at_least(0.6, f"{count} readers of one task against a bare Starlette stream", median(ratios), "x")]


async def idle(folder: Path, count: int = 1000) -> Iterable[Figure]:
    """What so many open streams of waiting tasks cost in memory and in processor time."""
    async with ours(folder) as (port, process), connect(port) as connection:
        tasks = [(await data(connection, "start_long_task", task_type="idle"))["stream_url"] for _ in range(10)]
        await asyncio.sleep(2)
        alone = await _processor_share(process, 10)
        held = []
        for number in range(2 * count):
            if number == count:
                await asyncio.sleep(2)
                # Counted from here: the first ones fill what the start of the program has left behind.
                before = process.memory_info().rss
                share = await _processor_share(process, 20)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get(tasks[number % len(tasks)]))
            await reader.readuntil(b"waiting")
            held.append((reader, writer))
        await asyncio.sleep(2)
        memory = (process.memory_info().rss - before) / count / 1024
        print(f"idle: {memory:.0f} KB and {share:.2f} % of a core for {count} streams, {alone:.2f} % without")
        for _, writer in held:
            writer.close()
    return [
        at_most(60, "memory of an open idle stream", memory, "KB"),
        at_most(2, f"{count} idle streams", share, "% of core"),
    ]


async def _processor_share(process: psutil.Process, seconds: float) -> float:
    """Percent of a core that the process uses in that time."""
    before, began = process.cpu_times(), time.perf_counter()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    return 100 * (after.user + after.system - before.user - before.system) / (time.perf_counter() - began)


async def replay(folder: Path) -> Iterable[Figure]:
    """The whole log of a finished task of 10 000 events, read by one new reader; the first one after the start too."""
    took = []
    async with ours(folder) as (port, _process), connect(port) as connection:
        task = await data(connection, "start_long_task", task_type="burst", arguments={"events": 10_000})
        await data(connection, "get_task_result", operation_id=task["operation_id"], wait_seconds=60)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            async with connect(port) as stream:
                tail = b""
                async for chunk in stream.stream(get(task["stream_url"])):
                    tail = (tail + chunk)[-200:]
                    if b"event: done" in tail:
                        break
            took.append(time.perf_counter() - began)
            print(f"replay: 10 000 events in {took[-1]:.3f} s")
    return [at_most(0.5, "replay of 10 000 events, the slowest", max(took), "s")]


async def poll(folder: Path) -> Iterable[Figure]:
    """Polls of one task with a thousand and with a million tasks stored, taking turns."""
    few, many = folder / "few", folder / "many"
    requests = []
    for place, stored in ((few, 1_000), (many, 1_000_000)):
        place.mkdir()
        async with ours(place) as (port, _process), connect(port) as connection:
            task = await data(connection, "start_long_task", task_type="noop")
            await data(connection, "get_task_result", operation_id=task["operation_id"], wait_seconds=60)
        _multiply(place / "bench.db", task["operation_id"], stored)
        requests.append(call("get_task_progress", operation_id=task["operation_id"]))
    async with ours(few) as (port_few, _one), ours(many) as (port_many, _other):
        ratios = []
        for _ in range(2 * ROUNDS):
            rates = [
                await rate(port, request, connections=1, seconds=2)
                for port, request in zip((port_few, port_many), requests, strict=True)
            ]
            ratios.append(rates[0] / rates[1])
            print(f"poll: {1000 / rates[0]:.2f} ms with 1 000 tasks stored, {1000 / rates[1]:.2f} ms with 1 000 000")
    return [at_most(1.3, "a poll with 1 000 000 stored tasks against one with 1 000", median(ratios[1:]), "x")]


def _multiply(path: Path, task_id: str, count: int) -> None:
    """Copy one finished task, with its events, until so many are stored."""
    with sqlite3.connect(path) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(tasks)") if row[1] not in ("seq", "id")]
        names = ", ".join(columns)
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            f" INSERT INTO tasks (id, {names})"
            f" SELECT lower(hex(randomblob(16))), {names} FROM n, tasks WHERE tasks.id = ?",
            (count, task_id),
        )
        (seq,) = database.execute("SELECT seq FROM tasks WHERE id = ?", (task_id,)).fetchone()
        database.execute(
            "INSERT INTO events (task, number, kind, at, attempt, data)"
            " SELECT seq, number, kind, at, attempt, data FROM events, tasks WHERE events.task = ? AND seq > ?",
            (seq, seq),
        )
        for part in ("fixed", "outputs"):
            database.execute(
                f"INSERT INTO {part} SELECT seq, value FROM {part}, tasks WHERE {part}.task = ? AND seq > ?", (seq, seq)
            )


ALL = (wire, starts, latency, short, events, readers, idle, replay, poll)


async def main() -> None:
    wanted = sys.argv[1:] or [measure.__name__ for measure in ALL]
    figures: list[Figure] = []
    for measure in ALL:
        if measure.__name__ in wanted:
            with tempfile.TemporaryDirectory() as folder:
                figures += await measure(Path(folder))
    load = ", ".join(f"{number:.1f}" for number in psutil.getloadavg())
    print(f"\n{psutil.cpu_count()} cores, load average {load} at the end", *figures, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
