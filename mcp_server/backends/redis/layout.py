"""The form of a task in Redis: the parts of its record, the text it is ordered by, an event as one entry of its log;
and of a script: its file with the preludes it needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from ...task import Event, Task
from ..records import event_data, read_event, read_task

__all__ = ["PARTS", "Script", "id_of", "order_of", "packed", "read_record", "unpacked"]

PARTS = ("fixed", "snapshot", "state", "output")
"""The fields of a task's hash that make a `Task`; the others are the scripts' own."""


def read_record(parts: Sequence[bytes | None]) -> Task | None:
    """The task with these `PARTS`, or None if there is none."""
    known, changed, state, output = parts
    return None if known is None or changed is None else read_task(known, changed, state, output)


def order_of(task: Task) -> str:
    """The text that tasks are ordered by: highest priority, then oldest, then id."""
    return f"{9 - task.priority}{int(task.created_at * 1_000_000):016d}:{task.id}"


def id_of(order: bytes) -> str:
    """The id in an order, with or without its first digit."""
    return order.decode().partition(":")[2]


def packed(event: Event) -> bytes:
    return b"%s %r %d %s" % (event.kind.value.encode(), event.at, event.attempt, event_data(event))


def unpacked(number: bytes, entry: bytes) -> Event:
    kind, at, attempt, data = entry.split(b" ", 3)
    return read_event(int(number.partition(b"-")[0]), kind.decode(), float(at), int(attempt), data)


@dataclass(frozen=True, slots=True)
class Script:
    source: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        folder = files(__package__) / "lua"
        body = (folder / f"{name}.lua").read_text("utf-8")
        needs = body.split("\n", 1)[0].removeprefix("-- needs: ").split()
        source = "\n".join([*((folder / f"{prelude}.lua").read_text("utf-8") for prelude in needs), body])
        # The digest is Redis's own name for a script.
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
