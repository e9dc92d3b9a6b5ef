"""`serve`: who is given which task, when, and how many at once."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.lowlevel import EventLoopToken, current_token
from anyio.streams.text import TextReceiveStream

from mcp_server.backend import Backend, Limits
from mcp_server.task import Kind, Status

from .stores import LEASE, Store
from .tasks import TYPE, create, finish, move

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds after which something counts as never happening."""

Handle = Callable[[str], Awaitable[None]]


def limits(total: int = 4, most: int | None = None, per_owner: int | None = None) -> Limits:
    return Limits(total=total, types={TYPE: most}, per_owner=per_owner)


async def serve(handle: Handle, *instances: Backend, limits: Limits, until: anyio.Event) -> None:
    """Serve on these instances until the event is set, and wait for what they still do."""
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            for instance in instances:
                serving.start_soon(instance.serve, handle, limits)
            await until.wait()
            serving.cancel_scope.cancel()


class Finishing:
    """A handler that finishes what it is given, and notes order and how many ran at once."""

    def __init__(self, backend: Backend, expected: int) -> None:
        self._backend, self._left = backend, expected
        self.given: list[str] = []
        self.finished = anyio.Event()
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        """The most that ran at once, by owner."""

    async def __call__(self, task_id: str) -> None:
        task = await self._backend.load(task_id)
        assert task is not None
        self.given.append(task_id)
        self._running[task.owner] += 1
        self.most[task.owner] = max(self.most[task.owner], self._running[task.owner])
        for _ in range(5):
            await self._backend.counts()
        await finish(self._backend, task_id)
        self._running[task.owner] -= 1
        self._left -= 1
        if not self._left:
            self.finished.set()


async def test_due_tasks_are_given_by_priority_then_age(backend: Backend, other: Backend) -> None:
    """9 first, and among equals the oldest, whoever created them."""
    priorities = [0, 9, 4, 9, 0, 4]
    tasks = [
        await create(instance, priority=priority)
        for instance, priority in zip([backend, other] * 3, priorities, strict=True)
    ]
    handle = Finishing(backend, len(tasks))
    await serve(handle, backend, limits=limits(total=1), until=handle.finished)
    assert handle.given == [tasks[i].id for i in (1, 3, 2, 5, 0, 4)]


async def test_a_task_is_not_given_before_its_time(backend: Backend) -> None:
    """Not even when it is the only one; and without any other event it is given when its time has come."""
    due = time.time() + 0.5
    task = await create(backend, not_before=due)
    given: list[float] = []
    over = anyio.Event()

    async def handle(task_id: str) -> None:
        given.append(time.time())
        await finish(backend, task_id)
        over.set()

    await serve(handle, backend, limits=limits(), until=over)
    assert len(given) == 1
    assert given[0] >= due
    seen = await backend.load(task.id)
    assert seen is not None
    assert seen.status is Status.COMPLETED


async def test_what_is_created_while_serving_is_given_at_once(backend: Backend, other: Backend) -> None:
    """A task created here or by another process reaches the idle server without any further push."""
    arrived = anyio.Event()

    async def handle(task_id: str) -> None:
        await finish(backend, task_id)
        arrived.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, handle, limits())
            for creator in [backend, other] * 3:
                arrived = anyio.Event()
                await create(creator)
                await arrived.wait()
            serving.cancel_scope.cancel()


@pytest.mark.parametrize("instances", [1, 2])
async def test_no_task_is_given_twice(backend: Backend, other: Backend, instances: int) -> None:
    """Sixty tasks over one or two servers: each is handled once and ends completed."""
    tasks = [await create(backend) for _ in range(60)]
    handle = Finishing(backend, len(tasks))
    await serve(handle, *[backend, other][:instances], limits=limits(total=8), until=handle.finished)
    assert sorted(handle.given) == sorted(task.id for task in tasks)
    assert (await backend.counts())[Status.COMPLETED] == len(tasks)


async def test_a_server_runs_up_to_its_total_at_once(backend: Backend) -> None:
    """As many calls as `total` run side by side, and never one more."""
    for _ in range(12):
        await create(backend)
    running = most = finished = 0
    full, over = anyio.Event(), anyio.Event()

    async def handle(task_id: str) -> None:
        nonlocal running, most, finished
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await finish(backend, task_id)
        running -= 1
        finished += 1
        if finished == 12:
            over.set()

    await serve(handle, backend, limits=limits(total=3), until=over)
    assert most == 3


async def test_a_type_runs_no_more_than_its_limit_over_all_servers(backend: Backend, other: Backend) -> None:
    """The limit of a type counts what other processes run; all get their turn."""
    for _ in range(10):
        await create(backend)
    handle = Finishing(backend, 10)
    await serve(handle, backend, other, limits=limits(total=5, most=2), until=handle.finished)
    assert handle.most[""] <= 2


async def test_an_owner_has_no_more_than_their_limit_over_all_servers(backend: Backend, other: Backend) -> None:
    """One owner's long queue leaves room for the next owner's task, whatever its age."""
    for _ in range(12):
        await create(backend, owner="ann")
    last = await create(backend, owner="bob")
    handle = Finishing(backend, 13)
    await serve(handle, backend, other, limits=limits(total=4, per_owner=1), until=handle.finished)
    assert handle.most == {"ann": 1, "bob": 1}
    assert handle.given.index(last.id) < 6


async def test_a_type_that_a_server_does_not_know_is_left_to_others(backend: Backend, other: Backend) -> None:
    """Each of two servers is given the types it names, even behind a queue of the other's."""
    given: dict[str, list[str]] = {"a": [], "b": []}
    tasks = [await create(backend, type=name, priority=9 if name == "a" else 0) for name in "aaabab"]
    over = anyio.Event()

    async def run(name: str, task_id: str) -> None:
        await finish(backend, task_id)
        given[name].append(task_id)
        if sum(map(len, given.values())) == len(tasks):
            over.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            for name, instance in (("a", backend), ("b", other)):

                async def handle(task_id: str, name: str = name) -> None:
                    await run(name, task_id)

                serving.start_soon(instance.serve, handle, Limits(total=1, types={name: None}))
            await over.wait()
            serving.cancel_scope.cancel()
    assert given == {name: [task.id for task in tasks if task.type == name] for name in "ab"}


async def test_a_task_that_is_queued_again_is_given_again_at_its_time(backend: Backend, other: Backend) -> None:
    """Not while the first call still runs, not before the time it was given, and without a push."""
    task = await create(backend)
    running = 0
    calls: list[float] = []
    due = 0.0
    over = anyio.Event()

    async def handle(task_id: str) -> None:
        nonlocal running, due
        running += 1
        assert running == 1
        calls.append(time.time())
        seen = await backend.load(task_id)
        assert seen is not None
        if len(calls) == 1:
            due = time.time() + 0.3
            await move(backend, seen, Kind.STARTED, Kind.RETRYING, cause="failed", not_before=due)
            while time.time() < due + 0.1:
                await backend.counts()
        else:
            await finish(backend, task_id)
            over.set()
        running -= 1

    await serve(handle, backend, other, limits=limits(), until=over)
    assert calls[1] >= due
    assert await backend.queue_position(task) is None


@pytest.mark.parametrize("kinds", [[Kind.STARTED], [Kind.STARTED, Kind.INPUT_REQUIRED]])
async def test_a_live_task_that_nobody_holds_is_due(backend: Backend, kinds: list[Kind]) -> None:
    """A task that is running, or waits for input, without anybody's lease was left by a dead process."""
    task = await move(backend, await create(backend), *kinds)
    over = anyio.Event()
    given: list[str] = []

    async def handle(task_id: str) -> None:
        given.append(task_id)
        seen = await backend.load(task_id)
        assert seen is not None
        await move(backend, seen, Kind.RETRYING, Kind.STARTED, Kind.COMPLETED, cause="interrupted")
        over.set()

    await serve(handle, backend, limits=limits(), until=over)
    assert given == [task.id]


async def test_a_call_that_raises_ends_nothing_but_itself(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """The exception is logged, the task is given again, and other tasks go on."""
    poison, good = await create(backend, priority=9), await create(backend)
    given: Counter[str] = Counter()
    over = anyio.Event()

    async def handle(task_id: str) -> None:
        given[task_id] += 1
        if task_id == poison.id and given[task_id] < 2:
            raise RuntimeError("poison")
        await finish(backend, task_id)
        if len(given) == 2 and given[poison.id] == 2:
            over.set()

    await serve(handle, backend, limits=limits(), until=over)
    assert given == {poison.id: 2, good.id: 1}
    assert "poison" in caplog.text


async def test_a_server_that_is_cancelled_waits_for_its_calls_and_gives_back_what_they_held(store: Store) -> None:
    """Every call is cancelled and has cleaned up before `serve` returns; then its tasks are due at once."""
    running = cleaned = 0
    full = anyio.Event()
    # Far longer than the test's patience: only a release makes the tasks due again.
    async with store.open(lease=3600.0) as backend, store.open(lease=3600.0) as other:
        tasks = [await create(backend) for _ in range(3)]

        async def hold(task_id: str) -> None:
            nonlocal running, cleaned
            running += 1
            if running == 3:
                full.set()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(5):
                        await backend.counts()
                cleaned += 1

        await serve(hold, backend, limits=limits(), until=full)
        assert cleaned == 3
        handle = Finishing(other, 3)
        await serve(handle, other, limits=limits(), until=handle.finished)
    assert sorted(handle.given) == sorted(task.id for task in tasks)


async def test_a_blocked_event_loop_keeps_its_leases(store: Store) -> None:
    """A function that blocks its process's loop for longer than two leases is not taken for dead."""
    lease = 1.5
    given: list[str] = []
    taken: list[str] = []
    held, rival_serves, over = anyio.Event(), anyio.Event(), anyio.Event()

    async def rival(home: EventLoopToken) -> None:
        """A second server, on a thread and an event loop of its own."""

        async def take(task_id: str) -> None:
            taken.append(task_id)

        async with store.open(lease=lease) as backend, anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, take, limits())
            await backend.counts()
            anyio.from_thread.run_sync(rival_serves.set, token=home)
            await anyio.to_thread.run_sync(partial(anyio.from_thread.run, over.wait, token=home))
            serving.cancel_scope.cancel()

    async with store.open(lease=lease) as backend:
        task = await create(backend)

        async def block(task_id: str) -> None:
            given.append(task_id)
            seen = await backend.load(task_id)
            assert seen is not None
            started = await move(backend, seen, Kind.STARTED)
            held.set()
            await rival_serves.wait()
            time.sleep(2.3 * lease)  # noqa: ASYNC251 - the claim is about just this
            await move(backend, started, Kind.COMPLETED)
            over.set()

        async with anyio.create_task_group() as everybody:

            async def start_rival() -> None:
                await held.wait()
                await anyio.to_thread.run_sync(anyio.run, rival, current_token())

            everybody.start_soon(start_rival)
            await serve(block, backend, limits=limits(), until=over)
    assert given == [task.id]
    assert taken == []


async def test_the_tasks_of_a_killed_process_are_given_to_others_within_its_lease(
    store: Store, backend: Backend
) -> None:
    """After `kill -9` of a server its running and its claimed task come to another, some seconds later at most."""
    tasks = [await create(backend) for _ in range(2)]
    victim = await anyio.open_process(
        [sys.executable, "-m", "tests.contract.victim", store.kind, store.address, str(LEASE)], cwd=ROOT, stderr=None
    )
    handle = Finishing(backend, 2)
    async with victim:
        assert victim.stdout is not None
        lines = TextReceiveStream(victim.stdout)
        with anyio.fail_after(PATIENCE):
            said = ""
            while said.count("\n") < 2:
                said += await lines.receive()
        assert sorted(said.split()) == sorted(task.id for task in tasks)
        victim.kill()
        await victim.wait()
        await serve(handle, backend, limits=limits(), until=handle.finished)
    assert sorted(handle.given) == sorted(task.id for task in tasks)
