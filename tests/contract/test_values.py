"""What is stored comes back as it was: large, empty, odd and falsy values alike."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_server.backend import Backend
from mcp_server.task import Kind

from .tasks import create, move

ODD = ["", "\0", "ünï çødé 漢字 🎉", "\u2028\u2029", '"\\/\b\f\n\r\t', "’; DROP TABLE tasks; --", " \t "]
NUMBERS = [0, -1, 2**53 + 1, 2**70, 0.1, 1.0, -0.0, 1e300, 5e-324]


@pytest.mark.parametrize("output", [0, "", [], {}, False, None, 0.0, [None], {"": None}], ids=repr)
async def test_a_falsy_output_is_an_output(backend: Backend, other: Backend, output: Any) -> None:
    """It comes back as the same value of the same type."""
    task = await move(backend, await create(backend), Kind.STARTED, Kind.COMPLETED, output=output)
    loaded = await other.load(task.id)
    assert loaded == task
    assert loaded is not None
    assert type(loaded.output) is type(output)


@pytest.mark.parametrize("value", [ODD, NUMBERS, {text: text for text in ODD}, [[[[{"deep": [1, [2]]}]]]]])
async def test_odd_values_come_back_wherever_they_are_kept(backend: Backend, value: Any) -> None:
    """In arguments, metadata, events, checkpoint and output."""
    task = await create(backend, arguments={"value": value}, metadata={"value": value})
    task = await move(backend, task, Kind.STARTED)
    task = await move(backend, task, Kind.OUTPUT, data=value)
    task = await move(backend, task, Kind.CHECKPOINT, state=value)
    task = await move(backend, task, Kind.COMPLETED, output=value)
    assert await backend.load(task.id) == task
    assert (await backend.read(task.id, 2, 1))[0].data["data"] == value


@pytest.mark.parametrize("text", [text for text in ODD if text])
async def test_names_may_be_any_text(backend: Backend, text: str) -> None:
    """Owner, type and key are compared exactly and never interpreted."""
    task = await create(backend, owner=text, type=text, idempotency_key=text)
    assert (await create(backend, owner=text, idempotency_key=text)).id == task.id
    page = await backend.list(owner=text, status=None, task_type=text, limit=5, cursor=None)
    assert list(page.tasks) == [task]
    assert not (await backend.list(owner=text + " ", status=None, task_type=None, limit=5, cursor=None)).tasks


async def test_text_that_is_no_unicode_names_nothing(backend: Backend) -> None:
    """A lone surrogate, which JSON can carry, finds no task and is no error."""
    assert await backend.load("\ud800") is None
    assert list(await backend.read("\ud800", 0, 5)) == []
    assert not (await backend.list(owner="\ud800", status=None, task_type=None, limit=5, cursor=None)).tasks
    assert not (await backend.list(owner="", status=None, task_type="\ud800", limit=5, cursor=None)).tasks


async def test_large_values_come_back_whole(backend: Backend, other: Backend) -> None:
    """Three megabytes as output, checkpoint and event, and one as argument, in one task."""
    text = "0123456789abcdé" * 200_000
    task = await create(backend, arguments={"text": text[:1_000_000]})
    task = await move(backend, task, Kind.STARTED)
    task = await move(backend, task, Kind.OUTPUT, data=text)
    task = await move(backend, task, Kind.CHECKPOINT, state={"text": text})
    task = await move(backend, task, Kind.COMPLETED, output=[text], durable=True)
    for instance in (backend, other):
        assert await instance.load(task.id) == task
        assert (await instance.read(task.id, 2, 1))[0].data["data"] == text


async def test_a_checkpoint_is_kept_until_the_next(backend: Backend, other: Backend) -> None:
    """Steps that do not touch it keep it; a new one, even an empty one, replaces it."""
    task = await move(backend, await create(backend), Kind.STARTED)
    for state in ({"page": 1}, {}, None, {"page": 2}):
        task = await move(backend, task, Kind.CHECKPOINT, state=state)
        seen = await other.load(task.id)
        assert seen == task
        assert seen is not None
        task = await move(other, seen, Kind.PROGRESS, progress=50.0, stage={"name": "a", "index": 1}, current=1)
        assert await backend.load(task.id) == task


async def test_every_field_of_a_task_survives(backend: Backend, other: Backend) -> None:
    """A task that has been through everything is equal after the round trip, field by field."""
    task = await create(backend, owner="ann", metadata={"a": 1}, priority=3, idempotency_key="k", answers={"x": 1})
    task = await move(backend, task, Kind.STARTED, Kind.INPUT_REQUIRED, Kind.INPUT_ANSWERED)
    task = await move(backend, task, Kind.PROGRESS, progress=40.0, message="Half", current=2, total=5)
    task = await move(backend, task, Kind.CHECKPOINT, Kind.CANCEL_REQUESTED)
    task = await move(backend, task, Kind.RETRYING, cause="failed", not_before=12.5)
    task = await move(backend, task, Kind.STARTED, Kind.PROGRESS, progress=60.0)
    assert task.eta_base is not None
    assert await other.load(task.id) == task
    task = await move(backend, task, Kind.FAILED)
    loaded = await other.load(task.id)
    assert loaded is not None
    for name, value in task.__dict__.items():
        assert getattr(loaded, name) == value, name
        assert type(getattr(loaded, name)) is type(value), name
