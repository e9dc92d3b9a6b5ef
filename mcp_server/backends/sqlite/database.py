"""The file: opening and migrating it, one write connection, readers, what errors mean.

What blocks is called from worker threads, except for look-ups (see `lanes`). `transaction` is the only way to
write; a lock of this process stands before SQLite's own, which is neither fair nor prompt. Errors of SQLite
end here: `ConfigurationError` when the file cannot be used at all, `Unavailable` when it cannot be used now.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from ...errors import ConfigurationError, Unavailable
from .statements import MIGRATIONS, SQL

__all__ = ["Database"]

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x4C6F6E67
"""Marks the file as ours ("Long"), so that another program's database is not written into."""
BUSY_TIMEOUT = 5.0
"""Seconds a transaction waits for another process's before it is `Unavailable`."""
WAL_BYTES = 4 * 1024 * 1024
"""The write-ahead log's size between bursts."""
INCREMENTAL = 2
"""The `auto_vacuum` with which deleted pages can be returned to the disk in bites."""


class Database:
    """One SQLite file, as this process has it open. Its methods may be called from any thread."""

    def __init__(self, path: Path, durability: Literal["full", "normal"]) -> None:
        # Absolute, for the working directory may change before the next reader is opened.
        self._path = path.absolute()
        self._full = durability == "full"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._synchronous = ""
        self._identity: tuple[int, int] | None = None

    def open(self) -> None:
        """Open the file, create or migrate its schema.

        Raises:
            ConfigurationError: it cannot be used; the message names the path and says why.
        """
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigurationError(f"SQLite 3.35 or newer is needed, this is {sqlite3.sqlite_version}")
        if self._path.is_dir():
            raise ConfigurationError(f"Cannot open {self._path} as a task database: it is a directory")
        if not self._path.parent.is_dir():
            raise ConfigurationError(
                f"Cannot open {self._path} as a task database: the directory {self._path.parent} does not exist"
            )
        connection = None
        try:
            _create_private(self._path)
            connection = self.connect(create=True)
            _refuse_foreign(connection, self._path)
            _let_pages_go(connection, self._path)
            _use_wal(connection)
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.execute("PRAGMA cache_size = -16384")
            _migrate(connection, self._path)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise ConfigurationError(f"Cannot open {self._path} as a task database: {_why(error)}") from error
        except ConfigurationError:
            if connection is not None:
                connection.close()
            raise
        self._connection, self._identity = connection, _identity(self._path)
        mode = os.stat(self._path).st_mode & 0o777
        if os.name == "posix" and mode & 0o077:
            logger.warning("%s may be read by others than its owner (mode %03o)", self._path, mode)

    def connect(self, *, create: bool = False) -> sqlite3.Connection:
        """One more connection to the file, usable from one thread at a time."""
        connection = sqlite3.connect(
            # A file that was moved away must not be replaced by an empty one.
            f"{self._path.as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed at the end of the block, rolled back if it raises.

        `durable` makes the commit wait for the disk if the file was opened with full durability.

        Raises:
            Unavailable: the file is locked by others for too long, the disk is full or fails.
        """
        with self._lock, mapped_errors():
            connection = self._connection
            if connection is None:
                raise Unavailable("The task database is closed")
            self.check_in_place()
            wanted = "FULL" if durable and self._full else "NORMAL"
            if self._synchronous != wanted:
                connection.execute(f"PRAGMA synchronous = {wanted}")
                self._synchronous = wanted
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back after some errors.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def check_in_place(self) -> None:
        """Raise unless the path still names the file that is open.

        SQLite would go on with a file that has no name any more, and all that it
        acknowledged would be gone at the next start.

        Raises:
            Unavailable: the file was deleted, moved or replaced.
        """
        if _identity(self._path) != self._identity:
            raise Unavailable(
                f"The task database {self._path} was deleted, moved or replaced while it was open; "
                "put it back, or start the server again"
            )

    def cut_log(self) -> None:
        """Shrink the write-ahead log after a burst, unless a reader or a writer holds it.

        Raises:
            Unavailable: the disk is full or fails.
        """
        with suppress(OSError):
            if os.stat(f"{self._path}-wal").st_size <= WAL_BYTES:
                return
        # Over a connection of its own, and without waiting: no writer waits for the copying.
        with mapped_errors(), closing(self.connect()) as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            for how in ("PASSIVE", "TRUNCATE"):
                connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()

    def written_at(self) -> float:
        """The time of the last write to the file, in seconds since the epoch as the disk counts them.

        Costs a glance at the file's entry and not at its content, so it may be called on the event loop.
        """
        try:
            # In WAL mode every commit is a write to this file.
            return os.stat(f"{self._path}-wal").st_mtime
        except OSError:
            return time.time()

    def data_version(self) -> int:
        """A number that changes when another process (or connection) has committed."""
        with self._lock, mapped_errors():
            if self._connection is None:
                raise Unavailable("The task database is closed")
            version: int = self._connection.execute(SQL.data_version).fetchone()[0]
            return version


def _create_private(path: Path) -> None:
    """An empty file that only its owner may read, if there is none; SQLite gives its companions the same mode."""
    with suppress(OSError):  # it is there, or SQLite says what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def mapped_errors() -> Iterator[None]:
    """SQLite's trouble with the file as `Unavailable`; mistakes in a statement stay what they are."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.NotSupportedError):
        raise
    except sqlite3.DatabaseError as error:
        raise Unavailable(f"The task database does not answer: {_why(error)}") from error


def _why(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    for prefix, reason in _REASONS.items():
        if name.startswith(prefix):
            return reason
    return str(error)


_REASONS = {
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_READONLY": "the file or its directory is read-only",
    "SQLITE_CANTOPEN": "the file cannot be opened or created; check the rights on it and on its directory",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "another process holds it locked",
    "SQLITE_IOERR": "the disk reports an error or is full",
}


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise ConfigurationError(f"Cannot open {path} as a task database: it belongs to another program")


def _let_pages_go(connection: sqlite3.Connection, path: Path) -> None:
    # A file that was made without this has to be rewritten, once; where another process has it open, next time.
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if mode == INCREMENTAL:
        return
    connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if not pages:
        return
    logger.info("rewriting %s, so that it gives space back from now on", path)
    connection.execute("PRAGMA temp_store = FILE")  # the copy
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        logger.info("%s stays as it is for now: %s", path, _why(error))
    connection.execute("PRAGMA temp_store = MEMORY")


def _use_wal(connection: sqlite3.Connection) -> None:
    # The switch to WAL does not wait for a lock as other statements do; two processes
    # that open a new file at once meet here.
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL)"
        )
        (made,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
        known = MIGRATIONS[-1].number
        if made > known:
            raise ConfigurationError(
                f"Cannot open {path} as a task database: it was written by a newer version of this program "
                f"(its schema is {made}, this program knows {known})"
            )
        # Also when it is set already: nothing short of a write shows that the file can be written.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for migration in MIGRATIONS:
            if migration.number > made:
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO migrations VALUES (?, ?, ?)", (migration.number, migration.name, time.time())
                )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
