"""`run_task`, as an author's own tests use it."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mcp_server import SyncTaskContext, TaskContext, TaskError
from mcp_server.errors import InvalidArgument
from mcp_server.testing import UnansweredQuestion, run_task


class Name(BaseModel):
    name: str


async def greet(day: date, *, task: TaskContext) -> dict[str, Any]:
    """Asks two questions, with and without a key, and keeps what it has."""
    await task.report(1, total=2, message="asking")
    first = await task.ask("Who are you?", Name)
    await task.checkpoint({"name": first.name})
    await task.emit(first.name, topic="text")
    sure = await task.ask("Sure?", {"type": "object", "properties": {"value": {"type": "boolean"}}}, key="sure")
    return {"name": first.name, "sure": sure["value"], "year": day.year, "seen": task.metadata.get("seen")}


def double(n: int, *, task: SyncTaskContext) -> int:
    task.report(n, total=n)
    return 2 * n


async def fragile(*, task: TaskContext) -> int:
    """Fails until its second attempt, or goes on from a checkpoint."""
    if task.state is not None:
        return int(task.state)
    if task.attempt == 1:
        raise TaskError("not yet", code="NOT_YET", details={"page": 3})
    return task.attempt


async def test_a_task_is_run_and_shows_what_it_did() -> None:
    """Arguments may be Python values; answers are bare values, models or whole results."""
    run = await run_task(
        greet, {"day": date(2026, 2, 3)}, answers={"q1": Name(name="Ann"), "sure": True}, metadata={"seen": 1}
    )
    assert run.result == {"name": "Ann", "sure": True, "year": 2026, "seen": 1}
    assert (run.status, run.checkpoint, run.emitted("text"), run.emitted("other")) == (
        "completed", {"name": "Ann"}, ["Ann"], [],
    )  # fmt: skip
    assert next(event.data["message"] for event in run.events if event.event == "progress") == "asking"
    assert {key: question["message"] for key, question in run.questions.items()} == {
        "q1": "Who are you?", "sure": "Sure?",
    }  # fmt: skip


def test_a_plain_test_runs_one_too() -> None:
    assert asyncio.run(run_task(double, {"n": 4})).result == 8


async def test_a_function_in_a_process_is_run_in_one() -> None:
    assert (await run_task(double, {"n": 4}, process=True)).result == 8


async def test_a_failure_is_told_as_callers_see_it() -> None:
    """Its code and details; the options of the decorator hold, and a checkpoint can be given."""
    run = await run_task(fragile)
    with pytest.raises(TaskError, match="not yet") as raised:
        _ = run.result
    assert (run.status, raised.value.code, raised.value.details) == ("failed", "NOT_YET", {"page": 3})
    assert (await run_task(fragile, retries=1, retry_delay=0.0)).result == 2
    assert (await run_task(fragile, checkpoint=7)).result == 7


async def test_a_declined_question_is_one() -> None:
    run = await run_task(greet, {"day": "2026-02-03"}, answers={"q1": "decline"})
    assert run.status == "failed"


async def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    """A question without an answer, a wrong answer, wrong arguments."""
    with pytest.raises(UnansweredQuestion, match=r"asked 'Who are you\?'; .*answers=\{'q1'"):
        await run_task(greet, {"day": "2026-02-03"})
    with pytest.raises(InvalidArgument, match=r"responses\.q1"):
        await run_task(greet, {"day": "2026-02-03"}, answers={"q1": {"nome": "Ann"}})
    with pytest.raises(InvalidArgument, match="day"):
        await run_task(greet, {"day": "tomorrow"})
