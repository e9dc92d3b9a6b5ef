"""Health, liveness and readiness, as people, monitors and balancers ask for them."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from tests.crash.processes import Process
from tests.server.servers import Caller, calling, make_server, serve
from tests.server.stock import stock_server


async def finished(caller: Caller, task_type: str, **arguments: Any) -> str:
    """Run a task to its end; its id."""
    operation_id = await caller.start(task_type, arguments)
    await caller.frames(operation_id)
    return operation_id


async def test_health_counts_what_there_is(tmp_path: Path) -> None:
    """Tools, prompts and resources of the MCP side, task types, and tasks by status."""
    server = stock_server(tmp_path)
    async with serve(server) as caller:
        await finished(caller, "counts", n=1)
        response = await caller.http.get("/health")
    body = response.json()
    assert response.status_code == 200
    assert (body["status"], body["backend"], body["task_types"]) == ("healthy", "sqlite", len(server.registry))
    assert body["capabilities"]["tools"] >= 7
    assert set(body["capabilities"]) == {"tools", "prompts", "resources"}
    assert body["tasks"] == {
        "queued": 0, "running": 0, "input_required": 0, "completed": 1, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert body["version"]
    assert body["fleet"] == {
        "workers": None,
        "queue": {"due": 0, "delayed": 0, "oldest_waiting_seconds": None},
        "claimed": 0,
        "stalled": {"count": 0, "operations": None},
    }


async def test_health_says_when_the_backend_does_not_answer(tmp_path: Path) -> None:
    """503 with the reason, for the probe of a load balancer."""
    async with serve(make_server(tmp_path)) as caller:
        with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
            connection.execute("DROP TABLE counts")
        response = await caller.http.get("/health")
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert "counts" in response.json()["reason"]


async def test_a_process_whose_backend_is_away_is_alive_and_not_ready(tmp_path: Path) -> None:
    """A supervisor that restarts what is not alive must not lose running work to an outage of the backend."""
    async with serve(make_server(tmp_path)) as caller:
        ready = await caller.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": {}})
        with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
            connection.execute("DROP TABLE counts")
        unready, alive = await caller.http.get("/readyz"), await caller.http.get("/livez")
    assert unready.status_code == 503
    assert "counts" in unready.json()["reasons"]["backend"]
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})


async def test_a_stop_turns_readiness_before_connections_end(tmp_path: Path) -> None:
    """From SIGTERM on `/readyz` answers 503 with the reason while everything else goes on; a second signal ends it."""
    settings = {"LONGTASKS_BACKEND": f"sqlite:///{tmp_path / 'tasks.db'}", "LONGTASKS_UNREADY_GRACE": "60"}
    process = Process(["serve", "--port", "0"], settings)
    try:
        async with calling(await anyio.to_thread.run_sync(lambda: process.url)) as caller:
            assert (await caller.http.get("/readyz")).status_code == 200
            process.signal(signal.SIGTERM)
            with anyio.fail_after(30):
                while (response := await caller.http.get("/readyz")).status_code == 200:
                    pass
            assert set(response.json()["reasons"]) == {"draining"}
            assert (await caller.http.get("/livez")).status_code == 200
            await caller.start("data_analysis", {"duration_seconds": 0, "steps": 1})
        assert await anyio.to_thread.run_sync(process.terminate) == 0
    finally:
        process.kill()
