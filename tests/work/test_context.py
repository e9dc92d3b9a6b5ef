"""What a function says through its context, and what becomes of it: progress, stages, output, checkpoints."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from mcp_server import Engine, SyncTaskContext, TaskCancelled, TaskContext, TaskError
from mcp_server.access.principal import ANONYMOUS
from mcp_server.backends.sqlite import SQLiteBackend
from mcp_server.task import Event, Kind, Status
from tests.server.engines import ended, log, outputs, reached, run, task_type


async def reports(engine: Engine, task_type: str) -> list[Event]:
    """Run a task that completes; its progress events."""
    async with engine.run():
        task = await run(engine, task_type)
        assert task.status is Status.COMPLETED, task.error
        return [event for event in await log(engine, task) if event.kind is Kind.PROGRESS]


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        ({"current": 3, "total": 10}, (30.0, 3, 10)),
        ({"current": 30}, (30.0, 30, 100.0)),
        ({"message": "looking"}, (0.0, None, None)),
        ({"current": 7, "total": None}, (0.0, 7, None)),
        ({"current": 15, "total": 10}, (100.0, 15, 10)),
        ({"current": -5, "total": 10}, (0.0, -5, 10)),
        ({"current": 1, "total": 0}, (0.0, 1, 0)),
        ({"current": 1, "total": -1}, (0.0, 1, -1)),
        ({"current": math.nan, "total": 10}, (0.0, None, 10)),
        ({"current": math.inf, "total": 10}, (0.0, None, 10)),
        ({"current": 1, "total": math.inf}, (0.0, 1, None)),
        ({"current": Decimal(1), "total": Decimal(4)}, (25.0, 1.0, 4.0)),
        ({"current": Fraction(1, 2), "total": 1}, (50.0, 0.5, 1)),
        ({"current": np.int64(1), "total": np.float32(4)}, (25.0, 1.0, 4.0)),
        ({"current": True, "total": 2}, (50.0, 1.0, 2)),
    ],
    ids=str,
)
async def test_a_report_is_units_of_a_total_or_percent_or_words(
    engine: Engine, report: dict[str, Any], shown: tuple[Any, ...]
) -> None:
    """Progress stays from 0 to 100 whatever a function reports, and numbers of every kind will do."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.report(**report)

    (event,) = await reports(engine, "work")
    expected = (shown[0], None if shown[1] is None else shown[1], shown[2] if shown[1] is not None else None)
    assert (event.data["progress"], event.data["current"], event.data["total"]) == expected


async def test_progress_never_falls(engine: Engine) -> None:
    """A function may count down; the bar does not."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        for percent in (10, 60, 40, 61, 0, 100):
            await task.report(percent)

    assert [e.data["progress"] for e in await reports(engine, "work")] == [10, 60, 60, 61, 61, 100]


@pytest.mark.parametrize("message", [ValueError("odd"), Path("a/b"), 7])
async def test_a_message_can_be_anything_with_a_text(engine: Engine, message: Any) -> None:
    """An author who reports an exception means its text."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        task.summary = message
        async with task.stage(message):
            await task.report(1, message=message)
        await task.emit(1, topic=message)

    async with engine.run():
        task = await run(engine, "work")
        events = {event.kind: event.data for event in await log(engine, task)}
    assert task.message == events[Kind.PROGRESS]["message"] == events[Kind.OUTPUT]["topic"] == str(message)


async def test_no_report_is_skipped(engine: Engine) -> None:
    """Thousands at full speed, from a thread or a coroutine: each is an event, in order."""

    @task_type(engine)
    async def fast(*, task: TaskContext) -> None:
        for n in range(3000):
            await task.report(n, total=3000)

    @task_type(engine)
    def threaded(*, task: SyncTaskContext) -> None:
        for n in range(3000):
            task.report(n, total=3000)

    async with engine.run():
        for name in ("fast", "threaded"):
            events = await log(engine, await run(engine, name))
            assert [e.data["current"] for e in events if e.kind is Kind.PROGRESS] == list(range(3000))
            assert [e.number for e in events] == list(range(1, len(events) + 1))


async def test_planned_stages_share_the_work_by_weight(engine: Engine) -> None:
    """Three to one: the first stage ends at three quarters. A stage that is left is done."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        task.plan(extract=3, index=1)
        async with task.stage("extract") as stage:
            await stage.report(1, total=2, message="half of it")
        async with task.stage("index") as stage:
            await stage.report(50)

    opened, half, second, last = await reports(engine, "work")
    assert opened.data["stage"] == {"name": "extract", "index": 1, "count": 2, "progress": 0.0}
    assert (half.data["progress"], half.data["stage"]["progress"]) == (37.5, 50.0)
    assert second.data["progress"] == 75.0
    assert second.data["stage"] == {"name": "index", "index": 2, "count": 2, "progress": 0.0}
    assert (last.data["progress"], last.data["stage"]["progress"]) == (87.5, 50.0)


async def test_an_unplanned_stage_takes_its_weight_in_percent_or_all_that_is_left(engine: Engine) -> None:
    """Nobody has to plan."""

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> None:
        with task.stage("first", weight=20) as stage:
            stage.report(50)
        with task.stage("rest") as stage:
            stage.report(50)

    shown = [
        (e.data["stage"]["name"], e.data["progress"], e.data["stage"]["count"]) for e in await reports(engine, "work")
    ]
    assert shown == [("first", 0.0, None), ("first", 10.0, None), ("rest", 20.0, None), ("rest", 60.0, None)]


async def test_stages_nest(engine: Engine) -> None:
    """An inner stage moves its share of the outer one, and the path says where the work is."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        task.plan(a=1, b=1)
        async with task.stage("a") as a:
            a.plan(x=1, y=4)
            async with a.stage("x") as x:
                await x.report(50)
            async with a.stage("y") as y:
                await y.report(100)
        async with task.stage("b") as b, b.stage("z", weight=50) as z:
            await z.report(100)

    shown = {e.data["stage"]["name"]: e.data["progress"] for e in await reports(engine, "work")}
    assert shown == {"a": 0.0, "a/x": 5.0, "a/y": 50.0, "b": 50.0, "b/z": 75.0}


async def test_a_stage_that_raises_is_not_filled(engine: Engine) -> None:
    """The bar stays where the work stopped."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        async with task.stage("a") as stage:
            await stage.report(30)
            raise TaskError("no such page")

    async with engine.run():
        task = await run(engine, "work")
    assert (task.status, task.progress) == (Status.FAILED, 30.0)


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 1, "b": -1}, {"a": math.nan}], ids=str)
async def test_a_plan_needs_weights(engine: Engine, weights: dict[str, float]) -> None:
    """A stage without weight would have no place on the bar."""
    seen: list[str] = []

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        try:
            task.plan(**weights)
        except ValueError as error:
            seen.append(str(error))

    await reports(engine, "work")
    assert seen == [f"every stage needs a weight above 0, got {weights}"]


async def test_output_is_kept_in_order_with_everything_else(engine: Engine) -> None:
    """What is emitted is JSON-clean and lies where it happened."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.emit("first", topic="text")
        await task.report(50)
        await task.emit({"raw": b"\xff", "n": math.nan})
        await task.emit(None)

    async with engine.run():
        task = await run(engine, "work")
        events = await log(engine, task)
        assert await outputs(engine, task) == ["first", {"raw": "/w==", "n": None}, None]
    assert [e.kind for e in events[2:-1]] == [Kind.OUTPUT, Kind.PROGRESS, Kind.OUTPUT, Kind.OUTPUT]
    assert [e.data["topic"] for e in events if e.kind is Kind.OUTPUT] == ["text", None, None]


async def test_what_cannot_be_sent_can_be_caught(engine: Engine) -> None:
    """The author decides whether an output that is refused ends the task."""
    engine.settings = replace(engine.settings, max_event_bytes=1000)

    @task_type(engine)
    async def careful(*, task: TaskContext) -> list[str]:
        codes = []
        for data in ("x" * 1000, object()):
            try:
                await task.emit(data)
            except TaskError as error:
                codes.append(error.code)
        return codes

    async with engine.run():
        task = await run(engine, "careful")
    assert task.output == ["TOO_LARGE", "NOT_JSON"]


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_checkpoint_is_on_disk_when_it_returns(engine: Engine, tmp_path: Path, threaded: bool) -> None:
    """With everything that was said before it: another reader of the file sees both."""
    at_checkpoint, go_on = anyio.Event(), anyio.Event()
    go_on_thread = threading.Event()

    async def work(*, task: TaskContext) -> None:
        await task.report(40)
        await task.checkpoint({"page": 4})
        at_checkpoint.set()
        await go_on.wait()

    def work_in_thread(*, task: SyncTaskContext) -> None:
        task.report(40)
        task.checkpoint({"page": 4})
        anyio.from_thread.run_sync(at_checkpoint.set, token=token)
        go_on_thread.wait()

    task_type(engine, name="work")(work_in_thread if threaded else work)
    async with engine.run(), SQLiteBackend(tmp_path / "tasks.db") as another:
        token = anyio.lowlevel.current_token()
        task = await engine.start("work", principal=ANONYMOUS)
        await at_checkpoint.wait()
        stored = await another.load(task.id)
        assert stored is not None
        assert (stored.state, stored.progress, stored.status) == ({"page": 4}, 40.0, Status.RUNNING)
        go_on.set()
        go_on_thread.set()
        await ended(engine, task)


@pytest.mark.parametrize("state", [{"page": 3}, 0, [], "", None])
async def test_the_next_attempt_finds_the_checkpoint(engine: Engine, state: Any) -> None:
    """Falsy checkpoints too; the bar goes on where it was."""
    seen: list[tuple[int, Any]] = []

    @task_type(engine, retries=1, retry_delay=0)
    async def work(*, task: TaskContext) -> None:
        seen.append((task.attempt, task.state))
        if task.attempt == 1:
            await task.report(70)
            await task.checkpoint("early")
            await task.checkpoint(state)
            raise TaskError("try again")

    async with engine.run():
        task = await run(engine, "work")
        started = [e for e in await log(engine, task) if e.kind is Kind.STARTED]
    assert seen == [(1, None), (2, state)]
    assert len(started) == 2
    assert task.status is Status.COMPLETED


async def test_a_function_knows_its_task(engine: Engine) -> None:
    """Its id, its attempt, and what the caller attached."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> list[Any]:
        task.summary = "All pages read"
        return [task.id, task.attempt, task.metadata, task.state]

    async with engine.run():
        task = await run(engine, "work", metadata={"who": "me"})
    assert task.output == [task.id, 1, {"who": "me"}, None]
    assert task.message == "All pages read"


async def test_a_context_that_outlives_its_task_says_nothing_more(engine: Engine) -> None:
    """Work that was left behind cannot write into a log that has ended."""
    kept: list[SyncTaskContext] = []

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> None:
        kept.append(task)

    async with engine.run():
        task = await run(engine, "work")
        with pytest.raises(TaskCancelled):
            kept[0].report(50)
        assert (await engine.get(task.id, principal=ANONYMOUS)).last_event_id == task.last_event_id


async def test_a_failed_report_leaves_the_rest_readable(engine: Engine) -> None:
    """An output over the limit fails the task with a clear code; what was streamed before stays."""
    engine.settings = replace(engine.settings, max_event_bytes=1000)

    @task_type(engine, retries=3)
    async def work(*, task: TaskContext) -> None:
        await task.emit("small")
        await task.emit("x" * 2000)

    async with engine.run():
        task = await run(engine, "work")
        assert await outputs(engine, task) == ["small"]
    assert task.error is not None
    assert (task.status, task.error["error_code"], task.attempt) == (Status.FAILED, "TOO_LARGE", 1)
    assert task.error["details"] == {"bytes": 2002, "max_bytes": 1000}


async def test_progress_can_be_waited_for(engine: Engine) -> None:
    """A watcher is woken by a report, not by a clock."""
    go_on = anyio.Event()

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.report(50)
        await go_on.wait()

    async with engine.run():
        task = await engine.start("work", principal=ANONYMOUS)
        half = await reached(engine, task, lambda t: t.progress == 50.0)
        assert half.status is Status.RUNNING
        go_on.set()
        await ended(engine, task)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_a_report_that_was_not_awaited_fails_the_attempt(engine: Engine) -> None:
    """The author is told what to write; a report that was awaited late is none of that."""

    @task_type(engine, retries=3)
    async def forgetful(*, task: TaskContext) -> str:
        task.report(50)  # type: ignore[unused-coroutine]
        return "done"

    @task_type(engine)
    async def late(*, task: TaskContext) -> str:
        report = task.report(50)
        await task.emit("first")
        await report
        return "done"

    async with engine.run():
        failed = await run(engine, "forgetful")
        assert failed.error is not None
        assert (failed.error["error_code"], failed.attempt) == ("NOT_AWAITED", 1)
        assert "`await task.report(...)`" in failed.error["message"]
        assert (await run(engine, "late")).output == "done"
