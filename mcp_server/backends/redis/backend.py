"""The seam's methods on Redis: one script or one read each.

What has returned is as safe as Redis keeps it: with `appendonly yes` and `appendfsync always`
a commit survives the kill of any process, Redis included, and power loss; with `everysec`
Redis may answer before it writes, for as long as its disk is busy with an older flush.
`durable` makes no difference here, because one Redis has one way of writing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from redis.exceptions import RedisError

from ...backend import MOST_AHEAD, Documents, Fleet, Limits, Page
from ...errors import ConfigurationError, Conflict, Unavailable
from ...settings import without_password
from ...task import CLAIMABLE, Claimable, Event, Status, Task
from ..outage import Outage
from ..records import changing, fixed, to_json
from ..waiters import GONE
from .claiming import Claiming
from .connection import Connection, is_denied
from .documents import RedisDocuments
from .fleet import view
from .layout import PARTS, id_of, order_of, packed, read_record, unpacked
from .pubsub import PubSub
from .scripts import FORMAT, Record, Scripts, encoded

__all__ = ["RedisBackend"]

logger = logging.getLogger(__name__)

PAGE_BYTES = 1024 * 1024
PROBE = 16
"""Events read before their size is known."""
TTL_MARGIN = 3600
"""Seconds keys outlive a task's `expires_at`, so that `purge` finds them; without a purge they go by themselves."""
PURGE = 200
PATIENCE = 10.0
"""Seconds a process that starts waits for Redis, which may be starting as well."""
CURSOR = re.compile(r"\d{16}:.+", re.DOTALL)


class RedisBackend:
    """Tasks in Redis, for any number of processes on any number of machines.

    Args:
        url: `redis://`, `rediss://`, `unix://`, or `redis+cluster://` and `rediss+cluster://`,
            with user, password, database and TLS options as redis-py reads them.
        lease: seconds after which the task of a dead process is taken up again.
        prefix: stores with different prefixes share a Redis and nothing else.
        drain: seconds running calls get to finish when `serve` is cancelled, before they are cancelled.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        lease: float = 10.0,
        prefix: str = "longtasks",
        drain: float = 0.0,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", prefix):
            raise ConfigurationError(
                f"The Redis prefix may hold letters, digits, '.', '_' and '-' only, got {prefix!r}"
            )
        self._connection = Connection(url)
        self._prefix, self._root = prefix, f"{{{prefix}}}"
        self._lease, self._drain = lease, drain
        self._scripts = Scripts(self._connection, self._root)
        self.documents: Documents = RedisDocuments(self._connection, self._scripts, self._root)
        self._pubsub = PubSub(self._connection, self._root, self._stored_number, self._on_work)
        self._claiming: Claiming | None = None
        # Two processes that commit the very same event at the very same time must not both be told "done".
        self._nonce = secrets.token_bytes(8)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._connection.aclose)
            await self._prepare()
            background = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(background.cancel_scope.cancel)
            background.start_soon(self._pubsub.run)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def _prepare(self) -> None:
        where = without_password(self._connection.url)
        outage = Outage(logger, f"Redis at {where} does not answer yet")
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                await self._connection.command("HSETNX", self._root, "format", FORMAT)
                found = int(await self._connection.command("HGET", self._root, "format"))
                if found < FORMAT:
                    await self._scripts.upgrade({s.value: CLAIMABLE.get(s, Claimable.NEVER) for s in Status})
                memory = await self._connection.command("INFO", "memory")
                break
            except Unavailable as error:
                if is_denied(error) or time.monotonic() > deadline:
                    raise ConfigurationError(f"Cannot use Redis at {where}: {error.message}") from None
                outage.began(error)
                await anyio.sleep(0.2)
            except RedisError as error:
                raise ConfigurationError(f"Cannot use Redis at {where}: {error}") from None
        outage.ended()
        if found > FORMAT:
            raise ConfigurationError(
                f"The store at {where} has format {found}, this program knows {FORMAT}: a newer version upgraded it"
            )
        policy = memory.get("maxmemory_policy", "noeviction") if isinstance(memory, dict) else "noeviction"
        if policy.startswith("allkeys"):
            logger.warning("Redis may evict tasks (maxmemory-policy %s); set it to noeviction", policy)

    async def create(self, task: Task, events: Sequence[Event]) -> Task:
        fields: dict[str, bytes | str | int] = {
            "version": task.last_event_id,
            "fixed": fixed(task),
            "snapshot": changing(task),
        }
        if task.has_state:
            fields["state"] = to_json(task.state)
        record = Record(
            id=task.id,
            order=order_of(task),
            type=task.type,
            owner=task.owner,
            idempotency_key=task.idempotency_key,
            status=task.status.value if task.status else "",
            claimable=task.claimable,
            not_before=task.not_before,
            fields=fields,
        )
        stored = await self._scripts.create(record, [(e.number, packed(e)) for e in events], now=task.created_at)
        if stored == task.id:
            return task
        first = await self.load(stored)
        # It expired and was purged in between: there is none any more, so this one may be stored.
        return first if first is not None else await self.create(task, events)

    async def load(self, task_id: str) -> Task | None:
        return read_record(await self._connection.command("HMGET", self._task(task_id), *PARTS))

    async def commit(self, before: Task, after: Task, events: Sequence[Event], *, durable: bool = False) -> None:
        entries = [(event.number, packed(event)) for event in events]
        fields: dict[str, bytes | str | int] = {"snapshot": changing(after)}
        if after.has_state and (after.state is not before.state or not before.has_state):
            fields["state"] = to_json(after.state)
        if after.output is not before.output or (after.status is Status.COMPLETED and not before.is_over):
            fields["output"] = to_json(after.output)
        keep = 0
        if after.is_over and after.expires_at is not None:
            keep = int(max(0.0, after.expires_at - (after.completed_at or after.updated_at))) + TTL_MARGIN
        done = await self._scripts.commit(
            after.id,
            before=before.last_event_id,
            after=after.last_event_id,
            digest=hashlib.blake2b(
                b"\n".join([self._nonce, *(data for _, data in entries)]), digest_size=12
            ).hexdigest(),
            status=after.status.value if after.status else "",
            claimable=after.claimable,
            not_before=after.not_before,
            first_event=after.first_event_id if after.first_event_id > before.first_event_id else 0,
            keep=keep,
            expires_at=after.expires_at,
            fields=fields,
            events=entries,
        )
        if not done:
            raise Conflict(f"Task {after.id} is not at event {before.last_event_id} any more")
        self._pubsub.note(after.id, after.last_event_id)

    async def read(self, task_id: str, after: int, limit: int) -> Sequence[Event]:
        events: list[Event] = []
        size = 0
        # A caller may name any number as the cursor; Redis knows 64 bits.
        after = min(max(after, 0), 2**62)
        wanted = min(limit, PROBE)
        while wanted > 0:
            entries = await self._connection.command(
                "XRANGE", f"{self._root}:log:{task_id}", f"{after + 1}-0", "+", "COUNT", wanted
            )
            for number, entry in entries:
                if events and size >= PAGE_BYTES:
                    return events
                events.append(unpacked(number, entry[b"e"]))
                size += len(entry[b"e"])
            if len(entries) < wanted or size >= PAGE_BYTES:
                return events
            after = events[-1].number
            # As many as fit if they are as long as those before.
            wanted = min(limit - len(events), max(1, (PAGE_BYTES - size) * len(events) // max(size, 1)))
        return events

    async def wait(self, task_id: str, after: int) -> None:
        await self._pubsub.wait(task_id, after)

    async def list(
        self, *, owner: str, status: Status | None, task_type: str | None, limit: int, cursor: str | None
    ) -> Page:
        if cursor is not None and not CURSOR.fullmatch(cursor):
            raise ValueError(f"not a cursor: {cursor[:80]!r}")
        parts = [self._root, "list", encoded(owner), status.value if status else "all"]
        parts += [] if task_type is None else [encoded(task_type)]
        newest = "+" if cursor is None else f"({cursor}"
        entries = await self._connection.command("ZREVRANGEBYLEX", ":".join(parts), newest, "-", "LIMIT", 0, limit + 1)
        records = await self._connection.pipeline(
            [("HMGET", self._task(id_of(entry)), *PARTS) for entry in entries[:limit]]
        )
        tasks = [task for record in records if (task := read_record(record)) is not None]
        return Page(tasks=tasks, next_cursor=entries[limit - 1].decode() if len(entries) > limit else None)

    async def queue_position(self, task: Task) -> int | None:
        order = order_of(task)
        due, delayed, queued, claimable = await self._connection.pipeline(
            [
                ("ZRANK", f"{self._root}:queue", order),
                ("ZRANK", f"{self._root}:delayed", order),
                ("ZCARD", f"{self._root}:queue"),
                ("HGET", self._task(task.id), "claimable"),
            ]
        )
        if claimable != Claimable.WHEN_DUE.encode():
            return None
        if due is not None:
            return min(int(due), MOST_AHEAD)
        if delayed is not None:
            return min(int(queued) + int(delayed), MOST_AHEAD)
        # In neither: it is claimed already and about to start.
        return 0

    async def counts(self) -> Mapping[Status, int]:
        found = await self._connection.command("HGETALL", f"{self._root}:counts")
        return {status: int(found.get(status.value.encode(), 0)) for status in Status}

    async def fleet(self) -> Fleet:
        return await view(self._connection, self._root)

    async def serve(self, handle: Callable[[str], Awaitable[None]], limits: Limits) -> None:
        claiming = Claiming(
            self._connection,
            self._root,
            self._prefix,
            name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}".replace(" ", "_"),
            lease=self._lease,
            drain=self._drain,
            handle=handle,
            limits=limits,
        )
        self._claiming = claiming
        try:
            await claiming.run()
        finally:
            self._claiming = None

    async def purge(self, now: float) -> int:
        return await self._scripts.purge(now, PURGE)

    def _task(self, task_id: str) -> str:
        return f"{self._root}:task:{task_id}"

    def _on_work(self) -> None:
        if self._claiming is not None:
            self._claiming.wake()

    async def _stored_number(self, task_id: str) -> float:
        version = await self._connection.command("HGET", self._task(task_id), "version")
        return GONE if version is None else float(version)
