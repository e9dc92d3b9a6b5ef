"""`read`: pages of a log, in order, bounded in number and size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_server.backend import Backend
from mcp_server.task import Kind, Task

from .tasks import create, move, moved

MIB = 1024 * 1024


async def _with_outputs(backend: Backend, *data: object) -> Task:
    """A task whose events from number 3 on carry `data`."""
    task = await move(backend, await create(backend), Kind.STARTED)
    for value in data:
        task = await move(backend, task, Kind.OUTPUT, data=value)
    return task


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [(0, 3, [1, 2, 3]), (3, 2, [4, 5]), (10, 5, [11, 12]), (12, 5, []), (10**30, 5, []), (-7, 1, [1])],
)
async def test_a_page_begins_after_the_cursor_and_ends_at_the_limit(
    backend: Backend, after: int, limit: int, expected: list[int]
) -> None:
    """Numbers are in order; a cursor at or beyond the end, however large, gives nothing."""
    task = await _with_outputs(backend, *range(10))
    assert [event.number for event in await backend.read(task.id, after, limit)] == expected


async def test_the_log_of_an_unknown_task_is_empty(backend: Backend) -> None:
    """Reading knows no error for an unknown id."""
    assert list(await backend.read("nobody", 0, 10)) == []


async def test_a_page_ends_at_about_a_mebibyte(backend: Backend) -> None:
    """Large events come some at a time and page on to the end without a hole."""
    task = await _with_outputs(backend, *["x" * (400 * 1024)] * 6)
    first = await backend.read(task.id, 0, 100)
    assert 2 <= len(first) - 2 <= 3
    numbers = [event.number for event in first]
    while page := await backend.read(task.id, numbers[-1], 100):
        numbers += [event.number for event in page]
    assert numbers == list(range(1, 9))


async def test_an_event_larger_than_a_page_comes_alone(backend: Backend) -> None:
    """A page has at least one event if there is any."""
    task = await _with_outputs(backend, "x" * (3 * MIB), "y" * (3 * MIB))
    assert [event.number for event in await backend.read(task.id, 2, 100)] == [3]
    assert [event.number for event in await backend.read(task.id, 3, 100)] == [4]


async def test_a_page_begins_with_the_first_event_still_held(backend: Backend) -> None:
    """A cursor before what is kept gives what is kept."""
    task = await _with_outputs(backend, *range(5))
    after, events = moved(task, Kind.OUTPUT)
    await backend.commit(task, replace(after, first_event_id=5), events)
    assert [event.number for event in await backend.read(task.id, 1, 2)] == [5, 6]
