"""`list`, `queue_position`, `counts` and `purge`: what is there, and what no longer is."""

from __future__ import annotations

import time

import anyio
import pytest

from mcp_server.backend import Backend, Limits
from mcp_server.task import Kind, Status, Task

from .tasks import TYPE, create, move


async def _all(
    backend: Backend, limit: int, *, owner: str = "", status: Status | None = None, task_type: str | None = None
) -> list[Task]:
    """Every page, following the cursors."""
    found: list[Task] = []
    cursor: str | None = None
    while True:
        page = await backend.list(owner=owner, status=status, task_type=task_type, limit=limit, cursor=cursor)
        assert len(page.tasks) <= limit
        found += page.tasks
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
async def test_pages_give_every_task_once_newest_first(backend: Backend, other: Backend, limit: int) -> None:
    """Whatever the page size, the pages together are the whole list, and only the last has no cursor."""
    tasks = [await create(instance) for instance in [backend, other] * 4]
    assert await _all(backend, limit) == tasks[::-1]


async def test_an_empty_list_is_one_page_without_a_cursor(backend: Backend) -> None:
    """Nothing there is no error."""
    page = await backend.list(owner="nobody", status=None, task_type=None, limit=5, cursor=None)
    assert list(page.tasks) == []
    assert page.next_cursor is None


async def test_a_list_can_be_narrowed_by_status_and_type(backend: Backend) -> None:
    """Each filter, and both together, give what matches in the same order; another owner's never."""
    tasks = [await create(backend, type=name, owner="ann") for name in "abab"]
    tasks[0] = await move(backend, tasks[0], Kind.STARTED)
    tasks[1] = await move(backend, tasks[1], Kind.STARTED)
    await create(backend, type="a", owner="bob")
    assert await _all(backend, 1, owner="ann") == tasks[::-1]
    assert await _all(backend, 1, owner="ann", task_type="a") == [tasks[2], tasks[0]]
    assert await _all(backend, 1, owner="ann", status=Status.RUNNING) == [tasks[1], tasks[0]]
    assert await _all(backend, 1, owner="ann", status=Status.RUNNING, task_type="b") == [tasks[1]]
    assert await _all(backend, 1, owner="ann", status=Status.FAILED) == []


async def test_tasks_that_come_while_one_pages_do_not_disturb_the_pages(backend: Backend) -> None:
    """A cursor stays where it is when newer tasks arrive and older ones change."""
    tasks = [await create(backend) for _ in range(6)]
    page = await backend.list(owner="", status=None, task_type=None, limit=3, cursor=None)
    await create(backend)
    tasks[0] = await move(backend, tasks[0], Kind.STARTED)
    rest = await backend.list(owner="", status=None, task_type=None, limit=10, cursor=page.next_cursor)
    assert list(rest.tasks) == tasks[2::-1]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "0x10", " 7", "١", "9" * 5000, "\ud800", "'; DROP TABLE"])
async def test_a_cursor_no_page_gave_is_a_value_error(backend: Backend, cursor: str) -> None:
    """The caller made it up: that is their mistake and no empty page."""
    with pytest.raises(ValueError):
        await backend.list(owner="", status=None, task_type=None, limit=5, cursor=cursor)


async def test_the_queue_is_counted_in_the_order_of_claiming(backend: Backend, other: Backend) -> None:
    """Higher priority first, then age; what is not queued has no position."""
    low = await create(backend, priority=0)
    middle = await create(backend, priority=4)
    later = await create(other, priority=4)
    high = await create(other, priority=9)
    for instance in (backend, other):
        assert [await instance.queue_position(task) for task in (high, middle, later, low)] == [0, 1, 2, 3]
    running = await move(backend, high, Kind.STARTED)
    assert await other.queue_position(running) is None
    assert await other.queue_position(low) == 2


async def test_a_queue_position_is_counted_to_a_hundred(backend: Backend) -> None:
    """For a task that is due and for one that is delayed: a start must not cost more the more tasks wait."""
    tasks = [await create(backend) for _ in range(102)]
    delayed = await create(backend, not_before=time.time() + 3600)
    ahead = [await backend.queue_position(task) for task in (*tasks, delayed)]
    assert ahead == [*range(101), 100, 100]


async def test_a_delayed_task_is_not_ahead_of_one_that_is_due(backend: Backend) -> None:
    """It waits for its time, whatever its priority, and is behind those whose time comes earlier."""
    now = time.time()
    last = await create(backend, priority=9, not_before=now + 3600)
    first = await create(backend, priority=0, not_before=now + 1800)
    due = await create(backend, priority=0)
    assert [await backend.queue_position(task) for task in (due, first, last)] == [0, 1, 2]


async def test_counts_follow_every_change(backend: Backend, other: Backend) -> None:
    """Each status is counted, with a zero where there is none, over all instances and owners."""
    assert await backend.counts() == dict.fromkeys(Status, 0)
    tasks = [await create(instance, owner=owner) for instance, owner in [(backend, ""), (other, "ann")] * 2]
    await move(other, tasks[0], Kind.STARTED, Kind.COMPLETED)
    await move(backend, tasks[1], Kind.STARTED, Kind.INPUT_REQUIRED)
    await move(other, tasks[2], Kind.STARTED)
    expected = dict.fromkeys(Status, 0) | {
        Status.COMPLETED: 1,
        Status.INPUT_REQUIRED: 1,
        Status.RUNNING: 1,
        Status.QUEUED: 1,
    }
    for instance in (backend, other):
        assert await instance.counts() == expected


async def test_expired_tasks_are_deleted_with_everything_of_theirs(backend: Backend, other: Backend) -> None:
    """Only tasks whose time has passed go; they leave no event, no count and no place in a list."""
    now = time.time()
    live = await create(backend)
    kept = await move(backend, await create(backend), Kind.CANCELLED, expires_at=now + 60)
    gone = [
        await move(backend, await create(backend), Kind.STARTED, Kind.CHECKPOINT, Kind.COMPLETED, expires_at=now - 1)
        for _ in range(3)
    ]
    deleted = 0
    while count := await backend.purge(now):
        deleted += count
    assert deleted == 3
    for instance in (backend, other):
        assert await _all(instance, 10) == [kept, live]
        assert (await instance.counts())[Status.COMPLETED] == 0
        for task in gone:
            assert await instance.load(task.id) is None
            assert list(await instance.read(task.id, 0, 10)) == []


async def test_purges_at_once_delete_each_task_once(backend: Backend, other: Backend) -> None:
    """Two servers that clean up the same store count what they deleted themselves."""
    for _ in range(20):
        await move(backend, await create(backend), Kind.CANCELLED, expires_at=1.0)
    deleted: list[int] = []

    async def purge(instance: Backend) -> None:
        while count := await instance.purge(2.0):
            deleted.append(count)

    async with anyio.create_task_group() as purges:
        for instance in [backend, other] * 2:
            purges.start_soon(purge, instance)
    assert sum(deleted) == 20


async def test_a_deleted_task_is_not_served(backend: Backend) -> None:
    """Nothing of a deleted task is handed out: the next task due is another."""
    await move(backend, await create(backend), Kind.CANCELLED, expires_at=1.0)
    while await backend.purge(2.0):
        pass
    task = await create(backend)
    served: list[str] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as serving:

            async def handle(task_id: str) -> None:
                served.append(task_id)
                serving.cancel_scope.cancel()

            serving.start_soon(backend.serve, handle, Limits(total=5, types={TYPE: None}))
    assert served == [task.id]
