"""The seam's methods on a SQLite file: each hands its work to the writer or a reader.

It also joins the two kinds of wake-up: a commit of this process notes its task at once;
what other processes commit is found by looking at the file's time of writing, often but
only while there are waiters or claims, and then asking SQLite whether it was another process.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import anyio
import anyio.to_thread

from ...backend import Documents, Fleet, Limits, Page
from ...errors import Unavailable
from ...task import Claimable, Event, Status, Task
from ..waiters import GONE, Waiters
from . import operations, queries
from .claiming import Claiming
from .database import Database
from .documents import SQLiteDocuments
from .lanes import Readers, Writer

__all__ = ["SQLiteBackend"]

LOOK_INTERVAL, LAZY_INTERVAL = 0.04, 0.2
"""Seconds between two looks whether another process has written: while one does, and when none has for a while."""
ATTENTION = 10.0
"""Seconds after which another process's last write is a while ago."""
SETTLED = 0.1
"""Seconds after which a file's time of writing is surely another one for the next write."""
PURGE_TASKS, PURGE_EVENTS = 500, 20_000
"""The most that one `purge` deletes, so that the writer is soon free for others."""
UNUSED_PAGES, RETURNED_PAGES = 1024, 256
"""Pages (of 4 KiB) that a file keeps for what comes, and the most that one `purge` returns to the disk."""


class SQLiteBackend:
    """Tasks in a SQLite file that several processes of one machine may share.

    Args:
        path: the file; created if it is missing, its directory is not.
        durability: `full` writes a durable commit through to the disk before it returns;
            `normal` leaves that to the operating system, which a killed process outlives
            and a power cut does not.
        lease: seconds after which the tasks of a dead process are given to others.
        drain: seconds running calls get to finish when `serve` is cancelled, before they are cancelled.
    """

    name = "sqlite"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["full", "normal"] = "full",
        lease: float = 5.0,
        drain: float = 0.0,
    ) -> None:
        self._lease, self._drain = lease, drain
        self._database = Database(Path(path), durability)
        self._writer = Writer(self._database)
        self._readers = Readers(self._database)
        self.documents: Documents = SQLiteDocuments(self._writer, self._readers)
        self._waiters = Waiters(lambda task_id: self._look([task_id]))
        self._claimings: set[Claiming] = set()
        self._follow = anyio.Event()
        self._following: anyio.CancelScope
        self._missed = False
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._database.close)
            stack.callback(self._readers.close_connections)
            await anyio.to_thread.run_sync(self._database.open)
            # A scope belongs to an event loop; a backend is made before there is one.
            self._following = anyio.CancelScope()
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for part in (self._writer, self._readers):
                stack.callback(part.close)
                tasks.start_soon(part.run)
            stack.callback(self._following.cancel)
            tasks.start_soon(self._follow_others)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def create(self, task: Task, events: Sequence[Event]) -> Task:
        stored = await self._writer.write(
            operations.New.of(task, events),
            durable=True,
            then=lambda holder: self._committed(task) if holder is None else None,
        )
        return stored or task

    async def load(self, task_id: str) -> Task | None:
        if not _can_exist(task_id):
            return None
        return await self._readers.look_up(partial(queries.load, task_id=task_id))

    async def commit(self, before: Task, after: Task, events: Sequence[Event], *, durable: bool = False) -> None:
        await self._writer.write(
            operations.Change.of(before, after, events), durable=durable, then=lambda _: self._committed(after)
        )

    async def read(self, task_id: str, after: int, limit: int) -> Sequence[Event]:
        if not _can_exist(task_id):
            return []
        return await self._readers.read(partial(queries.read_events, task_id=task_id, after=after, limit=limit))

    async def wait(self, task_id: str, after: int) -> None:
        if not _can_exist(task_id):
            return
        self._follow.set()
        await self._waiters.wait(task_id, after)

    async def list(
        self, *, owner: str, status: Status | None, task_type: str | None, limit: int, cursor: str | None
    ) -> Page:
        before = queries.LARGEST
        if cursor is not None:
            if not re.fullmatch("[1-9][0-9]{0,17}", cursor):
                raise ValueError(f"not a cursor of a page: {cursor[:80]!r}")
            before = int(cursor)
        if not _can_exist(owner, task_type or ""):
            return Page(tasks=[], next_cursor=None)
        return await self._readers.read(
            partial(queries.list_tasks, owner=owner, status=status, task_type=task_type, limit=limit, before=before)
        )

    async def queue_position(self, task: Task) -> int | None:
        return await self._readers.look_up(partial(queries.queue_position, task_id=task.id))

    async def counts(self) -> Mapping[Status, int]:
        return await self._readers.read(queries.counts)

    async def fleet(self) -> Fleet:
        return await self._readers.read(queries.fleet)

    async def serve(self, handle: Callable[[str], Awaitable[None]], limits: Limits) -> None:
        claiming = Claiming(
            self._database, self._writer, lease=self._lease, drain=self._drain, handle=handle, limits=limits
        )
        self._claimings.add(claiming)
        self._follow.set()
        try:
            await claiming.run()
        finally:
            self._claimings.remove(claiming)

    async def purge(self, now: float) -> int:
        deleted = await self._writer.write(
            partial(operations.purge, now=now, tasks=PURGE_TASKS, events=PURGE_EVENTS), then=self._purged
        )
        if deleted:
            return len(deleted)
        returned = await self._writer.write(partial(operations.give_back, keep=UNUSED_PAGES, most=RETURNED_PAGES))
        if not returned:
            await anyio.to_thread.run_sync(self._database.cut_log)
        return returned

    def _committed(self, task: Task) -> None:
        self._waiters.note(task.id, task.last_event_id)
        if task.claimable is Claimable.WHEN_DUE:
            self._wake_claimings()

    def _purged(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._waiters.note(task_id, GONE)

    def _wake_claimings(self) -> None:
        for claiming in self._claimings:
            claiming.wake()

    async def _look(self, task_ids: Sequence[str]) -> None:
        """Note the stored numbers of these tasks, or leave it to `_follow_others`."""
        try:
            numbers = await self._readers.read(partial(queries.last_numbers, task_ids=task_ids))
        except Unavailable:
            self._missed = True
        else:
            self._waiters.note_all(task_ids, numbers)

    async def _follow_others(self) -> None:
        with self._following:
            version: int | None = None
            settled: float | None = None
            seen_at = time.monotonic()
            while True:
                self._waiters.drop_idle()
                if not self._waiters and not self._claimings:
                    self._follow = anyio.Event()
                    await self._follow.wait()
                is_attentive = self._missed or time.monotonic() - seen_at < ATTENTION
                await anyio.sleep(LOOK_INTERVAL if is_attentive else LAZY_INTERVAL)
                written_at = self._database.written_at()
                if written_at == settled and not self._missed:
                    continue
                try:
                    # Asked on the write connection: there our own commits do not count.
                    found = await self._writer.data_version()
                except Unavailable:
                    self._missed = True
                    continue
                # The next write may bear the same time while that is younger than the file system's grain.
                settled = written_at if time.time() - written_at > SETTLED else None
                if found != version or self._missed:
                    version, self._missed, seen_at = found, False, time.monotonic()
                    await self._look(self._waiters.watched)
                    self._wake_claimings()


def _can_exist(*texts: str) -> bool:
    """False for text that is no Unicode (a lone surrogate out of JSON): nothing is stored under it."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
