"""The life of a task: every transition there is and none that is not, and what each event adds up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.errors import StaleAttempt, TransitionError
from mcp_server.events import CLASSES, Completed, Happening, Progress, advance
from mcp_server.task import (
    LIVE,
    TERMINAL,
    TRANSITIONS,
    Event,
    Kind,
    Status,
    Task,
)

FACTS: dict[Kind, dict[str, Any]] = {
    Kind.OUTPUT: {"topic": None, "data": 1},
    Kind.CHECKPOINT: {"state": {"page": 1}},
    Kind.INPUT_REQUIRED: {"requests": {"q1": {}}},
    Kind.INPUT_ANSWERED: {"responses": {"q1": {"action": "accept"}}},
    Kind.CANCEL_REQUESTED: {"reason": "enough"},
    Kind.RETRYING: {"cause": "failed", "message": "again"},
    Kind.COMPLETED: {"output": 0, "expires_at": 99.0},
    Kind.FAILED: {"code": "E", "message": "no", "details": {}, "expires_at": 99.0},
    Kind.CANCELLED: {"reason": "enough", "expires_at": 99.0},
}
"""The least each kind has to say."""

TO: dict[Status, tuple[Kind, ...]] = {
    Status.QUEUED: (),
    Status.RUNNING: (Kind.STARTED,),
    Status.INPUT_REQUIRED: (Kind.STARTED, Kind.INPUT_REQUIRED),
    Status.COMPLETED: (Kind.STARTED, Kind.COMPLETED),
    Status.FAILED: (Kind.STARTED, Kind.FAILED),
    Status.CANCELLED: (Kind.CANCELLED,),
}
"""A way to every status."""


def new() -> Task:
    return Task(id="t", type="work", created_at=0.0, updated_at=0.0)


def happening(kind: Kind, **facts: Any) -> Happening:
    return CLASSES[kind](**{**FACTS.get(kind, {}), **facts})


def step(task: Task, kind: Kind, *, at: float = 0.0, **facts: Any) -> Task:
    return advance(task, happening(kind, **facts), at=at)[0]


def through(*kinds: Kind) -> Task:
    task = new()
    for kind in kinds:
        task = step(task, kind)
    return task


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("status", TO, ids=str)
def test_only_the_transitions_of_the_table_happen(status: Status, kind: Kind) -> None:
    """A pair of status and kind is in the table and leads where it says, or is refused."""
    task = through(*TO[status])
    assert task.status is status
    if (status, kind) in TRANSITIONS:
        assert step(task, kind).status is TRANSITIONS[status, kind]
    else:
        with pytest.raises(TransitionError, match=kind.value):
            step(task, kind)


def test_nothing_leaves_a_terminal_status() -> None:
    """The table has no way out of completed, failed and cancelled, and a way into each from every live status."""
    assert not [pair for pair in TRANSITIONS if pair[0] in TERMINAL]
    for status in (Status.RUNNING, Status.INPUT_REQUIRED):
        assert {to for (at, _), to in TRANSITIONS.items() if at is status} >= TERMINAL
    assert set(Status) == LIVE | TERMINAL


@settings(deadline=None)  # a busy machine is no failure
@given(steps=st.lists(st.tuples(st.sampled_from(list(CLASSES)), st.floats(-5, 5), st.floats(-50, 150)), max_size=40))
def test_whatever_happens_the_log_is_sound(steps: list[tuple[Kind, float, float]]) -> None:
    """Numbers grow by one, time never runs backwards, progress stays in range and never falls within an attempt."""
    task, at, number = new(), 0.0, 1
    for kind, passed, progress in steps:
        at += passed
        facts = {"progress": progress} if kind is Kind.PROGRESS else {}
        try:
            after, event = advance(task, happening(kind, **facts), at=at)
        except TransitionError:
            continue
        number += 1
        assert event.number == after.last_event_id == number
        assert event.at == after.updated_at >= task.updated_at
        assert event.data["status"] == after.status
        assert after.worked_seconds >= task.worked_seconds
        assert 0.0 <= after.progress <= 100.0
        assert after.attempt == task.attempt + (kind is Kind.STARTED)
        if after.attempt == task.attempt:
            assert after.progress >= task.progress
        assert after.is_over == (after.completed_at is not None) == (after.expires_at is not None)
        task = after


def test_an_event_of_an_attempt_that_was_taken_over_is_refused() -> None:
    """What a late attempt reports does not reach the task."""
    task = through(Kind.STARTED, Kind.RETRYING, Kind.STARTED)
    with pytest.raises(StaleAttempt) as refused:
        advance(task, Progress(50), at=1.0, attempt=1)
    assert (refused.value.attempt, refused.value.current) == (1, 2)


def test_an_event_says_what_became_of_its_facts() -> None:
    """Progress that would fall stays where it was, in the event as in the task."""
    task = step(through(Kind.STARTED), Kind.PROGRESS, progress=60.0)
    task, event = advance(task, Progress(40.0, "back?"), at=1.0)
    assert task.progress == event.data["progress"] == 60.0
    assert task.message == event.data["message"] == "back?"


def test_a_report_without_a_message_keeps_the_last_one() -> None:
    """Only what is said changes."""
    task = step(through(Kind.STARTED), Kind.PROGRESS, message="page 3")
    assert step(task, Kind.PROGRESS, progress=10.0).message == "page 3"


def test_waiting_is_no_work() -> None:
    """The work clock runs while the task runs: not in the queue and not while it waits for an answer."""
    task = new()
    task = step(task, Kind.STARTED, at=10.0)
    task = step(task, Kind.INPUT_REQUIRED, at=13.0)
    task = step(task, Kind.INPUT_ANSWERED, at=500.0)
    task = step(task, Kind.RETRYING, at=504.0)
    task = step(task, Kind.STARTED, at=600.0)
    assert step(task, Kind.PROGRESS, at=601.0).worked_seconds == 3.0 + 4.0 + 1.0


def test_the_silence_of_a_dead_process_is_no_work() -> None:
    """Nobody knows when it died; the time since its last word counts for nothing."""
    task = step(through(Kind.STARTED), Kind.PROGRESS, at=2.0, progress=1.0)
    task = step(task, Kind.RETRYING, at=900.0, cause="interrupted")
    assert task.worked_seconds == 2.0


def test_the_estimate_comes_from_the_tasks_own_rate() -> None:
    """A quarter in ten seconds leaves thirty; nothing is estimated before there is progress."""
    task = through(Kind.STARTED)
    assert step(task, Kind.PROGRESS, at=5.0, message="looking").estimated_remaining is None
    assert step(task, Kind.PROGRESS, at=10.0, progress=25.0).estimated_remaining == 30.0


def test_the_estimate_of_a_resumed_task_leaves_out_what_earlier_attempts_did() -> None:
    """With a checkpoint the bar goes on where it was, and the rate is measured from the first report."""
    task = step(through(Kind.STARTED), Kind.PROGRESS, at=1.0, progress=50.0)
    task = step(task, Kind.CHECKPOINT, at=1.0)
    task = step(step(task, Kind.RETRYING, at=1.0), Kind.STARTED, at=1.0)
    assert task.progress == 50.0
    task = step(task, Kind.PROGRESS, at=3.0, progress=50.0)
    assert task.estimated_remaining is None
    assert step(task, Kind.PROGRESS, at=13.0, progress=75.0).estimated_remaining == 10.0


def test_an_attempt_without_a_checkpoint_begins_at_nothing() -> None:
    """The bar shows what this attempt has done."""
    task = step(through(Kind.STARTED), Kind.PROGRESS, progress=80.0, current=8, total=10, stage={"name": "a"})
    task = step(step(task, Kind.RETRYING), Kind.STARTED)
    assert (task.progress, task.current, task.total, task.stage, task.attempt) == (0.0, None, None, None, 2)


@pytest.mark.parametrize(("cause", "counts"), [("failed", (1, 0)), ("interrupted", (0, 1)), ("released", (0, 0))])
def test_each_cause_of_a_new_attempt_has_its_own_count(cause: str, counts: tuple[int, int]) -> None:
    """Exceptions count against `retries`, dead processes against `max_attempts`, a stopped server against neither."""
    task = step(through(Kind.STARTED), Kind.RETRYING, cause=cause)
    assert (task.failures, task.interruptions) == counts


def test_a_new_checkpoint_forgives_the_deaths_before_it() -> None:
    """Deaths in a row are counted from the last checkpoint; an exception between them is none and forgives none."""
    task = through(Kind.STARTED)
    for cause in ("interrupted", "failed", "interrupted"):
        task = step(step(task, Kind.RETRYING, cause=cause), Kind.STARTED)
    assert (task.interruptions, task.interruptions_in_a_row) == (2, 2)
    task = step(task, Kind.CHECKPOINT)
    assert (task.interruptions, task.interruptions_in_a_row) == (2, 0)
    assert step(task, Kind.RETRYING, cause="interrupted").interruptions_in_a_row == 1


def test_a_task_waits_until_its_last_question_is_answered() -> None:
    """Questions are answered one by one; the answers stay, also for the next attempt."""
    task = step(through(Kind.STARTED), Kind.INPUT_REQUIRED, requests={"a": {}})
    task = step(task, Kind.INPUT_REQUIRED, requests={"b": {}})
    task = step(task, Kind.INPUT_ANSWERED, responses={"a": 1})
    assert (task.status, set(task.input_requests)) == (Status.INPUT_REQUIRED, {"b"})
    task = step(task, Kind.INPUT_ANSWERED, responses={"b": 2})
    assert (task.status, task.input_requests, task.answers) == (Status.RUNNING, {}, {"a": 1, "b": 2})
    assert step(step(task, Kind.RETRYING), Kind.STARTED).answers == {"a": 1, "b": 2}


@pytest.mark.parametrize("end", [Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED])
def test_the_end_closes_what_was_open(end: Kind) -> None:
    """A task that is over has an end, a date on which it is forgotten, no open question and no estimate."""
    task = step(through(Kind.STARTED, Kind.INPUT_REQUIRED), end, at=7.0)
    assert (task.completed_at, task.expires_at, task.input_requests) == (7.0, 99.0, {})
    assert task.estimated_remaining is None


def test_a_falsy_output_is_an_output() -> None:
    """Zero is a result."""
    task, event = advance(through(Kind.STARTED), Completed(0, 2.0), at=1.0)
    assert task.output == 0
    assert task.output is not None
    assert event.data["progress"] == 100.0


def test_the_first_start_is_the_start() -> None:
    """A later attempt does not move it."""
    task = step(new(), Kind.STARTED, at=5.0)
    task = step(step(task, Kind.RETRYING, at=6.0), Kind.STARTED, at=9.0)
    assert task.started_at == 5.0


def test_a_value_that_was_given_out_does_not_change() -> None:
    """`advance` makes a new task; who holds the old one sees no difference."""
    task = through(Kind.STARTED)
    before = dict(task.__dict__)
    step(task, Kind.PROGRESS, progress=5.0)
    assert task.__dict__ == before
    with pytest.raises(AttributeError):
        Event(number=1, kind=Kind.QUEUED, at=0.0, attempt=0, data={}).number = 2  # type: ignore[misc]


def test_a_new_task_is_what_its_first_event_makes_it() -> None:
    """Queued, with one event in its log, and no event leads there again."""
    task = new()
    assert (task.status, task.last_event_id, task.attempt) == (Status.QUEUED, 1, 0)
    assert Event.first_of(task) == Event(number=1, kind=Kind.QUEUED, at=0.0, attempt=0, data={"status": "queued"})
    assert set(CLASSES) == set(Kind) - {Kind.QUEUED}
