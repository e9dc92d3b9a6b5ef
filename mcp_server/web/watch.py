"""All tasks of one owner, watched by many: one look at the store serves every watcher of an owner.

A watcher that is up to date finds another looking and waits for it; the first one looks for all. A look
lists the newest tasks and those that are at work; one that was at work and is in neither list is loaded by itself.
So the cost of watching is bounded by `WINDOW`, however many tasks and watchers there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from ..access.principal import Principal
from ..engine import Engine
from ..errors import NotFound
from ..task import Status, Task
from ..views import snapshot

__all__ = ["INTERVAL", "WINDOW", "Change", "Watch", "Watches"]

INTERVAL = 0.25
"""Seconds between two looks at least."""
SHARE = 10
"""A look that takes long is followed by so many times its length without one."""
WINDOW = 200
"""Tasks that are watched: the newest ones, and of older ones those at work in each status."""
PAGE = 100
AT_WORK = (Status.RUNNING, Status.INPUT_REQUIRED)


@dataclass(frozen=True, slots=True)
class Change:
    """The newest state of one task that was seen."""

    look: int
    """Number of the look that found it."""
    at: int
    """Milliseconds since the epoch at which the task changed."""
    task: Task
    json: bytes
    """Its snapshot."""


class Watch:
    """The tasks of one principal."""

    def __init__(self, engine: Engine, principal: Principal) -> None:
        self.watchers = 0
        self.looks = 0
        self._engine, self._principal = engine, principal
        self._changes: dict[str, Change] = {}
        self._pause = 0.0
        self._is_looking = False
        self._looked = anyio.Event()

    async def after(self, look: int) -> list[Change]:
        """The changes found after that look, oldest first; waits until there are some. Raises Unavailable."""
        while True:
            if changes := [change for change in self._changes.values() if change.look > look]:
                return sorted(changes, key=lambda change: change.at)
            if self._is_looking:
                await self._looked.wait()
            else:
                await self._look_for_all()

    async def _look_for_all(self) -> None:
        self._is_looking = True
        try:
            await anyio.sleep(self._pause)
            began = time.perf_counter()
            self._note(await self._found())
            self._pause = max(INTERVAL, SHARE * (time.perf_counter() - began))
        finally:
            self._is_looking = False
            self._looked.set()
            self._looked = anyio.Event()

    async def _found(self) -> dict[str, Task]:
        found: dict[str, Task] = {}
        cursor = None
        for _ in range(WINDOW // PAGE):
            page = await self._engine.list(principal=self._principal, limit=PAGE, cursor=cursor)
            found |= {task.id: task for task in page.tasks}
            if (cursor := page.next_cursor) is None:
                return found
        for status in AT_WORK:
            page = await self._engine.list(principal=self._principal, status=status, limit=PAGE)
            found |= {task.id: task for task in page.tasks}
        for change in self._changes.values():
            if change.task.status in AT_WORK and change.task.id not in found:
                try:
                    found[change.task.id] = await self._engine.get(change.task.id, principal=self._principal)
                except NotFound:
                    continue
        return found

    def _note(self, found: dict[str, Task]) -> None:
        self.looks += 1
        kept = {task_id: change for task_id, change in self._changes.items() if task_id in found}
        for task in _changed(found.values(), kept):
            data = snapshot(task).model_dump_json().encode()
            kept[task.id] = Change(self.looks, int(task.updated_at * 1000), task, data)
        self._changes = kept


def _changed(found: Iterable[Task], known: dict[str, Change]) -> Iterator[Task]:
    for task in found:
        if task.id not in known or known[task.id].task.last_event_id != task.last_event_id:
            yield task


class Watches:
    """The watches of one process; each lives while it has watchers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: dict[Principal, Watch] = {}

    @contextmanager
    def of(self, principal: Principal) -> Iterator[Watch]:
        watch = self._watches.get(principal)
        if watch is None:
            watch = self._watches[principal] = Watch(self._engine, principal)
        watch.watchers += 1
        try:
            yield watch
        finally:
            watch.watchers -= 1
            if not watch.watchers:
                del self._watches[principal]
