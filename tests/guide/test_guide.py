"""The tutorial, as tests. Read `mcp_server/task.py` first, then this from top to bottom.

Each test is one thing an author or a caller does, on a real server on a free port with
a real SQLite file. What can go wrong on the way is in the other folders.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from client_sdk import (
    InputRequiredEvent,
    LongTaskClient,
    OutputEvent,
    ProgressEvent,
    Refused,
    TaskCancelled,
    TaskFailed,
)
from mcp_server import LongTaskServer, Settings, SyncTaskContext, TaskContext, TaskError
from mcp_server.access.principal import ANONYMOUS
from mcp_server.hosting import listening
from tests.server.servers import serve

server = LongTaskServer("guide")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[LongTaskClient]:
    """A client of the server above, on a new file."""
    server.configure(Settings(backend=f"sqlite:///{tmp_path / 'guide.db'}", port=0, drain_grace=0.0))
    async with listening(server) as url, LongTaskClient(url) as client:
        yield client


@server.task
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_01_an_ordinary_function_is_a_task_type(client: LongTaskClient) -> None:
    """Its signature is the schema, its docstring the description; what it returns is the result."""
    handle = await client.start("add", {"a": 2, "b": 3})
    assert await handle.result() == 5
    described = {task_type.name: task_type for task_type in await client.task_types()}["add"]
    assert described.description == "Add two numbers."
    assert set(described.input_schema["properties"]) == {"a", "b"}


async def test_02_arguments_are_checked_before_there_is_a_task(client: LongTaskClient) -> None:
    """A refusal says what was expected and what came, and leaves nothing behind."""
    with pytest.raises(Refused) as refused:
        await client.start("add", {"a": 2, "b": "many"})
    assert refused.value.error_code == "INVALID_ARGUMENT"
    assert refused.value.details["errors"][0]["path"] == "b"
    assert (await client.list()).count == 0


@server.task
async def count(pages: int, *, task: TaskContext) -> str:
    for page in range(1, pages + 1):
        await task.report(page, total=pages, message=f"page {page}")
        await task.emit({"page": page}, topic="pages")
    task.summary = f"All {pages} pages"
    return "done"


async def test_03_everything_a_task_says_is_an_event(client: LongTaskClient) -> None:
    """Numbered from 1, none skipped; the last progress is the closing one, which has no number of its own."""
    handle = await client.start("count", {"pages": 3})
    events = [event async for event in handle.events()]
    numbers = [event.number for event in events if event.number is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    progress = [(event.data.progress, event.data.message) for event in events if isinstance(event, ProgressEvent)]
    assert progress == [
        (pytest.approx(100 / 3), "page 1"), (pytest.approx(200 / 3), "page 2"), (100, "page 3"), (100, "All 3 pages"),
    ]  # fmt: skip
    assert [event.data.data for event in events if isinstance(event, OutputEvent)] == [{"page": n} for n in (1, 2, 3)]


async def test_04_a_reader_resumes_after_the_last_number_it_saw(client: LongTaskClient) -> None:
    """Replay and live are the same reading; the cursor is all there is to keep."""
    handle = await client.start("count", {"pages": 3})
    first = [event.number async for event in handle.events()]
    again = [event.number async for event in client.task(handle.id).events(after=4)]
    assert again == first[4:]


@server.task
def slow_sum(numbers: list[float], *, task: SyncTaskContext) -> float:
    task.plan(check=1, add=3)
    with task.stage("check"):
        if not numbers:
            raise TaskError("There is nothing to add", code="EMPTY", details={"numbers": 0})
    with task.stage("add") as adding:
        for position, _ in enumerate(numbers, start=1):
            adding.report(position, total=len(numbers))
    return sum(numbers)


async def test_05_a_plain_function_runs_in_a_thread_and_has_stages(client: LongTaskClient) -> None:
    """Stages share the bar by their weights: half of the second one is at 25 + 37.5 percent."""
    handle = await client.start("slow_sum", {"numbers": [1, 2]})
    shown = [event.data.progress async for event in handle.events() if isinstance(event, ProgressEvent)]
    assert 62.5 in shown
    assert await handle.result() == 3


async def test_06_a_task_fails_with_what_its_author_says(client: LongTaskClient) -> None:
    """`TaskError` reaches the caller with its code and details; any other exception with its type and an incident."""
    with pytest.raises(TaskFailed, match="nothing to add") as failed:
        await (await client.start("slow_sum", {"numbers": []})).result()
    assert failed.value.error_code == "EMPTY"


@server.task
async def forever(*, task: TaskContext) -> None:
    await task.report(message="still at it")
    await anyio.sleep_forever()


async def test_07_cancelling_is_an_event_too(client: LongTaskClient) -> None:
    """It is acknowledged at once; stopping to watch, by contrast, stops nothing."""
    handle = await client.start("forever")
    await handle.cancel("not needed any more")
    with pytest.raises(TaskCancelled) as cancelled:
        await handle.result()
    assert cancelled.value.reason == "not needed any more"


@server.task(retries=1, retry_delay=0)
async def in_two_goes(*, task: TaskContext) -> dict[str, int]:
    done = task.state or 0
    if task.attempt == 1:
        await task.checkpoint(7)
        raise TaskError("The line went dead")
    return {"attempt": task.attempt, "went on from": done}


async def test_08_the_next_attempt_goes_on_from_the_checkpoint(client: LongTaskClient) -> None:
    """After a failure that is retried here; after the death of the process just so (`tests/crash`)."""
    handle = await client.start("in_two_goes")
    assert await handle.result() == {"attempt": 2, "went on from": 7}


class Confirm(BaseModel):
    really: bool


@server.task
async def delete(path: str, *, task: TaskContext) -> str:
    answer = await task.ask(f"Delete {path}?", Confirm, key="sure")
    return "deleted" if answer.really else "kept"


async def test_09_a_task_asks_and_parks_until_somebody_answers(client: LongTaskClient) -> None:
    """The question is an event, and so is the answer, which may come from anywhere."""
    handle = await client.start("delete", {"path": "notes.txt"})
    async for event in handle.events():
        if isinstance(event, InputRequiredEvent):
            assert event.data.input_requests["sure"]["params"]["message"] == "Delete notes.txt?"
            await client.task(handle.id).answer("sure", {"really": True})
    assert await handle.result() == "deleted"


async def test_10_the_same_key_never_starts_a_second_task(client: LongTaskClient) -> None:
    """A start whose answer was lost is simply sent again."""
    one = await client.start("add", {"a": 1, "b": 1}, idempotency_key="monday")
    other = await client.start("add", {"a": 1, "b": 1}, idempotency_key="monday")
    assert one.id == other.id


@server.task
async def in_two_lives(*, task: TaskContext) -> str:
    if task.state is None:
        await task.checkpoint("the first half")
        await task.report(50)
        await anyio.sleep_forever()
    return f"went on from {task.state}"


async def test_11_a_task_outlives_its_server(tmp_path: Path) -> None:
    """A server that stops gives its tasks back; the next one on the same file goes on, and the id is all it takes."""
    settings = Settings(backend=f"sqlite:///{tmp_path / 'guide.db'}", port=0, drain_grace=0.0)
    server.configure(settings)
    async with listening(server) as url, LongTaskClient(url) as client:
        handle = await client.start("in_two_lives")
        async for event in handle.events():
            if isinstance(event, ProgressEvent):
                break
    server.configure(settings)
    async with listening(server) as url, LongTaskClient(url) as client:
        assert await client.task(handle.id).result() == "went on from the first half"


async def test_12_the_server_can_be_part_of_another_application(tmp_path: Path) -> None:
    """Mounted under any path; the outer application runs it, and may use the engine itself."""
    server.configure(Settings(backend=f"sqlite:///{tmp_path / 'guide.db'}"))
    app = FastAPI(lifespan=server.lifespan)
    app.mount("/tasks", server.http_app())

    @app.get("/sum/{a}/{b}")
    async def sum_of(a: int, b: int) -> int:
        task = await server.engine.start("add", {"a": a, "b": b}, principal=ANONYMOUS)
        output: int = (await server.engine.wait(task, 10)).output
        return output

    async with serve(app) as caller, LongTaskClient(f"{caller.url}/tasks") as client:
        assert (await caller.http.get("/sum/2/3")).json() == 5
        assert await (await client.start("add", {"a": 4, "b": 5})).result() == 9
