"""The rules of the engine: who sees a task, how many there may be, in which order they run, when they are forgotten."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_server import Engine, TaskContext, TaskError
from mcp_server.access.principal import ADMIN, ANONYMOUS, NEEDS, READ, WRITE, Principal
from mcp_server.errors import (
    IdempotencyConflict,
    InsufficientScope,
    InvalidArgument,
    InvalidStatus,
    NotFound,
    NotRetryable,
    UnknownTaskType,
)
from mcp_server.task import Status

from .engines import add_nothing, ended, kinds, make_engine, reached, run, task_type


async def refused(engine: Engine, task_type: str, arguments: Mapping[str, Any], **more: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as found:
        await engine.start(task_type, arguments, **more, principal=ANONYMOUS)
    return found.value


# Starting.


async def test_a_started_task_is_stored_before_the_answer(engine: Engine, tmp_path: Path) -> None:
    """Somebody else who opens the file finds it, with all that was said."""
    add_nothing(engine)
    async with engine.run(work=False), make_engine(tmp_path).run(work=False) as another:
        task = await engine.start("work", {"a": [1]}, principal=Principal("me"), metadata={"n": 1}, priority=3)
        assert await another.get(task.id, principal=Principal("me")) == task
    assert (task.status, task.arguments, task.metadata, task.priority) == (Status.QUEUED, {"a": [1]}, {"n": 1}, 3)
    assert (task.attempt, task.last_event_id, task.message) == (0, 1, "Queued")


async def test_what_cannot_be_started_makes_no_task(engine: Engine) -> None:
    """Each refusal says what is wrong, in few words, and nothing is stored."""
    add_nothing(engine)
    async with engine.run(work=False):
        with pytest.raises(UnknownTaskType):
            await engine.start("nothing", principal=ANONYMOUS)
        assert "c" in (await refused(engine, "work", {"c": 1})).message
        too_big = await refused(engine, "work", {"a": "x" * 5_000_000})
        assert "arguments is 5000008 bytes as JSON; at most 1048576 are accepted" in too_big.message
        assert "metadata is" in (await refused(engine, "work", {}, metadata={"a": "x" * 2_000_000})).message
        for name, value in {
            "priority": -1, "start_after": float("nan"), "idempotency_key": "", "metadata": {"a": object()},
        }.items():  # fmt: skip
            error = await refused(engine, "work", {}, **{name: value})
            assert error.details["errors"][0]["path"] == name
        assert (await refused(engine, "work", {}, idempotency_key="k" * 1_000_000)).message.count("k") < 200
        assert (await engine.list(principal=ANONYMOUS)).tasks == []


async def test_the_same_key_is_the_same_task(engine: Engine) -> None:
    """Running or finished, as long as it is kept; with other arguments or another type the key is refused."""
    add_nothing(engine)
    add_nothing(engine, "other")
    async with engine.run():
        first = await engine.start("work", {"a": 1}, idempotency_key="k", principal=ANONYMOUS)
        assert (await engine.start("work", {"a": 1}, idempotency_key="k", principal=ANONYMOUS)).id == first.id
        done = await ended(engine, first)
        assert await engine.start("work", {"a": 1}, idempotency_key="k", principal=ANONYMOUS) == done
        for name, arguments in (("work", {"a": 2}), ("other", {"a": 1})):
            with pytest.raises(IdempotencyConflict) as conflict:
                await engine.start(name, arguments, idempotency_key="k", principal=ANONYMOUS)
            assert conflict.value.details == {"operation_id": first.id}
        assert (
            await engine.start("work", {"a": 1}, idempotency_key="k", principal=Principal("someone else"))
        ).id != first.id
        assert (await engine.start("work", {"a": 1}, principal=ANONYMOUS)).id != (
            await engine.start("work", {"a": 1}, principal=ANONYMOUS)
        ).id


async def test_concurrent_starts_with_one_key_make_one_task(engine: Engine, tmp_path: Path) -> None:
    """In one process and over two."""
    add_nothing(engine)
    found: set[str] = set()
    other = make_engine(tmp_path, registry=engine.registry)

    async def start(through: Engine) -> None:
        found.add((await through.start("work", {"a": 1}, idempotency_key="k", principal=ANONYMOUS)).id)

    async with engine.run(work=False), other.run(work=False), anyio.create_task_group() as starts:
        for through in (engine, other) * 25:
            starts.start_soon(start, through)
    assert len(found) == 1


async def test_the_key_of_a_forgotten_task_is_free(engine: Engine) -> None:
    """It is only known for as long as the task is."""

    @task_type(engine, retention=0.001)
    async def work() -> None: ...

    async with engine.run():
        first = await run_and_forget(engine, idempotency_key="k")
        assert (await engine.start("work", idempotency_key="k", principal=ANONYMOUS)).id != first


async def run_and_forget(engine: Engine, **more: Any) -> str:
    """Run a task of a type with next to no retention until it is forgotten; its id."""
    task = await engine.start("work", **more, principal=ANONYMOUS)
    with anyio.fail_after(10):
        while True:
            try:
                task = await engine.get(task.id, principal=ANONYMOUS)
            except NotFound:
                return task.id
            if task.is_over:
                await anyio.sleep_until(anyio.current_time() + (task.expires_at or 0) - time.time())
            else:
                await engine.backend.wait(task.id, task.last_event_id)


# Who sees what.


async def test_a_task_is_there_for_its_owner_only(engine: Engine) -> None:
    """For everybody else it does not exist: every request gets the answer an unknown id gets."""
    add_nothing(engine)
    async with engine.run(work=False):
        mine = await engine.start("work", principal=Principal("me"))
        answers = []
        for owner, task_id in (("you", mine.id), ("", mine.id), ("me", mine.id[::-1])):
            for request in (
                engine.get(task_id, principal=Principal(owner)),
                engine.cancel(task_id, principal=Principal(owner)),
                engine.answer(task_id, {}, principal=Principal(owner)),
                engine.retry(task_id, principal=Principal(owner)),
            ):
                with pytest.raises(NotFound) as found:
                    await request
                answers.append(found.value.message.replace(task_id, "ID"))
        assert len(set(answers)) == 1
        assert (await engine.list(principal=Principal("you"))).tasks == []
        assert [t.id for t in (await engine.list(principal=Principal("me"))).tasks] == [mine.id]


@pytest.mark.parametrize("task_id", ["", "x", "../../etc/passwd", "a" * 1_000_000, "\ud800", "\x00", "%s' OR 1=1 --"])
async def test_an_id_that_was_never_given_is_not_found(engine: Engine, task_id: str) -> None:
    """Whatever it looks like; the answer is short."""
    async with engine.run(work=False):
        with pytest.raises(NotFound) as found:
            await engine.get(task_id, principal=ANONYMOUS)
    assert len(found.value.message) < 300


async def test_a_task_is_forgotten_when_its_time_after_the_end_is_over(engine: Engine) -> None:
    """Expired is as good as never existed, also before it is deleted; a live task has no such time."""

    @task_type(engine, retention=0.001)
    async def work() -> None: ...

    @task_type(engine)
    async def kept() -> None: ...

    async with engine.run():
        gone = await run_and_forget(engine)
        with pytest.raises(NotFound):
            await engine.retry(gone, principal=ANONYMOUS)
        assert (await engine.list(principal=ANONYMOUS)).tasks == []
        done = await run(engine, "kept")
        assert done.expires_at is not None
        assert done.completed_at is not None
        assert done.expires_at - done.completed_at == pytest.approx(86_400, abs=5)
        assert (await engine.start("kept", start_after=1000, principal=ANONYMOUS)).expires_at is None


# Listing.


async def test_a_listing_is_paged_newest_first(engine: Engine) -> None:
    """Every task once, whatever is started meanwhile."""
    add_nothing(engine)
    async with engine.run(work=False):
        made = [(await engine.start("work", {"a": n}, principal=ANONYMOUS)).id for n in range(7)]
        seen: list[str] = []
        cursor = None
        while True:
            page = await engine.list(limit=3, cursor=cursor, principal=ANONYMOUS)
            seen += [task.id for task in page.tasks]
            await engine.start("work", principal=ANONYMOUS)
            if (cursor := page.next_cursor) is None:
                break
    assert seen == made[::-1]


async def test_a_listing_can_be_narrowed(engine: Engine) -> None:
    """By status and type; what is no status, no type, no limit or no cursor is refused."""
    add_nothing(engine)
    add_nothing(engine, "other")
    async with engine.run():
        done = await run(engine, "work")
        waiting = await engine.start("other", start_after=1000, principal=ANONYMOUS)
        assert [t.id for t in (await engine.list(status="completed", principal=ANONYMOUS)).tasks] == [done.id]
        assert [t.id for t in (await engine.list(task_type="other", principal=ANONYMOUS)).tasks] == [waiting.id]
        assert (await engine.list(status="queued", task_type="work", principal=ANONYMOUS)).tasks == []
        with pytest.raises(InvalidStatus) as found:
            await engine.list(status="finished", principal=ANONYMOUS)
        assert set(found.value.details["valid"]) == {s.value for s in Status}
        with pytest.raises(UnknownTaskType):
            await engine.list(task_type="nothing", principal=ANONYMOUS)
        for wrong in ({"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"cursor": "-1"}, {"cursor": "9" * 1000}):
            with pytest.raises(InvalidArgument):
                await engine.list(**wrong, principal=ANONYMOUS)


# Waiting.


async def test_a_wait_ends_with_the_task_or_with_its_time(engine: Engine) -> None:
    """Neither is an error, and the task goes on."""
    go_on = anyio.Event()

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.report(50)
        await go_on.wait()

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), lambda t: t.progress == 50)
        assert (await engine.wait(task, 0.05)).status is Status.RUNNING
        go_on.set()
        assert (await engine.wait(task, 10)).status is Status.COMPLETED


async def test_a_wait_for_anything_ends_with_the_next_event(engine: Engine) -> None:
    """A report is enough."""
    go_on = anyio.Event()

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await go_on.wait()
        await task.report(50)
        await anyio.sleep_forever()

    async with engine.run():
        task = await reached(
            engine, await engine.start("work", principal=ANONYMOUS), lambda t: t.status is Status.RUNNING
        )
        go_on.set()
        with anyio.fail_after(10):
            assert (await engine.wait(task, 100, any_event=True)).progress == 50
        await engine.cancel(task.id, principal=ANONYMOUS)


# Retrying a task that is over.


async def test_a_failed_task_can_be_done_again_from_its_checkpoint(engine: Engine) -> None:
    """As a new task that names the old one, with the same arguments and metadata."""

    @task_type(engine)
    async def work(fail: bool, *, task: TaskContext) -> Any:
        if task.state is None:
            await task.checkpoint({"page": 3})
            raise TaskError("no luck")
        return task.state

    async with engine.run():
        old = await run(engine, "work", {"fail": True}, metadata={"n": 1}, priority=2, idempotency_key="k")
        assert old.status is Status.FAILED
        new = await ended(engine, await engine.retry(old.id, principal=ANONYMOUS))
        assert (new.retry_of, new.arguments, new.metadata, new.priority) == (old.id, old.arguments, {"n": 1}, 2)
        assert (new.output, new.attempt, new.idempotency_key) == ({"page": 3}, 1, None)
        assert await engine.get(old.id, principal=ANONYMOUS) == old
        with pytest.raises(NotRetryable, match="completed"):
            await engine.retry(new.id, principal=ANONYMOUS)
        waiting = await engine.start("work", {"fail": True}, start_after=1000, principal=ANONYMOUS)
        with pytest.raises(NotRetryable, match="queued"):
            await engine.retry(waiting.id, principal=ANONYMOUS)
        await engine.cancel(waiting.id, principal=ANONYMOUS)
        assert (await ended(engine, await engine.retry(waiting.id, principal=ANONYMOUS))).status is Status.FAILED


async def test_one_terminal_event_whatever_meets(engine: Engine) -> None:
    """A task that is cancelled from many sides while it ends has one end."""

    @task_type(engine)
    async def work() -> int:
        return 1

    async with engine.run():
        for _ in range(20):
            task = await engine.start("work", principal=ANONYMOUS)
            async with anyio.create_task_group() as cancels:
                for _ in range(5):
                    cancels.start_soon(partial(engine.cancel, task.id, principal=ANONYMOUS))
            await ended(engine, task)
            assert sum(k.value in ("completed", "cancelled", "failed") for k in await kinds(engine, task)) == 1


async def test_expired_tasks_are_deleted(tmp_path: Path) -> None:
    """When a server runs; the file does not grow with what nobody may see any more."""
    engine = make_engine(tmp_path)

    @task_type(engine, retention=0.001)
    async def work() -> None: ...

    async with engine.run():
        gone = await run_and_forget(engine)
    later = make_engine(tmp_path, registry=engine.registry)
    async with later.run(work=False):
        with anyio.fail_after(10):
            while (task := await later.backend.load(gone)) is not None:
                await later.backend.wait(gone, task.last_event_id)


async def test_settings_of_a_type_win_over_the_servers(engine: Engine) -> None:
    """A type's own retention is kept to also when its task is cancelled before it ran."""
    engine.settings = replace(engine.settings, retention=1000.0)

    @task_type(engine, retention=50.0)
    async def work() -> None: ...

    async with engine.run():
        task, _ = await engine.cancel(
            (await engine.start("work", start_after=1000, principal=ANONYMOUS)).id, principal=ANONYMOUS
        )
    assert task.expires_at is not None
    assert task.completed_at is not None
    assert task.expires_at - task.completed_at == pytest.approx(50, abs=5)


@pytest.mark.parametrize("operation", sorted(NEEDS))
async def test_an_operation_needs_its_scope(tmp_path: Path, operation: str) -> None:
    """Each operation of the table is refused to a principal with every scope but its own, and let in with that one."""
    engine = make_engine(tmp_path)
    add_nothing(engine)
    calls: dict[str, Callable[[Principal, str], Awaitable[Any]]] = {
        "get": lambda principal, id: engine.get(id, principal=principal),
        "read": lambda principal, id: engine.open(id, principal=principal),
        "list": lambda principal, _: engine.list(principal=principal),
        "start": lambda principal, _: engine.start("work", principal=principal),
        "cancel": lambda principal, id: engine.cancel(id, principal=principal),
        "answer": lambda principal, id: engine.answer(id, {}, principal=principal),
        "retry": lambda principal, id: engine.retry(id, principal=principal),
    }
    async with engine.run(work=False):
        task = await engine.start("work", principal=Principal("ann"))
        await engine.cancel(task.id, principal=Principal("ann"))
        call = calls[operation]
        with pytest.raises(InsufficientScope, match=NEEDS[operation]):
            await call(Principal("ann", frozenset({READ, WRITE}) - {NEEDS[operation]}), task.id)
        await call(Principal("ann", frozenset({NEEDS[operation]})), task.id)


async def test_an_administrator_sees_the_tasks_of_every_owner(tmp_path: Path) -> None:
    """They are there to be read, cancelled and retried, stay their owner's, and are gone for one owner among others."""
    engine = make_engine(tmp_path)
    add_nothing(engine)
    admin = Principal.of("root", [ADMIN])
    async with engine.run(work=False):
        task = await engine.start("work", principal=Principal("ann"))
        assert (await engine.get(task.id, principal=admin)).owner == "ann"
        with pytest.raises(NotFound):
            await engine.get(task.id, principal=admin.as_owner())
        await engine.cancel(task.id, principal=admin)
        again = await engine.retry(task.id, principal=admin)
        assert again.owner == "ann"


async def test_a_principal_of_one_task_sees_no_other(tmp_path: Path) -> None:
    """Also not another one of the same owner."""
    engine = make_engine(tmp_path)
    add_nothing(engine)
    async with engine.run(work=False):
        first, second = [await engine.start("work", principal=Principal("ann")) for _ in range(2)]
        narrow = Principal("ann", frozenset({READ}), "ticket", first.id)
        assert (await engine.get(first.id, principal=narrow)).id == first.id
        with pytest.raises(NotFound):
            await engine.get(second.id, principal=narrow)
