"""Unfinished tasks of a script, in a file that outlives it.

Owns the file's format and how several processes share it: every change is a read, a
change and an atomic replacement under a lock of its own, so that a reader never sees
half a file and no process loses another's entry. It is made for scripts that crash, not
for power cuts: nothing is synced to disk. Knows nothing of servers.

    {"version": 1, "tasks": {"<id>": {"base_url": "…", "task_type": "…", "started_at": "…", "last_event_id": 7}}}
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import JournalUnreadable

__all__ = ["Entry", "Journal"]


class Entry(BaseModel):
    """The facts kept of one task."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    base_url: str
    task_type: str | None
    started_at: str
    last_event_id: int = 0


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    version: Literal[1] = 1
    tasks: dict[str, Entry] = {}


class Journal:
    """The journal at a path; the file is created with the first entry.

    Every method raises JournalUnreadable if the file holds something else, and OSError
    if it cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()  # what a link points to is replaced, and not the link

    async def check(self) -> None:
        """Raise now what `record` would: a task that is started first would be lost."""
        await anyio.to_thread.run_sync(self._check)

    async def entries(self, base_url: str) -> dict[str, Entry]:
        """The tasks of one server, oldest first."""
        file = await anyio.to_thread.run_sync(self._read)
        return {task_id: entry for task_id, entry in file.tasks.items() if entry.base_url == base_url}

    async def record(self, task_id: str, entry: Entry) -> None:
        """Add a task, or change what is kept of it."""
        await anyio.to_thread.run_sync(self._record, task_id, entry)

    async def advance(self, task_id: str, number: int) -> None:
        """The event with this number was dealt with. A task that is not there is left out."""
        await anyio.to_thread.run_sync(self._advance, task_id, number)

    async def forget(self, task_id: str) -> None:
        """Drop a task. Harmless when it is not there."""
        await anyio.to_thread.run_sync(self._forget, task_id)

    def _check(self) -> None:
        with self._changing():
            pass

    def _record(self, task_id: str, entry: Entry) -> None:
        with self._changing() as file:
            file.tasks[task_id] = entry

    def _advance(self, task_id: str, number: int) -> None:
        with self._changing() as file:
            if task_id in file.tasks:
                file.tasks[task_id].last_event_id = number

    def _forget(self, task_id: str) -> None:
        if not self._path.exists():
            return
        with self._changing() as file:
            file.tasks.pop(task_id, None)

    def _read(self) -> _File:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return _File()
        try:
            return _File.model_validate_json(text)
        except ValidationError as error:
            raise JournalUnreadable(f"{self._path} is no journal of this version", operation_id=None) from error

    @contextmanager
    def _changing(self) -> Iterator[_File]:
        # The lock has a file of its own because the journal's is replaced under it.
        with self._beside(".lock").open("a") as lock, _locked(lock):
            file = self._read()
            before = file.model_dump_json(indent=2)
            yield file
            after = file.model_dump_json(indent=2)
            if after != before:
                fresh = self._beside(".new")
                fresh.write_text(after + "\n", encoding="utf-8")
                with suppress(FileNotFoundError):
                    shutil.copymode(self._path, fresh)
                fresh.replace(self._path)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)


if sys.platform == "win32":
    import msvcrt

    @contextmanager
    def _locked(lock: IO[str]) -> Iterator[None]:
        lock.seek(0)
        msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    @contextmanager
    def _locked(lock: IO[str]) -> Iterator[None]:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield  # closing the file unlocks it, as does the death of the process
