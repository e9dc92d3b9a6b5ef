"""The application of the crash tests: `longtasks serve --app tests.crash.application:server`.

What attempts did is written to a file beside the log, line by line as they do it, so
that an attempt shows that the log does not know of.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import anyio
from pydantic import BaseModel

from mcp_server import LongTaskServer, SyncTaskContext, TaskContext

server = LongTaskServer("crash")


class Name(BaseModel):
    name: str


def testify(task: TaskContext | SyncTaskContext, **facts: Any) -> None:
    line = {"task": task.id, "attempt": task.attempt, "pid": os.getpid(), "at": time.monotonic(), **facts}
    with (Path(os.environ["TEST_FOLDER"]) / "witness.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def progressed(state: dict[str, int] | None) -> tuple[int, int]:
    """The first step that is left to do, and the sum of those before it."""
    return (1, 0) if state is None else (state["next"], state["sum"])


@server.task(max_attempts=1000)
async def count(steps: int, pause: float = 0.0, hold_at: int | None = None, *, task: TaskContext) -> dict[str, int]:
    """Adds its steps up, one output, report and checkpoint each; the first attempt stays at `hold_at` for good."""
    first, total = progressed(task.state)
    testify(task, first=first)
    for step in range(first, steps + 1):
        if step == hold_at and task.attempt == 1:
            await anyio.sleep_forever()
        await anyio.sleep(pause)
        total += step
        testify(task, step=step)
        await task.emit({"step": step, "attempt": task.attempt, "pid": os.getpid()})
        await task.report(step, total=steps, message=f"step {step}")
        await task.checkpoint({"next": step + 1, "sum": total})
    return {"sum": total, "first": first, "attempt": task.attempt}


@server.task(max_attempts=1000)
def count_in_thread(steps: int, pause: float = 0.0, *, task: SyncTaskContext) -> dict[str, int]:
    """As `count`, in a thread."""
    first, total = progressed(task.state)
    testify(task, first=first)
    for step in range(first, steps + 1):
        time.sleep(pause)
        total += step
        testify(task, step=step)
        task.emit({"step": step, "attempt": task.attempt, "pid": os.getpid()})
        task.report(step, total=steps, message=f"step {step}")
        task.checkpoint({"next": step + 1, "sum": total})
    return {"sum": total, "first": first, "attempt": task.attempt}


@server.task(on_interrupt="fail")
async def once(*, task: TaskContext) -> None:
    """Must not be done twice; stays."""
    testify(task)
    await task.report(1, total=2, message="half done")
    await anyio.sleep_forever()


@server.task
def deaf(*, task: SyncTaskContext) -> None:
    """Does not hear that it must stop."""
    testify(task)
    task.report(1, total=2)
    time.sleep(600)


async def die() -> None:
    """Kill this process once the test has the task's id: a death before that takes the answer of the start along."""
    while not (Path(os.environ["TEST_FOLDER"]) / "started").exists():  # noqa: ASYNC110 (no event crosses processes)
        await anyio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@server.task(max_attempts=3)
async def suicidal(*, task: TaskContext) -> None:
    """Kills the process it runs in."""
    testify(task)
    await die()


@server.task(max_attempts=2)
async def steady(deaths: int, *, task: TaskContext) -> int:
    """Stores a step and kills the process it runs in, so many times."""
    done = task.state or 0
    if done < deaths:
        await task.checkpoint(done + 1)
        await die()
    return done


@server.task(process=True)
def apart(*, task: SyncTaskContext) -> int:
    """Says where it runs; the first attempt stays there for good."""
    testify(task)
    task.emit({"pid": os.getpid()})
    while task.attempt == 1:
        time.sleep(60)
    return task.attempt


@server.task
async def interview(*, task: TaskContext) -> dict[str, Any]:
    """Asks two questions, one after the other."""
    testify(task)
    first = await task.ask("Who is first?", Name, key="first")
    second = await task.ask("Who is second?", Name, key="second")
    return {"first": first.name, "second": second.name}


@server.task(concurrency=2)
async def narrow(pause: float, *, task: TaskContext) -> None:
    """Two at a time, over all processes."""
    testify(task, enters=True)
    await anyio.sleep(pause)
    testify(task, enters=False)
