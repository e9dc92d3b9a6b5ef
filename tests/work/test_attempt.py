"""How an attempt ends: by its result, by what it raises, by a limit, by the server's end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint, current_token

from mcp_server import Engine, SyncTaskContext, TaskCancelled, TaskContext, TaskError
from mcp_server.access.principal import ANONYMOUS
from mcp_server.backends.sqlite import SQLiteBackend
from mcp_server.errors import InvalidArgument, Unavailable
from mcp_server.task import Kind, Status, Task
from tests.server.engines import ended, kinds, log, make_engine, outputs, run, task_type


class Rude(BaseException):
    """What no `except Exception` catches."""


def failed_with(task: Task) -> tuple[str, str]:
    assert task.status is Status.FAILED
    assert task.error is not None
    return task.error["error_code"], task.error["message"]


@pytest.mark.parametrize("result", [0, "", [], {}, False, None, 0.0, "text", {"a": [1]}])
@pytest.mark.parametrize("threaded", [False, True])
async def test_whatever_is_returned_is_the_result(engine: Engine, result: Any, threaded: bool) -> None:
    """Falsy results are results, also when they are read back from the file."""

    async def work() -> Any:
        return result

    task_type(engine, name="work")((lambda: result) if threaded else work)
    async with engine.run():
        task = await run(engine, "work")
    assert (task.status, task.progress, task.message) == (Status.COMPLETED, 100.0, "Completed")
    assert task.output == result
    assert type(task.output) is type(result)


RAISED: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "TaskError": (lambda: TaskError("no such page", code="NO_PAGE"), "NO_PAGE", "no such page"),
    "wrapped TaskError": (lambda: ExceptionGroup("g", [TaskError("inner", code="IN")]), "IN", "inner"),
    "InvalidArgument": (lambda: InvalidArgument("bad", errors=[]), "INVALID_ARGUMENT", "bad"),
    "Exception": (lambda: ValueError("bad page"), "TASK_FAILED", "ValueError: bad page (incident "),
    "exit": (lambda: SystemExit(3), "EXIT", "exit(3)"),
    "wrapped exit": (lambda: BaseExceptionGroup("g", [SystemExit(3)]), "EXIT", "exit(3)"),
    "KeyboardInterrupt": (KeyboardInterrupt, "TASK_FAILED", "incident"),
    "CancelledError": (asyncio.CancelledError, "TASK_FAILED", "incident"),
    "TaskCancelled": (TaskCancelled, "TASK_FAILED", "incident"),
    "StopIteration": (StopIteration, "TASK_FAILED", "incident"),
    "own BaseException": (Rude, "TASK_FAILED", "incident"),
    "group": (lambda: BaseExceptionGroup("g", [Rude(), ValueError()]), "TASK_FAILED", "incident"),
}


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("threaded", [False, True])
async def test_whatever_is_raised_fails_this_task_only(engine: Engine, raised: str, threaded: bool) -> None:
    """With what the author said, or the exception and an incident number; the next task runs as ever."""
    make, code, message = RAISED[raised]

    async def work() -> None:
        raise make()

    def work_in_thread() -> None:
        raise make()

    task_type(engine, name="work")(work_in_thread if threaded else work)
    task_type(engine, name="fine")(lambda: "fine")
    async with engine.run():
        failed = await run(engine, "work")
        assert failed_with(failed)[0] == code
        assert message in failed_with(failed)[1]
        assert (await run(engine, "fine")).output == "fine"


async def test_an_incident_is_found_in_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Its number joins the caller's answer and the traceback."""

    @task_type(engine)
    async def work() -> None:
        raise ValueError("secret")

    async with engine.run():
        task = await run(engine, "work")
    assert task.error is not None
    (record,) = [r for r in caplog.records if task.error["details"]["incident"] in r.getMessage()]
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


async def test_a_function_that_cancels_its_own_task_ends_nobody_elses(engine: Engine) -> None:
    """`asyncio.current_task()` in a function is the function's."""

    @task_type(engine)
    async def work() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await checkpoint()

    @task_type(engine)
    async def fine() -> str:
        return "fine"

    async with engine.run():
        assert failed_with(await run(engine, "work"))[0] == "TASK_FAILED"
        assert (await run(engine, "fine")).output == "fine"


@pytest.mark.parametrize(
    "details",
    [{"what": object()}, {"deep": [float("nan"), b"\xff"]}, {"\ud800": 1}],
    ids=["object", "nan and bytes", "surrogate key"],
)
async def test_an_error_with_odd_details_is_still_that_error(engine: Engine, details: dict[str, Any]) -> None:
    """Its message and code reach the caller, the details as far as they have a JSON form."""

    @task_type(engine)
    async def work() -> None:
        raise TaskError("no \ud800 luck", code="NO_LUCK", details=details)

    async with engine.run():
        task = await run(engine, "work")
    assert failed_with(task) == ("NO_LUCK", "no \ufffd luck")
    assert task.error is not None
    assert task.error["details"].keys() <= {"dropped", "deep", "\ufffd"}
    assert task.attempt == 1


@pytest.mark.parametrize(
    ("result", "code"), [(object(), "NOT_JSON"), ("x" * 2000, "TOO_LARGE"), ({1: "a", "1": "b"}, "NOT_JSON")]
)
async def test_a_result_that_cannot_be_kept_fails_the_task(engine: Engine, result: Any, code: str) -> None:
    """Once, without a retry: it would come out the same. What was emitted before stays."""
    engine.settings = replace(engine.settings, max_event_bytes=1000)

    @task_type(engine, retries=3)
    async def work(*, task: TaskContext) -> Any:
        await task.emit("kept")
        return result

    async with engine.run():
        task = await run(engine, "work")
        assert failed_with(task)[0] == code
        assert task.attempt == 1
        assert await outputs(engine, task) == ["kept"]


async def test_a_failed_attempt_is_repeated_after_a_growing_pause(engine: Engine) -> None:
    """As often as `retries` says; the log tells what went wrong each time and how long the pause is."""

    @task_type(engine, retries=2, retry_delay=0.05)
    async def work(*, task: TaskContext) -> None:
        raise TaskError(f"attempt {task.attempt}")

    async with engine.run():
        task = await run(engine, "work")
        retries = [e for e in await log(engine, task) if e.kind is Kind.RETRYING]
        starts = [e for e in await log(engine, task) if e.kind is Kind.STARTED]
    assert failed_with(task)[1] == "attempt 3"
    assert [(e.data["message"], e.data["cause"]) for e in retries] == [("attempt 1", "failed"), ("attempt 2", "failed")]
    for retry, start, delay in zip(retries, starts[1:], (0.05, 0.1), strict=True):
        assert 0 < retry.data["delay_seconds"] <= delay
        assert start.at - retry.at >= retry.data["delay_seconds"] - 0.002


async def test_a_final_error_is_not_repeated(engine: Engine) -> None:
    """`retry=False` is the author's word that nothing would change."""

    @task_type(engine, retries=5)
    async def work() -> None:
        raise TaskError("no such file", retry=False)

    async with engine.run():
        assert (await run(engine, "work")).attempt == 1


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_task_has_a_limit_of_work(engine: Engine, threaded: bool) -> None:
    """When it is reached the function is stopped, and the failure says so. It is not retried."""
    stopped = threading.Event()

    async def work(*, task: TaskContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    def work_in_thread(*, task: SyncTaskContext) -> None:
        try:
            while True:
                task.report(1)
        finally:
            stopped.set()

    task_type(engine, name="work", timeout=0.1, retries=3)(work_in_thread if threaded else work)
    async with engine.run():
        task = await run(engine, "work")
        assert await anyio.to_thread.run_sync(stopped.wait, 5)
    assert failed_with(task) == ("TIMEOUT", "Stopped after its limit of 0.1 seconds of work")
    assert task.worked_seconds >= 0.1


async def test_the_limit_counts_all_attempts(engine: Engine) -> None:
    """A task that fails and is retried has no second tenth of a second."""

    @task_type(engine, timeout=0.3, retries=100, retry_delay=0)
    async def work() -> None:
        await anyio.sleep(0.1)
        raise TaskError("again")

    async with engine.run():
        task = await run(engine, "work")
    assert failed_with(task)[0] == "TIMEOUT"
    assert task.attempt <= 4


async def test_the_oldest_events_are_dropped_beyond_the_bound(tmp_path: Path) -> None:
    """The log keeps about as many as it may, the newest, numbered as ever."""
    engine = make_engine(tmp_path, max_events=100)

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        for n in range(1000):
            await task.report(n, total=1000)

    async with engine.run():
        task = await run(engine, "work")
        events = await log(engine, task)
    assert task.last_event_id == events[-1].number == 1003
    assert 100 <= len(events) <= 110
    assert task.first_event_id == events[0].number
    assert [e.number for e in events] == list(range(task.first_event_id, 1004))


async def test_a_task_whose_arguments_no_longer_fit_fails_where_it_runs(tmp_path: Path) -> None:
    """A start was accepted by an older release; the new one validates again before it calls the function."""
    engine = make_engine(tmp_path)
    task_type(engine, name="work")(lambda pages: pages)
    async with engine.run(work=False):
        task = await engine.start("work", {"pages": "many"}, principal=ANONYMOUS)
    newer = make_engine(tmp_path)

    @task_type(newer)
    async def work(pages: int) -> int:
        return pages

    async with newer.run():
        task = await ended(newer, task)
    assert failed_with(task)[0] == "INVALID_ARGUMENT"


async def test_a_function_that_blocks_the_event_loop_is_named_in_the_log(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """With the line where it stands, while it still does."""
    blocked_here = 1.7

    @task_type(engine)
    async def blocks() -> None:
        time.sleep(blocked_here)  # noqa: ASYNC251

    async with engine.run():
        await run(engine, "blocks")
    warnings = [r.getMessage() for r in caplog.records if "event loop has been blocked" in r.getMessage()]
    assert len(warnings) == 1
    assert "in blocks" in warnings[0]
    assert "time.sleep(blocked_here)" in warnings[0]


async def test_a_thread_that_never_ends_holds_nobody_up(engine: Engine) -> None:
    """Tasks in threads share no pool: thirty that hang leave room for the next."""
    release = threading.Event()
    task_type(engine, name="hangs")(release.wait)
    task_type(engine, name="fine")(lambda: "fine")
    engine.settings = replace(engine.settings, concurrency=40)
    try:
        async with engine.run():
            for _ in range(30):
                await engine.start("hangs", principal=ANONYMOUS)
            assert (await run(engine, "fine")).output == "fine"
    finally:
        release.set()


async def test_kinds_of_a_plain_run(engine: Engine) -> None:
    """Queued, started, what it said, completed."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.report(1)
        await task.emit(1)
        await task.checkpoint(1)

    async with engine.run():
        assert await kinds(engine, await run(engine, "work")) == [
            Kind.QUEUED, Kind.STARTED, Kind.PROGRESS, Kind.OUTPUT, Kind.CHECKPOINT, Kind.COMPLETED,
        ]  # fmt: skip


async def test_what_a_task_says_at_the_end_is_bounded(engine: Engine) -> None:
    """A closing message over the limit is refused like a result; an error's message is cut."""
    engine.settings = replace(engine.settings, max_event_bytes=20_000)

    @task_type(engine)
    async def wordy(*, task: TaskContext) -> None:
        task.summary = "x" * 20_001

    @task_type(engine)
    async def fails() -> None:
        raise TaskError("x" * 20_001)

    async with engine.run():
        refused, cut = await run(engine, "wordy"), await run(engine, "fails")
    assert failed_with(refused) == ("TOO_LARGE", "The summary is 20001 characters long; at most 20000 are kept")
    assert failed_with(cut) == ("TASK_FAILED", "x" * 9_997 + "...")


async def test_a_clock_that_is_set_back_does_not_stop_the_clock_of_a_task(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit of work holds, and its times go on."""
    wall = time.time

    @task_type(engine, timeout=0.2)
    async def work(*, task: TaskContext) -> None:
        monkeypatch.setattr(time, "time", lambda: wall() - 3600)
        while True:
            await task.report(message="busy")
            await anyio.sleep(0.01)

    async with engine.run():
        task = await run(engine, "work")
        events = await log(engine, task)
    assert failed_with(task)[0] == "TIMEOUT"
    assert 0.2 <= events[-1].at - events[1].at < 20
    assert len({event.at for event in events[2:]}) == len(events) - 2


class Away(SQLiteBackend):
    """A store that, once told to, does not answer one `load`."""

    misses = 0

    async def load(self, task_id: str) -> Task | None:
        if self.misses:
            self.misses -= 1
            raise Unavailable("away")
        return await super().load(task_id)


async def test_a_store_that_is_away_when_a_task_moved_on_is_asked_again(tmp_path: Path) -> None:
    """A cancel through another server meets a report here, and the look at what happened fails: neither is lost."""
    backend = Away(tmp_path / "tasks.db", lease=1.0)
    engine, other = make_engine(tmp_path), make_engine(tmp_path)
    engine.backend = backend

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> None:
        anyio.from_thread.run(partial(other.cancel, task.id, principal=ANONYMOUS), token=token)
        backend.misses = 1
        task.emit("met")
        while True:
            task.report(message="busy")

    async with engine.run(), other.run(work=False):
        token = current_token()
        task = await run(engine, "work")
        assert await outputs(engine, task) == ["met"]
    assert (task.status, task.attempt, task.interruptions, backend.misses) == (Status.CANCELLED, 1, 0, 0)


async def test_a_result_is_made_json_where_its_function_ran(engine: Engine) -> None:
    """What takes long to be written as JSON holds up its own thread and not the event loop."""

    class Array:
        def tolist(self) -> int:
            return threading.get_ident()

    @task_type(engine)
    def work(function: str, limit: str) -> Any:
        return [threading.get_ident(), Array()]

    async with engine.run():
        task = await run(engine, "work", {"function": "any name", "limit": "will do"})
    assert task.output[0] == task.output[1] != threading.get_ident()
