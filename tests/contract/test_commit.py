"""`commit` and `load`: one atomic step from exactly the task the caller saw."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from mcp_server.backend import Backend
from mcp_server.errors import Conflict
from mcp_server.task import Kind, Status, Task

from .tasks import create, move, moved


async def test_a_committed_step_is_seen_by_everybody(backend: Backend, other: Backend) -> None:
    """After the return both the task and its events are what was committed."""
    task = await create(backend)
    after, events = moved(task, Kind.STARTED, Kind.PROGRESS, Kind.CHECKPOINT, Kind.OUTPUT)
    await backend.commit(task, after, events)
    for instance in (backend, other):
        assert await instance.load(task.id) == after
        assert list(await instance.read(task.id, 1, 10)) == events


async def test_a_task_that_never_was_is_none(backend: Backend) -> None:
    """Loading knows no error for an unknown id."""
    assert await backend.load("nobody") is None


async def test_instances_take_turns_on_one_task(backend: Backend, other: Backend) -> None:
    """A task started here, answered there and completed here has one log without holes."""
    task = await create(backend)
    task = await move(backend, task, Kind.STARTED, Kind.INPUT_REQUIRED)
    seen = await other.load(task.id)
    assert seen is not None
    task = await move(other, seen, Kind.INPUT_ANSWERED)
    seen = await backend.load(task.id)
    assert seen is not None
    await move(backend, seen, Kind.COMPLETED, durable=True)
    assert [event.number for event in await other.read(task.id, 0, 10)] == [1, 2, 3, 4, 5]


async def test_a_step_from_a_task_that_moved_on_is_refused_and_changes_nothing(
    backend: Backend, other: Backend
) -> None:
    """The stale writer, here or elsewhere, gets `Conflict`; task and log stay the winner's."""
    task = await create(backend)
    winner = await move(backend, task, Kind.STARTED)
    for instance in (backend, other):
        with pytest.raises(Conflict):
            await move(instance, task, Kind.CANCELLED)
    assert await backend.load(task.id) == winner
    assert [event.kind for event in await backend.read(task.id, 0, 10)] == [Kind.QUEUED, Kind.STARTED]


async def test_a_step_of_a_task_that_is_not_there_is_refused(backend: Backend) -> None:
    """A task that was deleted, or never stored, is a `Conflict` as well."""
    task = await create(backend)
    with pytest.raises(Conflict):
        await move(backend, replace(task, id="nobody"), Kind.STARTED)
    await move(backend, task, Kind.CANCELLED, expires_at=1.0)
    ended = await backend.load(task.id)
    assert ended is not None
    assert await backend.purge(2.0) == 1
    with pytest.raises(Conflict):
        await backend.commit(ended, replace(ended, last_event_id=ended.last_event_id + 1), [])


async def test_of_concurrent_steps_from_one_task_one_wins(backend: Backend, other: Backend) -> None:
    """Whatever shares a transaction or a lock with it, each round has one winner and no hole."""
    task = await create(backend)
    await move(backend, task, Kind.STARTED)
    wins: list[int] = []

    async def race(instance: Backend, before: Task) -> None:
        try:
            await move(instance, before, Kind.OUTPUT)
        except Conflict:
            return
        wins.append(before.last_event_id)

    for _ in range(20):
        before = await backend.load(task.id)
        assert before is not None
        async with anyio.create_task_group() as racers:
            for instance in [backend, other] * 3:
                racers.start_soon(race, instance, before)
    assert wins == list(range(2, 22))
    assert [event.number for event in await other.read(task.id, 0, 100)] == list(range(1, 23))


async def test_a_conflict_of_one_does_not_touch_its_neighbours(backend: Backend) -> None:
    """Of many steps at once, of many tasks, only the stale ones are refused."""
    tasks = [await create(backend) for _ in range(30)]
    for task in tasks[::3]:
        await move(backend, task, Kind.STARTED)
    refused: set[str] = set()

    async def cancel(task: Task) -> None:
        try:
            await move(backend, task, Kind.CANCELLED)
        except Conflict:
            refused.add(task.id)

    async with anyio.create_task_group() as steps:
        for task in tasks:
            steps.start_soon(cancel, task)
    assert refused == {task.id for task in tasks[::3]}
    assert (await backend.counts())[Status.CANCELLED] == 20


async def test_a_reader_never_sees_half_a_step(backend: Backend, other: Backend) -> None:
    """Whoever loads a task at number n can read its log up to n, while it is being written."""
    task = await create(backend)
    over = False

    async def write() -> None:
        nonlocal over
        last = await move(backend, task, Kind.STARTED)
        for _ in range(50):
            last = await move(backend, last, Kind.PROGRESS, Kind.OUTPUT, Kind.CHECKPOINT)
        over = True

    async def read(instance: Backend) -> None:
        while not over:
            seen = await instance.load(task.id)
            assert seen is not None
            assert len(await instance.read(task.id, 0, 1000)) >= seen.last_event_id

    with anyio.fail_after(30):
        async with anyio.create_task_group() as everybody:
            everybody.start_soon(write)
            everybody.start_soon(read, backend)
            everybody.start_soon(read, other)


async def test_a_caller_that_is_cancelled_leaves_the_store_working(backend: Backend) -> None:
    """Cancelling writers in the middle of their write disturbs nobody; each write happened whole or not at all."""
    tasks = [await create(backend) for _ in range(20)]
    async with anyio.create_task_group() as writers:
        for task in tasks:
            writers.start_soon(move, backend, task, Kind.STARTED, Kind.PROGRESS)
        await anyio.lowlevel.checkpoint()
        writers.cancel_scope.cancel()
    for task in tasks:
        # The cancelled write may still be on its way: then the first try meets it.
        ended = None
        while ended is None:
            seen = await backend.load(task.id)
            assert seen is not None
            with suppress(Conflict):
                ended = await move(backend, seen, Kind.CANCELLED)
        assert ended.last_event_id in (2, 4)
        log = await backend.read(task.id, 0, 10)
        assert [event.number for event in log] == [*range(1, ended.last_event_id + 1)]


async def test_trimmed_events_leave_the_log(backend: Backend, other: Backend) -> None:
    """Events below `first_event_id` are gone for every reader, also those of the same step."""
    task = await create(backend)
    task = await move(backend, task, Kind.STARTED, *[Kind.OUTPUT] * 8)
    after, events = moved(task, *[Kind.OUTPUT] * 5)
    after = replace(after, first_event_id=12)
    await backend.commit(task, after, events)
    for instance in (backend, other):
        assert [event.number for event in await instance.read(task.id, 0, 100)] == [12, 13, 14, 15]
        assert await instance.load(task.id) == after
