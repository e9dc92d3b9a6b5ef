"""An engine in the test's own process, and waiting for its tasks: by their events, never by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import anyio

from mcp_server import Engine, Settings
from mcp_server.access.principal import ANONYMOUS, Principal
from mcp_server.backends.sqlite import SQLiteBackend
from mcp_server.registry import Registry
from mcp_server.task import Event, Kind, Task

__all__ = ["add_nothing", "ended", "kinds", "log", "make_engine", "outputs", "reached", "run", "task_type"]

Function = TypeVar("Function", bound=Callable[..., Any])

PATIENCE = 20.0
"""Seconds after which a test that still waits has failed."""


def make_engine(directory: Path, *, registry: Registry | None = None, **settings: Any) -> Engine:
    """An engine whose tasks are in a file of that directory; several may share it."""
    chosen = Settings(**{"lease": 1.0, "cancel_grace": 0.3, **settings})
    backend = SQLiteBackend(directory / "tasks.db", lease=chosen.lease)
    return Engine(Registry() if registry is None else registry, backend, chosen)


def task_type(engine: Engine, **options: Any) -> Callable[[Function], Function]:
    """Register a function with the engine, as `LongTaskServer.task` does."""
    decorator: Callable[[Function], Function] = engine.registry.task(**options)
    return decorator


def add_nothing(engine: Engine, name: str = "work") -> None:
    """A task type that takes anything and is done at once."""

    async def work(a: Any = None, b: Any = None) -> Any:
        return a

    task_type(engine, name=name)(work)


async def reached(engine: Engine, task: Task, condition: Callable[[Task], bool]) -> Task:
    """The task once the condition holds for it."""
    with anyio.fail_after(PATIENCE):
        while not condition(task := await engine.get(task.id, principal=Principal(task.owner))):
            assert not task.is_over, f"it ended as {task.status} with {task.error}"
            await engine.backend.wait(task.id, task.last_event_id)
    return task


async def ended(engine: Engine, task: Task) -> Task:
    return await reached(engine, task, lambda t: t.is_over)


async def run(engine: Engine, task_type: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Task:
    """Start a task and wait for its end."""
    return await ended(engine, await engine.start(task_type, arguments, **more, principal=ANONYMOUS))


async def log(engine: Engine, task: Task) -> list[Event]:
    """Every event of the task, as stored."""
    opened = await engine.open(task.id, principal=Principal(task.owner))
    found: list[Event] = []
    while page := await opened.read(found[-1].number if found else 0, 1000):
        found.extend(page)
    return found


async def kinds(engine: Engine, task: Task) -> list[Kind]:
    return [event.kind for event in await log(engine, task)]


async def outputs(engine: Engine, task: Task) -> list[Any]:
    """What the task has emitted."""
    return [event.data["data"] for event in await log(engine, task) if event.kind is Kind.OUTPUT]
