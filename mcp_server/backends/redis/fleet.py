"""Who is alive, what each runs, and what waits: the fleet as Redis sees it.

Workers report every few seconds; one that stopped reporting is left out and forgotten.
Everything here only informs: no decision about a task is taken on it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version

from pydantic_core import from_json, to_json

from ...backend import Limits
from .connection import Connection

__all__ = ["REPORT", "Fleet", "WorkerSeen", "report", "retire", "view"]

REPORT = 2.0
"""Seconds between two reports of a worker."""
MISSED = 5
"""Reports a worker may miss before it is taken for dead."""
STARTED = time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A process that takes tasks, as of its last report. Times are seconds since the epoch."""

    name: str
    host: str
    pid: int
    version: str
    started_at: float
    seen_at: float
    slots: int
    """How many tasks it runs at once."""
    types: Sequence[str]
    running: Sequence[str]
    """Ids of the tasks it runs."""


REPORTED = frozenset(field.name for field in fields(WorkerSeen)) - {"name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The workers and the queue at one moment."""

    workers: Sequence[WorkerSeen]
    queued: int
    """Tasks that could be claimed now."""
    delayed: int
    """Queued tasks whose time has not come."""
    claimed: int
    oldest_waiting: float | None
    """Seconds the longest waiting of the tasks next in line has waited, None if none waits."""
    stalled: Sequence[str]
    """Ids of tasks whose worker stopped renewing its lease and that nobody has taken over yet."""


async def report(connection: Connection, root: str, name: str, limits: Limits, running: Sequence[str]) -> None:
    """Say that this worker is alive. Raises Unavailable."""
    facts = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": _version(),
        "started_at": STARTED,
        "slots": limits.total,
        "types": sorted(limits.types),
        "running": running,
    }
    now = await _clock(connection)
    await connection.command("HSET", f"{root}:workers", name, to_json({**facts, "seen_at": now}))


async def retire(connection: Connection, root: str, name: str) -> None:
    """Leave the list of workers. Raises Unavailable; then the others forget it by themselves."""
    await connection.command("HDEL", f"{root}:workers", name)


async def view(connection: Connection, root: str) -> Fleet:
    """The fleet now. Raises Unavailable."""
    now = await _clock(connection)
    reports, queued, delayed, claimed, heads, stalled = await connection.pipeline(
        [
            ("HGETALL", f"{root}:workers"),
            ("ZCARD", f"{root}:queue"),
            ("ZCARD", f"{root}:delayed"),
            ("ZCARD", f"{root}:claims"),
            ("ZRANGE", f"{root}:queue", 0, 99),
            ("ZRANGEBYSCORE", f"{root}:claims", "-inf", int(now * 1000), "LIMIT", 0, 100),
        ]
    )
    # After the priority digit an order holds the time of creation in microseconds.
    oldest = min((int(order[1:17]) / 1e6 for order in heads), default=None)
    alive: list[WorkerSeen] = []
    dead: list[bytes] = []
    for name, facts in _pairs(reports):
        # A newer worker may report more than this program knows.
        worker = WorkerSeen(name=name.decode(), **{k: v for k, v in from_json(facts).items() if k in REPORTED})
        if worker.seen_at < now - REPORT * MISSED:
            dead.append(name)
        else:
            alive.append(worker)
    if dead:
        await connection.command("HDEL", f"{root}:workers", *dead)
    return Fleet(
        workers=sorted(alive, key=lambda worker: worker.name),
        queued=queued,
        delayed=delayed,
        claimed=claimed,
        oldest_waiting=None if oldest is None else max(0.0, now - oldest),
        stalled=[task_id.decode() for task_id in stalled],
    )


async def _clock(connection: Connection) -> float:
    """Redis's clock: the machines of a fleet need not agree on the time."""
    seconds, micros = await connection.command("TIME")
    return float(seconds) + float(micros) / 1e6


def _pairs(hash: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return list(hash.items())


def _version() -> str:
    try:
        return version("mcp-long-tasks")
    except PackageNotFoundError:
        return "unknown"
