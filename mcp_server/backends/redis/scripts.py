"""One typed stub for each script in `lua/`: what it takes, what it answers.

A script's first line names the preludes it needs; they are put before it. Every
script gets the store's root key and the record format of this program, and derives
all other keys from the root. What a script does, its file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from .connection import Connection, SyncConnection
from .layout import Script, id_of

__all__ = ["FORMAT", "Admitted", "Fields", "Logged", "Record", "Scripts", "encoded", "renew"]

FORMAT = 2
"""Of the records this program writes. It grows when an older program could misread or harm them."""

Fields = Mapping[str, bytes | str | int]
"""Parts of a record that the scripts store without looking at them."""
Logged = Sequence[tuple[int, bytes]]
"""Events: number and what is kept of it."""


def encoded(name: str) -> str:
    """A name as part of a key: without ':' and ' '."""
    return quote(name, safe="", errors="surrogatepass")


CREATE, COMMIT, PURGE = Script.load("create"), Script.load("commit"), Script.load("purge")
DOCUMENT = Script.load("document")
ADMIT, BEGIN, RELEASE, RENEW = Script.load("admit"), Script.load("begin"), Script.load("release"), Script.load("renew")
UPGRADE = Script.load("upgrade")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The scripts' knowledge of a task's record: its place in the lists, and the time it is due."""

    id: str
    order: str
    type: str
    owner: str
    idempotency_key: str | None
    status: str
    claimable: str
    not_before: float
    """Seconds since the epoch; counts while the task is queued."""
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Tasks a process was given, as (task id, token), and when it should ask again."""

    claims: Sequence[tuple[str, str]]
    next_due: float
    """Seconds until something may be due."""


class Scripts:
    """The scripts on one store."""

    def __init__(self, connection: Connection, root: str) -> None:
        self._connection, self._root = connection, root

    async def upgrade(self, claimable: Mapping[str, str]) -> None:
        """Bring a store of an older format to ours; nothing happens to one that is.

        Args:
            claimable: the word for each status.
        """
        await self._run(UPGRADE, *(part for pair in claimable.items() for part in pair))

    async def create(self, record: Record, events: Logged, *, now: float) -> str:
        """Store a task; its id, or that of the task its idempotency key names. Harmless when repeated."""
        key = record.idempotency_key
        answer = await self._run(
            CREATE,
            record.id,
            record.order,
            encoded(record.type),
            encoded(record.owner),
            # A key may be empty and still be a key.
            "" if key is None else "=" + encoded(key),
            record.status,
            record.claimable,
            int(record.not_before * 1000),
            repr(now),
            *_flat(record.fields, events),
        )
        return str(answer.decode())

    async def commit(
        self,
        task_id: str,
        *,
        before: int,
        after: int,
        digest: str,
        status: str,
        claimable: str,
        not_before: float,
        first_event: int,
        keep: int,
        expires_at: float | None,
        fields: Fields,
        events: Logged,
    ) -> bool:
        """Replace version `before` by `after`; False if the record has another version or is gone.

        Harmless when repeated with the same `digest`.

        Args:
            first_event: the first event to keep; 0 drops none.
            keep: seconds until the keys may go by themselves, 0 for a task that is not over.
        """
        done = await self._run(
            COMMIT,
            task_id,
            before,
            after,
            digest,
            status,
            claimable,
            int(not_before * 1000),
            first_event,
            keep,
            "" if expires_at is None else repr(expires_at),
            *_flat(fields, events),
        )
        return bool(done)

    async def purge(self, now: float, limit: int) -> int:
        """Delete up to `limit` tasks that expired by `now`; how many."""
        return int(await self._run(PURGE, repr(now), limit))

    async def admit(
        self,
        *,
        lease: float,
        token: str,
        carrier: str,
        slots: int,
        per_owner: int | None,
        types: Mapping[str, int | None],
        handed: Sequence[tuple[str, str]],
    ) -> Admitted:
        """Claim up to `slots` due tasks, in order and within the limits.

        Args:
            token: a prefix for the claims' tokens that was never used before.
            carrier: the worker that will run them, or "-": the one that is handed the task.
            handed: earlier claims that were handed over; those not begun yet take a slot.

        Raises:
            Unavailable: if it claimed something nevertheless, that lease runs out.
        """
        pairs = [part for name, limit in types.items() for part in (encoded(name), -1 if limit is None else limit)]
        answer = await self._run(
            ADMIT,
            int(lease * 1000),
            token,
            carrier,
            slots,
            -1 if per_owner is None else per_owner,
            len(types),
            *pairs,
            *(part for claim in handed for part in claim),
            repeat=False,
        )
        pause, *claimed = answer
        claims = [(id_of(order), token.decode()) for order, token in zip(claimed[::2], claimed[1::2], strict=True)]
        return Admitted(claims=claims, next_due=int(pause) / 1000)

    async def begin(self, task_id: str, token: str, carrier: str, lease: float) -> bool:
        """Take up a task that was handed over; False if another worker has it by now."""
        return bool(await self._run(BEGIN, task_id, token, carrier, int(lease * 1000)))

    async def release(self, task_id: str, token: str, pause: float) -> None:
        """End a claim; a task that is not over is queued again, after `pause` unless it was queued already."""
        await self._run(RELEASE, task_id, token, int(pause * 1000))

    async def document(self, act: Literal["put", "replace", "delete"], kind: str, id: str, value: bytes = b"") -> bool:
        """Store, replace or delete a small document; False if there was nothing to replace or delete."""
        # A deletion that is repeated would say that there was nothing.
        return bool(await self._run(DOCUMENT, act, kind, id, value, repeat=act != "delete"))

    async def _run(self, script: Script, *arguments: Any, repeat: bool = True) -> Any:
        return await self._connection.run(script, self._root, FORMAT, *arguments, repeat=repeat)


def renew(connection: SyncConnection, root: str, claims: Sequence[tuple[str, str]], lease: float) -> set[str]:
    """Renew leases, from a thread; the ids of the tasks whose claim is lost."""
    pairs = [part for claim in claims for part in claim]
    return {lost.decode() for lost in connection.run(RENEW, root, FORMAT, int(lease * 1000), *pairs)}


def _flat(fields: Fields, events: Logged) -> list[Any]:
    flat: list[Any] = [len(fields)]
    for name, value in fields.items():
        flat += (name, value)
    for number, data in events:
        flat += (number, data)
    return flat
