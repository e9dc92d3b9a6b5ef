"""Cancel: acknowledged at once, cooperative first, forced after a grace, and harmless whenever it comes."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from client_sdk.wire import CancelOutcome
from mcp_server import Engine, SyncTaskContext, TaskCancelled, TaskContext, TaskError
from mcp_server.access.principal import ANONYMOUS
from mcp_server.task import Kind, Status, Task
from tests.server.engines import ended, kinds, make_engine, reached, run, task_type


async def cancelled(engine: Engine, task: Task, reason: str | None = "enough") -> Task:
    """Ask the task to stop, and wait for its end."""
    asked, _ = await engine.cancel(task.id, reason, principal=ANONYMOUS)
    assert asked.cancel_requested
    return await ended(engine, task)


async def test_a_coroutine_is_cancelled_where_it_awaits(engine: Engine) -> None:
    """It can clean up, and even report what it did, before it ends."""
    started = anyio.Event()

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await task.emit("cleaned up")

    async with engine.run():
        task = await engine.start("work", principal=ANONYMOUS)
        await started.wait()
        task = await cancelled(engine, task)
        assert (task.status, task.reason, task.message) == (Status.CANCELLED, "enough", "Cancelled")
        assert (await kinds(engine, task))[2:] == [Kind.CANCEL_REQUESTED, Kind.OUTPUT, Kind.CANCELLED]


async def test_a_coroutine_that_only_reports_is_cancelled_at_a_report(engine: Engine) -> None:
    """Every report is a place where the cancellation is seen."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        while True:
            await task.report(message="busy")

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), lambda t: t.message == "busy")
        assert (await cancelled(engine, task)).status is Status.CANCELLED


async def test_a_thread_sees_it_at_its_next_call(engine: Engine) -> None:
    """As an exception that `except Exception` does not swallow."""
    seen: list[str] = []

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> None:
        while True:
            try:
                task.report(message="busy")
            except Exception:
                seen.append("swallowed")
            except TaskCancelled:
                seen.append("cleaned up")
                raise

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), lambda t: t.message == "busy")
        assert (await cancelled(engine, task)).status is Status.CANCELLED
    assert seen == ["cleaned up"]


async def test_a_thread_that_never_calls_is_left_behind(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """After the grace its task is over without it, and the log names it; what it says later is refused."""
    started, release, refused = anyio.Event(), threading.Event(), threading.Event()

    @task_type(engine)
    def deaf(*, task: SyncTaskContext) -> None:
        anyio.from_thread.run_sync(started.set, token=token)
        release.wait()
        try:
            task.report(50)
        except TaskCancelled:
            refused.set()

    async with engine.run():
        token = anyio.lowlevel.current_token()
        task = await engine.start("deaf", principal=ANONYMOUS)
        await started.wait()
        task = await cancelled(engine, task)
        assert task.status is Status.CANCELLED
        assert task.completed_at is not None
        release.set()
        assert await anyio.to_thread.run_sync(refused.wait, 10)
        assert (await engine.get(task.id, principal=ANONYMOUS)).last_event_id == task.last_event_id
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "deaf" in warning
    assert "did not stop within 0.3 s" in warning


@pytest.mark.parametrize("swallows", [1, 10_000_000])
async def test_a_coroutine_that_swallows_the_cancellation_ends_anyhow(engine: Engine, swallows: int) -> None:
    """Once or for ever: the task is over after the grace, and others run meanwhile."""
    started, stop = anyio.Event(), anyio.Event()

    @task_type(engine)
    async def stubborn() -> None:
        started.set()
        for _ in range(swallows):
            if stop.is_set():
                break
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                pass
        await anyio.sleep(60)

    @task_type(engine)
    async def fine() -> str:
        return "fine"

    async with engine.run():
        task = await engine.start("stubborn", principal=ANONYMOUS)
        await started.wait()
        assert (await cancelled(engine, task)).status is Status.CANCELLED
        assert (await run(engine, "fine")).output == "fine"
        stop.set()


async def test_a_function_that_finishes_first_has_finished(engine: Engine) -> None:
    """The result that came before the cancellation was felt is not thrown away."""
    started = anyio.Event()

    @task_type(engine)
    async def work() -> str:
        started.set()
        with anyio.move_on_after(60):
            await anyio.sleep_forever()
        return "unreachable"

    @task_type(engine)
    async def finishes() -> str:
        started.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        return "finished"

    async with engine.run():
        task = await engine.start("finishes", principal=ANONYMOUS)
        await started.wait()
        task = await cancelled(engine, task)
    assert (task.status, task.output) == (Status.COMPLETED, "finished")


async def test_an_error_on_the_way_out_does_not_hide_the_cancel(engine: Engine) -> None:
    """Clean-up that fails is logged by its author; the caller asked for a cancel and gets one."""
    started = anyio.Event()

    @task_type(engine, retries=3)
    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise TaskError("clean-up failed")

    async with engine.run():
        task = await engine.start("work", principal=ANONYMOUS)
        await started.wait()
        task = await cancelled(engine, task)
    assert (task.status, task.attempt) == (Status.CANCELLED, 1)


async def test_a_cancel_that_meets_a_failure_is_not_followed_by_a_retry(engine: Engine) -> None:
    """However long the pause before the next attempt would have been."""

    @task_type(engine, retries=3, retry_delay=300)
    async def work(*, task: TaskContext) -> None:
        await engine.cancel(task.id, principal=ANONYMOUS)
        raise TaskError("at the same moment")

    async with engine.run():
        assert (await run(engine, "work")).status is Status.CANCELLED


async def test_a_queued_task_is_over_at_once(engine: Engine) -> None:
    """It never runs."""
    ran: list[int] = []
    task_type(engine, name="work")(lambda: ran.append(1))
    async with engine.run():
        task = await engine.start("work", start_after=1000, principal=ANONYMOUS)
        over, _ = await engine.cancel(task.id, "not needed", principal=ANONYMOUS)
        assert (over.status, over.reason, over.attempt) == (Status.CANCELLED, "not needed", 0)
        assert await kinds(engine, task) == [Kind.QUEUED, Kind.CANCEL_REQUESTED, Kind.CANCELLED]
    assert not ran


async def test_a_task_between_two_attempts_is_over_at_once(engine: Engine) -> None:
    """Nobody waits for the pause to end."""

    @task_type(engine, retries=1, retry_delay=300)
    async def work() -> None:
        raise TaskError("again")

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), lambda t: t.failures == 1)
        over, outcome = await engine.cancel(task.id, principal=ANONYMOUS)
        assert (over.status, outcome) == (Status.CANCELLED, CancelOutcome.CANCELLED)


async def test_a_cancel_can_be_repeated_and_can_come_too_late(engine: Engine) -> None:
    """The first reason stays; a task that is over stays as it is."""
    task_type(engine, name="work")(lambda: "done")
    async with engine.run():
        waiting = await engine.start("work", start_after=1000, principal=ANONYMOUS)
        first, _ = await engine.cancel(waiting.id, "first", principal=ANONYMOUS)
        assert await engine.cancel(waiting.id, "second", principal=ANONYMOUS) == (
            first,
            CancelOutcome.ALREADY_CANCELLED,
        )
        done = await run(engine, "work")
        assert await engine.cancel(done.id, "late", principal=ANONYMOUS) == (done, CancelOutcome.ALREADY_ENDED)


async def test_a_cancel_outlives_the_process(tmp_path: Path) -> None:
    """It is in the log: a server that takes the task up later does not run it again."""
    engine = make_engine(tmp_path)
    ran: list[Any] = []

    @task_type(engine)
    def deaf(*, task: SyncTaskContext) -> None:
        ran.append(task.attempt)
        anyio.from_thread.run_sync(started.set, token=token)
        release.wait()

    started, release = anyio.Event(), threading.Event()
    async with engine.run():
        token = anyio.lowlevel.current_token()
        task = await engine.start("deaf", principal=ANONYMOUS)
        await started.wait()
        await engine.cancel(task.id, "enough", principal=ANONYMOUS)
    later = make_engine(tmp_path, registry=engine.registry)
    async with later.run():
        task = await ended(later, task)
    release.set()
    assert (task.status, task.reason, ran) == (Status.CANCELLED, "enough", [1])
