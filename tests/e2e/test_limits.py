"""At a bound a task fails with a clear code, and whatever came before stays readable."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.crash.processes import ServerProcess, serving
from tests.server.servers import Caller, calling

APP = "tests.e2e.limits_app:server"
LIMIT = 100_000


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(APP, tmp_path_factory.mktemp("limits"), max_event_bytes=LIMIT) as (process,):
        yield process


@pytest.fixture
async def caller(process: ServerProcess) -> AsyncIterator[Caller]:
    async with calling(process.url or await process.start()) as caller:
        yield caller


@pytest.mark.parametrize(
    "task_type",
    [
        "returns_much",
        "emits_much",
        "keeps_much",
        "says_much",
        "returns_much_from_a_process",
        "emits_much_from_a_process",
    ],
)
async def test_what_is_too_large_fails_the_task(caller: Caller, task_type: str) -> None:
    """TOO_LARGE with the sizes, once; the stream and the snapshot show the rest without the large part."""
    operation_id = await caller.start(task_type)
    frames = await caller.frames(operation_id)
    assert [frame.data["data"] for frame in frames if frame.event == "output"] == ["before"]
    assert [frame.event for frame in frames].count("error") == 1
    assert frames[-1].data["error_code"] == "TOO_LARGE"
    assert str(LIMIT) in frames[-1].data["error"]
    assert "200" in frames[-1].data["error"]
    snapshot = await caller.snapshot(operation_id)
    assert snapshot["status"] == "failed"
    assert snapshot["error"]["error_code"] == "TOO_LARGE"
    assert snapshot["output"] is None
    reply = await caller.call("get_task_result", operation_id=operation_id)
    assert reply["error_code"] == "TASK_FAILED"
    assert len(str(reply)) < 5_000


async def test_what_is_just_small_enough_is_a_result(caller: Caller) -> None:
    """The bound itself is allowed, one byte more is not."""
    operation_id = await caller.start("returns_just_enough", {"size": LIMIT})
    assert (await caller.frames(operation_id))[-1].data == {"status": "completed"}
    assert len((await caller.snapshot(operation_id))["output"]) == LIMIT - 2
    operation_id = await caller.start("returns_just_enough", {"size": LIMIT + 1})
    assert (await caller.frames(operation_id))[-1].data["error_code"] == "TOO_LARGE"


async def test_a_function_that_blocks_the_loop_is_named_in_the_log(tmp_path: Path) -> None:
    """Once a block, with the line where it stands; the server answers afterwards, and no other attempt is begun."""
    with serving(APP, tmp_path) as (process,):
        async with calling(await process.start()) as caller:
            operation_id = await caller.start("blocks_the_loop", {"seconds": 3.0})
            frames = await caller.frames(operation_id)
            assert frames[-1].data == {"status": "completed"}
            assert (await caller.snapshot(operation_id))["attempt"] == 1
            assert (await caller.http.get("/health")).status_code == 200
        process.kill()
        named = re.findall(r'limits_app\.py", line \d+, in a_computation_that_never_awaits', process.log)
        assert len(named) == 1
        assert "WARNING mcp_server.work.watchdog: the event loop has been blocked" in process.log
