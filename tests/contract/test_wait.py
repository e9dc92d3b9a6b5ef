"""`wait`: a hint that may come early and is never lost."""

from __future__ import annotations

import random
import time

import anyio
import anyio.lowlevel
import pytest

from mcp_server.backend import Backend
from mcp_server.task import Kind, Task

from .tasks import create, move

PATIENCE = 10.0
"""Seconds after which a wake-up counts as lost."""


async def test_an_event_that_is_there_already_ends_the_wait_at_once(backend: Backend, other: Backend) -> None:
    """Whoever committed it, a wait for what is stored returns."""
    task = await move(other, await create(backend), Kind.STARTED)
    with anyio.fail_after(PATIENCE):
        for instance in (backend, other):
            await instance.wait(task.id, 0)
            await instance.wait(task.id, 1)


@pytest.mark.parametrize("task_id", ["nobody", "\ud800"])
async def test_a_wait_for_a_task_that_is_not_there_returns(backend: Backend, task_id: str) -> None:
    """Nothing will ever wake it: the caller is sent to look."""
    with anyio.fail_after(PATIENCE):
        await backend.wait(task_id, 0)


async def test_a_commit_wakes_every_waiter_here_and_elsewhere(backend: Backend, other: Backend) -> None:
    """Fifty waiters, on the instance that commits and on another, all return."""
    task = await create(backend)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as waiters:
            for instance in [backend, other] * 25:
                waiters.start_soon(instance.wait, task.id, 1)
            await anyio.wait_all_tasks_blocked()
            await move(backend, task, Kind.STARTED)


async def test_a_task_that_is_deleted_wakes_its_waiters(backend: Backend, other: Backend) -> None:
    """They would otherwise wait for an event that cannot come."""
    task = await move(backend, await create(backend), Kind.CANCELLED, expires_at=time.time() - 1)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as waiters:
            for instance in (backend, other):
                waiters.start_soon(instance.wait, task.id, 2)
            await anyio.wait_all_tasks_blocked()
            while not await backend.purge(time.time()):
                await anyio.lowlevel.checkpoint()


async def test_waiters_that_give_up_take_nobody_with_them(backend: Backend) -> None:
    """The first of several waiters is cancelled while the store is asked; the others are woken all the same."""
    for _ in range(20):
        task = await create(backend)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as waiters:
                first = anyio.CancelScope()

                async def give_up(task: Task = task, scope: anyio.CancelScope = first) -> None:
                    with scope:
                        await backend.wait(task.id, 1)

                waiters.start_soon(give_up)
                waiters.start_soon(backend.wait, task.id, 1)
                for _ in range(random.randrange(4)):
                    await anyio.lowlevel.checkpoint()
                first.cancel()
                await move(backend, task, Kind.STARTED)


async def _follow(instance: Backend, task_id: str, chance: random.Random) -> list[int]:
    """Every number of a log up to its end, by reading and waiting as the stream does."""
    numbers: list[int] = []
    while True:
        after = numbers[-1] if numbers else 0
        page = await instance.read(task_id, after, chance.randint(1, 5))
        numbers += [event.number for event in page]
        if page and page[-1].kind is Kind.COMPLETED:
            return numbers
        if not page:
            await instance.wait(task_id, after)


@pytest.mark.parametrize("seed", range(5))
async def test_no_wake_up_is_lost_in_many_interleavings(backend: Backend, other: Backend, seed: int) -> None:
    """Readers that follow logs being written from two instances reach every end and miss no number."""
    chance = random.Random(seed)
    steps, rounds = 12, 12
    logs: list[list[int]] = []

    async def write(task: Task) -> None:
        task = await move(backend, task, Kind.STARTED)
        for _ in range(steps):
            for _ in range(chance.randrange(6)):
                await anyio.lowlevel.checkpoint()
            task = await move(chance.choice([backend, other]), task, Kind.OUTPUT)
        await move(chance.choice([backend, other]), task, Kind.COMPLETED)

    async def follow(instance: Backend, task: Task) -> None:
        logs.append(await _follow(instance, task.id, chance))

    with anyio.fail_after(6 * PATIENCE):
        async with anyio.create_task_group() as everybody:
            for _ in range(rounds):
                task = await create(backend)
                for instance in (backend, backend, other):
                    everybody.start_soon(follow, instance, task)
                everybody.start_soon(write, task)
    assert logs == [list(range(1, steps + 4))] * (3 * rounds)
