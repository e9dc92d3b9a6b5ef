"""Tasks that do not stop when their server is told to: it ends without them, and the next one takes them up."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import psutil

from tests.crash.processes import ServerProcess, serving
from tests.server.servers import Caller, calling

APP = "tests.e2e.app:server"


async def begun(caller: Caller, task_type: str) -> str:
    """Start a task; its id, once it has reported."""
    operation_id = await caller.start(task_type)
    async with caller.stream(operation_id) as stream:
        await stream.until("progress")
    return operation_id


async def stop(server: ServerProcess) -> int:
    """Tell it to stop; its exit code."""
    server.signal(signal.SIGTERM)
    with anyio.fail_after(20):
        return await server.ended()


async def test_a_function_that_will_not_be_cancelled_holds_nobody_up_for_long(tmp_path: Path) -> None:
    """After its grace the process ends without it and says so; the next server takes the task up."""
    with serving(APP, tmp_path, cancel_grace=0.2, drain_grace=0.1) as (server,):
        async with calling(await server.start()) as caller:
            operation_id = await begun(caller, "stubborn")
        assert await stop(server) == 1
        assert "a task did not stop within" in server.log
        async with calling(await server.start()) as caller:
            async with caller.stream(operation_id) as stream:
                async for frame in stream:
                    if frame.event == "status" and (frame.data["reason"], frame.data["attempt"]) == ("started", 2):
                        break
            await caller.call("cancel_task", operation_id=operation_id)
            assert (await caller.frames(operation_id))[-1].data["status"] == "cancelled"


async def test_a_signal_to_every_process_of_the_service_fails_no_task(tmp_path: Path) -> None:
    """A service manager signals the processes of tasks as well; whether they stop is for their server to say."""
    with serving(APP, tmp_path) as (server,):
        async with calling(await server.start()) as caller:
            operation_id = await begun(caller, "deaf_process")
            for child in psutil.Process(server.pid).children(recursive=True):
                child.terminate()
            await stop(server)
        async with calling(await server.start()) as caller:
            shown = await caller.snapshot(operation_id)
    assert shown["status"] in ("queued", "running")
