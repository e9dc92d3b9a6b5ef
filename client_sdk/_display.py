"""A task's progress for a person: a bar in a terminal, one changing line in a notebook, plain lines elsewhere.

Loaded on demand, because rich is not needed by scripts that show nothing.
"""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column

from ._events import DoneEvent, ErrorEvent, Event, InputRequiredEvent, OutputEvent, ProgressEvent, StatusEvent
from .errors import cut
from .wire import Progress, TaskStatus

__all__ = ["displayed"]

_MAX_SHOWN = 200
"""Characters of an output that are shown."""


@contextmanager
def displayed(title: str | None, console: Console | None) -> Iterator[Callable[[Event], None]]:
    """Yields a function that displays one event of a task; events are given to it in order."""
    with _display(console or Console(), title or "task") as display:

        def display_event(event: Event) -> None:
            if isinstance(event, ProgressEvent):
                display.progress(event.data)
            elif (line := _line(event)) is not None:
                display.line(line)

        yield display_event


def _line(event: Event) -> str | None:
    """What an event other than progress is worth saying, if anything."""
    match event:
        case OutputEvent(data=output):
            shown = output.data if isinstance(output.data, str) else json.dumps(output.data, ensure_ascii=False)
            return f"{output.topic or 'Output'}: {cut(shown, _MAX_SHOWN)}"
        case InputRequiredEvent(data=asked):
            questions = [f"{key}: {_question(request)}" for key, request in asked.input_requests.items()]
            return "Waiting for an answer - " + "; ".join(questions)
        case StatusEvent(data=status) if status.reason == "retrying":
            return f"Retrying: {status.message or 'the work was interrupted'}"
        case ErrorEvent(data=failure):
            return f"Failed: {failure.error}"
        case DoneEvent(data=end) if end.status is TaskStatus.CANCELLED:
            return f"Cancelled: {end.reason}" if end.reason else "Cancelled"
        case _:
            return None


def _question(request: Any) -> str:
    params = request.get("params", {}) if isinstance(request, dict) else {}
    return cut(str(params.get("message", "(no text)")), _MAX_SHOWN)


class _Display(Protocol):
    def progress(self, progress: Progress) -> None: ...

    def line(self, text: str) -> None: ...


@contextmanager
def _display(console: Console, title: str) -> Iterator[_Display]:
    if console.is_jupyter:
        yield _Notebook()
    elif console.is_terminal:
        # The message takes what the figures leave, and a little less: on a full line the `^C` that a terminal
        # echoes would begin another one, and the bar be there twice.
        width = min(40, console.width // 4)
        message = Column(width=max(8, console.width - width - 19), no_wrap=True, overflow="ellipsis")
        bar = Bar(
            SpinnerColumn(),
            BarColumn(bar_width=width),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", table_column=message),
            console=console,
        )
        with bar:
            yield _Terminal(bar, title)
    else:
        yield _Lines(console)


class _Terminal:
    def __init__(self, bar: Bar, title: str) -> None:
        self._bar = bar
        self._task = bar.add_task(escape(title), total=100.0)

    def progress(self, progress: Progress) -> None:
        # Who comes later sees how long the task has been at it, not how long they have watched.
        self._bar.tasks[0].start_time = self._bar.get_time() - progress.elapsed_seconds
        left = progress.estimated_remaining
        description = progress.message if left is None else f"{progress.message} · about {left:.0f} s left"
        self._bar.update(self._task, completed=progress.progress, description=escape(description))

    def line(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def progress(self, progress: Progress) -> None:
        self.line(_as_text(progress))

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Notebook:
    """One output cell that changes in place: rich's own bars need ipywidgets, this needs what every notebook has."""

    def __init__(self) -> None:
        # Installed wherever `is_jupyter` holds.
        self._display: Callable[..., Any] = importlib.import_module("IPython.display").display
        self._id, self._shown = f"longtasks-{uuid.uuid4().hex}", False

    def progress(self, progress: Progress) -> None:
        done = round(progress.progress / 5)
        text = f"[{'#' * done}{'.' * (20 - done)}] {_as_text(progress)}"
        self._display({"text/plain": text}, raw=True, display_id=self._id, update=self._shown)
        self._shown = True

    def line(self, text: str) -> None:
        self._display({"text/plain": text}, raw=True)


def _as_text(progress: Progress) -> str:
    return f"Progress: {progress.progress:.0f}% - {progress.message}"
