"""Questions of a running task: asked, answered, declined, timed out, and never asked twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, field_validator

from mcp_server import Engine, InputDeclined, SyncTaskContext, TaskCancelled, TaskContext, TaskError
from mcp_server.access.principal import ANONYMOUS
from mcp_server.errors import InvalidArgument
from mcp_server.task import Kind, Status, Task
from tests.server.engines import ended, kinds, log, make_engine, reached, run, task_type


class Confirm(BaseModel):
    sure: bool
    why: str = ""


class Departure(BaseModel, strict=True):
    day: dt.date
    price: float


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def is_even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("must be even")
        return n


def accept(**content: Any) -> Mapping[str, Any]:
    return {"action": "accept", "content": content}


def waits(task: Task) -> bool:
    return task.status is Status.INPUT_REQUIRED


async def test_a_task_parks_until_it_is_answered(engine: Engine) -> None:
    """The question is there to see with what the answer has to look like; the answer comes back as the model."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> str:
        answer = await task.ask("Overwrite?", Confirm)
        return f"{answer.sure} {answer.why}"

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        ((key, request),) = task.input_requests.items()
        assert (key, request["method"], request["params"]["message"]) == ("q1", "elicitation/create", "Overwrite?")
        assert request["params"]["requestedSchema"]["required"] == ["sure"]
        answered, known = await engine.answer(
            task.id, {key: accept(sure=True, why="old"), "q9": accept()}, principal=ANONYMOUS
        )
        assert (answered.status, answered.input_requests, known) == (Status.RUNNING, {}, ["q1"])
        assert (await ended(engine, task)).output == "True old"
        assert (await kinds(engine, task))[2:-1] == [Kind.INPUT_REQUIRED, Kind.INPUT_ANSWERED]


async def test_a_strict_question_takes_its_answer_as_the_json_it_is(engine: Engine) -> None:
    """JSON has no dates, so the text of one is the right answer also where Python's validation would refuse it."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> list[Any]:
        answer = await task.ask("When?", Departure)
        return [answer.day.year, answer.price]

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.answer(task.id, {"q1": accept(day="2026-01-02", price=3)}, principal=ANONYMOUS)
        assert (await ended(engine, task)).output == [2026, 3.0]


async def test_a_thread_asks_the_same_way(engine: Engine) -> None:
    """With a JSON Schema instead of a model, the answer is what was sent."""

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> Any:
        return task.ask("Which?", {"type": "object", "properties": {"page": {"type": "integer"}}}, key="page")

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.answer(task.id, {"page": accept(page=3)}, principal=ANONYMOUS)
        assert (await ended(engine, task)).output == {"page": 3}


async def test_several_questions_are_open_at_once(engine: Engine) -> None:
    """Asked from child tasks, answered in any order; the task waits for the last."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> list[Any]:
        answers: dict[str, Any] = {}

        async def ask(name: str) -> None:
            answers[name] = await task.ask(name, key=name)

        async with anyio.create_task_group() as questions:
            questions.start_soon(ask, "a")
            questions.start_soon(ask, "b")
        return [answers["a"], answers["b"]]

    async with engine.run():
        task = await reached(
            engine, await engine.start("work", principal=ANONYMOUS), lambda t: len(t.input_requests) == 2
        )
        task, _ = await engine.answer(task.id, {"b": accept(n=2)}, principal=ANONYMOUS)
        assert task.status is Status.INPUT_REQUIRED
        task, _ = await engine.answer(task.id, {"a": accept(n=1)}, principal=ANONYMOUS)
        assert (await ended(engine, task)).output == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_refused_question_fails_the_task_unless_it_is_caught(engine: Engine, action: str) -> None:
    """The failure says what happened, is not retried, and comes through a task group of the author's as well."""

    @task_type(engine, retries=5)
    async def work(catch: bool, *, task: TaskContext) -> str:
        try:
            async with anyio.create_task_group():
                await task.ask("Go on?")
        except* InputDeclined:
            if not catch:
                raise
        return "went on"

    async with engine.run():
        for catch in (True, False):
            task = await reached(engine, await engine.start("work", {"catch": catch}, principal=ANONYMOUS), waits)
            await engine.answer(task.id, {"q1": {"action": action}}, principal=ANONYMOUS)
            task = await ended(engine, task)
            if catch:
                assert task.output == "went on"
            else:
                assert task.error is not None
                assert (task.error["error_code"], task.attempt) == ("INPUT_DECLINED", 1)
                assert action in task.error["message"]


async def test_an_answer_that_does_not_fit_is_refused(engine: Engine) -> None:
    """The one who answers learns what is wrong with it, and the question stays open."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> bool:
        return (await task.ask("Sure?", Confirm)).sure

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        for unfit in (accept(sure="perhaps"), accept(), {"action": "maybe"}, "yes", {}):
            with pytest.raises(InvalidArgument, match=r"responses\.q1"):
                await engine.answer(task.id, {"q1": unfit}, principal=ANONYMOUS)
        assert await engine.get(task.id, principal=ANONYMOUS) == task
        await engine.answer(task.id, {"q1": accept(sure=False)}, principal=ANONYMOUS)
        assert (await ended(engine, task)).output is False


async def test_an_answer_that_only_the_function_can_judge_may_fail_the_task(engine: Engine) -> None:
    """With a code that tells it from an error of the function."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.ask("Which?", Even)

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.answer(task.id, {"q1": accept(n=3)}, principal=ANONYMOUS)
        task = await ended(engine, task)
    assert task.error is not None
    assert task.error["error_code"] == "INVALID_INPUT"


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_question_has_a_deadline(engine: Engine, threaded: bool) -> None:
    """When it has passed, the work goes on with the default; without one it fails. The question is closed for all."""

    async def work(*, task: TaskContext) -> str:
        confirmed = await task.ask("Sure?", Confirm, timeout=0.05, default=Confirm(sure=False))
        assert not confirmed.sure
        await task.ask("Really?", timeout=0.05)
        return "unreachable"

    def work_in_thread(*, task: SyncTaskContext) -> str:
        confirmed = task.ask("Sure?", Confirm, timeout=0.05, default=Confirm(sure=False))
        assert not confirmed.sure
        task.ask("Really?", timeout=0.05)
        return "unreachable"

    task_type(engine, name="work")(work_in_thread if threaded else work)
    async with engine.run():
        task = await run(engine, "work")
        assert task.error is not None
        assert (task.error["error_code"], task.input_requests) == ("INPUT_TIMEOUT", {})
        assert await engine.answer(task.id, {"q1": accept(sure=True)}, principal=ANONYMOUS) == (task, [])


async def test_an_answered_question_is_not_asked_again(engine: Engine) -> None:
    """Another attempt, and a task that retries this one, find the answers of the first."""
    asked = []

    @task_type(engine, retries=1, retry_delay=0)
    async def work(*, task: TaskContext) -> Any:
        answer = await task.ask("Which?", key="page")
        asked.append(answer)
        raise TaskError("no luck")

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.answer(task.id, {"page": accept(n=3)}, principal=ANONYMOUS)
        task = await ended(engine, task)
        again = await ended(engine, await engine.retry(task.id, principal=ANONYMOUS))
        assert [e.kind for e in await log(engine, again)].count(Kind.INPUT_REQUIRED) == 0
    assert asked == [{"n": 3}] * 4


async def test_a_task_that_retries_a_refused_one_asks_again(engine: Engine) -> None:
    """A no, or no answer in time, is no answer to the new task."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> Any:
        return await task.ask("Go on?", key="go")

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.answer(task.id, {"go": {"action": "decline"}}, principal=ANONYMOUS)
        await ended(engine, task)
        again = await reached(engine, await engine.retry(task.id, principal=ANONYMOUS), waits)
        await engine.answer(again.id, {"go": accept()}, principal=ANONYMOUS)
        assert (await ended(engine, again)).status is Status.COMPLETED


async def test_what_is_known_before_the_start_is_not_asked(engine: Engine) -> None:
    """A caller that was asked in advance hands the answer in with the start."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> Any:
        return await task.ask("Which?", key="page")

    async with engine.run():
        task = await run(engine, "work", answers={"page": accept(n=1)})
        assert task.output == {"n": 1}
        assert Kind.INPUT_REQUIRED not in await kinds(engine, task)


async def test_two_open_questions_cannot_have_one_key(engine: Engine) -> None:
    """The second asker is told, not left waiting for the other's answer."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        async def ask() -> None:
            await task.ask("Which?", key="page")

        async with anyio.create_task_group() as questions:
            questions.start_soon(ask)
            questions.start_soon(ask)

    async with engine.run():
        task = await run(engine, "work")
    assert task.error is not None
    assert task.error["error_code"] == "DUPLICATE_QUESTION"


async def test_the_work_clock_stands_still_while_a_person_thinks(engine: Engine) -> None:
    """A limit of a tenth of a second of work does not end a task that waits for longer."""

    @task_type(engine, timeout=0.2)
    async def work(*, task: TaskContext) -> str:
        await task.ask("Sure?", timeout=0.5, default={})
        return "answered in time"

    async with engine.run():
        task = await run(engine, "work")
    assert (task.output, task.error) == ("answered in time", None)
    assert task.worked_seconds < 0.2


async def test_a_waiting_task_can_be_cancelled(engine: Engine) -> None:
    """Its questions are closed with it."""

    @task_type(engine)
    async def work(*, task: TaskContext) -> None:
        await task.ask("Sure?")

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.cancel(task.id, "changed my mind", principal=ANONYMOUS)
        task = await ended(engine, task)
    assert (task.status, task.reason, task.input_requests) == (Status.CANCELLED, "changed my mind", {})


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_question_that_cannot_be_asked_is_its_authors_error(engine: Engine, threaded: bool) -> None:
    """At the call that asks it, and the key is free for a better one."""
    bad: Any = {"type": object()}

    async def work(*, task: TaskContext) -> Any:
        with pytest.raises(TaskError, match="The question cannot be written as JSON"):
            await task.ask("Which?", bad, key="page")
        return await task.ask("Which?", key="page", timeout=0.01, default={"page": 1})

    def work_in_thread(*, task: SyncTaskContext) -> Any:
        with pytest.raises(TaskError, match="The question cannot be written as JSON"):
            task.ask("Which?", bad, key="page")
        return task.ask("Which?", key="page", timeout=0.01, default={"page": 1})

    task_type(engine, name="work")(work_in_thread if threaded else work)
    async with engine.run():
        assert (await run(engine, "work")).output == {"page": 1}


async def test_a_thread_that_asks_is_told_of_a_cancel_at_once(tmp_path: Path) -> None:
    """It does not wait for an answer that nobody will give, nor the caller for the grace."""
    engine = make_engine(tmp_path, cancel_grace=60.0)
    seen: list[str] = []

    @task_type(engine)
    def work(*, task: SyncTaskContext) -> None:
        try:
            task.ask("Go on?")
        except TaskCancelled:
            seen.append("cleaned up")
            raise

    async with engine.run():
        task = await reached(engine, await engine.start("work", principal=ANONYMOUS), waits)
        await engine.cancel(task.id, principal=ANONYMOUS)
        assert (await ended(engine, task)).status is Status.CANCELLED
    assert seen == ["cleaned up"]
