"""Clients that outlive servers: they wait for the next one and go on with the cursor they have.

Speaks plain HTTP; nothing here repairs what a server did wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from tests.server.servers import Caller, Frame, calling

from .audit import ENDS
from .processes import PATIENCE, ServerProcess

__all__ = ["Service", "asks", "result", "saved", "says", "until"]


class Service:
    """One server in all its lives, as its clients know it; as a context manager, their connections."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self._connections = AsyncExitStack()
        self._caller: Caller | None = None
        self._up = anyio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connections.aclose()

    async def start(self) -> Caller:
        self._caller = await self._connections.enter_async_context(calling(await self.process.start()))
        self._up.set()
        return self._caller

    def kill(self) -> None:
        self.down()
        self.process.kill()

    def down(self) -> None:
        """From now on connections may break."""
        self._caller, self._up = None, anyio.Event()

    async def caller(self) -> Caller:
        """To the life there is, or the next one."""
        while self._caller is None:
            await self._up.wait()
        return self._caller

    async def ask(self, request: Callable[[Caller], Any]) -> Any:
        """The answer of the first life that gives one. A request must be harmless when repeated."""
        while True:
            caller = await self.caller()
            try:
                return await request(caller)
            except httpx2.TransportError:
                assert caller is not self._caller, "a server that lives has hung up"

    async def follow(self, task_id: str, seen: Callable[[Frame], None] = lambda frame: None) -> list[Frame]:
        """The durable frames of a task up to its end, each checked to be the next one."""
        with anyio.fail_after(PATIENCE):
            return await self._follow(task_id, seen)

    async def _follow(self, task_id: str, seen: Callable[[Frame], None]) -> list[Frame]:
        frames: list[Frame] = []
        while True:
            caller = await self.caller()
            try:
                async with caller.stream(task_id, len(frames)) as stream:
                    assert stream.response.status_code == 200
                    async for frame in stream:
                        if frame.id is not None:
                            assert frame.id == len(frames) + 1
                            frames.append(frame)
                            seen(frame)
            except httpx2.TransportError:
                assert caller is not self._caller, "a server that lives has hung up"
            if frames and frames[-1].event in ENDS:
                return frames


async def until(caller: Caller, task_id: str, condition: Callable[[Frame], bool]) -> Frame:
    """The first frame of the task's stream for which the condition holds."""
    with anyio.fail_after(PATIENCE):
        async with caller.stream(task_id) as stream:
            async for frame in stream:
                if condition(frame):
                    return frame
    raise AssertionError("the stream ended before")


def says(step: int) -> Callable[[Frame], bool]:
    return lambda frame: frame.event == "output" and frame.data["data"]["step"] == step


def saved(step: int) -> Callable[[Frame], bool]:
    """Whether the first attempt of `count` has its checkpoint after the step."""
    return lambda frame: frame.event == "status" and frame.data["reason"] == "checkpoint" and frame.id == 2 + 3 * step


def asks(key: str, attempt: int = 1) -> Callable[[Frame], bool]:
    """Whether the attempt asks the question."""
    started = 0

    def look(frame: Frame) -> bool:
        nonlocal started
        started += frame.event == "status" and frame.data["reason"] == "started"
        return started == attempt and frame.event == "input_required" and key in frame.data["input_requests"]

    return look


async def result(caller: Caller, task_id: str) -> dict[str, Any]:
    reply = await caller.call("get_task_result", operation_id=task_id, wait_seconds=25)
    assert reply["status"] == "success", reply
    data: dict[str, Any] = reply["data"]
    return data
