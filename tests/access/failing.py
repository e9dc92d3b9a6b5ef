"""Task types that fail, each in another kind of function, as an application: `tests.access.failing:server`."""

from __future__ import annotations

from typing import Any

from mcp_server import LongTaskServer, Registry, SyncTaskContext, TaskContext, TaskError

__all__ = ["FAILING", "failures", "server"]

FAILING = ("broken", "told", "in_thread", "in_process")

failures = Registry()


def divide() -> float:
    return 1 / int("0")  # the line that is looked for


@failures.task(process=True)
def in_process(*, task: SyncTaskContext) -> float:
    return divide()


@failures.task
async def broken() -> float:
    return divide()


@failures.task
def in_thread() -> float:
    return divide()


@failures.task
async def told() -> None:
    try:
        divide()
    except ZeroDivisionError as error:
        raise TaskError("no luck", code="NO_LUCK") from error


@failures.task(retries=1, retry_delay=0.0)
async def second_time(*, task: TaskContext) -> Any:
    return divide() if task.attempt == 1 else await task.ask("Go on?")


server = LongTaskServer("failing")
server.include(failures)
