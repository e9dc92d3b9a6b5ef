"""The screen of the command line: lines, tables, durations, and the encoding of the terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

__all__ = ["age", "duration", "json_line", "json_text", "leave_pipe", "prepare", "say", "table", "tell"]

MIN_FLEXIBLE = 8
"""Cells of the flexible column at least; a screen that is narrower wraps."""


def prepare() -> None:
    """Let standard output and error show any text, whatever the encoding of the terminal."""
    from client_sdk._text import ENCODABLE

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # it was opened as a file and is a pipe by now
                stream.reconfigure(errors=ENCODABLE)


def say(line: str) -> None:
    """A line about the command, on standard error; control characters in it are made visible."""
    from client_sdk._text import visible

    print(visible(line, keep="\n"), file=sys.stderr, flush=True)


def tell(line: str) -> None:
    """A line of the answer, on standard output; control characters in it are made visible."""
    from client_sdk._text import visible

    print(visible(line, keep="\n"), flush=True)


def json_line(model: Any) -> None:
    """A model, or JSON data, in one line on standard output, for scripts."""
    from pydantic_core import to_json

    _json_out(to_json(model).decode())


def json_text(value: Any) -> None:
    """JSON data for a person, on standard output."""
    from pydantic_core import to_json

    _json_out(to_json(value, indent=2).decode())


def _json_out(text: str) -> None:
    from client_sdk._text import encodable_json, visible_json

    print(encodable_json(visible_json(text), sys.stdout.encoding), flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, flexible: str, right: Sequence[str] = ()) -> None:
    """A table on standard output. In a terminal the flexible column is cut to what the others leave."""
    for line in _lines(headings, rows, flexible, right, _width()):
        print(line)
    sys.stdout.flush()


def _lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], flexible: str, right: Sequence[str], width: int | None
) -> Iterator[str]:
    from rich.cells import cell_len, set_cell_size

    from client_sdk._text import encodable, visible

    shown = [[encodable(visible(cell), sys.stdout.encoding) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    place = list(headings).index(flexible)
    if width is not None:
        left = width - sum(widths) + widths[place] - 2 * (len(widths) - 1)
        widths[place] = max(MIN_FLEXIBLE, min(widths[place], left))
    mark = encodable("…", sys.stdout.encoding)
    for row in shown:
        cells = []
        for heading, cell, size in zip(headings, row, widths, strict=True):
            if cell_len(cell) > size:
                cells.append(set_cell_size(cell, size - cell_len(mark)) + mark)
            else:
                blanks = " " * (size - cell_len(cell))
                cells.append(blanks + cell if heading in right else cell + blanks)
        yield "  ".join(cells).rstrip()


def _width() -> int | None:
    """Cells of the terminal; None in a pipe, whose reader wants whole values."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def age(timestamp: str) -> str:
    """The time since a timestamp of the wire."""
    return duration((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())


def duration(seconds: float) -> str:
    """Seconds as people say them, in at most two units: `0.4s`, `12s`, `3m 05s`, `2h 10m`, `4d 3h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s" if seconds % 1 else f"{seconds:.0f}s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if days:
        return f"{days}d {hours % 24}h"
    if hours:
        return f"{hours}h {minutes % 60:02}m"
    return f"{minutes}m {whole % 60:02}s" if minutes else f"{whole}s"


def leave_pipe() -> None:
    """Let nothing be written at exit to a pipe whose reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
