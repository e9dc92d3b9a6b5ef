"""Which task runs when and where: priority, limits, delays, and several servers on one file."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_server import Engine, SyncTaskContext, TaskContext
from mcp_server.access.principal import ANONYMOUS, Principal
from mcp_server.errors import LimitExceeded, UnknownTaskType
from mcp_server.events import Retrying, Started, advance
from mcp_server.task import Status, Task

from .engines import add_nothing, ended, log, make_engine, reached, run, task_type

# Order and limits.


async def run_in_turn(engine: Engine, tasks: list[Task]) -> list[str]:
    """Wait for them all; their ids in the order they were started in."""
    done = [await ended(engine, task) for task in tasks]
    return [task.id for task in sorted(done, key=lambda t: (t.started_at or 0, t.completed_at or 0))]


async def test_the_queue_goes_by_priority_and_then_by_age(tmp_path: Path) -> None:
    """And a queued task knows how many are before it."""
    engine = make_engine(tmp_path, concurrency=1)
    add_nothing(engine)
    async with engine.run(work=False):
        tasks = [await engine.start("work", priority=p, principal=ANONYMOUS) for p in (0, 5, 0, 9, 5)]
        by_turn = [tasks[i] for i in (3, 1, 4, 0, 2)]
        assert [await engine.queue_position(task) for task in by_turn] == [0, 1, 2, 3, 4]
    later = make_engine(tmp_path, concurrency=1, registry=engine.registry)
    async with later.run():
        assert await run_in_turn(later, tasks) == [task.id for task in by_turn]
        assert await later.queue_position(await later.get(tasks[0].id, principal=ANONYMOUS)) is None


async def test_a_delayed_task_starts_when_its_time_has_come(engine: Engine) -> None:
    """Not before."""
    add_nothing(engine)
    async with engine.run():
        before = time.time()
        task = await run(engine, "work", start_after=0.2)
        assert task.started_at is not None
        assert task.started_at >= before + 0.2


@pytest.mark.parametrize("limit", ["type", "process", "owner"])
async def test_no_more_run_at_once_than_may(tmp_path: Path, limit: str) -> None:
    """Of one type, in one process, of one owner: with twelve to do, never more than two and as many as two."""
    settings: dict[str, Any] = {"process": {"concurrency": 2}, "owner": {"per_owner": 2}}.get(limit, {})
    engine = make_engine(tmp_path, **settings)
    running, most = 0, 0

    @task_type(engine, concurrency=2 if limit == "type" else None)
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1

    async with engine.run():
        for task in [await engine.start("work", principal=Principal("me")) for _ in range(12)]:
            await ended(engine, task)
    assert most == 2


async def test_a_full_type_does_not_hold_up_others(engine: Engine) -> None:
    """A long queue of the one is no reason for the other to wait."""
    release = anyio.Event()

    @task_type(engine, concurrency=1)
    async def slow() -> None:
        await release.wait()

    add_nothing(engine)
    async with engine.run():
        held = [await engine.start("slow", principal=ANONYMOUS) for _ in range(30)]
        assert (await run(engine, "work", {"a": 1})).output == 1
        release.set()
        for task in held:
            await ended(engine, task)


async def test_the_queue_has_a_bound(tmp_path: Path) -> None:
    """One more start is answered with when to come back; nothing was stored for it."""
    engine = make_engine(tmp_path, max_queued=3)
    add_nothing(engine)
    async with engine.run(work=False):
        for _ in range(3):
            await engine.start("work", principal=ANONYMOUS)
        with pytest.raises(LimitExceeded) as found:
            await engine.start("work", principal=ANONYMOUS)
        assert found.value.details == {"retry_after_seconds": 5}
        assert len((await engine.list(principal=ANONYMOUS)).tasks) == 3


# Several processes, one file.


async def test_a_server_without_work_answers_for_those_that_have_it(tmp_path: Path) -> None:
    """Started through one, run by the other, cancelled and answered through either."""
    worker = make_engine(tmp_path)

    @task_type(worker)
    async def asks(*, task: TaskContext) -> Any:
        return await task.ask("Which?")

    front = make_engine(tmp_path, registry=worker.registry)
    async with front.run(work=False), worker.run():
        task = await reached(
            front, await front.start("asks", principal=ANONYMOUS), lambda t: t.status is Status.INPUT_REQUIRED
        )
        await front.answer(task.id, {"q1": {"action": "accept", "content": {"n": 1}}}, principal=ANONYMOUS)
        assert (await ended(front, task)).output == {"n": 1}
        other = await reached(
            front, await front.start("asks", principal=ANONYMOUS), lambda t: t.status is Status.INPUT_REQUIRED
        )
        await front.cancel(other.id, "enough", principal=ANONYMOUS)
        assert (await ended(front, other)).status is Status.CANCELLED


async def test_a_type_that_a_server_does_not_know_is_left_to_others(tmp_path: Path) -> None:
    """It stays queued until one comes that does."""
    knows, does_not = make_engine(tmp_path), make_engine(tmp_path)
    add_nothing(knows)
    add_nothing(does_not, "other")
    async with does_not.run():
        async with knows.run(work=False):
            task = await knows.start("work", {"a": 7}, principal=ANONYMOUS)
        assert (await run(does_not, "other")).status is Status.COMPLETED
        assert (await does_not.get(task.id, principal=ANONYMOUS)).status is Status.QUEUED
    later = make_engine(tmp_path, registry=knows.registry)
    async with later.run():
        assert (await ended(later, task)).output == 7


async def test_a_takeover_leaves_nothing_of_the_late_attempt(tmp_path: Path) -> None:
    """An attempt whose task was given to another can write no more, and is told to stop."""
    engine = make_engine(tmp_path)
    started, go_on, stopped = threading.Event(), threading.Event(), threading.Event()
    attempts: list[int] = []

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> int:
        attempts.append(task.attempt)
        if task.attempt > 1:
            return task.attempt
        started.set()
        go_on.wait()
        try:
            while True:
                task.report(message="late")
        finally:
            stopped.set()

    async with engine.run():
        task = await engine.start("work", principal=ANONYMOUS)
        assert await anyio.to_thread.run_sync(started.wait, 10)
        # What another process does that finds the lease expired.
        running = await engine.get(task.id, principal=ANONYMOUS)
        after, first = advance(running, Retrying("interrupted", ""), at=time.time())
        after, second = advance(after, Started(), at=time.time())
        await engine.backend.commit(running, after, [first, second])
        go_on.set()
        assert await anyio.to_thread.run_sync(stopped.wait, 10)
        task = await ended(engine, task)
        events = await log(engine, task)
    assert task.status is Status.COMPLETED
    assert "late" not in {e.data.get("message") for e in events}
    assert attempts == [1, task.attempt]
    assert [e.number for e in events] == list(range(1, len(events) + 1))


async def test_tasks_of_a_type_that_is_gone_are_found(tmp_path: Path) -> None:
    """The code went on, and what ran before is still of interest; a misspelled type is refused as ever."""
    before, after = make_engine(tmp_path), make_engine(tmp_path)
    add_nothing(before, "gone")
    async with before.run():
        task = await run(before, "gone")
    async with after.run():
        assert [t.id for t in (await after.list(task_type="gone", principal=ANONYMOUS)).tasks] == [task.id]
        with pytest.raises(UnknownTaskType):
            await after.list(task_type="gon", principal=ANONYMOUS)
