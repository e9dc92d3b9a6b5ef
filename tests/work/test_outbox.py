"""What a function has said and its log does not hold yet: in order, in bounded batches, checked on the way in."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_server import TaskCancelled, TaskError
from mcp_server.task import Kind
from mcp_server.work.outbox import (
    BATCH,
    BATCH_BYTES,
    MOST_WAITING,
    MOST_WAITING_BYTES,
    Fact,
    Facts,
    checked,
    error_told_by,
)


def fact(number: int, size: int = 0) -> Fact:
    return Fact(Kind.OUTPUT, float(number), {}, size)


def filled(count: int, size: int = 0) -> Facts:
    facts = Facts()
    for number in range(count):
        facts.put(fact(number, size))
    return facts


@pytest.mark.parametrize(
    ("count", "size", "first"),
    [(3, 0, 3), (2 * BATCH, 0, BATCH), (10, BATCH_BYTES // 4, 4), (3, 2 * BATCH_BYTES, 1)],
    ids=["few", "many", "large", "very large"],
)
def test_a_batch_is_bounded_in_number_and_in_bytes(count: int, size: int, first: int) -> None:
    """One fact is always taken, however large; nothing is lost and nothing changes places."""
    facts, taken = filled(count, size), []
    while facts:
        taken.append(facts.take())
    assert len(taken[0]) == first
    assert [f.at for batch in taken for f in batch] == list(range(count))
    assert facts.take() == []


@pytest.mark.parametrize(("most", "size"), [(MOST_WAITING, 0), (8, MOST_WAITING_BYTES // 8)])
def test_too_much_that_waits_is_noticed_until_it_is_taken(most: int, size: int) -> None:
    """By number or by bytes; what is put back counts again."""
    facts = filled(most, size)
    seen = [facts.too_many]
    facts.put(fact(most, size))
    seen.append(facts.too_many)
    batch = facts.take()
    seen.append(facts.too_many)
    facts.put_back(batch)
    seen.append(facts.too_many)
    assert seen == [False, True, False, True]
    assert facts.take() == batch


def test_nothing_comes_after_the_last_fact() -> None:
    """A thread that was still speaking when its function returned is too late, and does not spoil the end."""
    facts = filled(1)
    facts.put(fact(1), last=True)
    for last in (False, True):
        with pytest.raises(TaskCancelled):
            facts.put(fact(2), last=last)
    assert [f.at for f in facts.take()] == [0, 1]


STAGE = {"name": "s", "index": 1, "count": None, "progress": 0.0}


@pytest.mark.parametrize(
    ("kind", "says", "code"),
    [
        (Kind.OUTPUT, {"data": "x" * 100, "topic": None}, "TOO_LARGE"),
        (Kind.OUTPUT, {"data": 1, "topic": "x" * 100}, "TOO_LARGE"),
        (Kind.OUTPUT, {"data": object(), "topic": None}, "NOT_JSON"),
        (Kind.CHECKPOINT, {"state": "x" * 100}, "TOO_LARGE"),
        (Kind.CHECKPOINT, {"state": object()}, "NOT_JSON"),
        (Kind.PROGRESS, {"message": "x" * 100, "stage": None}, "TOO_LARGE"),
        (Kind.PROGRESS, {"message": None, "stage": {**STAGE, "name": "x" * 100}}, "TOO_LARGE"),
        (Kind.INPUT_REQUIRED, {"requests": {"q1": "x" * 100}}, "TOO_LARGE"),
        (Kind.INPUT_REQUIRED, {"requests": {"q1": object()}}, "NOT_JSON"),
        (Kind.INPUT_REQUIRED, {"requests": {"q1": "\ud800"}}, "NOT_JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused_where_it_is_said(kind: Kind, says: dict[str, Any], code: str) -> None:
    """Every part of every kind that an author fills."""
    with pytest.raises(TaskError) as refused:
        checked(kind, says, 99)
    assert (refused.value.code, refused.value.retry) == (code, False)


def test_names_and_messages_are_made_storable() -> None:
    """A name may be a number, a message an exception."""
    says = {"progress": 1.0, "message": ValueError("a\ud800"), "stage": {**STAGE, "name": 7}}
    stored, size = checked(Kind.PROGRESS, says, 99)
    assert stored == {"progress": 1.0, "message": "a?", "stage": {**STAGE, "name": "7"}}
    assert size == 3


def test_an_error_is_kept_in_brief_and_without_what_cannot_be_stored() -> None:
    """A task that failed has failed: what it says of it is cut, not refused."""
    told = error_told_by(TaskError("m" * 50_000, code="C" * 500, details={"x": object()}), 99)
    assert told is not None
    assert (len(told.message), len(told.code), list(told.details)) == (10_000, 200, ["dropped"])
    assert error_told_by(ValueError("secret"), 99) is None
