"""Where a query of the SQLite backend runs: on the event loop if it is a look-up and the file is fast."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from mcp_server.backends.sqlite import lanes
from mcp_server.backends.sqlite.database import Database
from mcp_server.backends.sqlite.lanes import Readers
from mcp_server.background import background_tasks
from mcp_server.errors import Unavailable

HERE = threading.get_ident()


def where(connection: sqlite3.Connection) -> int:
    connection.execute("SELECT count(*) FROM tasks").fetchall()
    return threading.get_ident()


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncIterator[Readers]:
    database = Database(tmp_path / "tasks.db", durability="full")
    database.open()
    with closing(database):
        readers = Readers(database)
        async with background_tasks() as running:
            running.start_soon(readers.run)
            yield readers
            readers.close()
        readers.close_connections()


async def test_a_look_up_needs_no_thread(readers: Readers) -> None:
    """And whatever may take longer has one."""
    assert await readers.look_up(where) == HERE
    assert await readers.read(where) != HERE


async def test_a_slow_file_is_not_asked_on_the_event_loop(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slow look-up, and for a while the next ones have a thread."""
    monkeypatch.setattr(lanes, "SLOW", -1.0)
    monkeypatch.setattr(lanes, "SLOW_FOR", 0.0)
    assert [await readers.look_up(where) for _ in range(2)] == [HERE, HERE]
    monkeypatch.setattr(lanes, "SLOW_FOR", 60.0)
    assert await readers.look_up(where) == HERE
    assert await readers.look_up(where) != HERE


async def test_a_file_that_is_locked_is_waited_for_in_a_thread(readers: Readers) -> None:
    """What the event loop cannot have at once, a thread gets in the end."""

    def only_in_a_thread(connection: sqlite3.Connection) -> int:
        if threading.get_ident() == HERE:
            raise Unavailable("locked")
        return where(connection)

    assert await readers.look_up(only_in_a_thread) != HERE


async def test_a_closed_database_is_not_looked_into(readers: Readers) -> None:
    """A server that has stopped answers nothing from its file."""
    readers.close()
    with pytest.raises(Unavailable, match="closed"):
        await readers.look_up(where)
