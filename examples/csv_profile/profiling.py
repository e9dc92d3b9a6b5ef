"""The task function: profiles a CSV file of any size in bounded memory.

Reads slice by slice: each slice is one report, so that a cancel is seen within a
fraction of a second. After every chunk there is a partial profile for those who watch
and a checkpoint, which holds the byte offset and all that is known of the columns: an
interrupted profile goes on there and ends with the same result to the last digit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import Field

from mcp_server import SyncTaskContext, TaskError

from .column import Column
from .records import Records

__all__ = ["profile_csv"]

SLICE_BYTES = 128 * 1024
MAX_COLUMNS = 256
"""Each column takes up to 11 KiB of a checkpoint, which holds 4 MiB."""

ChunkBytes = Annotated[int, Field(ge=1024, description="After so many bytes: partial output and a checkpoint")]
Delimiter = Annotated[str, Field(pattern=r'^[^"\r\n]$', description="The character between two fields")]


def profile_csv(
    path: str, delimiter: Delimiter = ",", chunk_bytes: ChunkBytes = 16 * 1024 * 1024, *, task: SyncTaskContext
) -> dict[str, Any]:
    """Profile a CSV file on the server: rows, and type, gaps, range, mean and distinct values of each column."""
    with _opened(path) as file:
        profile = _Profile(file, delimiter, task.state)
        chunk_end = profile.offset + chunk_bytes
        while profile.read_slice(min(SLICE_BYTES, chunk_bytes)):
            task.report(profile.offset, total=profile.size, message=f"{profile.rows} rows")
            if profile.offset >= chunk_end:
                task.emit(profile.so_far(), topic="profile")
                task.checkpoint(profile.state())
                chunk_end = profile.offset + chunk_bytes
        task.summary = f"Profiled {profile.rows} rows of {len(profile.columns)} columns"
        return profile.result()


class _Profile:
    """What is known of the file so far; `state` is an earlier attempt's, or None."""

    def __init__(self, file: BinaryIO, delimiter: str, state: Any) -> None:
        found = os.fstat(file.fileno())
        self.size = found.st_size
        self._version = [found.st_size, found.st_mtime_ns]
        if state is None or state["version"] != self._version:
            # Also when the file was changed meanwhile: what is known is of another one.
            self.rows = self._ragged_rows = 0
            self._records = Records(file, delimiter=delimiter)
            header = next(self._records, [])
            if len(header) > MAX_COLUMNS:
                raise TaskError(f"{len(header)} columns; {MAX_COLUMNS} can be profiled", code="TOO_WIDE", retry=False)
            self.columns = [Column(name[:100] or f"column {number}") for number, name in enumerate(header, start=1)]
        else:
            self.rows, self._ragged_rows = state["rows"], state["ragged_rows"]
            self._records = Records(file, delimiter=delimiter, offset=state["offset"])
            self.columns = [Column.from_state(column) for column in state["columns"]]

    @property
    def offset(self) -> int:
        return self._records.offset

    def read_slice(self, size: int) -> bool:
        """Take in the next `size` bytes and the rest of their last record; False when there was nothing left."""
        rows = self._records.slice(size)
        self.rows += len(rows)
        width = len(self.columns)
        self._ragged_rows += sum(len(row) != width for row in rows)
        # The last row is there so that no column lacks its turn when all rows are too short.
        for column, values in zip(self.columns, zip_longest(*rows, [None] * width), strict=False):
            present = [value for value in values if value is not None]
            column.add(present, absent=len(rows) - len(present))
        return bool(rows)

    def so_far(self) -> dict[str, Any]:
        """The partial output: small, because there may be many."""
        columns = [column.profile() for column in self.columns]
        shown = [{key: column[key] for key in ("name", "type", "missing", "distinct")} for column in columns]
        return {"rows": self.rows, "bytes": self.offset, "columns": shown}

    def result(self) -> dict[str, Any]:
        columns: Sequence[dict[str, Any]] = [column.profile() for column in self.columns]
        return {"rows": self.rows, "ragged_rows": self._ragged_rows, "bytes": self.offset, "columns": columns}

    def state(self) -> dict[str, Any]:
        return {
            "version": self._version,
            "offset": self.offset,
            "rows": self.rows,
            "ragged_rows": self._ragged_rows,
            "columns": [column.state() for column in self.columns],
        }


def _opened(path: str) -> BinaryIO:
    if Path(path).exists() and not Path(path).is_file():
        # To open a pipe would wait for somebody to write to it.
        raise TaskError(f"{path!r} is no file", code="NOT_A_FILE", retry=False)
    try:
        return Path(path).open("rb")
    except (FileNotFoundError, ValueError):
        raise TaskError(f"There is no file {path!r}", code="NO_SUCH_FILE", retry=False) from None
    except OSError as error:
        raise TaskError(f"{path!r} cannot be read: {error.strerror}", code="UNREADABLE", retry=False) from None
