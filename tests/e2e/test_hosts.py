"""The server as others run it: the SDK's `run`, and uvicorn with an application that mounts it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import anyio
import anyio.to_thread
import uvicorn
from fastapi import FastAPI

from mcp_server.cli.demo import demo_server
from tests.crash.processes import PATIENCE, Process
from tests.server.servers import calling

LISTENING = r"Uvicorn running on (http://\S+)"
SLOW = {"duration_seconds": 3600, "steps": 10_000}
"""A task that reports three times a second and outlives the test."""


def _host(ways: Sequence[str], environment: Mapping[str, str], stderr: Connection) -> None:
    """Serve the stock server in one way, and after each stop in the next."""
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    os.environ.update(environment)
    server = demo_server()
    for way in ways:
        try:
            if way == "run":
                server.run("streamable-http")
            else:
                app = FastAPI(lifespan=server.lifespan)
                app.mount("/", server.http_app())
                uvicorn.run(app, port=0)
        except KeyboardInterrupt:
            pass


async def test_streams_end_when_the_host_stops_and_go_on_when_it_serves_again(tmp_path: Path) -> None:
    """Nobody tells the server that uvicorn was told to stop: its streams end without an end of the task, and whole."""
    environment = {"LONGTASKS_BACKEND": f"sqlite:///{tmp_path / 'tasks.db'}", "LONGTASKS_PORT": "0"}
    ways = ["run", "mounted"]
    process = Process(ways, environment, _host)
    operation_id, seen = None, 0
    try:
        for life in range(len(ways)):
            url = await anyio.to_thread.run_sync(lambda: process.said(f"(?s)(?:.*{LISTENING}){{{life + 1}}}")[1])  # noqa: B023
            async with calling(url) as caller:
                assert (await caller.http.get("/health")).json()["status"] == "healthy"
                operation_id = operation_id or await caller.start("data_analysis", SLOW)
                with anyio.fail_after(PATIENCE):
                    async with caller.stream(operation_id, seen) as stream:
                        frames = await stream.until("progress")
                        assert frames[-1].event == "progress", "it ended before it was told to"
                        process.signal(signal.SIGINT)
                        # A connection that was cut, not closed, would be an error here.
                        frames += await stream.rest()
            numbers = [frame.id for frame in frames if frame.id is not None]
            assert numbers == list(range(seen + 1, seen + len(numbers) + 1))
            assert {frame.event for frame in frames} <= {"status", "progress"}
            seen += len(numbers)
        assert await anyio.to_thread.run_sync(process.ended) == 0
    finally:
        process.kill()
