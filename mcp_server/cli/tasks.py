"""The commands on tasks of a running server: run, watch, list, show, result, cancel, retry, answer.

Exit codes: 0 done, 1 the task or the request failed, 2 wrong use, 3 the server cannot be reached, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import age, duration, json_line, json_text, say, table, tell
from .session import (
    JsonOption,
    TaskId,
    TokenOption,
    UrlOption,
    confirmed,
    connected,
    every_task,
    going_on,
    task_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from client_sdk import LongTaskClient, Refused, TaskHandle
    from client_sdk.wire import Snapshot, TaskDetail

__all__ = ["commands", "conclude", "shown"]

commands = typer.Typer()

OptionalTaskId = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="The task's id, or its beginning if no other begins so", show_default=False),
]
StatusOption = Annotated[str | None, typer.Option(help="Only tasks in this status")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only tasks of this type")]
AllOption = Annotated[bool, typer.Option("--all", help="Every task that the filters leave")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before many tasks are changed")]

_LIVE = ("queued", "running", "input_required")
_RETRYABLE = ("failed", "cancelled")


@commands.command()
def run(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type to start")],
    arg: Annotated[list[str] | None, typer.Option(help="An argument as name=value; the value is JSON or text")] = None,
    priority: Annotated[int, typer.Option(min=0, max=9, help="Higher is run first")] = 0,
    start_after: Annotated[float, typer.Option(min=0, help="Seconds before it may run")] = 0.0,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Start a task, show its progress, print its result."""
    from client_sdk import Refused

    arguments = dict(_argument(text) for text in arg or ())

    async def go(client: LongTaskClient) -> None:
        try:
            handle = await client.start(task_type, arguments, priority=priority, start_after=start_after)
        except Refused as error:
            # `--arg text=123`: a number that was wanted as a text.
            texts = _texts_of(arg or [], error)
            if not texts:
                raise
            handle = await client.start(task_type, {**arguments, **texts}, priority=priority, start_after=start_after)
        say(f"task    {handle.id}")
        with going_on(handle.id):
            await conclude(handle, await shown(handle, as_json), as_json, seen=True)

    connected(url, token, go)


@commands.command()
def watch(task_id: TaskId, as_json: JsonOption = False, url: UrlOption = None, token: TokenOption = None) -> None:
    """Show a task's progress from the beginning until it ends; with --json one event a line."""

    async def go(client: LongTaskClient) -> None:
        handle = await task_of(client, task_id)
        await handle.status()  # a wrong id is an error before a bar is drawn for it
        with going_on(handle.id):
            if as_json:
                async for event in handle.events():
                    json_line({"id": event.number, "event": event.name, "data": event.data})
            else:
                await shown(handle, as_json)
        if (await handle.status()).status != "completed":
            raise typer.Exit(1)

    connected(url, token, go)


@commands.command(name="list")
def list_tasks(
    status: StatusOption = None,
    task_type: TypeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page begins: `next_cursor` of the one before")] = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """List tasks, newest first."""

    async def go(client: LongTaskClient) -> None:
        following, tasks = cursor, []
        while True:
            size = 100 if everything else limit
            page = await client.list(status=status, task_type=task_type, limit=size, cursor=following)
            following = page.next_cursor
            if as_json:
                json_line(page)
            else:
                tasks += page.operations
            if following is None or not everything:
                break
        if as_json:
            return
        if tasks:
            _table(tasks)
        else:
            tell("no tasks")
        if following is not None:
            say(f"more    longtasks list --cursor {following}, or all of them: longtasks list --all")

    connected(url, token, go)


@commands.command()
def show(task_id: TaskId, as_json: JsonOption = False, url: UrlOption = None, token: TokenOption = None) -> None:
    """Show a task as it is now: status, times, questions, error, output."""

    async def go(client: LongTaskClient) -> None:
        snapshot = await (await task_of(client, task_id)).detail()
        if as_json:
            json_line(snapshot)
        else:
            for name, text in _facts(snapshot):
                tell(f"{name:<12} {text}")
            if snapshot.traceback:
                tell(snapshot.traceback.rstrip())

    connected(url, token, go)


@commands.command()
def result(task_id: TaskId, as_json: JsonOption = False, url: UrlOption = None, token: TokenOption = None) -> None:
    """Print a task's result; waits for it if the task has not ended."""

    async def go(client: LongTaskClient) -> None:
        handle = await task_of(client, task_id)
        with going_on(handle.id):
            await conclude(handle, await handle.wait(), as_json, seen=False)

    connected(url, token, go)


@commands.command()
def cancel(
    task_id: OptionalTaskId = None,
    reason: Annotated[str | None, typer.Option(help="Kept with the task")] = None,
    everything: AllOption = False,
    status: StatusOption = None,
    task_type: TypeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Cancel a task, or with --all, --status or --type every task that is not over."""
    many = _is_many(task_id, everything, status, task_type)

    async def go(client: LongTaskClient) -> None:
        for handle in await _chosen(client, "cancel", task_id, many, status, task_type, _LIVE, yes):
            reply = await handle.cancel(reason)
            if as_json:
                json_line(reply)
            else:
                tell(f"{handle.id}  {_plain(reply.outcome)}" if many else _plain(reply.outcome))

    connected(url, token, go)


@commands.command()
def retry(
    task_id: OptionalTaskId = None,
    everything: AllOption = False,
    status: StatusOption = None,
    task_type: TypeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Start a failed or cancelled task again from its last checkpoint; with --all, --status or --type many.

    The answer is the id of the new task. Among many, tasks that were retried before are left out.
    """
    many = _is_many(task_id, everything, status, task_type)

    async def go(client: LongTaskClient) -> None:
        for handle in await _chosen(client, "retry", task_id, many, status, task_type, _RETRYABLE, yes):
            again = await handle.retry()
            if as_json:
                json_line(await again.status())
            else:
                tell(f"{handle.id}  {again.id}" if many else again.id)

    connected(url, token, go)


@commands.command()
def answer(
    task_id: TaskId,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The question's key, which watch shows")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What was asked for: JSON, or text if it is none")],
    as_json: JsonOption = False,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Answer a question that a task waits for."""
    given = _value(value, "VALUE")

    async def go(client: LongTaskClient) -> None:
        reply = await (await task_of(client, task_id)).answer(key, given)
        if as_json:
            json_line(reply)
        else:
            tell("answered" if reply.answered else "already answered")

    connected(url, token, go)


async def shown(handle: TaskHandle, as_json: bool) -> Snapshot:
    """The finished task; its progress goes to the screen, or aside if standard output is for a script."""
    return await handle.show(_console(as_json))


async def conclude(handle: TaskHandle, snapshot: Snapshot, as_json: bool, *, seen: bool) -> None:
    """Print what came of the task.

    Args:
        seen: its end was shown, so a terminal need not say it again.

    Raises:
        TaskEnded: there is no result.
    """
    if as_json:
        json_line(snapshot)
    if snapshot.status != "completed":
        if seen and _console(as_json).is_terminal:
            raise typer.Exit(1)
        await handle.result()
    if not as_json:
        json_text(snapshot.output)


def _console(as_json: bool) -> Console:
    from rich.console import Console as RichConsole

    class Console(RichConsole):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the command ends as after any other print

    return Console(stderr=as_json, highlight=False)


def _is_many(task_id: str | None, everything: bool, status: str | None, task_type: str | None) -> bool:
    many = everything or status is not None or task_type is not None
    if many == (task_id is not None):
        raise typer.BadParameter("expected either one ID, or any of --all, --status and --type", param_hint="ID")
    return many


async def _chosen(
    client: LongTaskClient, verb: str, task_id: str | None, many: bool, status: str | None, task_type: str | None,
    statuses: tuple[str, ...], yes: bool,
) -> list[TaskHandle]:  # fmt: skip
    """The tasks a command is for; for many of them after the question."""
    if task_id is not None and not many:
        return [await task_of(client, task_id)]
    if status is not None and status not in statuses:
        raise typer.BadParameter(f"{verb} takes tasks that are {', '.join(statuses)}", param_hint="--status")
    seen = [task async for task in every_task(client, task_type=task_type)]
    wanted = statuses if status is None else (status,)
    retried = {task.retry_of for task in seen} if verb == "retry" else set()
    tasks = [task for task in seen if task.status in wanted and task.operation_id not in retried]
    if not tasks:
        say("no such tasks")
        return []
    counts = ", ".join(f"{count} {_plain(name)}" for name, count in sorted(Counter(t.status for t in tasks).items()))
    noun = "task" if len(tasks) == 1 else "tasks"
    await confirmed(f"{verb.capitalize()} {len(tasks)} {noun} ({counts})?", yes=yes)
    return [client.task(task.operation_id) for task in reversed(tasks)]


def _argument(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"expected name=value, got {text!r}", param_hint="--arg")
    return name, _value(value, f"--arg {name}")


def _texts_of(given: list[str], error: Refused) -> dict[str, str]:
    """The arguments that were refused because a text was expected, as they were typed."""
    wanted = {e.get("path") for e in error.details.get("errors", ()) if e.get("expected") == "string"}
    return {name: text for name, _, text in (each.partition("=") for each in given) if name in wanted}


def _value(text: str, place: str) -> Any:
    def refuse(constant: str) -> Any:
        raise typer.BadParameter(f"{constant} has no form in JSON; as text it is '\"{constant}\"'", param_hint=place)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _table(tasks: list[Snapshot]) -> None:
    rows = [
        (task.operation_id, _plain(task.status), f"{task.progress:.0f}%", task.task_type, age(task.created_at),
         duration(task.elapsed_seconds) if task.started_at else "", task.message)
        for task in tasks
    ]  # fmt: skip
    headings = ("id", "status", "done", "type", "age", "took", "message")
    if not sys.stdout.isatty():
        table(headings, rows, flexible="message", right=("done", "age", "took"))
        return
    # A person needs no more of an id than tells the tasks apart.
    size = _distinct([row[0] for row in rows])
    table(headings, [(row[0][:size], *row[1:]) for row in rows], flexible="message", right=("done", "age", "took"))


def _distinct(ids: list[str]) -> int:
    size = 8
    while size < 32 and len({each[:size] for each in ids}) < len(ids):
        size += 1
    return size


def _facts(task: TaskDetail) -> list[tuple[str, str]]:
    """A task's facts for a person, those that say nothing left out."""
    from pydantic_core import to_json

    def text(value: Any) -> str:
        return to_json(value).decode()

    facts: list[tuple[str, Any]] = [
        ("id", task.operation_id),
        ("type", task.task_type),
        ("arguments", text(task.arguments)),
        ("priority", task.priority or None),
        ("not before", task.not_before),
        (
            "status",
            f"{_plain(task.status)}{', to be cancelled' if task.cancel_requested and not task.completed_at else ''}",
        ),
        ("reason", task.reason),
        ("progress", f"{task.progress:.0f}%{f' in {task.stage.name}' if task.stage else ''}"),
        ("message", task.message),
        ("waiting", None if task.queue_position is None else f"{task.queue_position} before it"),
        ("attempt", task.attempt or None),
        ("failures", task.failures or None),
        ("interrupted", f"{task.interruptions} times" if task.interruptions else None),
        ("created", f"{task.created_at} ({age(task.created_at)} ago)"),
        ("started", task.started_at),
        ("ended", task.completed_at),
        ("took" if task.completed_at else "running for", duration(task.elapsed_seconds) if task.started_at else None),
        ("about left", None if task.estimated_remaining is None else duration(task.estimated_remaining)),
        ("kept until", task.expires_at),
        ("retry of", task.retry_of),
        ("metadata", text(task.metadata) if task.metadata else None),
    ]
    for key, request in task.input_requests.items():
        facts.append(("question", f"{key}: {text(request.get('params', request))}"))
        facts.append(("", f"longtasks answer {task.operation_id} {key} VALUE"))
    if task.error is not None:
        facts.append(("error", f"{task.error.error_code}: {task.error.message}"))
        if task.error.details:
            facts.append(("details", text(task.error.details)))
    if task.status == "completed":
        facts.append(("output", text(task.output)))
    return [(name, str(value)) for name, value in facts if value not in (None, "")]
