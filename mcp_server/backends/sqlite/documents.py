"""Small documents in a SQLite file: `backend.Documents`."""

from __future__ import annotations

from collections.abc import Sequence

from .lanes import Readers, Writer
from .statements import SQL

__all__ = ["SQLiteDocuments"]


class SQLiteDocuments:
    """The documents of one file, written and read as its tasks are."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer, self._readers = writer, readers

    async def put(self, kind: str, id: str, value: bytes, *, only_if_there: bool = False) -> bool:
        statement, row = (
            SQL.replace_document if only_if_there else SQL.put_document,
            {"kind": kind, "id": id, "value": value},
        )
        return await self._writer.write(lambda file: file.execute(statement, row).rowcount > 0, durable=True)

    async def get(self, kind: str, id: str) -> bytes | None:
        row = await self._readers.read(lambda file: file.execute(SQL.get_document, (kind, id)).fetchone())
        return None if row is None else row[0]

    async def delete(self, kind: str, id: str) -> bool:
        return await self._writer.write(
            lambda file: file.execute(SQL.delete_document, (kind, id)).rowcount > 0, durable=True
        )

    async def list(self, kind: str, *, after: str = "", limit: int) -> Sequence[tuple[str, bytes]]:
        return await self._readers.read(lambda file: file.execute(SQL.list_documents, (kind, after, limit)).fetchall())
