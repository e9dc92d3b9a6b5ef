"""`fleet`: who works and what waits, as a backend can tell."""

from __future__ import annotations

import time

import anyio
import pytest

from mcp_server.backend import Backend, Limits
from mcp_server.task import Kind

from .tasks import TYPE, create, move

PATIENCE = 30.0
"""Seconds after which something counts as never happening."""
LATER = 0.1
"""Seconds between two tasks, so that it can be told whose waiting is shown."""


async def unwanted(task_id: str) -> None:
    pytest.fail(f"{task_id} was given to a process that does not know its type")


async def test_an_empty_store_has_no_line(backend: Backend) -> None:
    """Nothing waits, so nothing has waited for any time."""
    seen = await backend.fleet()
    assert (seen.due, seen.delayed, seen.claimed, seen.oldest_waiting, list(seen.stalled)) == (0, 0, 0, None, [])
    assert not seen.workers


async def test_the_longest_wait_is_shown_whatever_its_priority(backend: Backend, other: Backend) -> None:
    """A task of low priority that others keep passing is what an operator must see."""
    low = await create(backend)
    await anyio.sleep(LATER)
    await create(backend, priority=9)
    await create(backend, not_before=time.time() + 3600)
    asked = time.time()
    seen = await other.fleet()
    assert (seen.due, seen.delayed, seen.claimed) == (2, 1, 0)
    assert seen.oldest_waiting is not None
    assert asked - low.updated_at <= seen.oldest_waiting <= time.time() - low.updated_at


async def test_a_task_that_was_delayed_waits_since_its_time_came(backend: Backend) -> None:
    """What it was told to wait is no sign of a queue that stands still."""
    task = await create(backend, not_before=time.time() + LATER)
    await anyio.sleep(2 * LATER)
    # Redis takes it into the line when somebody looks for work.
    async with anyio.create_task_group() as serving:
        with anyio.fail_after(PATIENCE):
            serving.start_soon(backend.serve, unwanted, Limits(total=1, types={"other": None}))
            while not (seen := await backend.fleet()).due:
                pass
        serving.cancel_scope.cancel()
    assert seen.oldest_waiting is not None
    assert seen.oldest_waiting <= time.time() - task.created_at - LATER


async def test_a_task_that_nobody_holds_is_stalled_until_somebody_takes_it_over(
    backend: Backend, other: Backend
) -> None:
    """Also while there are workers, but none with room for it."""
    task = await move(backend, await create(backend), Kind.STARTED)
    held, over = anyio.Event(), anyio.Event()

    async def hold(task_id: str) -> None:
        held.set()
        await over.wait()
        await move(backend, task, Kind.COMPLETED)

    async with anyio.create_task_group() as serving:
        with anyio.fail_after(PATIENCE):
            assert list((await other.fleet()).stalled) == [task.id]
            serving.start_soon(backend.serve, hold, Limits(total=1, types={TYPE: None}))
            await held.wait()
            seen = await other.fleet()
            assert (seen.claimed, seen.due, list(seen.stalled)) == (1, 0, [])
            over.set()
            while (await other.fleet()).claimed:
                pass
        serving.cancel_scope.cancel()
    assert not (await other.fleet()).stalled
