"""The reads, each on its connection. Each but `fleet` is one statement, so it sees one moment."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from ...backend import MOST_AHEAD, Fleet, Page, waiting_since
from ...task import Event, Status, Task
from .. import records
from .statements import SQL

__all__ = ["counts", "fleet", "last_numbers", "list_tasks", "load", "queue_position", "read_events"]

PAGE_BYTES = 1024 * 1024
LARGEST = 2**63 - 1


def load(connection: sqlite3.Connection, task_id: str) -> Task | None:
    row = connection.execute(SQL.load_task, (task_id,)).fetchone()
    return None if row is None else records.read_task(*row)


def read_events(connection: sqlite3.Connection, task_id: str, after: int, limit: int) -> Sequence[Event]:
    events: list[Event] = []
    size = 0
    # A cursor left open would hold its moment of the file, and the WAL could not be reset.
    with closing(connection.execute(SQL.read_events, (task_id, min(after, LARGEST), limit))) as rows:
        for number, kind, at, attempt, data in rows:
            size += len(data)
            if events and size > PAGE_BYTES:
                break
            events.append(records.read_event(number, kind, at, attempt, data))
    return events


def list_tasks(
    connection: sqlite3.Connection, owner: str, status: Status | None, task_type: str | None, limit: int, before: int
) -> Page:
    statement = {
        (False, False): SQL.list_all,
        (True, False): SQL.list_status,
        (False, True): SQL.list_type,
        (True, True): SQL.list_status_and_type,
    }[status is not None, task_type is not None]
    rows = connection.execute(
        statement,
        # One more than asked for tells whether there is a next page.
        {"owner": owner, "status": status, "type": task_type, "before": before, "limit": limit + 1},
    ).fetchall()
    page = rows[:limit]
    return Page(
        tasks=[records.read_task(*parts) for _, *parts in page],
        next_cursor=str(page[-1][0]) if len(rows) > len(page) > 0 else None,
    )


def queue_position(connection: sqlite3.Connection, task_id: str) -> int | None:
    row = connection.execute(SQL.queue_position, {"id": task_id, "now": time.time(), "most": MOST_AHEAD}).fetchone()
    return None if row is None else row[0]


def counts(connection: sqlite3.Connection) -> Mapping[Status, int]:
    stored = dict(connection.execute(SQL.counts).fetchall())
    return {status: stored.get(status, 0) for status in Status}


def fleet(connection: sqlite3.Connection) -> Fleet:
    now = time.time()
    queued = counts(connection)[Status.QUEUED]
    (delayed,), (claimed,) = connection.execute(SQL.fleet_counts, {"now": now}).fetchall()
    heads = [records.read_task(*row) for row in connection.execute(SQL.first_in_line, {"now": now}).fetchall()]
    return Fleet(
        workers=None,
        due=max(0, queued - delayed),
        delayed=delayed,
        claimed=claimed,
        oldest_waiting=max((now - waiting_since(task) for task in heads), default=None),
        stalled=[task_id for (task_id,) in connection.execute(SQL.stalled_tasks, {"now": now}).fetchall()],
    )


def last_numbers(connection: sqlite3.Connection, task_ids: Sequence[str]) -> Mapping[str, int]:
    return dict(connection.execute(SQL.last_numbers, (records.to_json(task_ids).decode(),)).fetchall())
