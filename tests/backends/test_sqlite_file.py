"""Which files the SQLite backend opens, and the one clear sentence it says about the others."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from mcp_server.backend import Limits
from mcp_server.backends.sqlite import SQLiteBackend
from mcp_server.backends.sqlite.statements import MIGRATIONS
from mcp_server.errors import ConfigurationError, Unavailable
from mcp_server.task import Kind
from tests.contract.tasks import TYPE, create, finish, move

ROOT = Path(__file__).parents[2]


async def refusal(path: Path) -> str:
    """What opening this file says; it must be refused."""
    with pytest.raises(ConfigurationError) as refused:
        async with SQLiteBackend(path):
            pass
    return str(refused.value)


async def make(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        await create(backend)


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The directory is not made: a typing mistake would pass for an empty store."""
    path = tmp_path / "nowhere" / "tasks.db"
    assert await refusal(path) == (f"Cannot open {path} as a task database: the directory {path.parent} does not exist")


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Its path may be right but for the file name."""
    assert await refusal(tmp_path) == f"Cannot open {tmp_path} as a task database: it is a directory"


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """The message says so, and the file is as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary,\n" * 500)
    assert await refusal(path) == f"Cannot open {path} as a task database: the file is not a SQLite database"
    assert path.read_text() == "Dear diary,\n" * 500


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """A valid SQLite file with somebody else's tables gets none of ours."""
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tasks (id)")
    assert await refusal(path) == f"Cannot open {path} as a task database: it belongs to another program"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("tasks",)]


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    """A file that was cut off or overwritten says so when it is opened, not in the middle of work."""
    path = tmp_path / "tasks.db"
    await make(path)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 4000)
    assert await refusal(path) == f"Cannot open {path} as a task database: the file is damaged"


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """An older program does not write into what it does not understand."""
    path = tmp_path / "tasks.db"
    await make(path)
    known = MIGRATIONS[-1].number
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (?, 'from the future', 0)", (known + 1,))
    assert await refusal(path) == (
        f"Cannot open {path} as a task database: it was written by a newer version of this program "
        f"(its schema is {known + 1}, this program knows {known})"
    )


@contextmanager
def as_somebody_else() -> Iterator[Path]:
    """A directory that is to be made read-only; root, who may write anywhere, becomes nobody for the block."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        try:
            yield directory
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            directory.chmod(0o755)


def drop_rights() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


async def test_a_read_only_file_is_refused() -> None:
    """Rights on the file itself are missing."""
    with as_somebody_else() as directory:
        path = directory / "tasks.db"
        await make(path)
        path.chmod(0o444)
        directory.chmod(0o777)
        drop_rights()
        said = await refusal(path)
    assert said == f"Cannot open {path} as a task database: the file or its directory is read-only"


@pytest.mark.parametrize("exists", [False, True])
async def test_a_read_only_directory_is_refused(exists: bool) -> None:
    """SQLite writes beside the file too, so its directory must be writable, also for a file that is."""
    with as_somebody_else() as directory:
        path = directory / "tasks.db"
        if exists:
            await make(path)
            path.chmod(0o666)
        directory.chmod(0o555)
        drop_rights()
        said = await refusal(path)
    assert said.startswith(f"Cannot open {path} as a task database: ")
    assert "its directory" in said


async def test_migrations_are_recorded_and_made_once(tmp_path: Path) -> None:
    """The file says which steps it has been through, and opening it again makes none twice."""
    path = tmp_path / "tasks.db"
    await make(path)
    with closing(sqlite3.connect(path)) as connection:
        recorded = connection.execute("SELECT number, name, at FROM migrations ORDER BY number").fetchall()
    assert [(number, name) for number, name, _ in recorded] == [(m.number, m.name) for m in MIGRATIONS]
    await make(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT number, name, at FROM migrations ORDER BY number").fetchall() == recorded


def test_migrations_are_numbered_without_holes() -> None:
    """1, 2, 3 …: a missing or doubled number is a mistake of packaging."""
    assert [migration.number for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


async def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Half a schema would be worse than none: the file is as it was before."""
    path = tmp_path / "tasks.db"
    with closing(sqlite3.connect(path)) as connection:
        # Ours by its mark, but with a table that is in the way of the migration's last step.
        connection.execute("PRAGMA application_id = 0x4C6F6E67")
        connection.execute("CREATE TABLE counts (mine)")
    assert "already exists" in await refusal(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("counts",)]


async def test_processes_that_open_a_new_file_at_once_all_get_it(tmp_path: Path) -> None:
    """Several servers started together on one new file: each creates a task, all are there."""
    path = tmp_path / "tasks.db"
    program = (
        "import sys, anyio\n"
        "from mcp_server.backends.sqlite import SQLiteBackend\n"
        "from tests.contract.tasks import create\n"
        "async def main():\n"
        "    async with SQLiteBackend(sys.argv[1]) as backend:\n"
        "        await create(backend)\n"
        "input()\n"
        "anyio.run(main)\n"
    )
    processes = [
        await anyio.open_process([sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=None, stderr=None)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        await process.stdin.send(b"go\n")
    for process in processes:
        async with process:
            assert await process.wait() == 0
    async with SQLiteBackend(path) as backend:
        assert sum((await backend.counts()).values()) == 4


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_was_taken_away_is_unavailable_until_it_is_back(tmp_path: Path, replaced: bool) -> None:
    """Nothing is acknowledged that only a file without a name would hold; reads, as the health probe's, say so too."""
    path, away = tmp_path / "tasks.db", tmp_path / "away"
    away.mkdir()
    files = [f"tasks.db{suffix}" for suffix in ("", "-wal", "-shm")]
    async with SQLiteBackend(path) as backend:
        task = await create(backend)
        for name in files:
            (tmp_path / name).rename(away / name)
        if replaced:
            await make(path)
        for call in (lambda: create(backend), lambda: backend.load(task.id), backend.counts):
            with pytest.raises(Unavailable, match="was deleted, moved or replaced while it was open"):
                await call()
        for name in files:
            (away / name).rename(tmp_path / name)
        await create(backend)
    async with SQLiteBackend(path) as backend:
        assert sum((await backend.counts()).values()) == 2
        assert await backend.load(task.id) == task


async def test_a_file_of_an_older_program_goes_on(tmp_path: Path) -> None:
    """Its queued task and the one its dead process ran are claimed; the finished one is not, and is as it was."""
    path = tmp_path / "tasks.db"
    async with SQLiteBackend(path) as backend:
        waiting, abandoned = await create(backend), await move(backend, await create(backend), Kind.STARTED)
        finished = await move(backend, await create(backend), Kind.STARTED, Kind.COMPLETED)
    first = MIGRATIONS[0].statements
    with closing(sqlite3.connect(path)) as connection:
        for name in ("tasks_due", "tasks_delayed", "tasks_abandonable"):
            connection.execute(f"DROP INDEX {name}")
        for name in ("claimable_created", "claimable_changed"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("ALTER TABLE tasks DROP COLUMN claimable")
        connection.execute("DROP TABLE documents")
        for statement in first:
            if any(name in statement for name in ("INDEX tasks_queued", "INDEX tasks_delayed", "INDEX tasks_running")):
                connection.execute(statement)
        connection.execute("DELETE FROM migrations WHERE number > 1")
        connection.commit()
    claimed: set[str] = set()
    both = anyio.Event()

    async def handle(task_id: str) -> None:
        claimed.add(task_id)
        await finish(backend, task_id)
        if claimed == {waiting.id, abandoned.id}:
            both.set()

    async with SQLiteBackend(path) as backend:
        assert await backend.queue_position(waiting) == 0
        with anyio.fail_after(60):
            async with anyio.create_task_group() as serving:
                serving.start_soon(backend.serve, handle, Limits(total=4, types={TYPE: None}))
                await both.wait()
                serving.cancel_scope.cancel()
        assert await backend.load(finished.id) == finished


def sizes(path: Path) -> tuple[int, int]:
    """Of the file and of its write-ahead log."""
    return path.stat().st_size, Path(f"{path}-wal").stat().st_size


async def test_a_file_gives_the_space_of_purged_tasks_back(tmp_path: Path) -> None:
    """In bites, all but a little for what comes; and so does the write-ahead log when the burst is over."""
    path = tmp_path / "tasks.db"
    async with SQLiteBackend(path) as backend:
        kept = await create(backend)
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM tasks").fetchall()  # holds its moment: the log can only grow
            for _ in range(40):
                task = await create(backend, arguments={"text": "x" * 500_000})
                await move(backend, task, Kind.STARTED, Kind.COMPLETED, expires_at=1.0)
        assert sizes(path)[1] > 20_000_000
        steps = 0
        while await backend.purge(2.0):
            steps += 1
        assert steps > 10
        assert max(sizes(path)) < 8_000_000
        assert await backend.load(kept.id) == kept


async def test_a_file_that_was_made_without_giving_back_is_rewritten_once(tmp_path: Path) -> None:
    """Its tasks are as they were; while somebody else writes it stays as it is, and goes on."""
    path = tmp_path / "tasks.db"
    async with SQLiteBackend(path) as backend:
        task = await create(backend)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    async with SQLiteBackend(path) as backend:
        assert await backend.load(task.id) == task
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


async def test_an_older_program_may_go_on_with_the_file_for_a_while(tmp_path: Path) -> None:
    """Its statements know no `claimable`: a task that it ends is claimed by no one, one that it creates can be."""
    path = tmp_path / "tasks.db"
    async with SQLiteBackend(path) as backend:
        running = await move(backend, await create(backend), Kind.STARTED)
        with closing(sqlite3.connect(path)) as older:
            older.execute("UPDATE tasks SET status = 'completed' WHERE id = ?", (running.id,))
            older.execute(
                "INSERT INTO tasks (id, owner, type, priority, status, not_before, last_event_id, snapshot)"
                " VALUES ('new', '', 'x', 0, 'queued', 0, 1, x'00')"
            )
            older.commit()
            found = dict(older.execute("SELECT id, claimable FROM tasks").fetchall())
    assert found == {running.id: "never", "new": "when_due"}
