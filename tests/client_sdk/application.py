"""The server of these tests: `python -m mcp_server serve --app tests.client_sdk.application:server`."""

from __future__ import annotations

from typing import Any

import anyio
from pydantic import BaseModel

from mcp_server import InputDeclined, LongTaskServer, TaskContext, TaskError
from mcp_server.cli.demo import demo_server

server: LongTaskServer = demo_server()


class Confirm(BaseModel):
    confirm: bool


@server.task
async def burst(count: int, pause: float = 0.0, *, task: TaskContext) -> dict[str, int]:
    """Reports and emits `count` times, with words of several bytes a letter in between."""
    for i in range(1, count + 1):
        await task.report(i, total=count, message=f"Schritt {i} – ✓ “päge”")
        if i % 3 == 0:
            await task.emit({"i": i, "text": "line\nbreak and data: colon"}, topic="chunk")
        if pause:
            await anyio.sleep(pause)
    return {"count": count}


@server.task
async def failing(*, task: TaskContext) -> None:
    """Reports once and gives up."""
    await task.report(1, total=2, message="half way")
    raise TaskError("no such file", code="NO_FILE", details={"path": "a.csv"})


@server.task
async def asking(*, task: TaskContext) -> dict[str, Any]:
    """Asks, and says what it was told."""
    try:
        answer = await task.ask("Overwrite the index?", schema=Confirm, key="overwrite")
    except InputDeclined:
        return {"confirm": None}
    return {"confirm": answer.confirm}


@server.task
async def idle(seconds: float = 600.0, *, task: TaskContext) -> str:
    """Says one thing and then nothing for long."""
    await task.report(10, message="waiting")
    await anyio.sleep(seconds)
    return "done"


@server.task
async def returning(value: Any = None) -> Any:
    """Returns what it is given."""
    return value
