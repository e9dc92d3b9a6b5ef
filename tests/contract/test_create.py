"""`create`: stored before it returns, once per idempotency key."""

from __future__ import annotations

import time

import anyio
import pytest

from mcp_server.backend import Backend
from mcp_server.task import Kind, Task

from .stores import Store
from .tasks import create, move, queued


async def test_a_created_task_is_there_for_everybody_with_its_first_events(backend: Backend, other: Backend) -> None:
    """After the return, this and any other instance load the task and read its log."""
    task, events = queued(arguments={"n": 3}, metadata={"who": "me"}, owner="ann", priority=5, retry_of="earlier")
    assert await backend.create(task, events) == task
    for instance in (backend, other):
        assert await instance.load(task.id) == task
        assert list(await instance.read(task.id, 0, 10)) == events


async def test_a_created_task_is_still_there_when_the_store_is_opened_again(store: Store) -> None:
    """What was created does not live in the process that created it."""
    async with store.open() as backend:
        task = await create(backend)
    async with store.open() as backend:
        assert await backend.load(task.id) == task


async def test_a_task_that_starts_from_a_checkpoint_keeps_it(backend: Backend) -> None:
    """A retry is created with the state of the task it retries."""
    task = await create(backend, state={"page": 7}, has_state=True, retry_of="earlier")
    loaded = await backend.load(task.id)
    assert loaded is not None
    assert loaded.state == {"page": 7}
    assert loaded.has_state


async def test_the_same_key_of_the_same_owner_gives_the_first_task(backend: Backend, other: Backend) -> None:
    """The second create stores nothing, wherever it is made."""
    first = await create(backend, owner="ann", idempotency_key="k")
    first = await move(backend, first, Kind.STARTED)
    for instance in (backend, other):
        second, events = queued(owner="ann", idempotency_key="k")
        assert await instance.create(second, events) == first
        assert await instance.load(second.id) is None
    assert sum((await backend.counts()).values()) == 1


@pytest.mark.parametrize(("owner", "key"), [("bob", "k"), ("ann", None), ("ann", "K")])
async def test_another_owners_key_and_no_key_match_nothing(backend: Backend, owner: str, key: str | None) -> None:
    """A key counts within its owner, and None is no key."""
    await create(backend, owner="ann", idempotency_key="k")
    await create(backend, owner="ann")
    task, events = queued(owner=owner, idempotency_key=key)
    assert (await backend.create(task, events)).id == task.id


async def test_an_expired_task_gives_its_key_back(backend: Backend, other: Backend) -> None:
    """Once its holder has expired a key makes a new task, purged or not; until then it does not."""
    held = await create(backend, idempotency_key="held")
    await move(backend, held, Kind.CANCELLED, expires_at=time.time() + 60)
    gone = await create(backend, idempotency_key="gone")
    gone = await move(backend, gone, Kind.CANCELLED, expires_at=time.time() - 1)
    assert (await create(other, idempotency_key="held")).id == held.id
    fresh = await create(other, idempotency_key="gone")
    assert fresh.id != gone.id
    assert (await create(backend, idempotency_key="gone")).id == fresh.id
    assert await backend.load(gone.id) == gone


async def test_of_concurrent_creates_with_one_key_one_wins_and_all_get_its_task(
    backend: Backend, other: Backend
) -> None:
    """Forty starts over two instances make one task."""
    given: list[Task] = []

    async def start(instance: Backend) -> None:
        given.append(await create(instance, idempotency_key="once"))

    async with anyio.create_task_group() as starts:
        for instance in [backend, other] * 20:
            starts.start_soon(start, instance)
    assert len({task.id for task in given}) == 1
    assert sum((await backend.counts()).values()) == 1


async def test_many_concurrent_creates_are_all_stored(backend: Backend, other: Backend) -> None:
    """Creates that share a step of the store do not share a fate: none is lost or doubled."""
    made: list[Task] = []

    async def start(instance: Backend) -> None:
        made.append(await create(instance))

    async with anyio.create_task_group() as starts:
        for instance in [backend, other] * 100:
            starts.start_soon(start, instance)
    assert len({task.id for task in made}) == 200
    for task in made[::10]:
        assert await other.load(task.id) == task
    assert sum((await backend.counts()).values()) == 200
