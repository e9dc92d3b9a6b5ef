"""A server with a few task types whose pace a test holds in its hand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio

from mcp_server import LongTaskServer, TaskContext, TaskError

from .servers import make_server

__all__ = ["open_gate", "stock_server"]

_gates: dict[str, anyio.Event] = defaultdict(anyio.Event)


def open_gate(name: str) -> None:
    """Let the tasks go on that wait at this gate, now or later."""
    _gates[name].set()


def stock_server(directory: Path, **settings: Any) -> LongTaskServer:
    server = make_server(directory, **settings)

    @server.task
    async def counts(n: int, gate: str | None = None, *, task: TaskContext) -> int:
        """Reports each of n steps, then waits at the gate if there is one."""
        for step in range(1, n + 1):
            await task.report(step, total=n, message=f"step {step}")
        if gate is not None:
            await _gates[gate].wait()
        task.summary = f"{n} steps"
        return n

    @server.task
    async def paced(n: int, *, task: TaskContext) -> None:
        """Reports n steps in bursts, so that readers see some of them live and some as history."""
        for step in range(n):
            await task.report(step, total=n)
            if step % 10 == 0:
                await anyio.sleep(0.01)

    @server.task
    async def talks(n: int, size: int = 10, gate: str | None = None, *, task: TaskContext) -> None:
        """Waits at the gate if there is one, then emits n texts of that size."""
        if gate is not None:
            await _gates[gate].wait()
        for number in range(n):
            await task.emit(f"{number} ".ljust(size, "x"), topic="text")

    @server.task
    async def fails(message: str, *, task: TaskContext) -> None:
        await task.report(30)
        raise TaskError(message, code="NO_LUCK", details={"page": 3})

    @server.task
    async def asks(*, task: TaskContext) -> Any:
        return await task.ask("Go on?", key="go")

    return server
