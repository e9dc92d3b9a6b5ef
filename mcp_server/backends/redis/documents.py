"""Small documents in Redis: `backend.Documents`.

A hash per kind holds them by id; a sorted set holds the ids, for their order.
"""

from __future__ import annotations

from collections.abc import Sequence

from .connection import Connection
from .scripts import Scripts

__all__ = ["RedisDocuments"]


class RedisDocuments:
    """The documents of one store."""

    def __init__(self, connection: Connection, scripts: Scripts, root: str) -> None:
        self._connection, self._scripts, self._root = connection, scripts, root

    async def put(self, kind: str, id: str, value: bytes, *, only_if_there: bool = False) -> bool:
        return await self._scripts.document("replace" if only_if_there else "put", kind, id, value)

    async def get(self, kind: str, id: str) -> bytes | None:
        value: bytes | None = await self._connection.command("HGET", self._key(kind), id)
        return value

    async def delete(self, kind: str, id: str) -> bool:
        return await self._scripts.document("delete", kind, id)

    async def list(self, kind: str, *, after: str = "", limit: int) -> Sequence[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        # One that is deleted between the two reads is left out, and the next takes its place.
        while len(found) < limit:
            newest, wanted = f"({after}" if after else "-", limit - len(found)
            ids = await self._connection.command(
                "ZRANGEBYLEX", f"{self._key(kind)}:ids", newest, "+", "LIMIT", 0, wanted
            )
            if not ids:
                break
            values = await self._connection.command("HMGET", self._key(kind), *ids)
            found += [(id.decode(), value) for id, value in zip(ids, values, strict=True) if value is not None]
            after = ids[-1].decode()
            if len(ids) < wanted:
                break
        return found

    def _key(self, kind: str) -> str:
        return f"{self._root}:documents:{kind}"
