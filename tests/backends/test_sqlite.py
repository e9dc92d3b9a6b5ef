"""What only the SQLite backend promises: shared transactions, a full disk, a locked file, fast statements."""

from __future__ import annotations

import resource
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path

import anyio
import pytest
from pydantic_core import PydanticSerializationError

from mcp_server.backend import Limits
from mcp_server.backends.sqlite import SQLiteBackend, database
from mcp_server.backends.sqlite.database import Database
from mcp_server.backends.sqlite.statements import SQL
from mcp_server.errors import Unavailable
from mcp_server.task import Kind
from tests.contract.tasks import TYPE, create, move, queued

PATIENCE = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(path, lease=1.0) as backend:
        yield backend


def transactions(path: Path) -> int:
    """How many transactions are in the write-ahead log: frames that end one carry the database's size."""
    log = Path(f"{path}-wal").read_bytes()
    (page_size,) = struct.unpack(">I", log[8:12])
    frames = range(32, len(log), 24 + page_size)
    return sum(log[at + 4 : at + 8] != b"\0\0\0\0" for at in frames)


def written(path: Path) -> int:
    """The size of the write-ahead log."""
    return Path(f"{path}-wal").stat().st_size


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process in the middle of a write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Files cannot grow beyond a little more than they are."""
    largest = max(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 256 * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_writes_that_wait_together_are_one_transaction(backend: SQLiteBackend, path: Path) -> None:
    """A hundred creates while another process writes: when it is done they take two commits at most."""
    await create(backend)
    before = transactions(path)
    async with anyio.create_task_group() as callers:
        with locked(path):
            for _ in range(100):
                callers.start_soon(create, backend)
            await anyio.wait_all_tasks_blocked()
    assert sum((await backend.counts()).values()) == 101
    assert transactions(path) - before <= 2


async def test_a_request_that_cannot_be_stored_fails_alone(backend: SQLiteBackend) -> None:
    """One bad value among many good ones, found within their common transaction, is its caller's error only."""
    failed: list[Exception] = []

    async def start(priority: int) -> None:
        try:
            await create(backend, priority=priority)
        except OverflowError as error:
            failed.append(error)

    async with anyio.create_task_group() as callers:
        for number in range(20):
            callers.start_soon(start, 2**70 if number == 10 else 0)
    assert len(failed) == 1
    assert sum((await backend.counts()).values()) == 19


async def test_a_value_that_is_no_json_is_its_callers_error(backend: SQLiteBackend) -> None:
    """Nothing of the step is stored, and the store goes on."""
    task = await move(backend, await create(backend), Kind.STARTED)
    with pytest.raises(PydanticSerializationError):
        await move(backend, task, Kind.CHECKPOINT, state=object())
    assert await backend.load(task.id) == task
    await move(backend, task, Kind.COMPLETED)


async def test_a_deleted_task_leaves_no_row_in_any_table(backend: SQLiteBackend, path: Path) -> None:
    """The file of a server that runs for years holds what is kept, and nothing else."""
    task = await move(backend, await create(backend), Kind.STARTED, Kind.CHECKPOINT, state={"page": 1})
    with closing(sqlite3.connect(path)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = [name for name in tables if name not in ("migrations", "counts", "documents", "sqlite_sequence")]
        connection.execute("INSERT INTO leases SELECT seq, 'the dead', 0, type, owner FROM tasks")
    await move(backend, task, Kind.COMPLETED, expires_at=1.0)

    def rows() -> dict[str, int]:
        with closing(sqlite3.connect(path)) as connection:
            return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}

    assert all(rows().values())
    assert await backend.purge(2.0) == 1
    assert not any(rows().values())


async def test_a_full_disk_refuses_writes_and_loses_nothing(backend: SQLiteBackend, path: Path) -> None:
    """What was acknowledged before and while the disk filled up is there; reads go on; so do writes, with space."""
    stored = [await create(backend) for _ in range(3)]
    refused: list[str] = []

    async def start() -> None:
        task, events = queued(arguments={"text": "x" * 50_000})
        try:
            stored.append(await backend.create(task, events))
        except Unavailable:
            refused.append(task.id)

    with full_disk(path):
        for _ in range(5):
            async with anyio.create_task_group() as callers:
                for _ in range(4):
                    callers.start_soon(start)
        assert refused
        with pytest.raises(Unavailable):
            await move(backend, stored[0], Kind.STARTED, Kind.CHECKPOINT, state="x" * 500_000)
        for task in stored:
            assert await backend.load(task.id) == task
    again = await create(backend)
    await move(backend, stored[0], Kind.STARTED)
    async with SQLiteBackend(path) as other:
        for task in [*stored[1:], again]:
            assert await other.load(task.id) == task
        for task_id in refused:
            assert await other.load(task_id) is None


async def test_serving_outlives_a_full_disk(backend: SQLiteBackend, path: Path) -> None:
    """While the disk is full nothing is claimed; with space again the waiting task is, without a push."""
    task = await create(backend)
    given: list[str] = []
    over = anyio.Event()

    async def handle(task_id: str) -> None:
        given.append(task_id)
        over.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
            try:
                serving.start_soon(backend.serve, handle, Limits(total=1, types={TYPE: None}))
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(Unavailable):
                    await create(backend)
                assert given == []
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            await over.wait()
            serving.cancel_scope.cancel()
    assert given == [task.id]


async def test_a_file_locked_for_too_long_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers are refused after the time-out, readers never wait, and afterwards all is well."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.1)
    async with SQLiteBackend(path) as backend:
        task = await create(backend)
        with locked(path):
            with pytest.raises(Unavailable, match="another process holds it locked"):
                await move(backend, task, Kind.STARTED)
            assert await backend.load(task.id) == task
        await move(backend, task, Kind.STARTED)


async def test_a_wait_outlives_a_store_that_is_away(tmp_path: Path) -> None:
    """A waiter is not told that the file cannot be read, and is woken when it is back."""
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    async with SQLiteBackend(here / "tasks.db") as backend:
        task = await create(backend)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as waiters:
                # No reader is open yet, and where the file was there is nothing to read.
                here.rename(away)
                waiters.start_soon(backend.wait, task.id, 0)
                with pytest.raises(Unavailable, match="was deleted, moved"):
                    await backend.load(task.id)
                away.rename(here)
        assert await backend.load(task.id) == task


async def test_a_lease_that_was_lost_cancels_its_call(backend: SQLiteBackend, path: Path) -> None:
    """When another process holds the task now, the call that goes on here is ended."""
    await create(backend)
    ended = anyio.Event()
    held = anyio.Event()

    async def hold(task_id: str) -> None:
        held.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, hold, Limits(total=1, types={TYPE: None}))
            await held.wait()
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE leases SET holder = 'another', expires_at = ?", (time.time() + 3600,))
            await ended.wait()
            serving.cancel_scope.cancel()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT holder FROM leases").fetchall() == [("another",)]


async def test_a_server_that_was_suspended_does_not_call_twice(backend: SQLiteBackend, path: Path) -> None:
    """Its leases have run out, nobody took them, and the calls go on: they are its own still."""
    held = await create(backend)
    given: list[str] = []
    arrived = anyio.Event()

    async def hold(task_id: str) -> None:
        given.append(task_id)
        arrived.set()
        await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, hold, Limits(total=5, types={TYPE: None}))
            await arrived.wait()
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE leases SET expires_at = 0")
            arrived = anyio.Event()
            pushed = await create(backend)
            await arrived.wait()
            serving.cancel_scope.cancel()
    assert given == [held.id, pushed.id]


async def test_a_claim_that_was_cancelled_while_it_was_written_is_given_back(
    backend: SQLiteBackend, path: Path
) -> None:
    """A server that stops while its claim waits for the file leaves no lease that nobody renews."""
    await create(backend)

    async def never(task_id: str) -> None:
        raise AssertionError(task_id)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            with locked(path):
                serving.start_soon(backend.serve, never, Limits(total=1, types={TYPE: None}))
                await anyio.wait_all_tasks_blocked()
                serving.cancel_scope.cancel()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM leases").fetchall() == []


@pytest.mark.parametrize(
    ("durability", "durable", "synchronous"), [("full", True, 2), ("full", False, 1), ("normal", True, 1)]
)
def test_a_durable_transaction_is_written_through_to_the_disk(
    path: Path, durability: str, durable: bool, synchronous: int
) -> None:
    """With full durability a durable commit is synced (2), everything else at checkpoints only (1)."""
    opened = Database(path, "full" if durability == "full" else "normal")
    opened.open()
    with closing(opened):
        for now in (not durable, durable):
            with opened.transaction(durable=now) as connection:
                found = connection.execute("PRAGMA synchronous").fetchone()
        assert found == (synchronous,)


async def test_a_progress_report_does_not_write_large_values_again(backend: SQLiteBackend, path: Path) -> None:
    """Arguments, checkpoint and output of a megabyte each are stored once, however many events follow."""
    large = "x" * 1_000_000
    task = await create(backend, arguments={"text": large})
    task = await move(backend, task, Kind.STARTED, Kind.CHECKPOINT, state=large)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for _ in range(20):
        task = await move(backend, task, Kind.PROGRESS)
    assert written(path) < 1_000_000


FREQUENT = [
    "load_task", "update_task", "find_key", "read_events", "list_all", "list_status", "list_type",
    "list_status_and_type", "queue_position", "last_numbers", "due_tasks", "next_due", "expired_tasks",
    "fleet_counts", "first_in_line", "stalled_tasks",
]  # fmt: skip


@pytest.mark.parametrize("name", FREQUENT)
async def test_no_frequent_statement_reads_all_tasks(backend: SQLiteBackend, path: Path, name: str) -> None:
    """With a million finished tasks it still finds its rows by an index, a partial one where it looks for work."""
    statement = getattr(SQL, name)
    assert name in {field.name for field in fields(SQL)}
    with closing(sqlite3.connect(path)) as connection:
        values = [None] * statement.count("?") or dict.fromkeys(
            ("id", "owner", "type", "status", "before", "limit", "most", "now", "holder", "types", "full_owners",
             "claimable", "not_before", "last_event_id", "expires_at", "snapshot", "expected", "idempotency_key")
        )  # fmt: skip
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    scans = [step for step in plan if step.startswith("SCAN") and not step.startswith(("SCAN json_each", "SCAN (sub"))]
    assert plan
    assert all("tasks_due" in step or "tasks_abandonable" in step or "leases" in step for step in scans), plan
    assert not any("TEMP B-TREE" in step for step in plan if name.startswith(("list", "read"))), plan
