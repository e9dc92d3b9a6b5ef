"""The seam against a model: random steps from two instances, compared with plain dictionaries.

The model keeps each task as it should be stored and its whole log. Every rule acts on the
store and on the model and compares the answers; the invariants look at what is there.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mcp_server.backend import Backend
from mcp_server.errors import Conflict
from mcp_server.task import TRANSITIONS, Event, Kind, Status, Task

from .stores import STORES, open_store
from .tasks import moved, queued

T = TypeVar("T")

OWNERS, TYPES, KEYS = ["", "ann"], ["a", "b"], [None, "k1", "k2"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


class Seam(RuleBasedStateMachine):
    kind: str

    seen: Bundle[Task] = Bundle("seen")
    """Tasks as some caller once saw them: mostly stale by the time they are used."""

    instance = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, Task] = {}
        self.logs: dict[str, list[Event]] = {}
        self._open = ExitStack()
        self._opened: list[ExitStack] = []
        self.instances: list[Backend] = []
        self._looks = 0

    @initialize(target=seen)
    def open(self) -> MultipleResults[Task]:
        self.portal = self._open.enter_context(start_blocking_portal("asyncio"))
        directory = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._store = self._open.enter_context(self.portal.wrap_async_context_manager(open_store(self.kind, directory)))
        for _ in range(2):
            stack = self._open.enter_context(ExitStack())
            self._opened.append(stack)
            self.instances.append(self._enter(stack))
        # Hypothesis leaves some rules out of each example, among them the one that creates.
        return multiple(*(self._create(0, "ann", "a", None, priority, [priority]) for priority in (0, 9)))

    def _enter(self, stack: ExitStack) -> Backend:
        return stack.enter_context(self.portal.wrap_async_context_manager(self._store.open()))

    @rule(instance=instance)
    def restart(self, instance: int) -> None:
        """Whatever an instance knows beside what it stored is gone."""
        self._opened[instance].close()
        self.instances[instance] = self._enter(self._opened[instance])

    def teardown(self) -> None:
        self._open.close()

    def on(self, instance: int, call: Callable[[Backend], Awaitable[T]]) -> T:
        async def run() -> T:
            with anyio.fail_after(10):
                return await call(self.instances[instance])

        return self.portal.call(run)

    @rule(
        target=seen,
        instance=instance,
        owner=st.sampled_from(OWNERS),
        type=st.sampled_from(TYPES),
        key=st.sampled_from(KEYS),
        priority=st.integers(0, 9),
        value=VALUES,
    )
    def create(self, instance: int, owner: str, type: str, key: str | None, priority: int, value: Any) -> Task:
        return self._create(instance, owner, type, key, priority, value)

    def _create(self, instance: int, owner: str, type: str, key: str | None, priority: int, value: Any) -> Task:
        task, events = queued(
            owner=owner,
            type=type,
            idempotency_key=key,
            priority=priority,
            arguments={"v": value},
            metadata={"v": value},
        )
        got = self.on(instance, lambda backend: backend.create(task, events))
        holders = [
            held
            for held in self.tasks.values()
            if key is not None and (held.owner, held.idempotency_key) == (owner, key) and held.expires_at is None
        ]
        if holders:
            assert [got] == holders
            return got
        assert got == task
        self.tasks[task.id], self.logs[task.id] = task, events
        return task

    @rule(target=seen, instance=instance, before=seen)
    def load(self, instance: int, before: Task) -> Task:
        """The caller looks again, and sees what the model has."""
        got = self.on(instance, lambda backend: backend.load(before.id))
        assert got == self.tasks.get(before.id)
        return got or before

    @rule(target=seen, instance=instance, before=seen, data=st.data(), value=VALUES, durable=st.booleans())
    def commit(self, instance: int, before: Task, data: st.DataObject, value: Any, durable: bool) -> Task:
        """Some steps on from what the caller saw; refused if that is not what is stored."""
        after, events = before, []
        for _ in range(data.draw(st.integers(1, 4))):
            kinds = [kind for status, kind in TRANSITIONS if status == after.status and kind is not Kind.QUEUED]
            if not kinds:
                break
            kind = data.draw(st.sampled_from(kinds))
            facts = {Kind.COMPLETED: {"output": value}, Kind.CHECKPOINT: {"state": value}, Kind.OUTPUT: {"data": value}}
            ends = _EXPIRED if kind in _ENDING else {}
            after, more = moved(after, kind, **facts.get(kind, {}), **ends)
            events += more
        if not events:
            return before
        if data.draw(st.booleans()):
            after = replace(after, first_event_id=data.draw(st.integers(after.first_event_id, after.last_event_id)))
        return self._commit(instance, before, after, events, durable)

    @rule(target=seen, instance=instance, before=seen, value=VALUES)
    def finish(self, instance: int, before: Task, value: Any) -> Task:
        """All the rest of a task's life in one step; random steps seldom get that far."""
        before = self.tasks.get(before.id, before)
        if before.is_over:
            return before
        after, events = moved(before, Kind.STARTED) if before.status is Status.QUEUED else (before, [])
        for kind, facts in ((Kind.CHECKPOINT, {"state": value}), (Kind.COMPLETED, {"output": value, **_EXPIRED})):
            if (after.status, kind) in TRANSITIONS:
                after, more = moved(after, kind, **facts)
                events += more
        return self._commit(instance, before, after, events, durable=True) if events else before

    def _commit(self, instance: int, before: Task, after: Task, events: list[Event], durable: bool) -> Task:
        stored = self.tasks.get(before.id)
        fresh = stored is not None and stored.last_event_id == before.last_event_id

        async def step(backend: Backend) -> bool:
            try:
                await backend.commit(before, after, events, durable=durable)
            except Conflict:
                return False
            return True

        assert self.on(instance, step) == fresh
        if not fresh:
            return before
        self.tasks[before.id] = after
        self.logs[before.id] = [e for e in self.logs[before.id] + events if e.number >= after.first_event_id]
        return after

    @rule(instance=instance, task=seen, after=st.integers(0, 6), limit=st.integers(1, 4))
    def read(self, instance: int, task: Task, after: int, limit: int) -> None:
        got = self.on(instance, lambda backend: backend.read(task.id, after, limit))
        assert list(got) == [event for event in self.logs.get(task.id, []) if event.number > after][:limit]

    @rule(
        instance=instance,
        owner=st.sampled_from(OWNERS),
        status=st.none() | st.sampled_from(Status),
        type=st.none() | st.sampled_from(TYPES),
        limit=st.integers(1, 4),
    )
    def list(self, instance: int, owner: str, status: Status | None, type: str | None, limit: int) -> None:
        async def all_pages(backend: Backend) -> Sequence[Task]:
            page = await backend.list(owner=owner, status=status, task_type=type, limit=limit, cursor=None)
            found = [*page.tasks]
            while page.next_cursor is not None:
                page = await backend.list(
                    owner=owner, status=status, task_type=type, limit=limit, cursor=page.next_cursor
                )
                found += page.tasks
            return found

        assert self.on(instance, all_pages) == [
            task
            for task in reversed(self.tasks.values())
            if task.owner == owner and status in (None, task.status) and type in (None, task.type)
        ]

    @rule(instance=instance, task=seen)
    def queue_position(self, instance: int, task: Task) -> None:
        stored = self.tasks.get(task.id)
        order = sorted(
            (held for held in self.tasks.values() if held.status is Status.QUEUED), key=lambda held: -held.priority
        )
        expected = order.index(stored) if stored in order else None
        assert self.on(instance, lambda backend: backend.queue_position(task)) == expected

    @rule(instance=instance, task=seen)
    def wait(self, instance: int, task: Task) -> None:
        """A wait for what is there, or for a task that is gone, returns."""
        stored = self.tasks.get(task.id)
        after = stored.last_event_id - 1 if stored else task.last_event_id
        self.on(instance, lambda backend: backend.wait(task.id, after))

    @precondition(lambda self: any(task.expires_at is not None for task in self.tasks.values()))
    @rule(instance=instance)
    def purge(self, instance: int) -> None:
        gone = [task.id for task in self.tasks.values() if task.expires_at is not None]
        deleted = 0
        while count := self.on(instance, lambda backend: backend.purge(time.time())):
            deleted += count
        assert deleted == len(gone)
        for task_id in gone:
            del self.tasks[task_id], self.logs[task_id]

    @invariant()
    def counts_are_right(self) -> None:
        for instance in range(len(self.instances)):
            counted = self.on(instance, lambda backend: backend.counts())
            assert counted == {s: sum(task.status is s for task in self.tasks.values()) for s in Status}

    @invariant()
    def everything_is_stored_and_no_log_has_holes(self) -> None:
        async def stored(backend: Backend) -> dict[str, tuple[Task | None, Sequence[int]]]:
            return {
                task_id: (await backend.load(task_id), [event.number for event in await backend.read(task_id, 0, 1000)])
                for task_id in self.tasks
            }

        if self.instances:
            self._looks += 1
            assert self.on(self._looks % 2, stored) == {
                task.id: (task, [*range(task.first_event_id, task.last_event_id + 1)]) for task in self.tasks.values()
            }


_EXPIRED = {"expires_at": 1.0}
"""Everything that ends in this model has expired: what holds a key is what lives."""
_ENDING = {Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED}


@pytest.mark.parametrize("kind", sorted(STORES))
def test_the_store_is_what_the_model_says_after_any_steps(kind: str) -> None:
    """Random creates, steps from stale and fresh tasks, reads, lists, purges and restarts of two instances agree."""
    machine = type(f"{kind.title()}Seam", (Seam,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
