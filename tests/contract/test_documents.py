"""`documents`: small things beside the tasks, by kind and id."""

from __future__ import annotations

import pytest

from mcp_server.backend import Backend

from .stores import Store


async def test_a_document_is_read_by_every_instance_until_it_is_deleted(backend: Backend, other: Backend) -> None:
    """What `put` and `delete` returned from, any process sees; a second deletion finds nothing."""
    assert await backend.documents.get("keys", "a") is None
    assert await backend.documents.put("keys", "a", b"one")
    assert await other.documents.get("keys", "a") == b"one"
    assert await other.documents.put("keys", "a", b"\x00two\xff")
    assert await backend.documents.get("keys", "a") == b"\x00two\xff"
    assert await backend.documents.delete("keys", "a")
    assert await other.documents.get("keys", "a") is None
    assert not await other.documents.delete("keys", "a")


async def test_only_a_document_that_is_there_is_replaced_if_so_asked(backend: Backend, other: Backend) -> None:
    """A deleted document does not come back by an update that was under way."""
    assert not await backend.documents.put("keys", "a", b"one", only_if_there=True)
    assert await backend.documents.get("keys", "a") is None
    await backend.documents.put("keys", "a", b"one")
    assert await other.documents.put("keys", "a", b"two", only_if_there=True)
    assert await backend.documents.get("keys", "a") == b"two"


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_documents_of_a_kind_are_listed_by_id_in_pages(backend: Backend, limit: int) -> None:
    """Each once, ordered as text, and none of another kind."""
    ids = ["0a", "1", "A", "b.1", "b.2", "b_", "c-1"]
    for id in reversed(ids):
        await backend.documents.put("keys", id, id.encode())
    await backend.documents.put("audit", "b", b"another")
    found: list[tuple[str, bytes]] = []
    while page := await backend.documents.list("keys", after=found[-1][0] if found else "", limit=limit):
        assert len(page) <= limit
        found += page
    assert found == [(id, id.encode()) for id in ids]
    assert list(await backend.documents.list("none", limit=5)) == []


async def test_documents_outlive_the_instance_that_wrote_them(store: Store) -> None:
    """They are stored, not remembered."""
    async with store.open() as backend:
        await backend.documents.put("keys", "a", b"one")
    async with store.open() as backend:
        assert await backend.documents.get("keys", "a") == b"one"
