"""Reads the records of a CSV file from a byte offset on, and knows the offset behind each.

The standard library's parser takes lines one at a time, so what it has taken when a
record is complete ends where the record ends. Knows nothing of tasks, but for the
error that tells the caller what is wrong with the file.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from typing import BinaryIO

from mcp_server import TaskError

__all__ = ["MAX_RECORD_BYTES", "Records"]

MAX_RECORD_BYTES = 4 * 1024 * 1024
"""A longer record is no record but a quote that was never closed, or no CSV file; it fails the task."""


class Records:
    """The records from `offset` on, which must be 0 or the `offset` another `Records` had after a record.

    Quoted fields may hold delimiters, quotes and line ends. Empty lines are no records.
    Bytes that are no UTF-8 become U+FFFD; a byte order mark is left out.

    Raises:
        TaskError: `BAD_CSV`, while iterating; `details` has the `byte_offset` of the record.
    """

    def __init__(self, file: BinaryIO, *, delimiter: str = ",", offset: int = 0) -> None:
        self.offset = offset
        """Where the record after the last one given out begins."""
        self._file = file
        self._record_start = offset
        file.seek(offset)
        csv.field_size_limit(MAX_RECORD_BYTES)  # the one limit; the parser's own is lower
        self._reader = csv.reader(self._lines(), delimiter=delimiter)

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        try:
            while not (record := next(self._reader)):
                self._record_start = self.offset
        except csv.Error as error:
            raise self._bad(str(error)) from None
        self._record_start = self.offset
        return record

    def slice(self, size: int) -> list[list[str]]:
        """The next records, until they are `size` bytes or more; empty at the end of the file."""
        end, records = self.offset + size, []
        for record in self:
            records.append(record)
            if self.offset >= end:
                break
        return records

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(MAX_RECORD_BYTES + 1):
            if self.offset + len(line) - self._record_start > MAX_RECORD_BYTES:
                raise self._bad(f"it is longer than {MAX_RECORD_BYTES} bytes; is a quote never closed?")
            text = line.removeprefix(codecs.BOM_UTF8) if self.offset == 0 else line
            self.offset += len(line)
            yield text.decode("utf-8", "replace")

    def _bad(self, problem: str) -> TaskError:
        return TaskError(
            f"The record at byte {self._record_start} is no CSV: {problem}",
            code="BAD_CSV",
            details={"byte_offset": self._record_start},
            retry=False,
        )
