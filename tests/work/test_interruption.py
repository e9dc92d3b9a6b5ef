"""Attempts that end with their server: stopped in order or dead, and what the next server makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

from mcp_server import Engine, SyncTaskContext, TaskContext
from mcp_server.access.principal import ANONYMOUS
from mcp_server.events import Retrying, Started, advance
from mcp_server.task import Kind, Status, Task
from tests.server.engines import ended, log, make_engine, reached, task_type


def failed_with(task: Task) -> tuple[str, str]:
    assert task.status is Status.FAILED
    assert task.error is not None
    return task.error["error_code"], task.error["message"]


async def afterwards(directory: Path, task: Task) -> Task:
    """The task as a later server finds it."""
    async with make_engine(directory).run(work=False) as engine:
        return await engine.get(task.id, principal=ANONYMOUS)


async def test_a_stopped_server_gives_its_tasks_back(tmp_path: Path) -> None:
    """Coroutine or thread, they are queued again with their checkpoint, and another server takes them up at once."""
    engine = make_engine(tmp_path)
    seen: list[tuple[int, Any]] = []

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        seen.append((task.attempt, task.state))
        if task.attempt == 1:
            await task.checkpoint({"page": 7})
            await anyio.sleep_forever()

    @task_type(engine)
    def threaded(*, task: SyncTaskContext) -> None:
        seen.append((task.attempt, task.state))
        if task.attempt == 1:
            task.checkpoint({"page": 8})
            while True:
                task.report(1)

    async with engine.run():
        started = [await engine.start(name, principal=ANONYMOUS) for name in ("work", "threaded")]
        for task in started:
            await reached(engine, task, lambda t: t.has_state)
    second = make_engine(tmp_path, registry=engine.registry)
    async with second.run():
        for task in started:
            done = await ended(second, task)
            assert (done.status, done.attempt, done.interruptions) == (Status.COMPLETED, 2, 0)
            assert [e.data["cause"] for e in await log(second, task) if e.kind is Kind.RETRYING] == ["released"]
    assert sorted(seen, key=str) == [(1, None), (1, None), (2, {"page": 7}), (2, {"page": 8})]


async def test_a_result_that_comes_while_the_server_stops_is_kept(tmp_path: Path) -> None:
    """A function that finishes in spite of the cancellation has finished."""
    engine = make_engine(tmp_path)
    started = anyio.Event()

    @task_type(engine)
    async def work() -> str:
        started.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        return "just in time"

    async with engine.run():
        task = await engine.start("work", principal=ANONYMOUS)
        await started.wait()
    assert (await afterwards(tmp_path, task)).output == "just in time"


async def test_an_error_that_is_made_of_the_servers_end_is_no_failure(tmp_path: Path) -> None:
    """Libraries turn a cancellation into errors of their own; the task is given back all the same."""
    engine = make_engine(tmp_path)
    started = anyio.Event()

    @task_type(engine)
    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            raise ConnectionError("interrupted") from None

    async with engine.run():
        task = await engine.start("work", principal=ANONYMOUS)
        await started.wait()
    assert (await afterwards(tmp_path, task)).status is Status.QUEUED


async def test_a_type_that_must_not_run_twice_fails_when_its_process_died(tmp_path: Path) -> None:
    """Once, with its own code; the others go on in a new attempt until they have killed too many processes."""
    engine = make_engine(tmp_path)
    task_type(engine, name="once", on_interrupt="fail")(lambda: "done")
    task_type(engine, name="twice", max_attempts=2)(lambda: "done")
    task_type(engine, name="often")(lambda: "done")
    async with engine.run(work=False):
        tasks = {t.name: await engine.start(t.name, principal=ANONYMOUS) for t in engine.registry}
        for task in tasks.values():
            await _die_running(engine, task)
    later = make_engine(tmp_path, registry=engine.registry)
    async with later.run():
        assert failed_with(await ended(later, tasks["once"])) == ("INTERRUPTED", "The process that ran it died")
        for name in ("twice", "often"):
            done = await ended(later, tasks[name])
            assert (done.output, done.attempt, done.interruptions) == ("done", 2, 1)


async def test_a_task_that_keeps_killing_its_process_ends(tmp_path: Path) -> None:
    """After `max_attempts`; the failure says how often."""
    engine = make_engine(tmp_path)
    task_type(engine, name="work", max_attempts=2)(lambda: "unreachable")
    async with engine.run(work=False):
        task = await engine.start("work", principal=ANONYMOUS)
        await _die_running(engine, task)
        await _die_running(engine, task)
    later = make_engine(tmp_path, registry=engine.registry)
    async with later.run():
        task = await ended(later, task)
    assert failed_with(task) == ("MAX_ATTEMPTS", "Its process died 2 times while it ran, with no new checkpoint")


async def _die_running(engine: Engine, task: Task) -> None:
    """What a process that starts an attempt and dies leaves in the log: it was taken up, and nothing more."""
    task = await engine.get(task.id, principal=ANONYMOUS)
    after, events = task, []
    if task.status is Status.RUNNING:
        after, event = advance(after, Retrying("interrupted", "died"), at=after.updated_at)
        events.append(event)
    after, event = advance(after, Started(), at=after.updated_at)
    await engine.backend.commit(task, after, [*events, event])
