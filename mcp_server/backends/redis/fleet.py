"""The fleet as Redis sees it: the workers that are alive, their tasks, and the queue.

Workers report every few seconds; one that stopped reporting is left out and forgotten.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import fields

from pydantic_core import from_json, to_json

from ..._version import package_version
from ...backend import Fleet, Limits, WorkerSeen, waiting_since
from .connection import Connection
from .layout import PARTS, id_of, read_record

__all__ = ["REPORT", "report", "retire", "view"]

REPORT = 2.0
"""Seconds between two reports of a worker."""
MISSED = 5
"""Reports a worker may miss before it is taken for dead."""
PAST_DIGITS = ":"
"""Sorts after every digit."""
SHOWN = 100
"""Stalled tasks that are named."""
STARTED = time.time()
REPORTED = frozenset(field.name for field in fields(WorkerSeen)) - {"name"}


async def report(connection: Connection, root: str, name: str, limits: Limits, running: Sequence[str]) -> None:
    """Say that this worker is alive. Raises Unavailable."""
    facts = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": package_version(),
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
    reports, due, delayed, claimed, expired, left, *lines = await connection.pipeline(
        [
            ("HGETALL", f"{root}:workers"),
            ("ZCARD", f"{root}:queue"),
            ("ZCARD", f"{root}:delayed"),
            ("ZCOUNT", f"{root}:claims", f"({int(now * 1000)}", "+inf"),
            ("ZRANGEBYSCORE", f"{root}:claims", "-inf", int(now * 1000), "LIMIT", 0, SHOWN),
            ("ZRANGE", f"{root}:stalled", 0, SHOWN - 1),
            # An order begins with the digit of its priority: one line each, and who is first in it.
            *(
                ("ZRANGEBYLEX", f"{root}:queue", f"[{line}", f"({line}{PAST_DIGITS}", "LIMIT", 0, 1)
                for line in range(10)
            ),
        ]
    )
    heads = await connection.pipeline(
        [("HMGET", f"{root}:task:{id_of(order)}", *PARTS) for orders in lines for order in orders]
    )
    waits = [now - waiting_since(task) for record in heads if (task := read_record(record)) is not None]
    alive: list[WorkerSeen] = []
    dead: list[bytes] = []
    for name, facts in reports.items():
        # A newer worker may report more than this program knows.
        known = {key: value for key, value in from_json(facts).items() if key in REPORTED}
        worker = WorkerSeen(name=name.decode(), **known)
        if worker.seen_at < now - REPORT * MISSED:
            dead.append(name)
        else:
            alive.append(worker)
    if dead:
        await connection.command("HDEL", f"{root}:workers", *dead)
    return Fleet(
        workers=sorted(alive, key=lambda worker: worker.name),
        due=due,
        delayed=delayed,
        claimed=claimed,
        oldest_waiting=max(0.0, *waits) if waits else None,
        stalled=[*(task_id.decode() for task_id in expired), *(id_of(order) for order in left)][:SHOWN],
    )


async def _clock(connection: Connection) -> float:
    """Redis's clock: the machines of a fleet need not agree on the time."""
    seconds, micros = await connection.command("TIME")
    return float(seconds) + float(micros) / 1e6
