"""The commands that talk to a running server, by way of the client SDK: run, watch, answer and so on; and demo.

Exit codes: 0 done, 1 the task or the request failed, 3 the server cannot be reached, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from client_sdk import LongTaskClient, LongTaskClientError, TaskHandle, Unavailable
from client_sdk.wire import DEFAULT_BASE_URL, Snapshot, TaskStatus

from ..hosting import listening, set_up_logging
from ..settings import Settings
from .demo import demo_server

__all__ = ["commands"]

commands = typer.Typer()

UrlOption = Annotated[str, typer.Option(help="Where the server is")]
TokenOption = Annotated[str | None, typer.Option(help="Bearer token, if it asks for one")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts")]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id", show_default=False)]

# A table in a pipe is for a program, which has no width.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)


@commands.command()
def run(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type to start")],
    arg: Annotated[list[str] | None, typer.Option(help="An argument as name=value; the value is JSON or text")] = None,
    priority: Annotated[int, typer.Option(min=0, max=9, help="Higher is run first")] = 0,
    start_after: Annotated[float, typer.Option(min=0, help="Seconds before it may run")] = 0.0,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_BASE_URL,
    token: TokenOption = None,
) -> None:
    """Start a task, show its progress, print its result."""
    arguments = dict(_argument(text) for text in arg or ())

    async def go(client: LongTaskClient) -> None:
        handle = await client.start(task_type, arguments, priority=priority, start_after=start_after)
        _say(f"task    {handle.id}")
        with _going_on(handle.id):
            await _conclude(handle, await _shown(handle, as_json), as_json)

    _with_client(url, token, go)


@commands.command()
def watch(
    task_id: TaskId, as_json: JsonOption = False, url: UrlOption = DEFAULT_BASE_URL, token: TokenOption = None
) -> None:
    """Show a task's progress from the beginning until it is over; with --json one event a line."""

    async def go(client: LongTaskClient) -> None:
        handle = client.task(task_id)
        await handle.status()  # a wrong id is told before a bar is drawn for it
        with _going_on(task_id):
            if not as_json:
                await handle.show(out)
            else:
                async for event in handle.events():
                    line = {"id": event.number, "event": event.name, "data": event.data}
                    print(to_json(line).decode(), flush=True)
        if (await handle.status()).status is not TaskStatus.COMPLETED:
            raise typer.Exit(1)

    _with_client(url, token, go)


@commands.command(name="list")
def list_tasks(
    status: Annotated[str | None, typer.Option(help="Only tasks in this status")] = None,
    task_type: Annotated[str | None, typer.Option("--type", help="Only tasks of this type")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_BASE_URL,
    token: TokenOption = None,
) -> None:
    """List tasks, newest first."""

    async def go(client: LongTaskClient) -> None:
        page = await client.list(status=status, task_type=task_type, limit=limit)
        if as_json:
            print(page.model_dump_json())
        else:
            out.print(_table(page.operations) if page.operations else "no tasks")

    _with_client(url, token, go)


@commands.command()
def result(
    task_id: TaskId, as_json: JsonOption = False, url: UrlOption = DEFAULT_BASE_URL, token: TokenOption = None
) -> None:
    """Print a task's result; waits for it if the task is still going."""

    async def go(client: LongTaskClient) -> None:
        handle = client.task(task_id)
        with _going_on(task_id):
            await _conclude(handle, await handle.wait(), as_json)

    _with_client(url, token, go)


@commands.command()
def cancel(
    task_id: TaskId,
    reason: Annotated[str | None, typer.Option(help="Kept with the task")] = None,
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_BASE_URL,
    token: TokenOption = None,
) -> None:
    """Cancel a task."""

    async def go(client: LongTaskClient) -> None:
        reply = await client.task(task_id).cancel(reason)
        print(reply.model_dump_json() if as_json else reply.outcome.value.replace("_", " "))

    _with_client(url, token, go)


@commands.command()
def answer(
    task_id: TaskId,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The question's key, which watch shows")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What was asked for: JSON, or text if it is none")],
    as_json: JsonOption = False,
    url: UrlOption = DEFAULT_BASE_URL,
    token: TokenOption = None,
) -> None:
    """Answer a question that a task waits for."""

    async def go(client: LongTaskClient) -> None:
        reply = await client.task(task_id).answer(key, _value(value))
        print(reply.model_dump_json() if as_json else "answered" if reply.answered else "already answered")

    _with_client(url, token, go)


@commands.command()
def demo(
    duration: Annotated[float, typer.Option(min=0, max=3600, help="Seconds the task takes")] = 5.0,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps it reports")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Start a server, run a task through MCP, show its stream, print its result. Leaves nothing behind."""

    async def go() -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(backend=f"sqlite:///{Path(folder) / 'demo.db'}", port=0, log_level="warning")
            server = demo_server(settings)
            set_up_logging(settings.log_level)
            async with listening(server) as url, LongTaskClient(url) as client:
                _say(f"server  {url}/mcp")
                handle = await client.start("data_analysis", {"duration_seconds": duration, "steps": steps})
                _say(f"task    {handle.id}\nstream  {url}/progress/{handle.id}/stream")
                await _conclude(handle, await _shown(handle, as_json), as_json)
                _say("next    longtasks serve, and in another terminal: longtasks run data_analysis")

    _run(go, "the demo's server")


def _with_client(url: str, token: str | None, go: Callable[[LongTaskClient], Awaitable[None]]) -> None:
    async def body() -> None:
        async with LongTaskClient(url, token, patience=10.0) as client:
            await go(client)

    _run(body, url)


def _run(body: Callable[[], Awaitable[None]], server: str) -> None:
    """Run it; one clear line and an exit code for whatever goes wrong."""
    try:
        anyio.run(body)
    except Unavailable as error:
        _say(f"longtasks: {server}: {error.message}")
        raise typer.Exit(3) from None
    except LongTaskClientError as error:
        _say(f"longtasks: {error}")
        raise typer.Exit(1) from None
    except BrokenPipeError:
        # The reader of a pipe has seen enough. Nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


@contextmanager
def _going_on(task_id: str) -> Iterator[None]:
    """Ctrl-C in the block leaves the task and does not end it."""
    try:
        yield
    except anyio.get_cancelled_exc_class():
        _say(f"stopped watching; the task goes on: longtasks watch {task_id}")
        raise


def _say(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True)


async def _shown(handle: TaskHandle, as_json: bool) -> Snapshot:
    """The finished task; its progress goes to the screen, or aside if standard output is for a script."""
    return await handle.show(err if as_json else out)


async def _conclude(handle: TaskHandle, snapshot: Snapshot, as_json: bool) -> None:
    """Print what came of the task; raises TaskEnded if there is no result."""
    if as_json:
        print(snapshot.model_dump_json())
    if snapshot.status is not TaskStatus.COMPLETED:
        await handle.result()
    if not as_json:
        out.print_json(data=snapshot.output)


def _argument(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"expected name=value, got {text!r}", param_hint="--arg")
    return name, _value(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _table(operations: Sequence[Snapshot]) -> Table:
    """One line a task. What is too wide for the screen is cut from the message, never from an id."""
    headings = ("id", "status", "done", "type", "age", "message")
    rows = [
        (
            task.operation_id,
            task.status.value,
            f"{task.progress:.0f}%",
            task.task_type,
            _age(task.created_at),
            task.message,
        )
        for task in operations
    ]
    table = Table(box=None, pad_edge=False)
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
        width = None if heading == "message" else max(map(len, (heading, *cells)))
        table.add_column(
            heading, no_wrap=True, min_width=width, justify="right" if heading in ("done", "age") else "left"
        )
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _age(created_at: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
