"""The requests inside a write transaction: create, commit, claim, release, purge.

Values are encoded before they get here (the `New` and `Change` of a request), so that the
transaction is short and a value that cannot be encoded fails its own caller only.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from ...backend import Limits
from ...errors import Conflict
from ...task import Event, Task
from .. import records
from .statements import SQL

__all__ = ["Change", "Claimed", "New", "claim", "give_back", "purge", "release", "renew"]

EventRow = tuple[int, str, float, int, bytes]


def _event_rows(events: Sequence[Event]) -> list[EventRow]:
    return [(event.number, str(event.kind), event.at, event.attempt, records.event_data(event)) for event in events]


def _columns(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "status": task.status,
        "claimable": task.claimable,
        "not_before": task.not_before,
        "last_event_id": task.last_event_id,
        "expires_at": task.expires_at,
        "snapshot": records.changing(task),
    }


def _insert_events(connection: sqlite3.Connection, seq: int, rows: Sequence[EventRow]) -> None:
    connection.executemany(SQL.insert_event, [(seq, *row) for row in rows])


def _put(connection: sqlite3.Connection, statement: str, seq: int, value: bytes | None) -> None:
    if value is not None:
        connection.execute(statement, (seq, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """A task to be stored, unless its idempotency key is taken."""

    columns: dict[str, Any]
    created_at: float
    fixed: bytes
    state: bytes | None
    output: bytes | None
    events: Sequence[EventRow]

    @classmethod
    def of(cls, task: Task, events: Sequence[Event]) -> Self:
        columns = _columns(task) | {
            "owner": task.owner,
            "type": task.type,
            "idempotency_key": task.idempotency_key,
            "priority": task.priority,
        }
        return cls(
            columns=columns,
            created_at=task.created_at,
            fixed=records.fixed(task),
            state=None if task.state is None else records.to_json(task.state),
            output=None if task.output is None else records.to_json(task.output),
            events=_event_rows(events),
        )

    def __call__(self, connection: sqlite3.Connection) -> Task | None:
        """Store it; the task that holds its key instead, if there is one."""
        if self.columns["idempotency_key"] is not None:
            holder = connection.execute(SQL.find_key, self.columns).fetchone()
            if holder is not None:
                seq, expires_at = holder
                if expires_at is None or expires_at > self.created_at:
                    return records.read_task(*connection.execute(SQL.load_seq, (seq,)).fetchone())
                connection.execute(SQL.free_key, (seq,))
        inserted = connection.execute(SQL.insert_task, self.columns)
        if not inserted.rowcount:
            raise Conflict(f"There is a task with the id {self.columns['id']!r} already")
        seq = inserted.lastrowid
        assert seq is not None
        connection.execute(SQL.insert_fixed, (seq, self.fixed))
        _put(connection, SQL.put_state, seq, self.state)
        _put(connection, SQL.put_output, seq, self.output)
        _insert_events(connection, seq, self.events)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of a task: `before` is replaced by `after` if it is still what is stored."""

    columns: dict[str, Any]
    first_event_id: int | None
    """Events below it are dropped (None: nothing is)."""
    state: bytes | None
    output: bytes | None
    events: Sequence[EventRow]

    @classmethod
    def of(cls, before: Task, after: Task, events: Sequence[Event]) -> Self:
        return cls(
            columns=_columns(after) | {"expected": before.last_event_id},
            first_event_id=after.first_event_id if after.first_event_id != before.first_event_id else None,
            state=records.to_json(after.state) if after.state is not before.state else None,
            output=records.to_json(after.output) if after.output is not before.output else None,
            events=_event_rows(events),
        )

    def __call__(self, connection: sqlite3.Connection) -> None:
        updated = connection.execute(SQL.update_task, self.columns).fetchall()
        if not updated:
            raise Conflict(f"Task {self.columns['id']} is no longer at event {self.columns['expected']}")
        ((seq,),) = updated
        _put(connection, SQL.put_state, seq, self.state)
        _put(connection, SQL.put_output, seq, self.output)
        _insert_events(connection, seq, self.events)
        if self.first_event_id is not None:
            connection.execute(SQL.trim_events, (seq, self.first_event_id))


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim."""

    claims: Sequence[tuple[int, str]]
    """Row and id of each task that was leased."""
    next_due: float | None
    """The time at which a delayed task comes due or another process's lease ends, in seconds since the epoch."""


def claim(connection: sqlite3.Connection, *, holder: str, lease: float, limits: Limits, free: int) -> Claimed:
    """Lease up to `free` due tasks to `holder`, as far as the limits over all processes allow."""
    # Read here and not when the request was queued, or the lease might begin in the past.
    now = time.time()
    types: Counter[str] = Counter(dict(connection.execute(SQL.leased_types, (now,))))
    owners: Counter[str] = Counter(dict(connection.execute(SQL.leased_owners, (now,))))

    def type_is_full(name: str) -> bool:
        most = limits.types[name]
        return most is not None and types[name] >= most

    def owner_is_full(name: str) -> bool:
        return limits.per_owner is not None and owners[name] >= limits.per_owner

    claims: list[tuple[int, str]] = []
    while len(claims) < free:
        # Full types and owners are left out by the query: a long queue of them is not read
        # through row by row. One that fills up on the way ends the round.
        found = connection.execute(
            SQL.due_tasks,
            {
                "now": now,
                "holder": holder,
                "types": records.to_json([name for name in limits.types if not type_is_full(name)]).decode(),
                "full_owners": records.to_json([name for name in owners if owner_is_full(name)]).decode(),
                "limit": free - len(claims),
            },
        ).fetchall()
        if not found:
            break
        for seq, task_id, task_type, owner, _ in found:
            if type_is_full(task_type) or owner_is_full(owner):
                break
            connection.execute(SQL.put_lease, (seq, holder, now + lease, task_type, owner))
            types[task_type] += 1
            owners[owner] += 1
            claims.append((seq, task_id))
    (next_due,) = connection.execute(SQL.next_due, {"now": now, "holder": holder}).fetchone()
    return Claimed(claims, next_due)


def renew(connection: sqlite3.Connection, *, holder: str, expires_at: float) -> set[int]:
    """Extend all leases of `holder`; the tasks (`seq`) whose leases it still had."""
    return {seq for (seq,) in connection.execute(SQL.renew_leases, (expires_at, holder)).fetchall()}


def release(connection: sqlite3.Connection, *, holder: str, seq: int | None = None) -> None:
    """End the holder's lease of one task, or of all."""
    if seq is None:
        connection.execute(SQL.delete_leases, (holder,))
    else:
        connection.execute(SQL.delete_lease, (seq, holder))


def purge(connection: sqlite3.Connection, *, now: float, tasks: int, events: int) -> Sequence[str]:
    """Delete some expired tasks, at most `tasks` and about `events` of their events; their ids."""
    deleted: list[str] = []
    for seq, task_id, last_event_id in connection.execute(SQL.expired_tasks, (now, tasks)).fetchall():
        for statement in (
            SQL.purge_events,
            SQL.purge_lease,
            SQL.purge_output,
            SQL.purge_state,
            SQL.purge_fixed,
            SQL.purge_task,
        ):
            connection.execute(statement, (seq,))
        deleted.append(task_id)
        events -= last_event_id
        if events <= 0:
            break
    return deleted


def give_back(connection: sqlite3.Connection, *, keep: int, most: int) -> int:
    """Return unused pages of the file to the disk, all but `keep` and at most so many; how many."""
    (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    pages = min(unused - keep, most)
    if pages <= 0:
        return 0
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    (left,) = connection.execute("PRAGMA freelist_count").fetchone()
    returned: int = unused - left
    return returned
