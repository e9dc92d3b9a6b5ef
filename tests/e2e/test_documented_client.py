"""Scripts that were written after the old progress-tracking document work, and print what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tests.crash.processes import PATIENCE, ServerProcess, serving

from .documented import DocumentedClient

FIELDS = {
    "operation_id", "status", "progress", "message", "started_at", "updated_at", "elapsed_seconds",
    "estimated_remaining", "output",
}  # fmt: skip
"""Of the document's data structure."""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The stock server, with nothing set."""
    with serving("mcp_server.cli.demo:demo_server", tmp_path_factory.mktemp("documented")) as (process,):
        yield process


@pytest.fixture
async def client(process: ServerProcess) -> DocumentedClient:
    return DocumentedClient(process.url or await process.start())


class Screen:
    """What the document's callbacks print."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def streamed(self, data: dict[str, Any]) -> None:
        self.lines.append(f"Progress: {data['progress']:.0f}% - {data['message']}")

    def polled(self, data: dict[str, Any]) -> None:
        line = f"{data['progress']:.0f}% - {data['message']} [{data['status']}]"
        if line not in self.lines:
            self.lines.append(line)


async def test_streaming_prints_what_the_document_shows(client: DocumentedClient) -> None:
    """A line for each of five steps, the closing line, and the result."""
    screen = Screen()
    with anyio.fail_after(PATIENCE):
        reply = await client.start_and_watch("data_analysis", 0.5, 5, screen.streamed)
    assert screen.lines == [
        "Progress: 20% - Processing step 1/5 - data_analysis",
        "Progress: 40% - Processing step 2/5 - data_analysis",
        "Progress: 60% - Processing step 3/5 - data_analysis",
        "Progress: 80% - Processing step 4/5 - data_analysis",
        "Progress: 100% - Processing step 5/5 - data_analysis",
        "Progress: 100% - Completed 5 steps successfully",
    ]
    assert reply["status"] == "success"
    assert reply["data"]["status"] == "completed"
    assert reply["data"]["output"]["steps"] == 5


async def test_polling_prints_what_the_document_shows(client: DocumentedClient) -> None:
    """The steps in order as far as a poll meets them, and the closing line with the final status."""
    screen = Screen()
    shorthand = {"task_type": "data_processing", "duration_seconds": 1.5, "steps": 3}
    reply = await client.call_and_parse("start_long_task", shorthand)
    with anyio.fail_after(PATIENCE):
        last = await client.poll(reply["data"]["operation_id"], 0.05, screen.polled)
    shown = [
        "33% - Processing step 1/3 - data_processing [running]",
        "67% - Processing step 2/3 - data_processing [running]",
        "100% - Processing step 3/3 - data_processing [running]",
        "100% - Completed 3 steps successfully [completed]",
    ]
    # What comes before the first step, or between the last one and the end, a poll meets or not.
    steps = [line for line in screen.lines if "Processing" in line or "Completed" in line]
    assert [line for line in shown if line in steps] == steps
    assert steps[-1] == shown[-1]
    assert len(steps) > 1
    assert last.keys() >= FIELDS
    assert last["output"]["task_type"] == "data_processing"


async def test_a_task_that_is_not_over_has_the_documented_fields(client: DocumentedClient) -> None:
    """In the poll and in every streamed progress alike; a cancelled one ends the stream."""
    shorthand = {"task_type": "data_analysis", "duration_seconds": 600, "steps": 10_000}
    reply = await client.call_and_parse("start_long_task", shorthand)
    operation_id = reply["data"]["operation_id"]
    progress = await client.call_and_parse("get_task_progress", {"operation_id": operation_id})
    assert progress["data"].keys() >= FIELDS
    assert progress["data"]["output"] is None
    early = await client.call_and_parse("get_task_result", {"operation_id": operation_id})
    assert early["data"]["status"] in ("queued", "running")
    seen: list[dict[str, Any]] = []

    async def cancel() -> None:
        await client.call_and_parse("cancel_task", {"operation_id": operation_id})

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as cancelling:

            def see(data: dict[str, Any]) -> None:
                if not seen:
                    cancelling.start_soon(cancel)
                seen.append(data)

            last = await client.watch(operation_id, see)
    assert last["final_status"] == "cancelled"
    assert all(data.keys() >= FIELDS - {"output"} for data in seen)


async def test_an_unknown_id_is_a_plain_http_error(client: DocumentedClient) -> None:
    """As the document's client reports it."""
    assert await client.watch("none", print) == {"status": "error", "error": "HTTP 404"}
