"""One conversation with a running server: the client, ids from their beginnings, errors as one line and an exit code.

The client is imported when a command talks to a server; `--version` and `--help` do not pay for it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import anyio
import anyio.to_thread
import typer

from .output import leave_pipe, say

if TYPE_CHECKING:
    from client_sdk import LongTaskClient, TaskHandle
    from client_sdk.wire import Snapshot, TaskStatus

__all__ = [
    "JsonOption",
    "TaskId",
    "TokenOption",
    "UrlOption",
    "confirmed",
    "connected",
    "every_task",
    "going_on",
    "reporting",
    "task_of",
]

UrlOption = Annotated[str | None, typer.Option(help="Where the server is", show_default="http://127.0.0.1:8081")]
TokenOption = Annotated[str | None, typer.Option(help="Bearer token, if it asks for one")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts")]
TaskId = Annotated[
    str, typer.Argument(metavar="ID", help="The task's id, or its beginning if no other begins so", show_default=False)
]

_ID_CHARACTERS = 32
_MAX_SEARCHED = 1000
"""Tasks, newest first, among which the beginning of an id is looked for."""


def connected(url: str | None, token: str | None, go: Callable[[LongTaskClient], Awaitable[None]]) -> None:
    """Run `go` with a client of the server, and end the command for what goes wrong."""
    from client_sdk import LongTaskClient
    from client_sdk.wire import DEFAULT_BASE_URL

    url = url or DEFAULT_BASE_URL

    async def body() -> None:
        async with LongTaskClient(url, token, patience=10.0) as client:
            await go(client)

    reporting(body, url)


def reporting(body: Callable[[], Awaitable[None]], server: str) -> None:
    """Run it; one clear line and an exit code for every error of the client."""
    from client_sdk import LongTaskClientError, Unavailable

    try:
        anyio.run(body)
    except Unavailable as error:
        say(f"longtasks: {error.message}" if server in error.message else f"longtasks: {server}: {error.message}")
        raise typer.Exit(3) from None
    except LongTaskClientError as error:
        say(f"longtasks: {error}")
        raise typer.Exit(1) from None
    except BrokenPipeError:
        leave_pipe()
        raise typer.Exit(0) from None


@contextmanager
def going_on(task_id: str) -> Iterator[None]:
    """Says how to go on when the block is left by Ctrl-C or by the reader of a pipe, which the task survives."""
    try:
        yield
    except (anyio.get_cancelled_exc_class(), BrokenPipeError):
        say(f"stopped watching; the task goes on: longtasks watch {task_id}")
        raise


async def task_of(client: LongTaskClient, beginning: str) -> TaskHandle:
    """The task with this id, or the only one whose id begins so."""
    if len(beginning) >= _ID_CHARACTERS:
        return client.task(beginning)
    found = [task async for task in every_task(client, most=_MAX_SEARCHED) if task.operation_id.startswith(beginning)]
    if len(found) > 1 and all(task.operation_id != beginning for task in found):
        shown = ", ".join(f"{task.operation_id} ({task.task_type})" for task in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise typer.BadParameter(f"{beginning!r} is the beginning of {shown}{more}", param_hint="ID")
    return client.task(found[0].operation_id if len(found) == 1 else beginning)


async def every_task(
    client: LongTaskClient,
    *,
    status: TaskStatus | str | None = None,
    task_type: str | None = None,
    most: int | None = None,
) -> AsyncIterator[Snapshot]:
    """The caller's tasks over all pages, newest first."""
    cursor, count = None, 0
    while most is None or count < most:
        page = await client.list(status=status, task_type=task_type, limit=100, cursor=cursor)
        for task in page.operations:
            yield task
        cursor, count = page.next_cursor, count + len(page.operations)
        if cursor is None:
            return


async def confirmed(question: str, *, yes: bool) -> None:
    """Ask before something that concerns many tasks; ends the command unless the answer is yes.

    Args:
        yes: the answer was given with the command.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} There is no terminal to ask: --yes says yes", param_hint="--yes")
    say(f"{question} [y/N] ")
    answer = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    if answer.strip().lower() not in ("y", "yes"):
        say("nothing was changed")
        raise typer.Exit(1)
