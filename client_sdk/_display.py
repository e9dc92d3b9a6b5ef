"""A task's progress for a person: a bar in a terminal, one changing line in a notebook, plain lines elsewhere.

Loaded on demand, because rich is not needed by scripts that show nothing.
"""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column

from ._events import DoneEvent, ErrorEvent, Event, InputRequiredEvent, OutputEvent, ProgressEvent, StatusEvent
from ._text import encodable, visible
from .errors import cut
from .wire import InputRequiredData, OutputData, Progress, TaskStatus

__all__ = ["Display", "displayed"]

_MAX_SHOWN = 200
"""Characters of an output that are shown."""
_TEXT_TOPICS = ("text", "reasoning")
"""Output topics whose strings are pieces of one running text; see docs/streaming.md."""


@contextmanager
def displayed(title: str | None, console: Console | None) -> Iterator[Display]:
    """Yields the display of one task, which is given its events in order."""
    console = console or Console()
    with _screen(console, title or "task") as screen:
        display = Display(screen)
        yield display
        display.finish()


class Display:
    """Events of one task on a screen; `away` and `finish` are for what is no event."""

    def __init__(self, screen: _Screen) -> None:
        self._screen = screen
        self._stage, self._message = "", ""
        self._text: tuple[str, str] | None = None
        """A topic, and the beginning of a line of it."""
        self._is_away = False

    def __call__(self, event: Event) -> None:
        match event:
            case ProgressEvent(data=progress):
                self._screen.progress(progress, self._fresh(progress))
            case OutputEvent(data=output):
                self._output(output)
            case InputRequiredEvent(data=asked):
                self.finish()
                self._asked(asked)
            case StatusEvent(data=status) if status.reason == "retrying":
                self.finish()
                self._screen.line(f"Retrying: {status.message or 'the work was interrupted'}")
            case ErrorEvent(data=failure):
                self.finish()
                self._screen.line(f"Failed: {failure.error}")
                self._screen.ended("failed")
            case DoneEvent(data=end) if end.status is TaskStatus.CANCELLED:
                self.finish()
                self._screen.line(f"Cancelled: {end.reason}" if end.reason else "Cancelled")
                self._screen.ended("cancelled")
            case _:
                pass

    def away(self, reason: str | None) -> None:
        """The server cannot be reached for a reason, or (None) it is back."""
        if (reason is not None) == self._is_away:
            return
        self._is_away = reason is not None
        self._screen.line("The server is back" if reason is None else f"Trying again: {reason}")
        self._screen.state(None if reason is None else "server away, coming back …")

    def finish(self) -> None:
        """Show a line of running text that has no end yet."""
        text, self._text = self._text, None
        if text is not None and text[1]:
            self._screen.line(f"{text[0]}: {text[1]}")

    def _fresh(self, progress: Progress) -> str:
        """The message, with the stage's name; a message of the stage before is left out."""
        stage = progress.stage.name if progress.stage and progress.status is not TaskStatus.COMPLETED else ""
        is_stale = stage != self._stage and progress.message == self._message and bool(stage)
        self._stage, self._message = stage, progress.message
        return ": ".join(part for part in (stage, "" if is_stale else progress.message) if part)

    def _output(self, output: OutputData) -> None:
        if isinstance(output.data, str) and output.topic in _TEXT_TOPICS:
            if self._text is not None and self._text[0] != output.topic:
                self.finish()
            before = self._text[1] if self._text is not None else ""
            *lines, rest = (before + output.data).split("\n")
            for line in lines:
                self._screen.line(f"{output.topic}: {line}")
            self._text = output.topic, rest
            return
        self.finish()
        shown = output.data if isinstance(output.data, str) else json.dumps(output.data, ensure_ascii=False)
        for line in cut(shown, _MAX_SHOWN).rstrip("\n").split("\n"):
            self._screen.line(f"{output.topic or 'Output'}: {line}")

    def _asked(self, asked: InputRequiredData) -> None:
        questions = {key: _params(request) for key, request in asked.input_requests.items()}
        shown = "; ".join(f"{key}: {_question(params)}" for key, params in questions.items())
        self._screen.line(f"Waiting for an answer - {shown}")
        for key, params in questions.items():
            command = f"longtasks answer {asked.operation_id} {key}"
            self._screen.line(f"  {command} VALUE{_expected(params)}")
            self._screen.state(f"waits for an answer: {command} …")


def _params(request: Any) -> Mapping[str, Any]:
    params = request.get("params") if isinstance(request, dict) else None
    return params if isinstance(params, dict) else {}


def _question(params: Mapping[str, Any]) -> str:
    return cut(str(params.get("message", "(no text)")), _MAX_SHOWN)


def _expected(params: Mapping[str, Any]) -> str:
    """The values that answer a question, as far as its schema says them in a few words."""
    schema = params.get("requestedSchema")
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(fields, dict):
        return ""
    words = {name: _values(field) for name, field in fields.items() if isinstance(field, dict)}
    if len(words) == 1:
        return f"    VALUE is {next(iter(words.values()))}"
    return "    VALUE is {" + ", ".join(f'"{name}": {word}' for name, word in words.items()) + "}" if words else ""


def _values(field: Mapping[str, Any]) -> str:
    choices = field.get("enum") or [each.get("const") for each in field.get("oneOf") or () if isinstance(each, dict)]
    if choices:
        return cut(" or ".join(map(str, choices)), _MAX_SHOWN)
    return "true or false" if field.get("type") == "boolean" else f"a {field.get('type', 'value')}"


class _Screen(Protocol):
    def progress(self, progress: Progress, message: str) -> None: ...

    def line(self, text: str) -> None: ...

    def state(self, text: str | None) -> None:
        """The special state of the task or the connection, until the next progress; None: nothing special any more."""

    def ended(self, how: str) -> None:
        """The task has ended without a result."""


@contextmanager
def _screen(console: Console, title: str) -> Iterator[_Screen]:
    if console.is_jupyter:
        yield _Notebook()
    elif console.is_terminal:
        # The message takes what the figures leave, and a little less: on a full line the `^C` that a terminal
        # echoes would begin another one, and the bar be there twice.
        plain = console.options.ascii_only
        width = min(40, console.width // 4)
        overflow = Column(
            width=max(8, console.width - width - 19), no_wrap=True, overflow="crop" if plain else "ellipsis"
        )
        bar = Bar(
            SpinnerColumn("line" if plain else "dots", finished_text="+" if plain else "✓"),
            BarColumn(bar_width=width),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", table_column=overflow),
            console=console,
        )
        with bar:
            yield _Terminal(bar, title)
    else:
        yield _Lines(console)


class _Terminal:
    def __init__(self, bar: Bar, title: str) -> None:
        self._bar, self._console = bar, bar.console
        self._description = title
        self._task = bar.add_task(self._shown(title), total=100.0)

    def progress(self, progress: Progress, message: str) -> None:
        # A late watcher sees how long the task has run, not how long it was watched.
        self._bar.tasks[0].start_time = self._bar.get_time() - progress.elapsed_seconds
        left = progress.estimated_remaining
        self._description = message if left is None else f"{message} · about {left:.0f} s left"
        self._bar.update(self._task, completed=progress.progress, description=self._shown(self._description))

    def line(self, text: str) -> None:
        self._console.print(encodable(visible(text), self._console.encoding), markup=False, highlight=False)

    def state(self, text: str | None) -> None:
        self._bar.update(self._task, description=self._shown(self._description if text is None else text))

    def ended(self, how: str) -> None:
        mark = TextColumn(encodable("✗", self._console.encoding))
        self._bar.columns = (mark, *self._bar.columns[1:])
        self._bar.stop_task(self._task)
        self._bar.update(self._task, description=how)

    def _shown(self, text: str) -> str:
        return escape(encodable(visible(text), self._console.encoding))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def progress(self, progress: Progress, message: str) -> None:
        self.line(_as_text(progress, message))

    def line(self, text: str) -> None:
        shown = encodable(visible(text), self._console.encoding)
        self._console.print(shown, markup=False, highlight=False, soft_wrap=True)

    def state(self, text: str | None) -> None:
        pass  # a line has said it

    def ended(self, how: str) -> None:
        pass


class _Notebook:
    """One output cell that changes in place: rich's own bars need ipywidgets, this needs what every notebook has."""

    def __init__(self) -> None:
        # Installed wherever `is_jupyter` holds.
        self._display: Callable[..., Any] = importlib.import_module("IPython.display").display
        self._id, self._shown = f"longtasks-{uuid.uuid4().hex}", False

    def progress(self, progress: Progress, message: str) -> None:
        done = round(progress.progress / 5)
        text = visible(f"[{'#' * done}{'.' * (20 - done)}] {_as_text(progress, message)}")
        self._display({"text/plain": text}, raw=True, display_id=self._id, update=self._shown)
        self._shown = True

    def line(self, text: str) -> None:
        self._display({"text/plain": visible(text)}, raw=True)

    def state(self, text: str | None) -> None:
        pass

    def ended(self, how: str) -> None:
        pass


def _as_text(progress: Progress, message: str) -> str:
    return f"Progress: {progress.progress:.0f}% - {message}"
